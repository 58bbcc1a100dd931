extension TargetDeclaration {
  /// The decoded attributes as JSON: sorted, without places, units resolved, defaults filled in.
  ///
  /// Two targets that mean the same have the same text, whatever the spelling; it feeds planned keys and `attr()`.
  package var canonicalText: String {
    var output = "{"
    var isFirst = true
    for (name, value) in attributeTexts {
      if !isFirst { output += "," }
      isFirst = false
      JSONText.append(name, to: &output)
      output += ":" + value
    }
    return output + "}"
  }

  /// Each set attribute with its value as JSON; by name.
  package var attributeTexts: [(name: String, json: String)] {
    var values: [(name: String, json: String)] = [("rule", JSONText.string(rule.rawValue))]
    func add(_ name: Attribute, _ json: String?) { if let json { values.append((name.rawValue, json)) } }
    func strings(_ list: [Located<String>]) -> String? {
      list.isEmpty ? nil : array(list.map { JSONText.string($0.value) })
    }
    func string(_ text: Located<String>?) -> String? { text.map { JSONText.string($0.value) } }

    add(.if, strings(conditions))
    add(.needs, strings(needs))
    switch when?.value {
    case .affected(let label)?: add(.when, object([("affected", JSONText.string(label))]))
    case .failed(let label)?: add(.when, object([("failed", JSONText.string(label))]))
    case nil: break
    }
    if !sources.isEmpty { add(.srcs, array(sources.map { JSONText.string($0.text) })) }
    if !inputs.isEmpty { add(.inputs, inputsText) }
    add(.image, string(image))
    if !run.isEmpty { add(.run, array(run.map { JSONText.string($0.value.description) })) }
    add(.stdin, stdin.map { JSONText.string($0.value.description) })
    if !outputs.isEmpty { add(.outputs, object(outputs.map { ($0.name.value, JSONText.string($0.path.value)) })) }
    if !env.isEmpty { add(.env, object(env.map { ($0.name.value, JSONText.string($0.value.value.description)) })) }
    add(.cwd, string(cwd))
    add(.network, network.map { JSONText.string($0.value.rawValue) })
    add(.timeout, resources.timeout.map { String($0) })
    add(.cpu, resources.cpu.map { "\($0)" })
    add(.memory, resources.memory.map { String($0) })
    add(.processes, resources.processes.map { String($0) })
    add(.scratch, resources.scratch.map { String($0) })
    add(.retries, resources.retries.map { String($0) })
    if !secrets.isEmpty { add(.secrets, array(secrets.map { marked($0.name.value, $0.isOptional) })) }
    if !properties.isEmpty { add(.properties, object(properties.map { ($0.name, JSONText.string($0.value.text)) })) }
    add(.plan, string(plan))
    if !urls.isEmpty {
      // The place that bytes come from does not decide what they are.
      let downloads = urls.map { download in
        (
          download.name.value,
          object([
            ("executable", "\(download.isExecutable)"), ("path", JSONText.string(download.path.value)),
            ("sha256", JSONText.string(download.sha256.value)),
          ])
        )
      }
      add(.urls, object(downloads))
    }
    if isFlaky { add(.flaky, "true") }
    add(.freshness, freshness.map { String($0.value) })
    add(.base, string(base))
    if !layers.isEmpty {
      add(
        .layers,
        array(
          layers.map { object([("from", JSONText.string($0.from.value)), ("to", JSONText.string($0.to.value))]) }))
    }
    if let text = config.canonicalText { add(.config, text) }
    add(.platforms, strings(platforms))
    if let rootfs { for (name, json) in rootfs.attributeTexts { add(name, json) } }
    if !tests.isEmpty { add(.tests, array(tests.map { marked($0.label.value, $0.isOptional) })) }
    add(.metadata, metadata?.jsonText(sortedKeys: true))
    return values.sorted { $0.name < $1.name }
  }

  /// A list, or by place when one of them has a place.
  private var inputsText: String {
    array(
      inputs.map { input in
        guard let destination = input.destination else { return JSONText.string(input.text) }
        return object([(destination.value, JSONText.string(input.text))])
      })
  }
}

extension Input {
  /// As it was written.
  package var text: String {
    let mark = isOptional ? "?" : ""
    switch source.value {
    case .glob(let text), .label(let text): return text + mark
    case .bundled(let path):
      let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) ?? path.startIndex
      return "@slipway//\(path[..<slash]):\(path[slash...].dropFirst())\(mark)"
    }
  }
}

extension ImageConfiguration {
  /// `nil` when nothing is set.
  var canonicalText: String? {
    var values: [(String, String)] = []
    func list(_ texts: [Located<String>]) -> String { array(texts.map { JSONText.string($0.value) }) }
    if let command { values.append(("cmd", list(command))) }
    if let entrypoint { values.append(("entrypoint", list(entrypoint))) }
    if !env.isEmpty { values.append(("env", object(env.map { ($0.name.value, JSONText.string($0.value.value)) }))) }
    if !labels.isEmpty {
      values.append(("labels", object(labels.map { ($0.name.value, JSONText.string($0.value.value)) })))
    }
    if !exposedPorts.isEmpty { values.append(("ports", list(exposedPorts))) }
    if let user { values.append(("user", marked(user.name.value, user.onlyIfPresent))) }
    if let workdir { values.append(("workdir", JSONText.string(workdir.value))) }
    return values.isEmpty ? nil : object(values)
  }
}

extension RootFileSystem {
  fileprivate var attributeTexts: [(Attribute, String)] {
    var values: [(Attribute, String)] = [(.suite, JSONText.string(suite.value))]
    for (name, list) in [
      (Attribute.packages, packages), (.exclude, exclude), (.customize, customize), (.components, components),
    ] where !list.isEmpty {
      values.append((name, array(list.map { JSONText.string($0.value) })))
    }
    for (name, text) in [
      (Attribute.variant, variant), (.mirror, mirror), (.keyring, keyring), (.lock, lock), (.snapshot, snapshot),
    ] {
      if let text { values.append((name, JSONText.string(text.value))) }
    }
    return values
  }
}

extension TextTemplate: CustomStringConvertible {
  /// As it would be written: `${` that is no reference is `$${`.
  package var description: String {
    var text = ""
    for segment in segments {
      switch segment {
      case .reference(let reference): text += reference.description
      case .literal(let literal):
        var rest = literal[...]
        while let dollar = rest.firstIndex(of: "$") {
          text += rest[..<dollar]
          text += rest[dollar...].hasPrefix("${") ? "$$" : "$"
          rest = rest[rest.index(after: dollar)...]
        }
        text += rest
      }
    }
    return text
  }
}

private func array(_ elements: [String]) -> String { "[" + elements.joined(separator: ",") + "]" }

private func object(_ pairs: [(String, String)]) -> String {
  let sorted = pairs.sorted { $0.0.utf8.lexicographicallyPrecedes($1.0.utf8) }
  return "{" + sorted.map { JSONText.string($0.0) + ":" + $0.1 }.joined(separator: ",") + "}"
}

private func marked(_ text: String, _ isOptional: Bool) -> String { JSONText.string(isOptional ? text + "?" : text) }
