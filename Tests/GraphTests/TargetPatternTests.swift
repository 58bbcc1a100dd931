import Diagnostics
import Files
import Testing

@testable import Graph

@Suite struct TargetPatternTests {
  static let folder = WorkspacePath(unchecked: "x/y")

  static func path(_ text: String) -> WorkspacePath { WorkspacePath(unchecked: text) }

  static let parsed: [(String, TargetPattern.Selection)] = [
    ("//a:b", .target(Label(package: path("a"), name: "b"))), ("//:b", .target(Label(package: .root, name: "b"))),
    (":b", .target(Label(package: path("x/y"), name: "b"))), ("a:b", .target(Label(package: path("x/y/a"), name: "b"))),
    ("a/b:c", .target(Label(package: path("x/y/a/b"), name: "c"))), ("//a", .defaultTarget(path("a"))),
    ("//a/b", .defaultTarget(path("a/b"))), ("//a/", .defaultTarget(path("a"))), ("a", .path(path("x/y/a"))),
    ("a/b", .path(path("x/y/a/b"))), ("a/b/", .path(path("x/y/a/b"))), ("//a:all", .all(path("a"))),
    ("//a:*", .all(path("a"))), ("//:all", .all(.root)), (":all", .all(path("x/y"))), (":*", .all(path("x/y"))),
    ("a:all", .all(path("x/y/a"))), ("//...", .below(.root)), ("//a/...", .below(path("a"))),
    ("//a/b/...", .below(path("a/b"))), ("...", .below(path("x/y"))), ("a/...", .below(path("x/y/a"))),
    ("//...:all", .below(.root)), ("//a/...:*", .below(path("a"))), ("...:all", .below(path("x/y"))),
    ("//all", .defaultTarget(path("all"))), ("//a....", .defaultTarget(path("a...."))),
    ("//a:all-b", .target(Label(package: path("a"), name: "all-b"))),
  ]

  @Test(arguments: parsed)
  func `a pattern says what it selects, and with a minus what it takes away`(
    text: String, selection: TargetPattern.Selection
  ) throws {
    let pattern = try TargetPattern.parse(text, relativeTo: Self.folder)
    #expect(pattern.selection == selection)
    #expect(!pattern.isNegative)
    #expect(pattern.description == text)
    let negative = try TargetPattern.parse("-" + text, relativeTo: Self.folder)
    #expect(negative.selection == selection)
    #expect(negative.isNegative)
  }

  @Test(arguments: [
    ("", "a pattern cannot be empty", 0, 1), ("-", "nothing follows the `-`", 0, 1),
    ("--a", "a relative label does not begin with `-`", 1, 1),
    ("//", "the root's target must be named: `//:NAME` or `//:all`", 0, 2),
    ("-//", "the root's target must be named: `//:NAME` or `//:all`", 0, 3),
    ("/a/...", "`/a/...` is a file path: a label begins with `//` or is relative", 0, 1),
    ("//a:b#c", "a pattern selects targets, not outputs", 5, 2), ("//a/...:b", "only `:all` can follow `...`", 7, 2),
    ("//...:", "only `:all` can follow `...`", 5, 1), ("//.../a", "`...` can only end a pattern", 2, 3),
    ("-//.../a", "`...` can only end a pattern", 3, 3), ("//a:...", "`...` cannot be the name of a target", 4, 3),
    ("//a/*", "`*` cannot stand in a package path", 4, 1), ("//a:b*", "`*` cannot stand in the name of a target", 5, 1),
    ("//a//...", "a package path does not end in `/`", 3, 1), ("//a//", "a package path does not end in `/`", 3, 1),
    ("../a", "a package path has no `..` component", 0, 2), ("-../a", "a package path has no `..` component", 1, 2),
    ("@x//a", "a label names no repository: it begins with `//` or is relative", 0, 1),
    ("-@x//a", "a label names no repository: it begins with `//` or is relative", 1, 1),
    ("//a:", "the name of a target is missing", 3, 1), ("//a:all:b", "`:` cannot stand in the name of a target", 7, 1),
  ])
  func `a bad pattern says why, and where`(text: String, message: String, offset: Int, length: Int) {
    let expected = LabelError(message, in: text, offset: offset, length: length)
    #expect(throws: expected) { try TargetPattern.parse(text, relativeTo: Self.folder) }
  }

  // MARK: Resolution

  /// Packages with their targets; the first is the default where it is `image`.
  static let workspace: [(package: String, targets: [String])] = [
    ("", ["top"]), ("a", ["image", "unit", "all-b"]), ("a-b", ["image"]), ("a/b", ["image", "spec"]),
    ("a/b/c", ["lib"]),
    ("ab", ["x", "y"]), ("e", []), ("z/deep/er", ["image"]),
  ]

