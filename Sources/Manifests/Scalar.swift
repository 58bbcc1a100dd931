extension Node.Scalar {
  /// The types of YAML 1.2's core schema; dates and `yes` are strings.
  package enum ScalarType: String, Sendable {
    case string
    case integer
    case number
    case boolean
    case null
  }

  package var type: ScalarType {
    guard isPlain else { return .string }
    guard let first = text.utf8.first else { return .null }
    switch first {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "."):
      return numericType
    case UInt8(ascii: "n"), UInt8(ascii: "N"), UInt8(ascii: "~"):
      return ["null", "Null", "NULL", "~"].contains(text) ? .null : .string
    case UInt8(ascii: "t"), UInt8(ascii: "T"), UInt8(ascii: "f"), UInt8(ascii: "F"):
      return Self.booleans.contains(text) ? .boolean : .string
    default:
      return .string
    }
  }

  private static let booleans = ["true", "True", "TRUE", "false", "False", "FALSE"]

  package var boolean: Bool? {
    guard type == .boolean else { return nil }
    return text.utf8.first == UInt8(ascii: "t") || text.utf8.first == UInt8(ascii: "T")
  }

  /// The value of a number without a fraction, `3.0` among them; `nil` also when it does not fit.
  package var integer: Int? {
    switch type {
    case .integer:
      if text.hasPrefix("0x") { return Int(text.dropFirst(2), radix: 16) }
      if text.hasPrefix("0o") { return Int(text.dropFirst(2), radix: 8) }
      return Int(text)
    case .number:
      return number.flatMap { Int(exactly: $0) }
    default:
      return nil
    }
  }

  /// The value of an integer or a number; `.inf` and `.nan` have none.
  package var number: Double? {
    switch type {
    case .integer:
      if let integer { return Double(integer) }
      return Double(text)
    case .number:
      guard let value = Double(text), value.isFinite else { return nil }
      return value
    default:
      return nil
    }
  }

  /// As JSON has it. What JSON cannot hold (`.inf`, `.nan`, a number beyond a double) is a string.
  package func appendJSON(to output: inout String) {
    switch type {
    case .string: JSONText.append(text, to: &output)
    case .null: output += "null"
    case .boolean: output += boolean == true ? "true" : "false"
    case .integer:
      if let integer {
        output += String(integer)
      } else if text.hasPrefix("0x") || text.hasPrefix("0o") {
        JSONText.append(text, to: &output)
      } else {
        let digits = text.drop { $0 == "+" || $0 == "-" }.drop { $0 == "0" }
        output += (text.hasPrefix("-") ? "-" : "") + digits
      }
    case .number:
      if let number { output += "\(number)" } else { JSONText.append(text, to: &output) }
    }
  }

  private var numericType: ScalarType {
    var bytes = Array(text.utf8)[...]
    if bytes.starts(with: "0x".utf8) {
      return bytes.count > 2 && bytes.dropFirst(2).allSatisfy(Self.isHexDigit) ? .integer : .string
    }
    if bytes.starts(with: "0o".utf8) {
      return bytes.count > 2 && bytes.dropFirst(2).allSatisfy { (48...55).contains($0) } ? .integer : .string
    }
    if [".nan", ".NaN", ".NAN"].contains(text) { return .number }
    if bytes.first == UInt8(ascii: "-") || bytes.first == UInt8(ascii: "+") { bytes.removeFirst() }
    if [".inf", ".Inf", ".INF"].contains(where: { bytes.elementsEqual($0.utf8) }) { return .number }
    let whole = Self.removeDigits(&bytes)
    if bytes.isEmpty { return whole > 0 ? .integer : .string }
    var fraction = 0
    if bytes.first == UInt8(ascii: ".") {
      bytes.removeFirst()
      fraction = Self.removeDigits(&bytes)
    }
    guard whole + fraction > 0 else { return .string }
    if bytes.first == UInt8(ascii: "e") || bytes.first == UInt8(ascii: "E") {
      bytes.removeFirst()
      if bytes.first == UInt8(ascii: "-") || bytes.first == UInt8(ascii: "+") { bytes.removeFirst() }
      guard Self.removeDigits(&bytes) > 0 else { return .string }
    }
    return bytes.isEmpty ? .number : .string
  }

  private static func removeDigits(_ bytes: inout ArraySlice<UInt8>) -> Int {
    let before = bytes.count
    bytes = bytes.drop { (48...57).contains($0) }
    return before - bytes.count
  }

  private static func isHexDigit(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...70).contains(byte) || (97...102).contains(byte)
  }
}
