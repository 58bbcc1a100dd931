/// Writes one JSON object on one line, its members in the order they are added.
package struct JSONLine {
  private var bytes: [UInt8] = [UInt8(ascii: "{")]

  package init() {}

  package mutating func add(_ name: StaticString, _ value: Int?) {
    guard let value else { return }
    addName(name)
    bytes.append(contentsOf: String(value).utf8)
  }

  package mutating func add(_ name: StaticString, _ value: String?) {
    guard var value else { return }
    addName(name)
    value.withUTF8 { addString($0) }
  }

  /// Bytes as a string; what is not UTF-8 becomes U+FFFD, since JSON can carry nothing else.
  package mutating func add(_ name: StaticString, bytes value: [UInt8]?) {
    guard let value else { return }
    add(name, String(decoding: value, as: UTF8.self))
  }

  package mutating func add(_ name: StaticString, list values: [String]) {
    addName(name)
    bytes.append(UInt8(ascii: "["))
    for (index, value) in values.enumerated() {
      if index > 0 { bytes.append(UInt8(ascii: ",")) }
      var value = value
      value.withUTF8 { addString($0) }
    }
    bytes.append(UInt8(ascii: "]"))
  }

  /// A number that is written already, under a name of any bytes.
  package mutating func add(_ name: String, number: String) {
    if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
    var name = name
    name.withUTF8 { addString($0) }
    bytes.append(UInt8(ascii: ":"))
    bytes.append(contentsOf: number.utf8)
  }

  package mutating func add(_ name: StaticString, object: JSONLine?) {
    guard let object else { return }
    addName(name)
    bytes.append(contentsOf: object.text)
  }

  /// The object, without a newline after it.
  package var text: [UInt8] { bytes + [UInt8(ascii: "}")] }

  private mutating func addName(_ name: StaticString) {
    if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
    name.withUTF8Buffer { addString($0) }
    bytes.append(UInt8(ascii: ":"))
  }

  private mutating func addString(_ text: UnsafeBufferPointer<UInt8>) {
    bytes.append(UInt8(ascii: "\""))
    for byte in text {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
      case UInt8(ascii: "\n"): bytes += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
      case UInt8(ascii: "\r"): bytes += [UInt8(ascii: "\\"), UInt8(ascii: "r")]
      case UInt8(ascii: "\t"): bytes += [UInt8(ascii: "\\"), UInt8(ascii: "t")]
      case 0..<0x20, 0x7f:
        bytes += Array("\\u00".utf8) + [Self.digit(byte >> 4), Self.digit(byte & 15)]
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }

  private static func digit(_ nibble: UInt8) -> UInt8 { nibble < 10 ? 48 + nibble : 87 + nibble }
}
