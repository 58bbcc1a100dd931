import Diagnostics

extension Decoder {
  /// One target; `nil` only when it has no rule that could be read.
  mutating func target(name: Located<String>, _ node: Node) -> TargetDeclaration? {
    guard
      let fields = fields(
        node, "target `\(Diagnostic.shortened(name.value))`", known: Attribute.names,
        appendable: Attribute.listNames)
    else { return nil }
    let rule: Rule? = choice(fields["rule"], "rule")?.value
    if let rule { checkAttributes(of: rule, fields, name) }
    if rule == nil, fields["rule"] == nil, !isTemplate {
      report(
        .error(
          "target `\(Diagnostic.shortened(name.value))` has no `rule`", at: name.span,
          hints: ["a rule is one of \(Rule.allCases.map { "`\($0.rawValue)`" }.joined(separator: ", "))"]))
    }
    // A template may leave the rule to another file; its attributes are checked all the same.
    guard rule != nil || isTemplate else { return nil }
    var target = TargetDeclaration(name: name, rule: rule ?? .files)
    decodeOrder(&target, fields)
    decodeCommand(&target, fields)
    decodeResources(&target.resources, fields)
    decodeImage(&target, fields)
    if rule == .rootfs || rule == nil { target.rootfs = rootfs(fields) }
    if let rule, rule != .test, rule != .fetch, let network = target.network, network.value == .host {
      report(
        .error(
          "`network: host` is not for rule `\(rule.rawValue)`", at: network.span,
          hints: ["only `test` and `fetch` can reach the network"]))
    }
    return target
  }

  private mutating func checkAttributes(of rule: Rule, _ fields: Fields, _ name: Located<String>) {
    let allowed = rule.attributes
    for pair in fields.pairs {
      let written = pair.name.hasPrefix("+") && isTemplate ? String(pair.name.dropFirst()) : pair.name
      guard let attribute = Attribute.byName[written], !allowed.contains(attribute) else { continue }
      let rules = attribute.rules.map { "`\($0.rawValue)`" }.joined(separator: ", ")
      report(
        .error(
          "`\(attribute.rawValue)` is not an attribute of rule `\(rule.rawValue)`", at: pair.keyPlace.span,
          hints: ["rules that take it: \(rules)"]))
    }
    guard !isTemplate else { return }
    if rule == .fetch, let urls = fields.pairs.first(where: { $0.name == "urls" }) {
      let others: [Attribute] = [.plan, .image, .run, .outputs]
      for attribute in others where fields[attribute.rawValue] != nil {
        report(
          .error(
            "a fetch with `urls` runs no command and takes no `\(attribute.rawValue)`", at: urls.keyPlace.span,
            hints: ["write two targets"]))
      }
      return
    }
    for attribute in rule.requiredAttributes where fields[attribute.rawValue] == nil {
      report(
        .error(
          "`\(Diagnostic.shortened(name.value))` needs `\(attribute.rawValue)`, as every `\(rule.rawValue)` does",
          at: name.span))
    }
  }

  private mutating func decodeOrder(_ target: inout TargetDeclaration, _ fields: Fields) {
    for node in fields.all("if") { target.conditions += list(node, "`if`") { $0.glob($1, $2) } }
    for node in fields.all("needs") { target.needs += list(node, "`needs`") { $0.label($1, $2) } }
    if let node = fields["when"] { target.when = condition(node) }
  }

  private mutating func condition(_ node: Node) -> Located<TargetDeclaration.Condition>? {
    guard let fields = fields(node, "`when`", known: ["affected", "failed"]) else { return nil }
    let count = fields.pairs.count { !isRemoval($0) }
    guard count == 1 || (isTemplate && count == 0) else {
      error("`when` must have one condition, `affected` or `failed`", at: fields.node)
      return nil
    }
    if let label = label(fields["affected"], "`affected`") { return Located(.affected(label.value), at: label.place) }
    if let label = label(fields["failed"], "`failed`") { return Located(.failed(label.value), at: label.place) }
    return nil
  }

