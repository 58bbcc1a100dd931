import Diagnostics

/// A token of the query language, with its place.
struct QueryToken: Sendable {
  enum Kind: Hashable, Sendable {
    case word(String)
    /// A word in quotes, which is never a keyword.
    case quoted(String)
    case open, close, comma, equals
    case union, except, intersect
    case `let`, `in`, set
    case end
  }

  let kind: Kind
  let range: Range<Int>

  /// What a pattern or a regular expression may be written as.
  var text: String? {
    switch kind {
    case .word(let text), .quoted(let text): text
    default: nil
    }
  }

  var isOperator: Bool {
    switch kind {
    case .union, .except, .intersect: true
    default: false
    }
  }

  private static let keywords: [String: Kind] = [
    "let": .let, "in": .in, "set": .set, "union": .union, "except": .except, "intersect": .intersect,
  ]

  private static let punctuation: [Unicode.Scalar: Kind] = [
    "(": .open, ")": .close, ",": .comma, "=": .equals, "+": .union, "-": .except, "^": .intersect,
  ]

  /// The tokens of a query, with `end` as the last one.
  ///
  /// As in Bazel a hyphen is an operator only where a word could begin, and quotes know no escapes.
  static func tokens(of source: QuerySource) throws(Diagnostic) -> [QueryToken] {
    let scalars = source.scalars
    var tokens: [QueryToken] = []
    var index = 0
    while index < scalars.count {
      let scalar = scalars[index]
      if isBlank(scalar) {
        index += 1
      } else if let kind = punctuation[scalar] {
        tokens.append(QueryToken(kind: kind, range: index..<index + 1))
        index += 1
      } else if scalar == "\"" || scalar == "'" {
        guard let end = scalars[(index + 1)...].firstIndex(of: scalar) else {
          throw source.error("this quote is never closed", index..<index + 1)
        }
        tokens.append(QueryToken(kind: .quoted(source.string(index + 1..<end)), range: index..<end + 1))
        index = end + 1
      } else {
        let end = scalars[index...].firstIndex(where: endsWord) ?? scalars.count
        let word = source.string(index..<end)
        tokens.append(QueryToken(kind: keywords[word] ?? .word(word), range: index..<end))
        index = end
      }
    }
    tokens.append(QueryToken(kind: .end, range: scalars.count..<scalars.count))
    return tokens
  }

  private static func isBlank(_ scalar: Unicode.Scalar) -> Bool {
    scalar == " " || scalar == "\t" || scalar == "\n" || scalar == "\r"
  }

  private static func endsWord(_ scalar: Unicode.Scalar) -> Bool {
    scalar != "-" && (isBlank(scalar) || scalar == "\"" || scalar == "'" || punctuation[scalar] != nil)
  }
}
