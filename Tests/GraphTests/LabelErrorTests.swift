import Diagnostics
import Files
import SeededRandom
import Testing

@testable import Graph

@Suite struct LabelErrorTests {
  /// Messages, and for each the texts with offset and length of the part to blame.
  static let table: [(message: String, texts: [(text: String, offset: Int, length: Int)])] = [
    (
      "a label cannot be empty",
      [
        ("", 0, 1), ("#", 0, 1), ("#x", 0, 2),
      ]
    ),
    (
      "a folder's name does not begin or end with a space",
      [
        (" ", 0, 1), (" //a:b", 0, 1), ("//a /b:c", 3, 1), ("//a/ b:c", 4, 1),
      ]
    ),
    (
      "`/` is a file path: a label begins with `//` or is relative",
      [
        ("/", 0, 1)
      ]
    ),
    (
      "the root's target must be named: `//:NAME`",
      [
        ("//", 0, 2)
      ]
    ),
    (
      "a package path has no empty component",
      [
        ("///", 1, 1), ("///a", 1, 1), ("//a//b:c", 3, 1), ("a//b", 1, 1),
      ]
    ),
    (
      "`/a` is a file path: a label begins with `//` or is relative",
      [
        ("/a", 0, 1)
      ]
    ),
    (
      "`/a:b` is a file path: a label begins with `//` or is relative",
      [
        ("/a:b", 0, 1)
      ]
    ),
    (
      "a package path does not end in `/`",
      [
        ("//a/:b", 3, 1), ("//a/", 3, 1), ("//a/b/", 5, 1), ("a/", 1, 1),
      ]
    ),
    (
      "a package path has no `.` component",
      [
        ("//./a:b", 2, 1), ("//a/./b", 4, 1), (".", 0, 1), ("./a", 0, 1),
      ]
    ),
    (
      "a package path has no `..` component",
      [
        ("//../a:b", 2, 2), ("//a/..:b", 4, 2), ("..", 0, 2), ("../a:b", 0, 2), ("a/../b", 2, 2),
      ]
    ),
    (
      "the name of a target is missing",
      [
        ("//a:", 3, 1), (":", 0, 1), ("//:", 2, 1), ("a:", 1, 1),
      ]
    ),
    (
      "`:` cannot stand in the name of a target",
      [
        ("//a:b:c", 5, 1), ("::", 1, 1), (":a:b", 2, 1),
      ]
    ),
    (
      "`/` cannot stand in the name of a target",
      [
        ("//a:b/c", 5, 1)
      ]
    ),
    (
      "a space cannot stand in the name of a target",
      [
        ("//a:b c", 5, 1), ("//a: b", 4, 1), ("//a:b ", 5, 1),
      ]
    ),
    (
      "`é` cannot stand in the name of a target",
      [
        ("//a:é", 4, 1)
      ]
    ),
    (
      "U+000A cannot stand in the name of a target",
      [
        ("//a:b\n", 5, 1)
      ]
    ),
    (
      "U+0009 cannot stand in the name of a target",
      [
        ("//a:b\t", 5, 1)
      ]
    ),
    (
      "U+0000 cannot stand in a package path",
      [
        ("//a\0:b", 3, 1)
      ]
    ),
    (
      "U+000A cannot stand in a package path",
      [
        ("//a\nb", 3, 1)
      ]
    ),
    (
      "U+001B cannot stand in a package path",
      [
        ("//a\u{1B}[0m:b", 3, 1)
      ]
    ),
    (
      "U+2028 cannot stand in a package path",
      [
        ("//a\u{2028}b:c", 3, 1)
      ]
    ),
    (
      "`-b` cannot be the name of a target",
      [
        ("//a:-b", 4, 2)
      ]
    ),
    (
      "`.` cannot be the name of a target",
      [
        ("//a:.", 4, 1)
      ]
    ),
    (
      "`..` cannot be the name of a target",
      [
        ("//a:..", 4, 2)
      ]
    ),
    (
      "`...` cannot be the name of a target",
      [
        ("//a:...", 4, 3)
      ]
    ),
    (
      "the name of an output is missing",
      [
        ("//a:b#", 5, 1), ("//a#", 3, 1),
      ]
    ),
    (
      "`#` cannot stand in the name of an output",
      [
        ("//a:b##c", 6, 1), ("//a:b#c#d", 7, 1),
      ]
    ),
    (
      "`:` cannot stand in the name of an output",
      [
        ("//a:b#c:d", 7, 1)
      ]
    ),
    (
      "`-c` cannot be the name of an output",
      [
        ("//a:b#-c", 6, 2)
      ]
    ),
    (
      "a space cannot stand in the name of an output",
      [
        ("//a:b#c d", 7, 1)
      ]
    ),
    (
      "a label names no repository: it begins with `//` or is relative",
      [
        ("@", 0, 1), ("@file", 0, 1), ("@slipway//kinds/x:f", 0, 1), ("@repo//a:b", 0, 1),
      ]
    ),
    (
      "`*` cannot stand in the name of a target",
      [
        ("//a:*", 4, 1)
      ]
    ),
    (
      "`*` cannot stand in a package path",
      [
        ("//a/*:b", 4, 1)
      ]
    ),
    (
      "`...` covers many packages; one target is wanted here",
      [
        ("//...", 2, 3), ("//a/...", 4, 3), ("//a/...:b", 4, 3), ("//a/...b/...", 9, 3),
      ]
    ),
    (
      "`...` can only end a pattern",
      [
        ("//.../a:b", 2, 3)
      ]
    ),
    (
      "`?` cannot stand in a package path",
      [
        ("//a?:b", 3, 1)
      ]
    ),
    (
      "`?` cannot stand in the name of a target",
      [
        ("//a:b?", 5, 1)
      ]
    ),
    (
      "`\\` cannot stand in a package path",
      [
        ("//a\\b:c", 3, 1)
      ]
    ),
    (
      "`'` cannot stand in a package path",
      [
        ("//a'b:c", 3, 1)
      ]
    ),
    (
      "`\"` cannot stand in a package path",
      [
        ("//a\"b:c", 3, 1)
      ]
    ),
    (
      "`$` cannot stand in a package path",
      [
        ("//$a:b", 2, 1)
      ]
    ),
    (
      "`$` cannot stand in the name of a target",
      [
        ("//a:$b", 4, 1), ("//a:${b}", 4, 1),
      ]
    ),
    (
      "a backquote cannot stand in a package path",
      [
        ("//a`:b", 3, 1)
      ]
    ),
    (
      "`!` cannot stand in the name of a target",
      [
        ("//a:b!", 5, 1)
      ]
    ),
    (
      "`&` cannot stand in the name of a target",
      [
        ("//a:b&c", 5, 1)
      ]
    ),
    (
      "`(` cannot stand in the name of a target",
      [
        ("//a:(b)", 4, 1)
      ]
    ),
    (
      "`[` cannot stand in the name of a target",
      [
        ("//a:[b]", 4, 1)
      ]
    ),
    (
      "`{` cannot stand in the name of a target",
      [
        ("//a:{b}", 4, 1)
      ]
    ),
    (
      "`;` cannot stand in the name of a target",
      [
        ("//a:b;c", 5, 1)
      ]
    ),
    (
      "`|` cannot stand in the name of a target",
      [
        ("//a:b|c", 5, 1)
      ]
    ),
    (
      "`<` cannot stand in the name of a target",
      [
        ("//a:<b>", 4, 1)
      ]
    ),
    (
      "`@` cannot stand in the name of a target",
      [
        ("//a:b@c", 5, 1)
      ]
    ),
    (
      "a relative label does not begin with `-`",
      [
        ("-//a:b", 0, 1), ("-", 0, 1), ("-a", 0, 1), ("-a/b:c", 0, 1),
      ]
    ),
    (
      "U+007F cannot stand in the name of a target",
      [
        ("//a:\u{7F}", 4, 1)
      ]
    ),
    (
      "U+200B cannot stand in the name of a target",
      [
        ("//a:\u{200B}b", 4, 1)
      ]
    ),
    (
      "U+007F cannot stand in a package path",
      [
        ("//\u{7F}:a", 2, 1)
      ]
    ),
    (
      "`日` cannot stand in the name of a target",
      [
        ("//a:日", 4, 1)
      ]
    ),
    (
      "U+0301 cannot stand in the name of a target",
      [
        ("//a:e\u{301}", 5, 1)
      ]
    ),
  ]

