import SeededRandom
import Testing

@testable import Files

@Suite struct GlobTests {
  /// Glob, path, whether it matches.
  static let table: [(String, String, Bool)] = [
    ("a", "a", true), ("a", "b", false), ("a", "a/b", false), ("a/b", "a/b", true), ("a/b", "a", false),
    ("a/b", "a/bc", false), ("main.py", "main.py", true), ("main.py", "x/main.py", false), ("ab", "a", false),
    ("*", "a", true), ("*", "a/b", false), ("*", ".hidden", true), ("*.py", "main.py", true),
    ("*.py", ".py", true), ("*.py", "main.pyc", false), ("*.py", "a/main.py", false), ("a*", "a", true),
    ("a*c", "abbbc", true), ("a*c", "abbb", false), ("a*b*c", "aXbYbZc", true), ("a*b*c", "aXcYb", false),
    ("*a*", "bab", true), ("*a*", "bbb", false), ("*/x", "a/x", true), ("*/x", "x", false),
    ("*/x", "a/b/x", false), ("a/*", "a/b", true), ("a/*", "a", false), ("a/*/c", "a/b/c", true),
    ("a/*/c", "a/b/b/c", false), ("a*/b*", "ax/by", true), ("a*/b*", "a/b", true), ("*a", "a/a", false),
    ("?", "a", true), ("?", "ab", false), ("?", "é", true), ("??", "é", false), ("?", "日", true),
    ("a?c", "a/c", false), ("a?", "a", false), ("*?", "a", true), ("?*?", "a", false), ("*é", "caffé", true),
    ("[abc]", "b", true), ("[abc]", "d", false), ("[a-c]x", "bx", true), ("[a-c]x", "dx", false),
    ("[!a-c]", "d", true), ("[!a-c]", "a", false), ("[^a]", "é", true), ("[a]", "é", false), ("[]]", "]", true),
    ("[]a]", "a", true), ("[!]]", "]", false), ("[a-]", "-", true), ("[-a]", "-", true), ("[a-]", "b", false),
    ("[[]", "[", true), ("[\\]]", "]", true), ("x[0-9][0-9]", "x42", true), ("x[0-9][0-9]", "x4", false),
    ("[!a]", "/", false), ("**", "a", true), ("**", "a/b/c", true), ("**", ".a", true), ("a/**", "a/b", true),
    ("a/**", "a/b/c", true), ("a/**", "a", false), ("a/**", "ab/c", false), ("a/**", "b/a/c", false),
    ("**/a", "a", true), ("**/a", "x/a", true), ("**/a", "x/y/a", true), ("**/a", "x/ba", false),
    ("**/a", "a/b", false), ("a/**/b", "a/b", true), ("a/**/b", "a/x/b", true), ("a/**/b", "a/x/y/b", true),
    ("a/**/b", "a/b/c", false), ("a/**/b", "ab", false), ("**/*.py", "m.py", true), ("**/*.py", "a/b/m.py", true),
    ("**/*.py", "a/b/m.pyc", false), ("**/secrets/**", "secrets/x", true), ("**/secrets/**", "a/secrets/x/y", true),
    ("**/secrets/**", "a/secrets", false), ("**/secrets/**", "secretsX/x", false), ("**/a/**/b", "a/x/a/b", true),
    ("**/a/**/b", "a/x/a/c", false), ("**/**", "a", true), ("a/**/**", "a/b", true), ("a/**/**", "a", false),
    ("**/a/*/b", "a/a/x/b", true), ("**/a/*/b", "a/x/y/b", false), ("**/*", "a/b", true), ("*/**", "a", false),
    ("*/**", "a/b", true), ("a\\*b", "a*b", true), ("a\\*b", "axb", false), ("\\[x]", "[x]", true),
    ("{a,b}", "{a,b}", true), ("{a,b}", "a", false), ("!a", "!a", true), ("a", "", false), ("**", "", false),
    ("...", "...", true), ("a b", "a b", true),
  ]

  @Test(arguments: table)
  func `a glob covers exactly what it says`(glob: String, path: String, expected: Bool) throws {
    #expect(try Glob(glob).matches(path) == expected)
    #expect(try Glob(glob).matches(("x" + path).dropFirst()) == expected)
  }

