/// A JSON value whose encoding is one and the same everywhere: keys sorted by bytes, no spaces, `/` not escaped.
///
/// Foundation's encoder would do it too, but promises no bytes, and digests of images hang on them. Numbers keep the
/// text that they were read as.
package enum JSON: Hashable, Sendable {
  case null
  case bool(Bool)
  case number(String)
  case string(String)
  case array([JSON])
  case object([String: JSON])

  package static func number(_ value: Int) -> JSON { .number(String(value)) }
  package static func strings(_ values: [String]) -> JSON { .array(values.map { .string($0) }) }

  package subscript(name: String) -> JSON? {
    if case .object(let members) = self { return members[name] }
    return nil
  }

  package var string: String? { if case .string(let value) = self { value } else { nil } }
  package var array: [JSON]? { if case .array(let value) = self { value } else { nil } }
  package var object: [String: JSON]? { if case .object(let value) = self { value } else { nil } }
  package var int: Int? { if case .number(let text) = self { Int(text) } else { nil } }
  /// The strings of an array; `nil` when it is not one of strings only.
  package var strings: [String]? {
    guard let array else { return nil }
    let texts = array.compactMap(\.string)
    return texts.count == array.count ? texts : nil
  }

  // MARK: Encoding

  package var encoded: [UInt8] {
    var bytes: [UInt8] = []
    encode(into: &bytes)
    return bytes
  }

  private func encode(into bytes: inout [UInt8]) {
    switch self {
    case .null: bytes += "null".utf8
    case .bool(let value): bytes += (value ? "true" : "false").utf8
    case .number(let text): bytes += text.utf8
    case .string(let text): Self.encode(text, into: &bytes)
    case .array(let values):
      bytes.append(UInt8(ascii: "["))
      for (index, value) in values.enumerated() {
        if index > 0 { bytes.append(UInt8(ascii: ",")) }
        value.encode(into: &bytes)
      }
      bytes.append(UInt8(ascii: "]"))
    case .object(let members):
      bytes.append(UInt8(ascii: "{"))
      let sorted = members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
      for (index, member) in sorted.enumerated() {
        if index > 0 { bytes.append(UInt8(ascii: ",")) }
        Self.encode(member.key, into: &bytes)
        bytes.append(UInt8(ascii: ":"))
        member.value.encode(into: &bytes)
      }
      bytes.append(UInt8(ascii: "}"))
    }
  }

  private static func encode(_ text: String, into bytes: inout [UInt8]) {
    bytes.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
      case 10: bytes += "\\n".utf8
      case 13: bytes += "\\r".utf8
      case 9: bytes += "\\t".utf8
      case 0..<32:
        let digits = String(byte, radix: 16)
        bytes += "\\u00\(digits.utf8.count == 1 ? "0" : "")\(digits)".utf8
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }

  // MARK: Decoding

  /// `nil` unless the bytes are one JSON value (RFC 8259) in UTF-8, nested at most 64 deep, with no key twice.
  package init?(decoding bytes: [UInt8]) {
    var parser = Parser(bytes: bytes)
    guard let value = parser.value(depth: 0), parser.atEnd() else { return nil }
    self = value
  }

  private struct Parser {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func skipSpace() {
      while let byte = next, [9, 10, 13, 32].contains(byte) { position += 1 }
    }

    mutating func atEnd() -> Bool {
      skipSpace()
      return position == bytes.count
    }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
      skipSpace()
      guard next == UInt8(ascii: character) else { return false }
      position += 1
      return true
    }

    mutating func word(_ text: StaticString) -> Bool {
      let end = position + text.utf8CodeUnitCount
      guard end <= bytes.count,
        bytes[position..<end].elementsEqual(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
      else { return false }
      position = end
      return true
    }

    mutating func value(depth: Int) -> JSON? {
      guard depth < 64 else { return nil }
      skipSpace()
      switch next {
      case UInt8(ascii: "{"): return object(depth: depth)
      case UInt8(ascii: "["): return array(depth: depth)
      case UInt8(ascii: "\""): return text().map { .string($0) }
      case UInt8(ascii: "t"): return word("true") ? .bool(true) : nil
      case UInt8(ascii: "f"): return word("false") ? .bool(false) : nil
      case UInt8(ascii: "n"): return word("null") ? .null : nil
      default: return number()
      }
    }

    mutating func array(depth: Int) -> JSON? {
      position += 1
      var values: [JSON] = []
      if take("]") { return .array(values) }
      repeat {
        guard let value = value(depth: depth + 1) else { return nil }
        values.append(value)
      } while take(",")
      return take("]") ? .array(values) : nil
    }

    mutating func object(depth: Int) -> JSON? {
      position += 1
      var members: [String: JSON] = [:]
      if take("}") { return .object(members) }
      repeat {
        skipSpace()
        guard let key = text(), take(":"), let value = value(depth: depth + 1), members[key] == nil else { return nil }
        members[key] = value
      } while take(",")
      return take("}") ? .object(members) : nil
    }

    mutating func digits() -> Int {
      let start = position
      while let byte = next, (48...57).contains(byte) { position += 1 }
      return position - start
    }

    mutating func number() -> JSON? {
      let start = position
      if next == UInt8(ascii: "-") { position += 1 }
      let leadingZero = next == UInt8(ascii: "0")
      let whole = digits()
      guard whole > 0, !(leadingZero && whole > 1) else { return nil }
      if next == UInt8(ascii: ".") {
        position += 1
        guard digits() > 0 else { return nil }
      }
      if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
        position += 1
        if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { position += 1 }
        guard digits() > 0 else { return nil }
      }
      return .number(String(decoding: bytes[start..<position], as: UTF8.self))
    }

    mutating func text() -> String? {
      guard next == UInt8(ascii: "\"") else { return nil }
      position += 1
      var content: [UInt8] = []
      while let byte = next {
        position += 1
        switch byte {
        case UInt8(ascii: "\""): return String(validating: content, as: UTF8.self)
        case UInt8(ascii: "\\"): guard escape(into: &content) else { return nil }
        case 0..<32: return nil
        default: content.append(byte)
        }
      }
      return nil
    }

    mutating func escape(into content: inout [UInt8]) -> Bool {
      guard let byte = next else { return false }
      position += 1
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): content.append(byte)
      case UInt8(ascii: "b"): content.append(8)
      case UInt8(ascii: "f"): content.append(12)
      case UInt8(ascii: "n"): content.append(10)
      case UInt8(ascii: "r"): content.append(13)
      case UInt8(ascii: "t"): content.append(9)
      case UInt8(ascii: "u"):
        guard var code = hexadecimal() else { return false }
        if (0xD800..<0xDC00).contains(code) {
          guard word("\\u"), let low = hexadecimal(), (0xDC00..<0xE000).contains(low) else { return false }
          code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(code) else { return false }
        content += String(Character(scalar)).utf8
      default: return false
      }
      return true
    }

    mutating func hexadecimal() -> UInt32? {
      guard position + 4 <= bytes.count else { return nil }
      let digits = bytes[position..<position + 4]
      guard digits.allSatisfy({ (48...57).contains($0) || (65...70).contains($0) || (97...102).contains($0) }) else {
        return nil
      }
      position += 4
      return UInt32(String(decoding: digits, as: UTF8.self), radix: 16)
    }
  }
}
