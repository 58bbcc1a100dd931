import SeededRandom
import Testing

@testable import Graph

@Suite struct RegularExpressionTests {
  /// Expression, text, whether some part of it matches.
  static let table: [(String, String, Bool)] = [
    ("", "", true), ("", "a", true), ("a", "a", true), ("a", "b", false), ("a", "xay", true), ("a", "", false),
    ("ab", "xaby", true), ("ab", "ba", false), ("^a", "ab", true), ("^a", "ba", false), ("a$", "ba", true),
    ("a$", "ab", false), ("^$", "", true), ("^$", "a", false), ("^a$", "a", true), ("^a$", "aa", false),
    (".", "", false), (".", "é", true), ("^.$", "日", true), ("^.$", "\n", false), ("a.c", "abc", true),
    ("a|b", "b", true), ("a|b", "c", false), ("^(a|b)$", "b", true), ("^a|b$", "ax", true), ("^a|b$", "xb", true),
    ("^a|b$", "xax", false), ("a||b", "", true), ("(|a)b", "b", true), ("a*", "", true), ("^a*$", "aaa", true),
    ("^a*$", "aab", false), ("^a+$", "", false), ("^a+$", "aa", true), ("^a?$", "aa", false), ("^a?$", "", true),
    ("^(ab)+$", "abab", true), ("^(ab)+$", "aba", false), ("^a{2}$", "aa", true), ("^a{2}$", "aaa", false),
    ("^a{2,}$", "aaa", true), ("^a{2,}$", "a", false), ("^a{1,2}$", "aaa", false), ("^a{0}$", "", true),
    ("^a{0,1}b$", "b", true), ("^(a|bc){2}$", "abc", true), ("^a*?b$", "aab", true), ("^a+?$", "aa", true),
    ("[abc]", "b", true), ("[abc]", "d", false), ("^[a-c]+$", "abc", true), ("^[^a-c]$", "d", true),
    ("^[^a-c]$", "a", false), ("[]a]", "]", true), ("[^]a]", "]", false), ("[a-]", "-", true), ("[-a]", "-", true),
    ("[\\]]", "]", true), ("[\\d_]", "7", true), ("[\\w-]+$", "a-", true), ("[.]", "a", false), ("[é-ü]", "ö", true),
    ("\\.", "a", false), ("\\.", ".", true), ("\\d", "x1", true), ("\\D", "11", false), ("^\\w+$", "a_1", true),
    ("\\W", "a-b", true), ("\\s", "a b", true), ("^\\S+$", "a b", false), ("\\/", "/", true), ("\\-", "-", true),
    ("(?:a|b)c", "bc", true), ("(?i)abc", "xABcx", true), ("(?i)[a-c]", "B", true), ("(?i)[A-C]", "b", true),
    ("abc", "ABC", false), ("}", "}", true), ("]", "]", true), ("a\\{2\\}", "a{2}", true), ("(a*)*b", "aab", true),
    ("((a?)*)+$", "aaa", true), ("()*a", "a", true), ("(^a|b)c", "xac", false), ("(^a|b)c", "xbc", true),
    ("a^b", "ab", false), ("a$b", "ab", false), ("\\n", "\n", true), ("x\\ty", "x\ty", true),
    ("^//connectors/source-.*:(unit|spec)$", "//connectors/source-faker:unit", true),
  ]

  @Test(arguments: table)
  func `an expression matches some part of a text`(regex: String, text: String, expected: Bool) throws {
    #expect(try RegularExpression(regex).matches(text) == expected)
  }

  @Test(arguments: [
    ("(", "this group is never closed", 0, 1), ("a(b", "this group is never closed", 1, 1),
    (")", "`)` closes no group", 0, 1), ("a)", "`)` closes no group", 1, 1), ("*", "`*` has nothing to repeat", 0, 1),
    ("a|+", "`+` has nothing to repeat", 2, 1), ("{2}", "`{` has nothing to repeat", 0, 1),
    ("a{2}{3}", "`{` has nothing to repeat", 4, 1), ("^*", "an anchor cannot be repeated", 1, 1),
    ("a**", "`*` cannot repeat a repetition", 1, 2), ("a{2}*", "`*` cannot repeat a repetition", 1, 4),
    ("[", "`[` is never closed", 0, 1), ("a[b-", "`[` is never closed", 1, 1), ("[\\", "`[` is never closed", 0, 1),
    ("[z-a]", "this range runs backwards", 1, 3), ("\\", "nothing follows the `\\`", 0, 1),
    ("a\\b", "`\\b` is not known", 1, 2), ("(a)\\1", "`\\1` is not known", 3, 2),
    ("[\\D]", "`\\D` cannot stand in `[…]`", 1, 2),
    ("(?=a)", "only `(?:` groups, and `(?i)` at the very start, are known", 0, 3),
    ("a{", "`{` begins no count such as `{2,5}`; the character itself is `\\{`", 1, 1),
    ("a{x}", "`{` begins no count such as `{2,5}`; the character itself is `\\{`", 1, 1),
    ("a{,2}", "`{` begins no count such as `{2,5}`; the character itself is `\\{`", 1, 1),
    ("a{3,2}", "a repetition counts upwards, to at most 1000", 1, 5),
    ("a{1001}", "a repetition counts upwards, to at most 1000", 1, 6),
    ("a{99999999999999999999}", "a repetition counts upwards, to at most 1000", 1, 22),
    ("(a{1000}){1000}", "the regular expression is too large", 0, 15),
  ])
  func `what is no expression says why, and where`(regex: String, reason: String, offset: Int, length: Int) {
    let expected = RegularExpression.Malformed(reason: reason, offset: offset, length: length)
    #expect(throws: expected) { try RegularExpression(regex) }
  }

