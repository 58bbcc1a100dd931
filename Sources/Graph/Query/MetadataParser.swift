import Diagnostics

/// Recursive descent over the text of a metadata expression, which is a part of a query's text.
struct MetadataParser {
  private static let maximumDepth = 100
  private static let keywords = ["and", "or", "not", "in", "true", "false", "null", "True", "False", "None"]

  private let source: QuerySource
  private let end: Int
  private var position: Int
  private var depth = 0

  /// - Parameter range: Of the expression in the query, without quotes around it.
  static func parse(_ source: QuerySource, _ range: Range<Int>) throws(Diagnostic) -> MetadataExpression {
    var parser = MetadataParser(source: source, end: range.upperBound, position: range.lowerBound)
    parser.skipBlanks()
    if parser.position == parser.end { throw source.error("the metadata expression is empty", range) }
    let root = try parser.disjunction()
    if parser.position < parser.end {
      let rest = parser.token()
      throw source.error("`\(source.string(rest))` cannot follow a whole expression", rest)
    }
    return MetadataExpression(root: root)
  }

  private init(source: QuerySource, end: Int, position: Int) {
    self.source = source
    self.end = end
    self.position = position
  }

  // MARK: Grammar

  private mutating func disjunction() throws(Diagnostic) -> MetadataExpression.Node {
    depth += 1
    defer { depth -= 1 }
    if depth > Self.maximumDepth {
      throw source.error("the expression nests deeper than \(Self.maximumDepth) levels", token())
    }
    var result = try conjunction()
    while take(word: "or") { result = .or(result, try conjunction()) }
    return result
  }

  private mutating func conjunction() throws(Diagnostic) -> MetadataExpression.Node {
    var result = try negation()
    while take(word: "and") { result = .and(result, try negation()) }
    return result
  }

  private mutating func negation() throws(Diagnostic) -> MetadataExpression.Node {
    var isNegated = false
    while take(word: "not") { isNegated.toggle() }
    let result = try comparison()
    return isNegated ? .not(result) : result
  }

  private mutating func comparison() throws(Diagnostic) -> MetadataExpression.Node {
    let left = try operand()
    let start = position
    if take(word: "not") {
      guard take(word: "in") else {
        position = start
        throw source.error("expected an operator, found `not`", token())
      }
      return .not(.comparison(left, .contained, try operand()))
    }
    guard let comparison = takeComparison() else {
      if position < end, source.scalars[position] == "=" {
        throw source.error("`=` compares nothing", position..<position + 1, hints: ["write `==`"])
      }
      return left
    }
    return .comparison(left, comparison, try operand())
  }

  private mutating func operand() throws(Diagnostic) -> MetadataExpression.Node {
    guard position < end else {
      throw source.error("the expression ends where a value is expected", max(0, end - 1)..<end)
    }
    let scalar = source.scalars[position]
    if scalar == "(" { return try parenthesis() }
    if scalar == "[" { return .literal(try list()) }
    if scalar == "'" || scalar == "\"" { return .literal(.string(try string(scalar))) }
    let range = token()
    let text = source.string(range)
    if let value = Self.constant(text) {
      advance(to: range.upperBound)
      return .literal(value)
    }
    guard Self.isName(scalar) else {
      throw source.error("expected a path or a value, found `\(text)`", range)
    }
    if Self.keywords.contains(text) { throw source.error("expected a path or a value, found `\(text)`", range) }
    let names = text.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    if names.contains("") { throw source.error("`\(text)` is no path", range, hints: ["such as `data.supportLevel`"]) }
    advance(to: range.upperBound)
    return .path(names)
  }

  private mutating func parenthesis() throws(Diagnostic) -> MetadataExpression.Node {
    let open = position
    advance(to: position + 1)
    let inner = try disjunction()
    guard position < end, source.scalars[position] == ")" else {
      throw source.error("this parenthesis is never closed", open..<open + 1)
    }
    advance(to: position + 1)
    return inner
  }

  /// Literals only.
  private mutating func list() throws(Diagnostic) -> MetadataExpression.Value {
    let open = position
    var values: [MetadataExpression.Value] = []
    advance(to: position + 1)
    while position < end, source.scalars[position] != "]" {
      let start = token()
      guard case .literal(let value) = try operand() else {
        throw source.error("a list holds values, not paths", start)
      }
      values.append(value)
      guard position < end, source.scalars[position] == "," else { break }
      advance(to: position + 1)
    }
    guard position < end, source.scalars[position] == "]" else {
      throw source.error("this bracket is never closed", open..<open + 1)
    }
    advance(to: position + 1)
    return .list(values)
  }

  private mutating func string(_ quote: Unicode.Scalar) throws(Diagnostic) -> String {
    guard let close = source.scalars[(position + 1)..<end].firstIndex(of: quote) else {
      throw source.error("this quote is never closed", position..<position + 1)
    }
    let text = source.string(position + 1..<close)
    advance(to: close + 1)
    return text
  }

  private static func constant(_ text: String) -> MetadataExpression.Value? {
    switch text {
    case "true", "True": .bool(true)
    case "false", "False": .bool(false)
    case "null", "None": .null
    default:
      // No other spellings that the standard library reads as a number, such as `nan` or `0x1p3`.
      text.utf8.first.map { (48...57).contains($0) || $0 == UInt8(ascii: "-") } == true
        && text.utf8.allSatisfy { (48...57).contains($0) || ".-+eE".utf8.contains($0) }
        ? Double(text).map { .number($0) } : nil
    }
  }

  // MARK: Tokens

  private mutating func take(word: String) -> Bool {
    let range = token()
    guard source.string(range) == word else { return false }
    advance(to: range.upperBound)
    return true
  }

  private mutating func takeComparison() -> MetadataExpression.Comparison? {
    if take(word: "in") { return .contained }
    for text in ["==", "!=", "<=", ">=", "<", ">"] {
      let stop = position + text.unicodeScalars.count
      guard stop <= end, source.string(position..<stop) == text else { continue }
      advance(to: stop)
      return MetadataExpression.Comparison(rawValue: text)
    }
    return nil
  }

  /// The word or the one other character here; one place wide at the end.
  private func token() -> Range<Int> {
    guard position < end else { return max(0, end - 1)..<end }
    let stop = source.scalars[position..<end].firstIndex { !Self.isName($0) && $0 != "." } ?? end
    return position..<max(stop, position + 1)
  }

  private mutating func advance(to place: Int) {
    position = place
    skipBlanks()
  }

  private mutating func skipBlanks() {
    while position < end, source.scalars[position].properties.isWhitespace { position += 1 }
  }

  private static func isName(_ scalar: Unicode.Scalar) -> Bool {
    scalar == "_" || scalar == "-" || scalar.properties.isAlphabetic || ("0"..."9").contains(scalar)
  }
}
