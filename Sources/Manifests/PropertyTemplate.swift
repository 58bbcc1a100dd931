/// The value of a platform property (Remote Execution API, `Platform`), in which `${cpu}` and the like stand for what a
/// target has.
package struct PropertyTemplate: Hashable, Sendable {
  package enum Placeholder: String, CaseIterable, Hashable, Sendable {
    /// Cores, rounded up.
    case cpu
    /// Bytes.
    case memory
    /// `linux/amd64`.
    case platform
    /// Of the target's package.
    case kind
    case rule
    case label
    /// `on`, or nothing.
    case network
    /// The names of the target's secrets, with a comma between them.
    case secrets
  }

  package enum Segment: Hashable, Sendable {
    case literal(String)
    case placeholder(Placeholder)
  }

  package var segments: [Segment]

  /// Throws what stands in `${…}` and is no placeholder.
  package init(_ text: String) throws(Unknown) {
    segments = []
    var rest = text[...]
    while let start = rest.firstRange(of: "${"), let end = rest[start.upperBound...].firstIndex(of: "}") {
      let name = String(rest[start.upperBound..<end])
      guard let placeholder = Placeholder(rawValue: name) else { throw Unknown(name: name) }
      if start.lowerBound > rest.startIndex { segments.append(.literal(String(rest[..<start.lowerBound]))) }
      segments.append(.placeholder(placeholder))
      rest = rest[rest.index(after: end)...]
    }
    if !rest.isEmpty { segments.append(.literal(String(rest))) }
  }

  package struct Unknown: Error {
    package var name: String
  }

  /// As written.
  package var text: String {
    segments.map { segment in
      switch segment {
      case .literal(let literal): literal
      case .placeholder(let placeholder): "${\(placeholder.rawValue)}"
      }
    }.joined()
  }

  /// The text; nil where something in it stands for nothing, so that the property is not sent.
  package func filled(_ value: (Placeholder) -> String?) -> String? {
    var text = ""
    for segment in segments {
      switch segment {
      case .literal(let literal): text += literal
      case .placeholder(let placeholder):
        guard let value = value(placeholder), !value.isEmpty else { return nil }
        text += value
      }
    }
    return text
  }
}

/// A platform property as written.
package struct PlatformProperty: Hashable, Sendable {
  package var name: String
  package var value: PropertyTemplate
}
