extension Diagnostic {
  /// The text of `file:line:column: severity: message`, excerpt, notes and hints; every line ends in a newline.
  package var rendered: String {
    var text = Self.line(severity.rawValue, message, span)
    for note in notes { text += Self.line("note", note.message, note.span) }
    for hint in hints { text += "hint: \(Self.printable(hint))\n" }
    return text
  }

  private static func line(_ tag: String, _ message: String, _ span: SourceSpan?) -> String {
    guard let span else { return "\(tag): \(printable(message))\n" }
    var text = "\(printable(span.file)):\(span.line):\(span.column): \(tag): \(printable(message))\n"
    guard let excerpt = span.excerpt else { return text }
    let (shown, shift) = window(excerpt, column: span.column)
    let gutter = "\(span.line) | "
    text += gutter + shown + "\n"
    // A caret line that starts inside the gutter's blanks: its bar stands under the excerpt's bar.
    let bar = String(repeating: " ", count: String(span.line).count) + " | "
    let before = max(0, span.column - 1 - shift)
    let width = max(1, min(span.length, shown.unicodeScalars.count - before))
    text += bar + String(repeating: " ", count: before) + String(repeating: "^", count: width) + "\n"
    return text
  }

  /// A part of a long line around the column, and how many characters were cut before it.
  private static func window(_ excerpt: String, column: Int, width: Int = 160) -> (String, Int) {
    let scalars = Array(excerpt.unicodeScalars)
    let start = scalars.count <= width || column < 120 ? 0 : min(column - 60, scalars.count)
    let end = min(scalars.count, start + width)
    var shown = String.UnicodeScalarView()
    shown.append(contentsOf: scalars[start..<end].map { $0.value < 32 || $0.value == 127 ? " " : $0 })
    return (String(shown), start)
  }

  /// Control characters escaped, so that a name from a stranger cannot move the cursor.
  package static func printable(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: { $0.value < 32 || (0x7f...0x9f).contains($0.value) }) else {
      return text
    }
    var result = ""
    for scalar in text.unicodeScalars {
      if scalar.value < 32 || (0x7f...0x9f).contains(scalar.value) {
        result += "\\u{\(String(scalar.value, radix: 16))}"
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
