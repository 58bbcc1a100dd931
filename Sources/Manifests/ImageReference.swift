/// A name of an image in a registry, cut into its parts but not completed: `nginx` stays `nginx`.
package struct ImageReference: Hashable, Sendable {
  package var repository: String
  package var tag: String?
  /// With its algorithm: `sha256:…`
  package var digest: String?

  /// `nil` for an empty part, white space, or a label.
  package init?(_ text: String) {
    var rest = text[...]
    guard !text.isEmpty, !text.hasPrefix(":"), !text.hasPrefix("/") else { return nil }
    guard text.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value < 0x7f }) else { return nil }
    if let at = rest.firstIndex(of: "@") {
      let text = rest[rest.index(after: at)...]
      guard let colon = text.firstIndex(of: ":"), colon != text.startIndex, text.index(after: colon) != text.endIndex,
        !text.contains("@")
      else { return nil }
      digest = String(text)
      rest = rest[..<at]
    }
    // A colon before the last slash belongs to a port.
    let lastSlash = rest.lastIndex(of: "/")
    if let colon = rest.lastIndex(of: ":"), lastSlash.map({ colon > $0 }) ?? true {
      let text = rest[rest.index(after: colon)...]
      guard !text.isEmpty else { return nil }
      tag = String(text)
      rest = rest[..<colon]
    }
    guard !rest.isEmpty, !rest.hasSuffix("/") else { return nil }
    repository = String(rest)
  }
}
