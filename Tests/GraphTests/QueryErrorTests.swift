import Diagnostics
import Files
import SeededRandom
import Testing

@testable import Graph

@Suite struct QueryErrorTests {
  /// Query and the whole of its diagnostics.
  static let table: [(query: String, rendered: String)] = [
    (
      "",
      #"""
      query:1:1: error: the query is empty
      1 | 
        | ^

      """#
    ),
    (
      "  ",
      #"""
      query:1:1: error: the query is empty
      1 |   
        | ^

      """#
    ),
    (
      "(",
      #"""
      query:1:2: error: expected an expression, found the end of the query
      1 | (
        |  ^

      """#
    ),
    (
      ")",
      #"""
      query:1:1: error: expected an expression, found `)`
      1 | )
        | ^

      """#
    ),
    (
      "()",
      #"""
      query:1:2: error: expected an expression, found `)`
      1 | ()
        |  ^

      """#
    ),
    (
      "(//lib:lib",
      #"""
      query:1:1: error: this parenthesis is never closed
      1 | (//lib:lib
        | ^

      """#
    ),
    (
      "//lib:lib)",
      #"""
      query:1:10: error: `)` cannot follow a whole expression
      1 | //lib:lib)
        |          ^

      """#
    ),
    (
      "//lib:lib //base",
      #"""
      query:1:11: error: `//base` cannot follow a whole expression
      1 | //lib:lib //base
        |           ^^^^^^

      """#
    ),
    (
      "//lib:lib +",
      #"""
      query:1:12: error: expected an expression, found the end of the query
      1 | //lib:lib +
        |            ^

      """#
    ),
    (
      "+ //lib:lib",
      #"""
      query:1:1: error: expected an expression, found `+`
      1 | + //lib:lib
        | ^

      """#
    ),
    (
      "//a + + //b",
      #"""
      query:1:7: error: expected an expression, found `+`
      1 | //a + + //b
        |       ^

      """#
    ),
    (
      "'//lib:lib",
      #"""
      query:1:1: error: this quote is never closed
      1 | '//lib:lib
        | ^

      """#
    ),
    (
      "\"",
      #"""
      query:1:1: error: this quote is never closed
      1 | "
        | ^

      """#
    ),
    (
      "dep(//...)",
      #"""
      query:1:1: error: unknown function `dep`
      1 | dep(//...)
        | ^^^
      hint: did you mean `deps`?

      """#
    ),
    (
      "frobnicate(//...)",
      #"""
      query:1:1: error: unknown function `frobnicate`
      1 | frobnicate(//...)
        | ^^^^^^^^^^
      hint: the functions are deps rdeps allpaths somepath kind attr filter owner tests metadata

      """#
    ),
    (
      "deps",
      #"""
      query:1:1: error: unknown target `//:deps`
      1 | deps
        | ^^^^
      note: `//` has `all`

      """#
    ),
    (
      "deps(",
      #"""
      query:1:6: error: expected an expression, found the end of the query
      1 | deps(
        |      ^

      """#
    ),
    (
      "deps()",
      #"""
      query:1:6: error: expected an expression, found `)`
      1 | deps()
        |      ^

      """#
    ),
    (
      "deps(//base, 1, 2)",
      #"""
      query:1:15: error: `deps` takes no more arguments
      1 | deps(//base, 1, 2)
        |               ^
      hint: usage: `deps(EXPR[, DEPTH])`

      """#
    ),
    (
      "deps(//base, -1)",
      #"""
      query:1:14: error: expected a depth, found `-`
      1 | deps(//base, -1)
        |              ^

      """#
    ),
    (
      "deps(//base, x)",
      #"""
      query:1:14: error: a depth is a whole number: `x`
      1 | deps(//base, x)
        |              ^

      """#
    ),
    (
      "deps(//base, )",
      #"""
      query:1:14: error: expected a depth, found `)`
      1 | deps(//base, )
        |              ^

      """#
    ),
    (
      "deps(//base 1)",
      #"""
      query:1:13: error: expected `)`, found `1`
      1 | deps(//base 1)
        |             ^

      """#
    ),
    (
      "deps(//base",
      #"""
      query:1:5: error: this parenthesis is never closed
      1 | deps(//base
        |     ^

      """#
    ),
    (
      "rdeps(//base)",
      #"""
      query:1:13: error: `rdeps` takes another argument
      1 | rdeps(//base)
        |             ^
      hint: usage: `rdeps(UNIVERSE, EXPR[, DEPTH])`

      """#
    ),
    (
      "rdeps(//..., //base, '1.5')",
      #"""
      query:1:22: error: a depth is a whole number: `1.5`
      1 | rdeps(//..., //base, '1.5')
        |                      ^^^^^

      """#
    ),
    (
      "allpaths(//base)",
      #"""
      query:1:16: error: `allpaths` takes another argument
      1 | allpaths(//base)
        |                ^
      hint: usage: `allpaths(FROM, TO)`

      """#
    ),
    (
      "somepath(//base, )",
      #"""
      query:1:18: error: expected an expression, found `)`
      1 | somepath(//base, )
        |                  ^

      """#
    ),
    (
      "kind(//base)",
      #"""
      query:1:12: error: `kind` takes another argument
      1 | kind(//base)
        |            ^
      hint: usage: `kind(REGEX, EXPR)`

      """#
    ),
    (
      "kind(, //base)",
      #"""
      query:1:6: error: expected a regular expression, found `,`
      1 | kind(, //base)
        |      ^

      """#
    ),
    (
      "kind('(', //base)",
      #"""
      query:1:7: error: this group is never closed
      1 | kind('(', //base)
        |       ^

      """#
    ),
    (
      "kind('a[b', //base)",
      #"""
      query:1:8: error: `[` is never closed
      1 | kind('a[b', //base)
        |        ^

      """#
    ),
    (
      "kind('a**', //base)",
      #"""
      query:1:8: error: `*` cannot repeat a repetition
      1 | kind('a**', //base)
        |        ^^

      """#
    ),
    (
      "attr(size, //base)",
      #"""
      query:1:18: error: `attr` takes another argument
      1 | attr(size, //base)
        |                  ^
      hint: usage: `attr(NAME, REGEX, EXPR)`

      """#
    ),
  ]

  static func rendered(_ text: String) -> String {
    do throws(Diagnostic) {
      let query = try Query.parse(text, relativeTo: .root)
      do throws(DiagnosticList) {
        return "selected \(try QueryWorkspace.result(query).targets.count)"
      } catch {
        return error.diagnostics.map(\.rendered).joined()
      }
    } catch {
      return error.rendered
    }
  }

  /// Without blanks at the ends of lines, which an editor may strip.
  static func trimmed(_ text: String) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      var line = line
      while line.last == " " { line.removeLast() }
      return line
    }.joined(separator: "\n")
  }

  @Test(arguments: table + moreTable)
  func `a bad query says what is wrong under a caret`(query: String, rendered: String) {
    #expect(Self.trimmed(Self.rendered(query)) == Self.trimmed(rendered))
  }

  @Test(arguments: [("(", 100_000, 101), ("deps(", 100_000, 501), ("let x = //base in ", 5_000, 1_791)])
  func `a query that nests without end is refused`(piece: String, count: Int, column: Int) {
    let rendered = Self.rendered(String(repeating: piece, count: count))
    #expect(rendered.prefix { $0 != "\n" } == "query:1:\(column): error: the query nests deeper than 100 levels")
  }

  @Test func `a long query without nesting is no problem`() throws {
    let text = String(repeating: "//base + ", count: 5_000) + "//lib:lib"
    #expect(Self.rendered(text) == "selected 2")
    #expect(Self.rendered("set(" + String(repeating: "//base ", count: 5_000) + ")") == "selected 1")
  }

  @Test func `any sequence of tokens is a query or an error`() {
    let seed = UInt64.random(in: .min ... .max)
    var random = SeededGenerator(seed: seed)
    let pieces = [
      "deps(", "rdeps(", "kind(", "attr(", "owner(", "let ", "x", " = ", " in ", "$x", "set(", "(", ")", ",", " + ",
      " - ",
      "^", "//base", "//lib:all", "'", "\"", "...", " ", "1", "[", "*", "\n", "é",
    ]
    var selected = 0
    for _ in 0..<20_000 {
      let text = (0..<Int.random(in: 1...9, using: &random)).map { _ in
        pieces.randomElement(using: &random) ?? ""
      }.joined()
      let rendered = Self.rendered(text)
      if rendered.hasPrefix("selected") {
        selected += 1
      } else {
        #expect(rendered.contains("error: "), "seed \(seed)")
      }
    }
    #expect(selected > 100)
  }
}