  @Test func `a hostile expression takes no exponential time`() throws {
    let text = String(repeating: "a", count: 2_000)
    let clock = ContinuousClock()
    let elapsed = try clock.measure {
      for regex in ["^(a+)+$", "^(a|aa)+$", "^(a*)*b", "(.*)(.*)(.*)(.*)(.*)[^a]", "^(a?){100}a{100}b"] {
        _ = try RegularExpression(regex).matches(text + "!")
      }
      // Nothing, repeated: no size limit would ever be met.
      var nothing = ""
      for _ in 0..<45 { nothing = "(\(nothing)){1000}" }
      #expect(try RegularExpression(nothing).matches(""))
    }
    #expect(elapsed < .seconds(20))
  }

  @Test func `groups that nest without end are refused`() {
    #expect(throws: RegularExpression.Malformed(reason: "groups nest deeper than 50 levels", offset: 50)) {
      try RegularExpression(String(repeating: "(", count: 100_000))
    }
  }

  // MARK: Against a naive matcher

  indirect enum Shape {
    case letter(Character)
    case any
    case pair(Shape, Shape)
    case either(Shape, Shape)
    case star(Shape)
    case optional(Shape)
    case group(Shape)

    var text: String {
      switch self {
      case .letter(let letter): String(letter)
      case .any: "."
      case .pair(let a, let b): a.text + b.text
      case .either(let a, let b): "(\(a.text)|\(b.text))"
      case .star(let a): "(\(a.text))*"
      case .optional(let a): "(?:\(a.text))?"
      case .group(let a): "(\(a.text))"
      }
    }

    /// Where a match that begins at `start` can end.
    func ends(_ text: [Character], _ start: Int) -> Set<Int> {
      switch self {
      case .letter(let letter): return start < text.count && text[start] == letter ? [start + 1] : []
      case .any: return start < text.count ? [start + 1] : []
      case .pair(let a, let b): return Set(a.ends(text, start).flatMap { b.ends(text, $0) })
      case .either(let a, let b): return a.ends(text, start).union(b.ends(text, start))
      case .optional(let a): return a.ends(text, start).union([start])
      case .group(let a): return a.ends(text, start)
      case .star(let a):
        var ends: Set<Int> = [start]
        var pending = [start]
        while let place = pending.popLast() {
          for end in a.ends(text, place) where ends.insert(end).inserted { pending.append(end) }
        }
        return ends
      }
    }

    static func random(_ depth: Int, _ random: inout SeededGenerator) -> Shape {
      switch Int.random(in: 0..<(depth == 0 ? 3 : 9), using: &random) {
      case 0: .letter("a")
      case 1: .letter("b")
      case 2: .any
      case 3: .star(Shape.random(depth - 1, &random))
      case 4: .optional(Shape.random(depth - 1, &random))
      case 5: .group(Shape.random(depth - 1, &random))
      case 6: .either(Shape.random(depth - 1, &random), Shape.random(depth - 1, &random))
      default: .pair(Shape.random(depth - 1, &random), Shape.random(depth - 1, &random))
      }
    }
  }

  @Test func `random expressions match as a naive matcher does`() throws {
    let seed = UInt64.random(in: .min ... .max)
    var random = SeededGenerator(seed: seed)
    var matched = 0
    for _ in 0..<5_000 {
      let shape = Shape.random(4, &random)
      let text = (0..<Int.random(in: 0...6, using: &random)).map { _ in
        Bool.random(using: &random) ? "a" : "b" as Character
      }
      let whole = shape.ends(text, 0).contains(text.count)
      let part = (0...text.count).contains { !shape.ends(text, $0).isEmpty }
      if whole { matched += 1 }
      let string = String(text)
      #expect(
        try RegularExpression("^(\(shape.text))$").matches(string) == whole, "seed \(seed): \(shape.text) \(string)")
      #expect(try RegularExpression(shape.text).matches(string) == part, "seed \(seed): \(shape.text) on \(string)")
    }
    #expect(matched > 500)
  }
}
