import Crypto

/// SHA-256 of bytes: what they are.
///
/// Names content in the content store, in OCI and in everything that crosses a machine.
package struct Digest: Hashable, Comparable, Sendable, CustomStringConvertible {
  private var words: (UInt64, UInt64, UInt64, UInt64)

  /// The SHA-256 of no bytes.
  package static let empty = Digest(of: UnsafeRawBufferPointer(start: nil, count: 0))

  package init(of bytes: UnsafeRawBufferPointer) {
    var hasher = DigestHasher()
    hasher.update(bytes)
    self = hasher.finish()
  }

  package init(of bytes: [UInt8]) {
    self = bytes.withUnsafeBytes { Digest(of: $0) }
  }

  package init(of text: String) {
    var text = text
    self = text.withUTF8 { Digest(of: UnsafeRawBufferPointer($0)) }
  }

  /// 64 lower-case hexadecimal digits, or `nil`.
  package init?(hex: some StringProtocol) {
    let digits = hex.utf8
    guard digits.count == 64, let a = UInt64(lowerHex: digits.prefix(16)),
      let b = UInt64(lowerHex: digits.dropFirst(16).prefix(16)),
      let c = UInt64(lowerHex: digits.dropFirst(32).prefix(16)), let d = UInt64(lowerHex: digits.dropFirst(48))
    else { return nil }
    words = (a, b, c, d)
  }

  /// `sha256:` and 64 digits, as OCI writes it, or `nil`.
  package init?(oci text: some StringProtocol) {
    guard text.hasPrefix("sha256:") else { return nil }
    self.init(hex: text.dropFirst(7))
  }

  fileprivate init(bytes: SHA256Digest) {
    var parts: [UInt64] = [0, 0, 0, 0]
    var index = 0
    for byte in bytes {
      parts[index / 8] = parts[index / 8] << 8 | UInt64(byte)
      index += 1
    }
    words = (parts[0], parts[1], parts[2], parts[3])
  }

  /// 64 lower-case hexadecimal digits.
  package var hex: String { words.0.lowerHex + words.1.lowerHex + words.2.lowerHex + words.3.lowerHex }
  package var description: String { hex }
  /// `sha256:` and 64 digits.
  package var oci: String { "sha256:" + hex }

  package static func == (a: Digest, b: Digest) -> Bool { a.words == b.words }
  package static func < (a: Digest, b: Digest) -> Bool { a.words < b.words }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(words.0)
    hasher.combine(words.1)
  }
}

/// SHA-256 of a stream.
package struct DigestHasher {
  private var state = SHA256()

  package init() {}

  package mutating func update(_ bytes: UnsafeRawBufferPointer) { state.update(bufferPointer: bytes) }

  package func finish() -> Digest { Digest(bytes: state.finalize()) }
}