  private mutating func decodeCommand(_ target: inout TargetDeclaration, _ fields: Fields) {
    for node in fields.all("srcs") { target.sources += list(node, "`srcs`") { $0.input($1, $2) } }
    for node in fields.all("inputs") { target.inputs += inputs(node) }
    target.image = image(fields["image"], "`image`")
    for node in fields.all("run") {
      guard let elements = elements(node, "`run`") else { continue }
      if elements.isEmpty { error("`run` must name a command", at: node) }
      target.run += elements.compactMap { template($0, "an argument of `run`") }
    }
    target.stdin = template(fields["stdin"], "`stdin`")
    target.outputs = entries(fields["outputs"], "`outputs`").compactMap { pair in
      let name = Located(pair.name, at: pair.keyPlace)
      guard checkName(name, "an output"), !isRemoval(pair) else { return nil }
      return relativePath(pair.value, "output `\(pair.name)`").map { .init(name: name, path: $0) }
    }
    target.env = entries(fields["env"], "`env`").compactMap { pair in
      let name = Located(pair.name, at: pair.keyPlace)
      guard checkVariable(name), !isRemoval(pair) else { return nil }
      return template(pair.value, "variable `\(pair.name)`").map { .init(name: name, value: $0) }
    }
    target.cwd = string(fields["cwd"], "`cwd`", "a path without `..`") {
      PathText.isAbsolute($0) || PathText.isRelative($0)
    }
    target.network = choice(fields["network"], "network")
    for node in fields.all("secrets") { target.secrets += list(node, "`secrets`") { $0.secret($1, $2) } }
    target.properties = properties(fields["properties"])
    target.plan = label(fields["plan"], "`plan`")
    target.urls = entries(fields["urls"], "`urls`").compactMap { download($0) }
    target.isFlaky = boolean(fields["flaky"], "`flaky`") ?? false
    target.freshness = duration(fields["freshness"], "`freshness`")
    for node in fields.all("tests") { target.tests += list(node, "`tests`") { $0.optionalLabel($1, $2) } }
    if let node = fields["metadata"], let resolved = resolve(node) {
      if resolved.pairs == nil { expected("a mapping", for: "`metadata`", found: resolved) }
      target.metadata = resolved
    }
  }

  private mutating func download(_ pair: Node.Pair) -> TargetDeclaration.Download? {
    let name = Located(pair.name, at: pair.keyPlace)
    guard checkName(name, "an output"), !isRemoval(pair) else { return nil }
    let what: Subject = "`\(Diagnostic.shortened(pair.name))`"
    guard let fields = fields(pair.value, what, known: ["url", "sha256", "path", "executable"]) else { return nil }
    for needed in ["url", "sha256"] where fields[needed] == nil {
      report(.error("\(what) needs `\(needed)`", at: name.span))
    }
    let url = self.url(fields["url"], "`url`", schemes: ["http", "https"])
    let digest = string(fields["sha256"], "`sha256`", "64 lower-case hexadecimal digits") {
      $0.utf8.count == 64 && $0.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
    }
    guard let url, let digest else { return nil }
    let last = url.value.prefix { $0 != "?" && $0 != "#" }.split(separator: "/").last.map(String.init) ?? ""
    let path = fields["path"] == nil ? Located(last, at: url.place) : relativePath(fields["path"], "`path`")
    guard let path else { return nil }
    guard PathText.isRelative(path.value) else {
      report(.error("\(what) needs `path`: its URL ends in no file name", at: name.span))
      return nil
    }
    return .init(
      name: name, url: url, sha256: digest, path: path,
      isExecutable: boolean(fields["executable"], "`executable`") ?? false)
  }

  private mutating func secret(_ node: Node, _ what: Subject) -> TargetDeclaration.Secret? {
    guard var text = string(node, what) else { return nil }
    let isOptional = text.value.hasSuffix("?")
    if isOptional { text.value.removeLast() }
    guard PathText.isRelative(text.value), !text.value.contains("/") else {
      report(
        .error(
          "\(what) must be a file name of the `secrets` folder, not `\(Diagnostic.shortened(text.value))`",
          at: text.span))
      return nil
    }
    return .init(name: text, isOptional: isOptional)
  }

  /// A list, or a mapping from a place in the sandbox to a list.
  private mutating func inputs(_ node: Node) -> [Input] {
    guard let resolved = resolve(node) else { return [] }
    switch resolved.content {
    case .sequence(let elements):
      return elements.compactMap { input($0, "`inputs`") }
    case .mapping(let pairs):
      return pairs.flatMap { pair -> [Input] in
        let destination = Located(pair.name, at: pair.keyPlace)
        guard PathText.isAbsolute(pair.name), pair.name != "/" else {
          report(
            .error(
              "a place of `inputs` must be an absolute path, not `\(Diagnostic.shortened(pair.name))`",
              at: destination.span))
          return []
        }
        if isRemoval(pair) { return [] }
        return list(pair.value, "`\(Diagnostic.shortened(pair.name))`") { decoder, node, what in
          guard var input = decoder.input(node, what) else { return nil }
          input.destination = destination
          return input
        }
      }
    case .scalar:
      expected("a list or a mapping", for: "`inputs`", found: resolved)
      return []
    }
  }