  static func resolve(_ texts: [String], from folder: String = "") throws(DiagnosticList) -> [String] {
    var patterns: [TargetPattern] = []
    for text in texts {
      do throws(LabelError) {
        patterns.append(try TargetPattern.parse(text, relativeTo: path(folder)))
      } catch {
        throw DiagnosticList([error.diagnostic(file: "test")])
      }
    }
    func targets(_ package: WorkspacePath) -> [String] {
      workspace.first { $0.package == package.string }?.targets ?? []
    }
    let set = TargetPatternSet(patterns)
    let all = workspace.map { path($0.package) }
    let labels = try set.resolve(packages: all.shuffled(), targets: targets) { package in
      targets(package).first { $0 == "image" } ?? (targets(package).count == 1 ? targets(package).first : nil)
    }
    // What a build loads must suffice for what it selects.
    let loaded = set.packages(among: all)
    #expect(labels.allSatisfy { loaded.contains($0.package) })
    #expect(loaded == loaded.sorted())
    return labels.map(\.description)
  }

  static let everything = [
    "//:top", "//a:all-b", "//a:image", "//a:unit", "//a-b:image", "//a/b:image", "//a/b:spec", "//a/b/c:lib", "//ab:x",
    "//ab:y", "//z/deep/er:image",
  ]

  static let resolved: [(patterns: [String], folder: String, labels: [String])] = [
    (["//a:unit"], "", ["//a:unit"]), (["//a"], "", ["//a:image"]), (["//a/b/c"], "", ["//a/b/c:lib"]),
    (["//a:all"], "", ["//a:all-b", "//a:image", "//a:unit"]), (["//a:*"], "", ["//a:all-b", "//a:image", "//a:unit"]),
    (["//..."], "", everything), (["..."], "", everything), (["//e:all"], "", []), (["//:all"], "", ["//:top"]),
    (["//a/..."], "", Array(everything[1...3] + everything[5...7])), (["//e/..."], "", []),
    (["..."], "a/b", Array(everything[5...7])), (["//z/..."], "", ["//z/deep/er:image"]),
    (["//z/deep/..."], "", ["//z/deep/er:image"]), ([":unit"], "a", ["//a:unit"]), (["b:spec"], "a", ["//a/b:spec"]),
    (["b"], "a", ["//a/b:image"]), (["b/"], "a", ["//a/b:image"]), (["b/c"], "a", ["//a/b/c:lib"]),
    (["unit"], "a", ["//a:unit"]), (["a"], "", ["//a:image"]), (["top"], "", ["//:top"]),
    (["b/spec"], "a", ["//a/b:spec"]),
    (["a/unit"], "", ["//a:unit"]), ([":all"], "ab", ["//ab:x", "//ab:y"]),
    (["//ab:y", "//ab:x", "//ab:y"], "", ["//ab:x", "//ab:y"]),
    (["//a/...", "-//a/b/..."], "", Array(everything[1...3])),
    (["//a/...", "-//a/b"], "", Array(everything[1...3]) + ["//a/b:spec", "//a/b/c:lib"]),
    (["//a:all", "-//a:unit"], "", ["//a:all-b", "//a:image"]),
    (["-//a:unit", "//a:all"], "", Array(everything[1...3])),
    (["//a:all", "-//a:all", "//a:unit"], "", ["//a:unit"]),
    (["//a/...", "-//a/...", "//a/b/..."], "", Array(everything[5...7])),
    (["//a:unit", "-//a/..."], "", []), (["-//a/..."], "", []), ([], "", []), (["//...", "-//..."], "", []),
    (["//ab:all", "-x"], "ab", ["//ab:y"]), (["//ab:all", "-//nowhere/..."], "", ["//ab:x", "//ab:y"]),
    (["//ab:all", "-//ab:gone"], "", ["//ab:x", "//ab:y"]), (["//ab:all", "-//ab"], "", ["//ab:x", "//ab:y"]),
    (["//...", "-//a/...", "-//z/...", "-//:all"], "", ["//a-b:image", "//ab:x", "//ab:y"]),
  ]

  @Test(arguments: resolved)
  func `patterns select in order, later minuses taking away`(
    patterns: [String], folder: String, labels: [String]
  ) throws {
    #expect(try Self.resolve(patterns, from: folder) == labels)
  }