  @Test(arguments: [
    ("", "a glob cannot be empty"), ("/a", "a glob is relative to its package: `/a` is absolute"),
    ("../a", "a glob stays inside its package: `../a` holds `..`"),
    ("a/..", "a glob stays inside its package: `a/..` holds `..`"),
    ("a/\\.\\.", "a glob stays inside its package: `a/\\.\\.` holds `..`"),
    ("./a", "`./a` holds a `.` component"), ("a//b", "`a//b` has an empty component"),
    ("a/", "`a/` has an empty component"), ("a**", "`**` must be a whole component of `a**`"),
    ("**.py", "`**` must be a whole component of `**.py`"), ("***", "`**` must be a whole component of `***`"),
    ("[a", "`[` is never closed in `[a`"), ("[", "`[` is never closed in `[`"), ("[]", "`[` is never closed in `[]`"),
    ("[a/b]", "`[` is never closed in `[a/b]`"), ("[z-a]", "a range of `[z-a]` runs backwards"),
    ("[é]", "`[…]` can hold only ASCII characters in `[é]`"), ("a\\", "`a\\` has a component that ends in `\\`"),
    ("a\nb", "a glob cannot hold a NUL or a newline"), ("a\0b", "a glob cannot hold a NUL or a newline"),
  ])
  func `what is no glob says why`(text: String, reason: String) {
    #expect(throws: Glob.Malformed(reason: reason)) { try Glob(text) }
  }

  @Test(
    arguments: [
      ("a/b/c", "a/b", "a/b/c"), ("a", "", "a"), ("a/b/*.py", "a/b", nil), ("**", "", nil), ("a/**", "a", nil),
      ("a*/b", "", nil), ("a/b\\*", "a", "a/b*"), ("a\\*/?", "a*", nil),
    ] as [(String, String, String?)])
  func `a glob knows the folders before its first wildcard`(text: String, prefix: String, literal: String?) throws {
    let glob = try Glob(text)
    #expect(glob.literalPrefix == prefix)
    #expect(glob.isLiteral == (literal != nil))
    #expect(glob.literalPath == literal)
  }

  /// Exponential, but plainly right.
  static func naive(_ glob: [[Character]], _ path: [[Character]]) -> Bool {
    guard let first = glob.first else { return path.isEmpty }
    if first == ["*", "*"] {
      if glob.count == 1 { return !path.isEmpty }
      return (0...path.count).contains { naive(Array(glob.dropFirst()), Array(path.dropFirst($0))) }
    }
    guard let name = path.first, naive(first[...], name[...]) else { return false }
    return naive(Array(glob.dropFirst()), Array(path.dropFirst()))
  }

  static func naive(_ glob: ArraySlice<Character>, _ name: ArraySlice<Character>) -> Bool {
    guard let first = glob.first else { return name.isEmpty }
    if first == "*" {
      return (0...name.count).contains { naive(glob.dropFirst(), name.dropFirst($0)) }
    }
    guard let character = name.first, first == "?" || first == character else { return false }
    return naive(glob.dropFirst(), name.dropFirst())
  }

  @Test func `random globs match as a naive matcher does`() throws {
    let seed = UInt64.random(in: .min ... .max)
    var random = SeededGenerator(seed: seed)
    var matched = 0
    for _ in 0..<20_000 {
      let glob = (0..<Int.random(in: 1...4, using: &random)).map { _ -> String in
        if Int.random(in: 0..<3, using: &random) == 0 { return "**" }
        var text = ""
        for _ in 0..<Int.random(in: 1...4, using: &random) {
          let next = ["a", "b", "é", "?", "*"].randomElement(using: &random) ?? "a"
          if next != "*" || text.last != "*" { text += next }
        }
        return text
      }
      let path = (0..<Int.random(in: 1...5, using: &random)).map { _ in
        String((0..<Int.random(in: 1...4, using: &random)).map { _ in "abé".randomElement(using: &random) ?? "a" })
      }
      let expected = Self.naive(glob.map(Array.init), path.map(Array.init))
      let actual = try Glob(glob.joined(separator: "/")).matches(path.joined(separator: "/"))
      if actual { matched += 1 }
      #expect(actual == expected, "seed \(seed): \(glob.joined(separator: "/")) on \(path.joined(separator: "/"))")
    }
    #expect(matched > 1_000)
  }

  @Test func `a hostile pattern takes no exponential time`() throws {
    let glob = try Glob(String(repeating: "**/*a*a*a*a*a*b*/", count: 20) + "c")
    let path = Array(repeating: String(repeating: "a", count: 40), count: 40).joined(separator: "/")
    let clock = ContinuousClock()
    let elapsed = clock.measure { #expect(!glob.matches(path)) }
    #expect(elapsed < .seconds(5))
  }
}
