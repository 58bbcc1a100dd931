import Diagnostics
import Files

/// Recursive descent over the tokens of a query.
struct QueryParser {
  /// The stack bounds how deep a query may nest; nobody writes one half as deep.
  private static let maximumDepth = 100

  private let source: QuerySource
  private let folder: WorkspacePath
  private let tokens: [QueryToken]
  private var position = 0
  private var depth = 0
  /// The names bound around the current place.
  private var variables: [String] = []

  static func parse(_ source: QuerySource, relativeTo folder: WorkspacePath) throws(Diagnostic) -> QueryExpression {
    var parser = QueryParser(
      source: source, folder: folder, tokens: try QueryToken.tokens(of: source))
    if parser.tokens.count == 1 { throw source.error("the query is empty", 0..<1) }
    let expression = try parser.expression()
    if parser.current.kind != .end {
      throw source.error("\(parser.shownToken) cannot follow a whole expression", parser.current.range)
    }
    return expression
  }

  private init(source: QuerySource, folder: WorkspacePath, tokens: [QueryToken]) {
    self.source = source
    self.folder = folder
    self.tokens = tokens
  }

  private var current: QueryToken { tokens[position] }

  private var shownToken: String {
    current.kind == .end ? "the end of the query" : "`\(source.string(current.range))`"
  }

  private mutating func advance() -> QueryToken {
    let token = tokens[position]
    if position < tokens.count - 1 { position += 1 }
    return token
  }

  private mutating func expect(_ kind: QueryToken.Kind, _ wanted: String) throws(Diagnostic) {
    guard current.kind == kind else {
      throw source.error("expected \(wanted), found \(shownToken)", current.range)
    }
    _ = advance()
  }

  private mutating func expression() throws(Diagnostic) -> QueryExpression {
    let first = try primary()
    var rest: [(operator: QueryToken.Kind, operand: QueryExpression)] = []
    while current.isOperator {
      let kind = advance().kind
      rest.append((kind, try primary()))
    }
    return rest.isEmpty ? first : QueryExpression(kind: .combination(first: first, rest: rest))
  }

  private mutating func primary() throws(Diagnostic) -> QueryExpression {
    depth += 1
    defer { depth -= 1 }
    if depth > Self.maximumDepth {
      throw source.error("the query nests deeper than \(Self.maximumDepth) levels", current.range)
    }
    switch current.kind {
    case .open:
      let open = advance()
      let expression = try expression()
      try close(open)
      return expression
    case .let: return try binding()
    case .set: return try set()
    case .word(let word):
      let next = tokens[min(position + 1, tokens.count - 1)]
      if next.kind == .open { return try call(word) }
      if word.utf8.first == UInt8(ascii: "$") { return try variable(word) }
      return QueryExpression(kind: .pattern(try pattern()))
    case .quoted: return QueryExpression(kind: .pattern(try pattern()))
    default: throw source.error("expected an expression, found \(shownToken)", current.range)
    }
  }

  private mutating func close(_ open: QueryToken) throws(Diagnostic) {
    if current.kind == .close {
      _ = advance()
      return
    }
    if current.kind == .end { throw source.error("this parenthesis is never closed", open.range) }
    throw source.error("expected `)`, found \(shownToken)", current.range)
  }

  private mutating func pattern() throws(Diagnostic) -> TargetPattern {
    let token = advance()
    let text = token.text ?? ""
    let start = if case .quoted = token.kind { token.range.lowerBound + 1 } else { token.range.lowerBound }
    do throws(LabelError) {
      var pattern = try TargetPattern.parse(text, relativeTo: folder)
      if pattern.isNegative {
        throw LabelError("a query takes targets away with `except`, not by a pattern", in: text, length: 1)
      }
      pattern.span = source.span(token.range)
      return pattern
    } catch {
      let place = start + error.offset
      throw source.error(error.message, place..<min(place + error.length, token.range.upperBound))
    }
  }

  private mutating func set() throws(Diagnostic) -> QueryExpression {
    _ = advance()
    let open = current
    try expect(.open, "`(` after `set`")
    var patterns: [TargetPattern] = []
    while current.text != nil { patterns.append(try pattern()) }
    if current.kind == .comma {
      throw source.error("the members of a set are separated by blanks", current.range)
    }
    try close(open)
    return QueryExpression(kind: .set(patterns))
  }

  private mutating func binding() throws(Diagnostic) -> QueryExpression {
    _ = advance()
    guard case .word(let name) = current.kind, Self.isVariable(name) else {
      throw source.error("expected a variable's name after `let`, found \(shownToken)", current.range)
    }
    _ = advance()
    try expect(.equals, "`=` after the variable's name")
    let value = try expression()
    try expect(.in, "`in` after the variable's value")
    variables.append(name)
    defer { variables.removeLast() }
    let body = try expression()
    return QueryExpression(kind: .binding(name: name, value: value, body: body))
  }

