/// A name of an image in a registry, cut into its parts but not completed: `nginx` stays `nginx`.
package struct ImageReference: Hashable, Sendable {
  package var repository: String
  package var tag: String?
  /// With its algorithm: `sha256:…`
  package var digest: String?

  /// `nil` for an empty part, white space, or a label.
  package init?(_ text: String) {
    var rest = text.utf8[...]
    guard let first = rest.first, first != UInt8(ascii: ":"), first != UInt8(ascii: "/") else { return nil }
    guard rest.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else { return nil }
    if let at = rest.firstIndex(of: UInt8(ascii: "@")) {
      let text = rest[at...].dropFirst()
      guard let colon = text.firstIndex(of: UInt8(ascii: ":")), colon != text.startIndex,
        !text[colon...].dropFirst().isEmpty,
        !text.contains(UInt8(ascii: "@"))
      else { return nil }
      digest = String(Substring(text))
      rest = rest[..<at]
    }
    // A colon before the last slash belongs to a port.
    let lastSlash = rest.lastIndex(of: UInt8(ascii: "/"))
    if let colon = rest.lastIndex(of: UInt8(ascii: ":")), lastSlash.map({ colon > $0 }) ?? true {
      let text = rest[colon...].dropFirst()
      guard !text.isEmpty else { return nil }
      tag = String(Substring(text))
      rest = rest[..<colon]
    }
    guard !rest.isEmpty, rest.last != UInt8(ascii: "/") else { return nil }
    repository = String(Substring(rest))
  }
}
