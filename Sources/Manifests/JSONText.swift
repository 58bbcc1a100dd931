/// Writes JSON.
package enum JSONText {
  /// A string with its quotes.
  package static func append(_ text: String, to output: inout String) {
    output += "\""
    if text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x22 && $0 != 0x5c && $0 != 0x7f }) {
      output += text
    } else {
      for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": output += "\\\""
        case "\\": output += "\\\\"
        case "\n": output += "\\n"
        case "\r": output += "\\r"
        case "\t": output += "\\t"
        case _ where scalar.value < 0x20 || scalar.value == 0x7f:
          let hex = String(scalar.value, radix: 16)
          output += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
        default: output.unicodeScalars.append(scalar)
        }
      }
    }
    output += "\""
  }

  package static func string(_ text: String) -> String {
    var output = ""
    append(text, to: &output)
    return output
  }
}

extension Node {
  /// The document as JSON on one line, by YAML 1.2's core schema; keys in written order, or sorted.
  package func jsonText(sortedKeys: Bool = false) -> String {
    var output = ""
    appendJSON(to: &output, sortedKeys: sortedKeys)
    return output
  }

  package func appendJSON(to output: inout String, sortedKeys: Bool) {
    switch content {
    case .scalar(let scalar):
      scalar.appendJSON(to: &output)
    case .sequence(let elements):
      output += "["
      for (index, element) in elements.enumerated() {
        if index > 0 { output += "," }
        element.appendJSON(to: &output, sortedKeys: sortedKeys)
      }
      output += "]"
    case .mapping(var pairs):
      if sortedKeys { pairs.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) } }
      output += "{"
      for (index, pair) in pairs.enumerated() {
        if index > 0 { output += "," }
        JSONText.append(pair.name, to: &output)
        output += ":"
        pair.value.appendJSON(to: &output, sortedKeys: sortedKeys)
      }
      output += "}"
    }
  }
}
