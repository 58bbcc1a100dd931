import CXXHash

/// XXH3-128 of bytes: says whether something changed, never what it is.
///
/// Source: xxHash's XXH3, seed 0. It is not collision-proof against an adversary, so it never leaves the machine;
/// there is no conversion to or from `Digest`.
package struct Fingerprint: Hashable, Comparable, Sendable, CustomStringConvertible {
  package var high: UInt64
  package var low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  package init(of bytes: UnsafeRawBufferPointer) {
    let value = XXH3_128bits(bytes.baseAddress, bytes.count)
    self.init(high: value.high64, low: value.low64)
  }

  package init(of text: String) {
    var text = text
    self = text.withUTF8 { Fingerprint(of: UnsafeRawBufferPointer($0)) }
  }

  /// 32 lower-case hexadecimal digits, or `nil`.
  package init?(hex: some StringProtocol) {
    guard hex.utf8.count == 32, let high = UInt64(lowerHex: hex.utf8.prefix(16)),
      let low = UInt64(lowerHex: hex.utf8.dropFirst(16))
    else { return nil }
    self.init(high: high, low: low)
  }

  /// 32 lower-case hexadecimal digits, as `xxhsum -H2` prints them.
  package var description: String { high.lowerHex + low.lowerHex }

  package static func < (a: Fingerprint, b: Fingerprint) -> Bool { (a.high, a.low) < (b.high, b.low) }
}

/// XXH3-128 of a stream.
package final class FingerprintHasher {
  private let state: OpaquePointer

  package init() {
    state = XXH3_createState()
    XXH3_128bits_reset(state)
  }

  deinit { XXH3_freeState(state) }

  package func update(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress else { return }
    XXH3_128bits_update(state, base, bytes.count)
  }

  package func update(_ integer: UInt64) {
    withUnsafeBytes(of: integer.littleEndian) { update($0) }
  }

  /// A length-prefixed string, so that no two sequences of fields give the same bytes.
  package func update(_ text: String) {
    var text = text
    text.withUTF8 {
      update(UInt64($0.count))
      update(UnsafeRawBufferPointer($0))
    }
  }

  package func finish() -> Fingerprint {
    let value = XXH3_128bits_digest(state)
    return Fingerprint(high: value.high64, low: value.low64)
  }
}
