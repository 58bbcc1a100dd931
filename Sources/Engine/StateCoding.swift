import Digests

/// Reads words, fingerprints and texts; what is not there reads as nothing, and `isSound` becomes false.
struct StateReader {
  let bytes: UnsafeRawBufferPointer
  var position = 0
  var isSound = true

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  mutating func word() -> UInt64 {
    guard position + 8 <= bytes.count else {
      isSound = false
      return 0
    }
    defer { position += 8 }
    return UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
  }

  mutating func fingerprint() -> Fingerprint {
    let high = word()
    return Fingerprint(high: high, low: word())
  }

  mutating func text() -> String {
    let count = Int(truncatingIfNeeded: word())
    guard count >= 0, count <= bytes.count - position else {
      isSound = false
      return ""
    }
    defer { position += count }
    return String(decoding: bytes[position..<position + count], as: UTF8.self)
  }
}

/// Little-endian.
struct StateWriter {
  var bytes: [UInt8] = []

  mutating func word(_ value: UInt64) { withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) } }

  mutating func fingerprint(_ value: Fingerprint) {
    word(value.high)
    word(value.low)
  }

  mutating func text(_ value: String) {
    word(UInt64(value.utf8.count))
    bytes.append(contentsOf: value.utf8)
  }
}
