import Diagnostics

extension WorkspaceSettings {
  /// The decoded document, as `settings` and as it was written; `nil` when the file has an error.
  package static func decode(_ source: SourceText, diagnostics: inout DiagnosticList) -> (WorkspaceSettings, Node)? {
    guard let document = parse(source, &diagnostics) else { return nil }
    var decoder = Decoder(.document)
    let settings = decoder.settings(document)
    diagnostics.diagnostics += decoder.diagnostics
    guard let settings, !decoder.hasErrors else { return nil }
    return (settings, document)
  }

  /// The workspace target that stands in for an image of a registry, as a label.
  package func replacement(for image: ImageReference) -> Located<String>? {
    guard var label = images.first(where: { $0.repository.value == image.repository })?.label else { return nil }
    if let tag = image.tag { label.value = replaced("${base.version}", by: tag, in: label.value) }
    return label
  }

  private func replaced(_ needle: String, by text: String, in value: String) -> String {
    guard value.contains("$") else { return value }
    var result = ""
    var rest = value[...]
    while !rest.isEmpty {
      if rest.hasPrefix(needle) {
        result += text
        rest = rest.dropFirst(needle.count)
      } else {
        result.append(rest.removeFirst())
      }
    }
    return result
  }
}

extension Decoder {
  mutating func settings(_ document: Node) -> WorkspaceSettings? {
    let known = [
      "slipway", "minimum", "name", "images", "kinds", "ignore", "registries", "cache", "executor", "defaults",
      "publish", "platforms",
    ]
    guard let fields = fields(document, "`slipway.yaml`", known: known) else { return nil }
    var settings = WorkspaceSettings()
    if fields["slipway"] == nil {
      error("`slipway.yaml` needs `slipway: 1`, the version of its format", at: document)
    } else if let version = integer(fields["slipway"], "`slipway`", in: 1...1_000_000), version != 1,
      let node = fields["slipway"]
    {
      error("this release of Slipway reads format 1 of `slipway.yaml`, not \(version)", at: node)
    }
    settings.minimum = string(fields["minimum"], "`minimum`", "a version such as `0.3.0`") {
      SemanticVersion($0) != nil
    }
    settings.name = string(fields["name"], "`name`", "a name of letters, digits, `_`, `.`, `+` and `-`") {
      LabelText.isTargetName($0)
    }
    settings.images = images(fields["images"])
    settings.kinds = list(fields["kinds"], "`kinds`") { $0.glob($1, $2) }
    settings.ignore = list(fields["ignore"], "`ignore`") { $0.glob($1, $2) }
    settings.platforms = list(fields["platforms"], "`platforms`") { $0.platform($1, $2) }
    settings.registries = entries(fields["registries"], "`registries`").map { registry($0) }
    if let node = fields["cache"] { settings.cache = cache(node) }
    if let node = fields["executor"] { settings.executor = executor(node) }
    if let node = fields["publish"] { settings.publish = publish(node) }
    for pair in entries(fields["defaults"], "`defaults`") { defaults(pair, &settings) }
    return settings
  }

  private mutating func images(_ node: Node?) -> [WorkspaceSettings.ImageReplacement] {
    entries(node, "`images`").compactMap { pair in
      let image = ImageReference(pair.name)
      if image == nil || image?.tag != nil || image?.digest != nil {
        report(
          .error(
            "a key of `images` must be a repository without tag and digest, not `\(Diagnostic.shortened(pair.name))`",
            at: pair.keyPlace.span, hints: image.map { ["write `\($0.repository)`"] } ?? []))
        return nil
      }
      let what: Subject = "the replacement of `\(Diagnostic.shortened(pair.name))`"
      guard let label = string(pair.value, what) else { return nil }
      let plain = label.value.split(separator: "${base.version}", omittingEmptySubsequences: false).joined(
        separator: "0")
      if !plain.hasPrefix("//") || LabelText.problem(plain) != nil {
        report(
          .error(
            "\(what) must be a label, not `\(Diagnostic.shortened(label.value))`", at: label.span,
            hints: ["a label reads `//folder:target`"]))
        return nil
      }
      return .init(repository: Located(pair.name, at: pair.keyPlace), label: label)
    }
  }

  private mutating func registry(_ pair: Node.Pair) -> WorkspaceSettings.Registry {
    let host = Located(pair.name, at: pair.keyPlace)
    if !Self.isHost(pair.name) {
      report(
        .error(
          "a key of `registries` must be a host such as `docker.io`, not `\(Diagnostic.shortened(pair.name))`",
          at: host.span))
    }
    var registry = WorkspaceSettings.Registry(host: host)
    let what: Subject = "registry `\(Diagnostic.shortened(pair.name))`"
    guard let fields = fields(pair.value, what, known: ["mirrors", "insecure", "ca"]) else { return registry }
    registry.mirrors = list(fields["mirrors"], "`mirrors`") {
      $0.url($1, $2, schemes: ["http", "https"])
    }
    registry.isInsecure = boolean(fields["insecure"], "`insecure`") ?? false
    registry.authority = string(fields["ca"], "`ca`", "a path relative to the workspace, such as `ca.pem`") {
      PathText.isRelative($0)
    }
    return registry
  }