  static let unmatched: [(pattern: String, folder: String, message: String)] = [
    ("//a:units", "", "error: unknown target `//a:units`\nhint: did you mean `//a:unit`?\n"),
    ("//a:nothing", "", "error: unknown target `//a:nothing`\nnote: `//a` has `all-b`, `image` and `unit`\n"),
    ("//a-b:nothing", "", "error: unknown target `//a-b:nothing`\nnote: `//a-b` has `image`\n"),
    ("//e:x", "", "error: unknown target `//e:x`\n"),
    ("//z/deep/err:image", "", "error: unknown package `//z/deep/err`\nhint: did you mean `//z/deep/er:image`?\n"),
    ("//z/deep/err:other", "", "error: unknown package `//z/deep/err`\nhint: did you mean `//z/deep/er`?\n"),
    ("//z/deep/err", "", "error: unknown package `//z/deep/err`\nhint: did you mean `//z/deep/er`?\n"),
    ("//z/deep/err:all", "", "error: unknown package `//z/deep/err`\nhint: did you mean `//z/deep/er:all`?\n"),
    ("//z/dep/...", "", "error: no packages below `//z/dep`\nhint: did you mean `//z/deep/...`?\n"),
    ("//qqqqqq/...", "", "error: no packages below `//qqqqqq`\n"),
    ("//qqqqqq", "", "error: unknown package `//qqqqqq`\n"),
    (
      "//ab", "",
      """
      error: `//ab` has no default target
      note: its targets are `x` and `y`
      hint: name a target, or `//ab:all`; `default:` in its manifest chooses one

      """
    ),
    (
      "//z", "",
      """
      error: `//z` is no package: the folder has no manifest
      note: 1 package is below it
      hint: `//z/...` selects what lies below it

      """
    ),
    ("unitt", "a", "error: unknown target `//a:unitt`\nhint: did you mean `//a:unit`?\n"),
    (
      "deep", "z",
      """
      error: `//z/deep` is no package: the folder has no manifest
      note: 1 package is below it
      hint: `//z/deep/...` selects what lies below it

      """
    ),
    ("z/deap/er", "", "error: unknown package `//z/deap/er`\nhint: did you mean `//z/deep/er`?\n"),
  ]

  @Test(arguments: unmatched)
  func `a pattern that matches nothing is an error with a suggestion`(
    pattern: String, folder: String, message: String
  ) throws {
    let error = try #require(throws: DiagnosticList.self) { try Self.resolve([pattern], from: folder) }
    #expect(error.diagnostics.map(\.rendered).joined() == message)
    #expect(try Self.resolve(["-" + pattern], from: folder) == [])
  }

  @Test func `every pattern that matches nothing is reported`() throws {
    let error = try #require(throws: DiagnosticList.self) {
      try Self.resolve(["//a:no1", "//ab:x", "-//a:no2", "//qqqqqq"])
    }
    #expect(error.diagnostics.map(\.message) == ["unknown target `//a:no1`", "unknown package `//qqqqqq`"])
  }

  @Test(
    arguments: [
      (["//a:x"], ["a"]), (["//a"], ["a"]), (["//a/..."], ["a", "a/b", "a/b/c"]), (["a/b"], ["a", "a/b"]),
      (["//...", "-//a/..."], ["", "a-b", "ab", "e", "z/deep/er"]), (["//a:x", "-//a/..."], ["a"]),
      (["//a:all", "-//a:all"], []), (["//a/...", "-//a"], ["a", "a/b", "a/b/c"]), (["-//..."], []), (["//q"], []),
    ] as [([String], [String])])
  func `only packages that a pattern can touch are loaded`(texts: [String], packages: [String]) throws {
    var patterns: [TargetPattern] = []
    for text in texts { patterns.append(try TargetPattern.parse(text, relativeTo: .root)) }
    let all = Self.workspace.map { Self.path($0.package) }
    #expect(TargetPatternSet(patterns).packages(among: all.shuffled()).map(\.string) == packages)
  }

  // MARK: Files of patterns

  @Test func `a file of patterns has one a line, with comments and blanks`() throws {
    let text = "\u{FEFF}# all\r\n//a:b\r\n\n  -//c/...\t# not these\n//d#x\n:e"
    let error = try #require(throws: DiagnosticList.self) {
      try TargetPattern.parse(file: "list", text: text, relativeTo: Self.folder)
    }
    #expect(
      error.diagnostics.map(\.rendered).joined() == """
        list:5:4: error: a pattern selects targets, not outputs
        5 | //d#x
          |    ^^

        """)
    let good = text.split(separator: "\n").filter { $0 != "//d#x" }.joined(separator: "\n")
    let patterns = try TargetPattern.parse(file: "list", text: good, relativeTo: Self.folder)
    #expect(patterns.map(\.text) == ["//a:b", "-//c/...", ":e"])
    #expect(try TargetPattern.parse(file: "list", text: "", relativeTo: Self.folder) == [])
    #expect(try TargetPattern.parse(file: "list", text: " \n\t\n#\n", relativeTo: Self.folder) == [])
  }

  @Test func `an unmatched pattern of a file is shown where it stands`() throws {
    let patterns = try TargetPattern.parse(file: "list", text: "//a:unit\n //a:units", relativeTo: .root)
    let error = try #require(throws: DiagnosticList.self) {
      try TargetPatternSet(patterns).resolve(
        packages: [Self.path("a")], targets: { _ in ["unit"] }, defaultTarget: { _ in nil })
    }
    #expect(
      error.diagnostics.map(\.rendered).joined() == """
        list:2:2: error: unknown target `//a:units`
        2 |  //a:units
          |  ^^^^^^^^^
        hint: did you mean `//a:unit`?

        """)
  }
}