  @Test(arguments: table)
  func `a bad label says why, and where`(
    message: String, texts: [(text: String, offset: Int, length: Int)]
  ) {
    for (text, offset, length) in texts {
      let expected = LabelError(message, in: text, offset: offset, length: length)
      #expect(throws: expected) { try LabelReference.parse(text, relativeTo: WorkspacePath(unchecked: "x/y")) }
    }
  }

  @Test func `the table of bad labels is large`() {
    #expect(Self.table.reduce(0) { $0 + $1.texts.count } >= 80)
  }

  @Test(arguments: [
    (
      "//a", "`//a` names no target: write `//a:NAME`",
      """
      arguments:1:1: error: `//a` names no target: write `//a:NAME`
      1 | //a
        | ^^^

      """
    ),
    (
      "//a:b#out", "a target is wanted here, not its output `out`",
      """
      arguments:1:6: error: a target is wanted here, not its output `out`
      1 | //a:b#out
        |      ^^^^

      """
    ),
  ])
  func `a label that must be one target says what is too much or missing`(
    text: String, message: String, rendered: String
  ) throws {
    let error = try #require(throws: LabelError.self) { try Label.parse(text) }
    #expect(error.message == message)
    #expect(error.diagnostic(file: "arguments").rendered == rendered)
  }