  private static func isHost(_ text: String) -> Bool {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard let name = parts.first, let first = name.utf8.first, first != 45, first != 46, parts.count <= 2 else {
      return false
    }
    let isName = name.utf8.allSatisfy {
      (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 46
    }
    return isName && (parts.count == 1 || (!parts[1].isEmpty && parts[1].utf8.allSatisfy { (48...57).contains($0) }))
  }

  private mutating func cache(_ node: Node) -> WorkspaceSettings.Cache {
    var cache = WorkspaceSettings.Cache()
    guard let fields = fields(node, "`cache`", known: ["max-size", "remote", "trust"]) else { return cache }
    cache.maxSize = size(fields["max-size"], "`max-size`")?.value
    if let node = fields["remote"], let remote = self.fields(node, "`remote`", known: ["url", "mode", "ca"]) {
      if remote["url"] == nil { error("`remote` needs `url`", at: node) }
      let url = url(remote["url"], "`url`", schemes: ["grpc", "grpcs", "http", "https"])
      let mode: WorkspaceSettings.Remote.Mode? = choice(remote["mode"], "mode")?.value
      let authority = string(remote["ca"], "`ca`", "the path of a PEM file") { !$0.isEmpty }
      if let url { cache.remote = .init(url: url, mode: mode ?? .read, authority: authority) }
    }
    if let node = fields["trust"] {
      cache.trust = list(node, "`trust`") { decoder, node, what in
        decoder.string(node, what, "a key that begins with `ed25519:`") {
          $0.hasPrefix("ed25519:") && $0.utf8.count > 8
        }
      }
    }
    return cache
  }

  private mutating func publish(_ node: Node) -> WorkspaceSettings.Publish {
    var publish = WorkspaceSettings.Publish()
    guard let fields = fields(node, "`publish`", known: ["registry", "metadata"]) else { return publish }
    publish.registry = destination(fields["registry"])
    publish.metadata = url(fields["metadata"], "`metadata`", schemes: ["file", "http", "https"])
    return publish
  }

  private mutating func destination(_ node: Node?) -> Located<String>? {
    string(node, "`registry`", "a registry such as `ghcr.io/acme` or `localhost:5000`") { Self.isDestination($0) }
  }

  /// A host, which has a dot or a port or is `localhost`, and parts of a repository's name.
  private static func isDestination(_ text: String) -> Bool {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard let host = parts.first, isHost(host), host == "localhost" || host.contains(where: { $0 == "." || $0 == ":" })
    else { return false }
    return parts.dropFirst().allSatisfy { part in
      guard let first = part.utf8.first, let last = part.utf8.last else { return false }
      func isWord(_ byte: UInt8) -> Bool { (48...57).contains(byte) || (97...122).contains(byte) }
      return isWord(first) && isWord(last)
        && part.utf8.allSatisfy { isWord($0) || $0 == 45 || $0 == 46 || $0 == 95 }
    }
  }

  private mutating func executor(_ node: Node) -> WorkspaceSettings.Executor? {
    let known = ["url", "image", "registry", "fallback", "ca", "offers", "properties"]
    guard let fields = fields(node, "`executor`", known: known) else { return nil }
    if fields["url"] == nil { error("`executor` needs `url`", at: node) }
    let url = url(fields["url"], "`url`", schemes: ["grpc", "grpcs"])
    let image: WorkspaceSettings.Executor.Image? = choice(fields["image"], "image")?.value
    let registry = destination(fields["registry"])
    if registry != nil, image != .property {
      error("`registry` is for `image: property`; `input-root` needs none", at: fields["registry"] ?? node)
    }
    let fallback = boolean(fields["fallback"], "`fallback`")
    let authority = string(fields["ca"], "`ca`", "the path of a PEM file") { !$0.isEmpty }
    let offers = list(fields["offers"], "`offers`") { $0.offer($1, $2) }
    let properties = properties(fields["properties"])
    return url.map {
      .init(
        url: $0, image: image ?? .inputRoot, registry: registry, fallback: fallback ?? false, authority: authority,
        offers: Set(offers), properties: properties)
    }
  }

  private mutating func offer(_ node: Node, _ what: Subject) -> WorkspaceSettings.Offer? {
    guard let text = string(node, what) else { return nil }
    switch text.value {
    case "network": return .network
    case "secrets": return .secrets
    case let platform where PlatformText.isPlatform(platform): return .platform(PlatformText.normalized(platform))
    default:
      report(
        .error(
          "an engine cannot offer `\(Diagnostic.shortened(text.value))`", at: text.span,
          hints: ["it is one of `network`, `secrets`, or a platform such as `linux/arm64`"]))
      return nil
    }
  }

  private mutating func defaults(_ pair: Node.Pair, _ settings: inout WorkspaceSettings) {
    let withResources = Rule.allCases.filter { $0.attributes.contains(.timeout) }
    guard let rule = Rule(rawValue: pair.name), withResources.contains(rule) else {
      let names = withResources.map(\.rawValue)
      let hint =
        didYouMean(pair.name, among: names).map { "did you mean `\($0)`?" }
        ?? "rules that have defaults: \(names.map { "`\($0)`" }.joined(separator: ", "))"
      report(
        .error("`\(Diagnostic.shortened(pair.name))` has no defaults", at: pair.keyPlace.span, hints: [hint]))
      return
    }
    let resources: [Attribute] = [.timeout, .cpu, .memory, .processes, .scratch, .retries]
    let known = resources.filter { rule.attributes.contains($0) }.map(\.rawValue)
    guard let fields = fields(pair.value, "defaults of `\(rule.rawValue)`", known: known) else { return }
    var defaults = Resources()
    decodeResources(&defaults, fields)
    settings.defaults[rule] = defaults
  }

  mutating func url(_ node: Node?, _ what: Subject, schemes: [String]) -> Located<String>? {
    let list = schemes.map { "`\($0)://`" }.joined(separator: " or ")
    return string(node, what, "a URL that begins with \(list)") { text in
      schemes.contains { text.hasPrefix($0 + "://") && text.utf8.count > $0.utf8.count + 3 }
        && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f }
    }
  }
}
