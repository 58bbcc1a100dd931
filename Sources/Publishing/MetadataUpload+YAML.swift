import Manifests

extension Node {
  /// The document as YAML whose bytes depend on its values alone: keys sorted, comments and quotes of the source gone.
  ///
  /// Read by YAML 1.1 (PyYAML) and by 1.2's core schema it gives the same values. A text is left without quotes only
  /// where it starts with a letter and cannot be taken for anything else by either; so versions and dates keep their
  /// quotes.
  package var canonicalYAML: [UInt8] {
    var writer = CanonicalYAML()
    writer.block(self, indent: 0, isInline: true)
    return writer.output
  }
}

private struct CanonicalYAML {
  var output: [UInt8] = []

  /// - Parameter isInline: Something stands before it on the line already, or nothing needs to: the first entry of a
  ///   collection follows without a line break.
  mutating func block(_ node: Node, indent: Int, isInline: Bool) {
    switch node.content {
    case .scalar(let scalar):
      write(scalar)
      line()
    case .sequence(let elements) where elements.isEmpty: output += "[]\n".utf8
    case .mapping(let pairs) where pairs.isEmpty: output += "{}\n".utf8
    case .sequence(let elements):
      for (index, element) in elements.enumerated() {
        if index > 0 || !isInline { pad(indent) }
        output += "- ".utf8
        block(element, indent: indent + 2, isInline: true)
      }
    case .mapping(let pairs):
      let sorted = pairs.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
      for (index, pair) in sorted.enumerated() {
        if index > 0 || !isInline { pad(indent) }
        // A key is only seen as one within 1024 characters; a longer one is announced.
        let isLong = pair.name.utf8.count > 500
        if isLong { output += "? ".utf8 }
        write(pair.name)
        if isLong {
          line()
          pad(indent)
        }
        output.append(UInt8(ascii: ":"))
        if pair.value.isFilledCollection {
          line()
          block(pair.value, indent: indent + 2, isInline: false)
        } else {
          output.append(UInt8(ascii: " "))
          block(pair.value, indent: indent + 2, isInline: true)
        }
      }
    }
  }

  private mutating func pad(_ indent: Int) { output += repeatElement(UInt8(ascii: " "), count: indent) }
  private mutating func line() { output.append(10) }

  private mutating func write(_ scalar: Node.Scalar) {
    switch scalar.type {
    case .string: write(scalar.text)
    case .null: output += "null".utf8
    case .boolean: output += (scalar.boolean == true ? "true" : "false").utf8
    case .integer:
      var text = ""
      scalar.appendJSON(to: &text)
      output += text.utf8
    case .number: output += Self.number(scalar).utf8
    }
  }

  /// YAML 1.1 knows a number with an exponent only by its point.
  private static func number(_ scalar: Node.Scalar) -> String {
    guard let value = scalar.number else {
      let text = scalar.text.lowercased()
      if text.hasSuffix("nan") { return ".nan" }
      // Also a number beyond a double, which readers take for infinity.
      return text.hasPrefix("-") ? "-.inf" : ".inf"
    }
    let text = "\(value)"
    guard let exponent = text.firstIndex(of: "e"), !text.contains(".") else { return text }
    return text[..<exponent] + ".0" + text[exponent...]
  }

  private mutating func write(_ text: String) {
    if Self.isPlain(text) {
      output += text.utf8
      return
    }
    output.append(UInt8(ascii: "\""))
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": output += "\\\"".utf8
      case "\\": output += "\\\\".utf8
      case "\n": output += "\\n".utf8
      case "\t": output += "\\t".utf8
      case _ where Self.needsEscape(scalar):
        let hex = String(scalar.value, radix: 16)
        output += "\\u\(String(repeating: "0", count: max(0, 4 - hex.count)))\(hex)".utf8
      default: output += String(scalar).utf8
      }
    }
    output.append(UInt8(ascii: "\""))
  }

  /// Control characters, line breaks of Unicode's, and what YAML calls unprintable.
  private static func needsEscape(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7f..<0xa0, 0x2028, 0x2029, 0xfeff, 0xfffe, 0xffff: true
    default: false
    }
  }

  private static let words: Set<String> = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"]

  static func isPlain(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    guard let first = bytes.first, let last = bytes.last, bytes.count <= 500, isLetter(first), last != 32,
      last != UInt8(ascii: ":"), !words.contains(text.lowercased())
    else { return false }
    for (index, byte) in bytes.enumerated() {
      switch byte {
      case 48...57, 32: continue
      case UInt8(ascii: ":"): if bytes[index + 1] == 32 { return false }
      default: guard isLetter(byte) || "_./@+-()".utf8.contains(byte) else { return false }
      }
    }
    return true
  }

  private static func isLetter(_ byte: UInt8) -> Bool { (65...90).contains(byte) || (97...122).contains(byte) }
}

extension Node {
  fileprivate var isFilledCollection: Bool {
    switch content {
    case .scalar: false
    case .sequence(let elements): !elements.isEmpty
    case .mapping(let pairs): !pairs.isEmpty
    }
  }
}