  /// Of an engine or of a target that may run on one.
  mutating func properties(_ node: Node?) -> [PlatformProperty] {
    entries(node, "`properties`").compactMap { pair in
      guard !isRemoval(pair) else { return nil }
      if pair.name.isEmpty { error("a property has no name", at: pair.value) }
      let what: Subject = "property `\(Diagnostic.shortened(pair.name))`"
      // What stands in `${…}` is filled in for each action.
      guard let text = literally({ $0.text(pair.value, what) }) else { return nil }
      do throws(PropertyTemplate.Unknown) {
        return PlatformProperty(name: pair.name, value: try PropertyTemplate(text.value))
      } catch {
        let names = PropertyTemplate.Placeholder.allCases.map(\.rawValue)
        let hint =
          didYouMean(error.name, among: names).map { "did you mean `${\($0)}`?" }
          ?? "it is one of \(names.map { "`${\($0)}`" }.joined(separator: ", "))"
        report(
          .error("unknown value `${\(Diagnostic.shortened(error.name))}`", at: pair.value.place.span, hints: [hint]))
        return nil
      }
    }
  }

  mutating func decodeResources(_ resources: inout Resources, _ fields: Fields) {
    resources.timeout = duration(fields["timeout"], "`timeout`")?.value
    resources.cpu = cores(fields["cpu"], "`cpu`")
    resources.memory = size(fields["memory"], "`memory`")?.value
    resources.processes = integer(fields["processes"], "`processes`", in: 1...1_000_000)
    resources.scratch = size(fields["scratch"], "`scratch`")?.value
    resources.retries = integer(fields["retries"], "`retries`", in: 0...10)
  }

  // MARK: Images

  private mutating func decodeImage(_ target: inout TargetDeclaration, _ fields: Fields) {
    target.base = image(fields["base"], "`base`")
    for node in fields.all("layers") {
      target.layers += list(node, "`layers`") { decoder, node, _ in decoder.layer(node) }
    }
    if let node = fields["config"] { target.config = configuration(node) }
    for node in fields.all("platforms") {
      let platforms = list(node, "`platforms`") { $0.platform($1, $2) }
      for platform in platforms where !target.platforms.contains(where: { $0.value == platform.value }) {
        target.platforms.append(platform)
      }
    }
  }

  private mutating func layer(_ node: Node) -> TargetDeclaration.Layer? {
    guard let fields = fields(node, "a layer", known: ["from", "to"]) else { return nil }
    for name in ["from", "to"] where fields[name] == nil { error("a layer needs `\(name)`", at: fields.node) }
    guard let from = label(fields["from"], "`from`"), let to = absolutePath(fields["to"], "`to`") else { return nil }
    return .init(from: from, to: to)
  }

  private mutating func configuration(_ node: Node) -> ImageConfiguration {
    var config = ImageConfiguration()
    let known = ["entrypoint", "cmd", "env", "labels", "user", "workdir", "ports"]
    guard let fields = fields(node, "`config`", known: known, appendable: ["entrypoint", "cmd", "ports"]) else {
      return config
    }
    let entrypoint = fields.all("entrypoint")
    if !entrypoint.isEmpty { config.entrypoint = entrypoint.flatMap { list($0, "`entrypoint`") { $0.text($1, $2) } } }
    let command = fields.all("cmd")
    if !command.isEmpty { config.command = command.flatMap { list($0, "`cmd`") { $0.text($1, $2) } } }
    config.env = entries(fields["env"], "`env`").compactMap { pair in
      let name = Located(pair.name, at: pair.keyPlace)
      guard checkVariable(name), !isRemoval(pair) else { return nil }
      return text(pair.value, "variable `\(pair.name)`").map { .init(name: name, value: $0) }
    }
    config.labels = entries(fields["labels"], "`labels`").compactMap { pair in
      isRemoval(pair)
        ? nil
        : text(pair.value, "label `\(Diagnostic.shortened(pair.name))`").map {
          .init(name: Located(pair.name, at: pair.keyPlace), value: $0)
        }
    }
    if var name = text(fields["user"], "`user`") {
      let onlyIfPresent = name.value.hasSuffix("?")
      if onlyIfPresent { name.value.removeLast() }
      config.user = .init(name: name, onlyIfPresent: onlyIfPresent)
    }
    config.workdir = absolutePath(fields["workdir"], "`workdir`")
    for node in fields.all("ports") {
      config.exposedPorts += list(node, "`ports`") { decoder, node, what in
        guard let port = decoder.text(node, what) else { return nil }
        guard let full = Self.port(port.value) else {
          decoder.report(
            .error(
              "\(what) must be a port such as `8080` or `53/udp`, not `\(Diagnostic.shortened(port.value))`",
              at: port.span))
          return nil
        }
        return Located(full, at: port.place)
      }
    }
    return config
  }