  private mutating func variable(_ word: String) throws(Diagnostic) -> QueryExpression {
    let token = advance()
    let name = String(word.dropFirst())
    guard variables.contains(name) else {
      let hints = didYouMean(name, among: variables).map { ["did you mean `$\($0)`?"] }
      throw source.error("`\(word)` is bound by no `let`", token.range, hints: hints ?? [])
    }
    return QueryExpression(kind: .variable(name))
  }

  private static func isVariable(_ name: String) -> Bool {
    guard let first = name.utf8.first, first < UInt8(ascii: "0") || first > UInt8(ascii: "9") else { return false }
    return name.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
        true
      default: false
      }
    }
  }
}

// MARK: Functions

extension QueryParser {
  private mutating func call(_ word: String) throws(Diagnostic) -> QueryExpression {
    let token = advance()
    guard let function = QueryFunction(rawValue: word) else {
      let names = QueryFunction.allCases.map(\.rawValue)
      let hint = didYouMean(word, among: names).map { "did you mean `\($0)`?" }
      throw source.error(
        "unknown function `\(word)`", token.range, hints: [hint ?? "the functions are \(names.joined(separator: " "))"])
    }
    let open = advance()
    let kind = try arguments(function)
    if current.kind == .comma {
      throw source.error("`\(word)` takes no more arguments", current.range, hints: ["usage: `\(function.usage)`"])
    }
    try close(open)
    return QueryExpression(kind: kind)
  }

  private mutating func arguments(_ function: QueryFunction) throws(Diagnostic) -> QueryExpression.Kind {
    switch function {
    case .deps:
      let roots = try expression()
      return .deps(roots, depth: try optionalDepth())
    case .rdeps:
      let universe = try expression()
      try comma(function)
      let targets = try expression()
      return .rdeps(universe: universe, targets, depth: try optionalDepth())
    case .allpaths, .somepath:
      let from = try expression()
      try comma(function)
      let to = try expression()
      return function == .allpaths ? .allPaths(from: from, to: to) : .somePath(from: from, to: to)
    case .kind, .filter:
      let regex = try regularExpression()
      try comma(function)
      let targets = try expression()
      return function == .kind ? .kind(regex, targets) : .filter(regex, targets)
    case .attr:
      let name = try word("an attribute's name").text ?? ""
      try comma(function)
      let regex = try regularExpression()
      try comma(function)
      return .attribute(name: name, regex, try expression())
    case .owner: return .owner(try file())
    case .tests: return .tests(try expression())
    case .metadata:
      let token = try word("a condition in quotes")
      let isQuoted = if case .quoted = token.kind { true } else { false }
      let inner = isQuoted ? token.range.lowerBound + 1..<token.range.upperBound - 1 : token.range
      let condition = try MetadataParser.parse(source, inner)
      guard current.kind == .comma else { return .metadata(condition, nil) }
      _ = advance()
      return .metadata(condition, try expression())
    }
  }

  private mutating func comma(_ function: QueryFunction) throws(Diagnostic) {
    if current.kind == .comma {
      _ = advance()
      return
    }
    let hints = ["usage: `\(function.usage)`"]
    if current.kind == .close {
      throw source.error("`\(function.rawValue)` takes another argument", current.range, hints: hints)
    }
    throw source.error("expected `,`, found \(shownToken)", current.range, hints: hints)
  }

  private mutating func word(_ wanted: String) throws(Diagnostic) -> QueryToken {
    guard current.text != nil else {
      throw source.error("expected \(wanted), found \(shownToken)", current.range)
    }
    return advance()
  }

  private mutating func optionalDepth() throws(Diagnostic) -> Int {
    guard current.kind == .comma else { return .max }
    _ = advance()
    let token = try word("a depth")
    guard let depth = token.text.flatMap({ Int($0) }), depth >= 0 else {
      throw source.error("a depth is a whole number: `\(token.text ?? "")`", token.range)
    }
    return depth
  }

  private mutating func regularExpression() throws(Diagnostic) -> RegularExpression {
    let token = try word("a regular expression")
    let start = if case .quoted = token.kind { token.range.lowerBound + 1 } else { token.range.lowerBound }
    do throws(RegularExpression.Malformed) {
      return try RegularExpression(token.text ?? "")
    } catch {
      let place = min(start + error.offset, token.range.upperBound - 1)
      throw source.error(error.reason, place..<min(place + error.length, token.range.upperBound))
    }
  }

  /// A path from the current folder, or after `//` from the workspace's root.
  private mutating func file() throws(Diagnostic) -> WorkspacePath {
    let token = try word("a file's path")
    var text = token.text ?? ""
    let isAbsolute = text.hasPrefix("//")
    if isAbsolute { text.removeFirst(2) }
    while text.hasPrefix("./") { text.removeFirst(2) }
    if text.isEmpty { throw source.error("a file's path is missing", token.range) }
    guard let path = WorkspacePath(text) else {
      throw source.error(
        "`\(token.text ?? "")` is no path below the current folder", token.range,
        hints: ["`//` in front begins at the workspace's root"])
    }
    return isAbsolute ? path : folder.appending(path.string)
  }
}
