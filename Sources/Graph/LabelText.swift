import Files

/// The parts of a label or a pattern, as text with places; every part is checked by the same rules for both.
struct LabelText {
  let text: String
  let scalars: [Unicode.Scalar]
  /// Whether it begins with `//`.
  let isAbsolute: Bool
  /// Without the leading slashes.
  let package: Range<Int>
  /// After the colon.
  let name: Range<Int>?
  /// After the `#`.
  let output: Range<Int>?

  /// Splits without judging the parts; `start` skips the minus of a negative pattern.
  init(_ text: String, from start: Int = 0) throws(LabelError) {
    self.text = text
    scalars = Array(text.unicodeScalars)
    guard start < scalars.count else {
      throw LabelError(start == 0 ? "a label cannot be empty" : "nothing follows the `-`", in: text)
    }
    if scalars[start] == "@" {
      throw LabelError(
        "a label names no repository: it begins with `//` or is relative", in: text, offset: start, length: 1)
    }
    var end = scalars.count
    if let mark = scalars[start...].firstIndex(of: "#") {
      output = mark + 1..<end
      end = mark
    } else {
      output = nil
    }
    var begin = start
    isAbsolute = scalars[start..<end].starts(with: ["/", "/"])
    if isAbsolute {
      begin += 2
    } else if scalars[start] == "/" {
      throw LabelError(
        "`\(text)` is a file path: a label begins with `//` or is relative", in: text, offset: start, length: 1)
    }
    if let colon = scalars[begin..<end].firstIndex(of: ":") {
      package = begin..<colon
      name = colon + 1..<end
    } else {
      package = begin..<end
      name = nil
    }
  }

  func string(_ range: Range<Int>) -> String {
    // Nearly all: a slice of the text, as every scalar of it is one byte.
    if text.utf8.count == scalars.count {
      let start = text.utf8.index(text.startIndex, offsetBy: range.lowerBound)
      return String(text[start..<text.utf8.index(start, offsetBy: range.count)])
    }
    var view = String.UnicodeScalarView()
    view.append(contentsOf: scalars[range])
    return String(view)
  }

  /// The package of a path in the text; relative text goes below `folder`.
  func package(_ range: Range<Int>, relativeTo folder: WorkspacePath) throws(LabelError) -> WorkspacePath {
    if range.isEmpty { return isAbsolute ? .root : folder }
    var start = range.lowerBound
    while start <= range.upperBound {
      let end = scalars[start..<range.upperBound].firstIndex(of: "/") ?? range.upperBound
      try checkComponent(start..<end, last: end == range.upperBound)
      start = end + 1
    }
    return (isAbsolute ? .root : folder).appending(string(range))
  }

  private func checkComponent(_ range: Range<Int>, last: Bool) throws(LabelError) {
    let component = string(range)
    switch component {
    case "":
      let message = last ? "a package path does not end in `/`" : "a package path has no empty component"
      throw LabelError(message, in: text, offset: max(0, range.lowerBound - 1), length: 1)
    case ".", "..":
      throw LabelError(
        "a package path has no `\(component)` component", in: text, offset: range.lowerBound, length: range.count)
    case "...":
      let message = last ? "`...` covers many packages; one target is wanted here" : "`...` can only end a pattern"
      throw LabelError(message, in: text, offset: range.lowerBound, length: range.count)
    default: break
    }
    for index in range where !Self.isPackageCharacter(scalars[index]) {
      let shown = Self.shown(scalars[index])
      throw LabelError("\(shown) cannot stand in a package path", in: text, offset: index, length: 1)
    }
    // Almost always a slip of the pen, and invisible in messages.
    for index in [range.lowerBound, range.upperBound - 1] where scalars[index] == " " {
      throw LabelError("a folder's name does not begin or end with a space", in: text, offset: index, length: 1)
    }
    if !isAbsolute && range.lowerBound == package.lowerBound && scalars[range.lowerBound] == "-" {
      throw LabelError("a relative label does not begin with `-`", in: text, offset: range.lowerBound, length: 1)
    }
  }

  /// The name of a target or an output.
  func name(_ range: Range<Int>, of thing: String) throws(LabelError) -> String {
    if range.isEmpty {
      throw LabelError("the name of \(thing) is missing", in: text, offset: range.lowerBound - 1, length: 1)
    }
    for index in range where !Self.isNameCharacter(scalars[index]) {
      throw LabelError(
        "\(Self.shown(scalars[index])) cannot stand in the name of \(thing)", in: text, offset: index, length: 1)
    }
    let name = string(range)
    if name.utf8.first == UInt8(ascii: "-") || name.utf8.allSatisfy({ $0 == UInt8(ascii: ".") }) {
      throw LabelError(
        "`\(name)` cannot be the name of \(thing)", in: text, offset: range.lowerBound, length: range.count)
    }
    return name
  }

  private static func shown(_ scalar: Unicode.Scalar) -> String {
    if scalar == " " { return "a space" }
    if scalar == "`" { return "a backquote" }
    switch scalar.properties.generalCategory {
    case .control, .format, .nonspacingMark, .enclosingMark, .spacingMark, .lineSeparator, .paragraphSeparator,
      .spaceSeparator, .unassigned, .privateUse:
      return "U+\(hexadecimal(scalar.value))"
    default: return "`\(scalar)`"
    }
  }

  private static func hexadecimal(_ value: UInt32) -> String {
    let digits = String(value, radix: 16, uppercase: true)
    return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
  }

  /// Folders may have almost any name; what a pattern or a query gives a meaning to is left out.
  private static func isPackageCharacter(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case ":", "#", "\\", "*", "?", "\"", "'", "$", "`": false
    default:
      scalar.value >= 32 && !(127...0x9f).contains(scalar.value) && scalar.value != 0x2028
        && scalar.value != 0x2029
    }
  }

  private static func isNameCharacter(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "a"..."z", "A"..."Z", "0"..."9", "_", ".", "-", "+", "=", ",", "~", "%", "^": true
    default: false
    }
  }
}

extension Label {
  /// Whether a target may bear the name: ASCII letters, digits and `_ . - + = , ~ % ^`, not beginning with `-`.
  package static func isName(_ name: String) -> Bool {
    guard !name.contains(":"), let parts = try? LabelText(":" + name), let range = parts.name else { return false }
    return parts.output == nil && (try? parts.name(range, of: "a target")) != nil
  }
}
