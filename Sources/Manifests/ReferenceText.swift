import Diagnostics

/// A text of a kind or a `targets.yaml`, cut at its references.
struct ReferenceText {
  enum Segment {
    case literal(String)
    case value(ValueReference)
    case runtime(RuntimeReference)
  }

  struct Malformed: Error {
    var message: String
    var hint: String?
  }

  var segments: [Segment] = []

  /// Whether a text needs a closer look at all.
  static func isNeeded(for text: String) -> Bool { text.utf8.contains(UInt8(ascii: "$")) }

  /// `$${` stands for the characters `${`.
  init(_ text: String) throws(Malformed) {
    // On bytes: `$`, `{` and `}` are never part of another character.
    var literal = ""
    var rest = text.utf8[...]
    while let dollar = rest.firstIndex(of: UInt8(ascii: "$")) {
      literal += Substring(rest[..<dollar])
      let tail = rest[dollar...]
      if tail.starts(with: "$${".utf8) {
        literal += "${"
        rest = tail.dropFirst(3)
      } else if tail.starts(with: "${".utf8) {
        let body = tail.dropFirst(2)
        guard let end = body.firstIndex(of: UInt8(ascii: "}")) else {
          throw Malformed(
            message: "a reference is not closed: `\(shortened(Substring(tail)))`", hint: "end it with `}`")
        }
        if !literal.isEmpty { segments.append(.literal(literal)) }
        literal = ""
        segments.append(try Self.reference(String(Substring(body[..<end]))))
        rest = body[body.index(after: end)...]
      } else {
        literal += "$"
        rest = tail.dropFirst()
      }
    }
    literal += Substring(rest)
    if !literal.isEmpty { segments.append(.literal(literal)) }
  }

  private static func reference(_ body: String) throws(Malformed) -> Segment {
    if body == "junit" { return .runtime(.junit) }
    for (prefix, make) in [("in:", RuntimeReference.input), ("out:", RuntimeReference.output)]
    where body.hasPrefix(prefix) {
      let name = String(body.dropFirst(prefix.count))
      guard !name.isEmpty, !name.hasPrefix("-") else { break }
      return .runtime(make(name))
    }
    return .value(try ValueReference(body))
  }
}

/// `a.b.c`, `a.b:-default`, `a|snake`: what stands between `${` and `}`.
struct ValueReference {
  enum Root: String, CaseIterable { case data, name, package, platform, base }
  enum Filter: String, CaseIterable { case snake }

  var root: Root
  /// Below the root.
  var path: [String]
  var filters: [Filter]
  var fallback: String?

  /// As a message names it.
  var name: String { ([root.rawValue] + path).joined(separator: ".") }

  init(_ body: String) throws(ReferenceText.Malformed) {
    var head = body.utf8[...]
    if let colon = head.firstIndex(of: UInt8(ascii: ":")), head[colon...].starts(with: ":-".utf8) {
      fallback = String(Substring(head[colon...].dropFirst(2)))
      head = head[..<colon]
    }
    var parts = head.split(separator: UInt8(ascii: "|"), omittingEmptySubsequences: false)
    let keys = parts.removeFirst().split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map {
      String(Substring($0))
    }
    guard keys.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy(isKeyByte) }), let first = keys.first else {
      throw .init(message: "`${\(shortened(body))}` is not a reference", hint: "write `$${` for the characters `${`")
    }
    guard let root = Root(rawValue: first) else {
      let near = didYouMean(first, among: Root.allCases.map(\.rawValue) + ["junit"])
      throw .init(
        message: "unknown reference `${\(shortened(body))}`",
        hint: near.map { "did you mean `\($0)`?" }
          ?? "it begins with `data`, `name`, `package`, `platform` or `base`; write `$${` for the characters `${`"
      )
    }
    self.root = root
    path = Array(keys.dropFirst())
    filters = []
    for name in parts.map({ String(Substring($0)) }) {
      guard let filter = Filter(rawValue: name) else {
        throw .init(message: "unknown filter `\(shortened(name))`", hint: "the only filter is `snake`")
      }
      filters.append(filter)
    }
    let properties = root == .base ? ["repository", "version", "digest"] : []
    if root != .data, let property = path.first, path.count > 1 || !properties.contains(property) {
      throw .init(
        message: "`\(root.rawValue)` has no `\(path.joined(separator: "."))`",
        hint: root == .base ? "it has `version`, `repository` and `digest`" : nil)
    }
  }

  func filtered(_ text: String) -> String {
    filters.reduce(text) { text, filter in
      switch filter {
      case .snake: String(text.map { $0 == "-" || $0 == "." || $0 == " " ? "_" : $0 }).lowercased()
      }
    }
  }
}

private func isKeyByte(_ byte: UInt8) -> Bool {
  (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || byte == 95 || byte == 45
}

private func shortened(_ text: some StringProtocol) -> String { Diagnostic.shortened(String(text)) }