  @Test(arguments: [
    // Plain, quoted, and with an escape that hides where the character stands.
    ("deps: [//a:b c]", 8, 7, 13, 1), ("deps: ['//a:b c']", 8, 9, 14, 1), ("deps: [\"//a:b\\x20c\"]", 8, 12, 8, 12),
  ])
  func `a caret narrows to the character where the excerpt holds the label as it was read`(
    excerpt: String, column: Int, length: Int, caret: Int, width: Int
  ) throws {
    let error = try #require(throws: LabelError.self) { try Label.parse("//a:b c") }
    let span = SourceSpan(file: "targets.yaml", line: 3, column: column, length: length, excerpt: excerpt)
    let place = try #require(error.diagnostic(at: span).span)
    #expect(place.column == caret)
    #expect(place.length == width)
  }

  @Test func `an error needs no place`() throws {
    let error = try #require(throws: LabelError.self) { try Label.parse("//a:") }
    #expect(error.diagnostic(at: nil).rendered == "error: the name of a target is missing\n")
  }

  @Test func `every text is a label or an error, and what is a label reads back`() throws {
    let seed = UInt64.random(in: .min ... .max)
    var random = SeededGenerator(seed: seed)
    let pieces = [
      "/", "//", ":", "#", "a", "b-c", ".", "..", "...", "@", "-", "*", " ", "é", "\u{301}", "\0", "\n", "all",
    ]
    for _ in 0..<20_000 {
      let text = (0..<Int.random(in: 0...8, using: &random)).map { _ in
        pieces.randomElement(using: &random) ?? ""
      }.joined()
      do throws(LabelError) {
        let reference = try LabelReference.parse(text, relativeTo: .root)
        #expect(try LabelReference.parse(reference.description, relativeTo: .root) == reference, "seed \(seed)")
      } catch {
        let count = text.unicodeScalars.count
        #expect(error.offset + error.length <= max(1, count), "seed \(seed): \(text.debugDescription)")
      }
    }
  }
}