  /// `8080` gives `8080/tcp`.
  private static func port(_ text: String) -> String? {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count <= 2, let first = parts.first, (1...5).contains(first.utf8.count),
      first.utf8.allSatisfy({ (48...57).contains($0) }), first.utf8.first != 48, let number = Int(first),
      number <= 65535
    else { return nil }
    let transport = parts.count == 2 ? parts[1] : "tcp"
    return ["tcp", "udp", "sctp"].contains(transport) ? "\(number)/\(transport)" : nil
  }

  private mutating func rootfs(_ fields: Fields) -> RootFileSystem? {
    let suite = string(fields["suite"], "`suite`", "a suite such as `bookworm`") { isWord($0) }
    var rootfs = RootFileSystem(suite: suite ?? Located("", at: fields.node.place))
    for node in fields.all("packages") {
      rootfs.packages += list(node, "`packages`") { $0.string($1, $2, "the name of a package") { isWord($0) } }
    }
    for node in fields.all("exclude") {
      rootfs.exclude += list(node, "`exclude`") { $0.string($1, $2, "an absolute path pattern") { $0.hasPrefix("/") } }
    }
    for node in fields.all("customize") { rootfs.customize += list(node, "`customize`") { $0.string($1, $2) } }
    for node in fields.all("components") {
      rootfs.components += list(node, "`components`") { $0.string($1, $2, "a name such as `main`") { isWord($0) } }
    }
    rootfs.variant = string(fields["variant"], "`variant`", "a variant of mmdebstrap such as `minbase`") { isWord($0) }
    rootfs.mirror = string(fields["mirror"], "`mirror`", "a URL") { isWord($0) && $0.contains("://") }
    rootfs.keyring = string(fields["keyring"], "`keyring`", "a path to a `.gpg` or `.asc` file of this package") {
      PathText.isRelative($0) && ($0.hasSuffix(".gpg") || $0.hasSuffix(".asc"))
    }
    rootfs.lock = relativePath(fields["lock"], "`lock`")
    rootfs.snapshot = string(fields["snapshot"], "`snapshot`", "a date such as `20260101T000000Z`") {
      $0.utf8.count == 16
        && $0.utf8.enumerated().allSatisfy { index, byte in
          index == 8 ? byte == 84 : index == 15 ? byte == 90 : (48...57).contains(byte)
        }
    }
    return suite == nil && !isTemplate ? nil : rootfs
  }

  // MARK: Names

  mutating func checkName(_ name: Located<String>, _ what: String) -> Bool {
    if LabelText.isTargetName(name.value), name.value != "all" || what != "a target" { return true }
    report(
      .error(
        "`\(Diagnostic.shortened(name.value))` cannot name \(what)", at: name.span,
        hints: [
          name.value == "all"
            ? "`:all` stands for all targets of a package" : "a name has letters, digits, `_`, `.`, `+` and `-`"
        ]))
    return false
  }

  private mutating func checkVariable(_ name: Located<String>) -> Bool {
    let bytes = name.value.utf8
    let isValid =
      !bytes.isEmpty && !(48...57).contains(bytes.first ?? 48)
      && bytes.allSatisfy {
        (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 95
      }
    if isValid { return true }
    report(
      .error(
        "`\(Diagnostic.shortened(name.value))` cannot name a variable", at: name.span,
        hints: ["a name has letters, digits and `_`, and does not begin with a digit"]))
    return false
  }
}

/// No white space, no comma, and nothing that a command line could take for an option.
private func isWord(_ text: String) -> Bool {
  guard let first = text.utf8.first, first != UInt8(ascii: "-") else { return false }
  return text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: ",") }
}
