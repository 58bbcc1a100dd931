import Diagnostics
import Files
import SeededRandom
import Testing

@testable import Graph

@Suite struct QueryTests {
  /// Query, current folder, selected labels.
  static let table: [(query: String, folder: String, labels: String)] = [
    ("//lib:lib", "", "//lib:lib"),
    ("//src/a", "", "//src/a:image"),
    ("//src/a:all", "", "//src/a:code //src/a:image //src/a:spec //src/a:test //src/a:unit"),
    (
      "//src/...", "",
      """
      //src/a:code //src/a:image //src/a:spec //src/a:test //src/a:unit //src/b:code //src/b:image \
      //src/b:spec //src/b:test //src/b:unit
      """
    ),
    (":unit", "src/a", "//src/a:unit"),
    ("unit", "src/b", "//src/b:unit"),
    ("b:spec", "src", "//src/b:spec"),
    ("...", "src/b", "//src/b:code //src/b:image //src/b:spec //src/b:test //src/b:unit"),
    ("\"//lib:lib\"", "", "//lib:lib"),
    ("'//lib:lib'", "", "//lib:lib"),
    ("//docs:all", "", ""),
    ("(//lib:lib)", "", "//lib:lib"),
    ("((  //lib:lib ))", "", "//lib:lib"),
    ("deps(//src/a:unit)", "", "//base:image //lib:lib //src/a:code //src/a:image //src/a:unit"),
    ("deps(//src/a:unit, 0)", "", "//src/a:unit"),
    ("deps(//src/a:unit, 1)", "", "//src/a:image //src/a:unit"),
    ("deps(//src/a:unit, 2)", "", "//base:image //lib:lib //src/a:code //src/a:image //src/a:unit"),
    ("deps(//lib:lib)", "", "//lib:lib"),
    ("deps(set())", "", ""),
    ("deps(//src/a:spec, 1)", "", "//src/a:image //src/a:spec //src/a:unit"),
    ("deps(//:all) - deps(//src/a:test) - deps(//src/b:test)", "", "//:all //lib:unit"),
    (
      "rdeps(//..., //lib:lib)", "",
      """
      //:all //lib:lib //lib:unit //src/a:image //src/a:spec //src/a:test //src/a:unit //src/b:image \
      //src/b:spec //src/b:test //src/b:unit
      """
    ),
    ("rdeps(//..., //lib:lib, 1)", "", "//lib:lib //lib:unit //src/a:image //src/b:image"),
    ("rdeps(//..., //lib:lib, 0)", "", "//lib:lib"),
    ("rdeps(//src/a:test, //lib:lib)", "", "//lib:lib //src/a:image //src/a:spec //src/a:test //src/a:unit"),
    ("rdeps(//lib:all, //src/a:code)", "", ""),
    ("rdeps(//src/b:spec, //base + //src/a:code)", "", "//base:image //src/b:image //src/b:spec //src/b:unit"),
    ("rdeps(//..., //:all)", "", "//:all"),
    ("allpaths(//src/a:test, //base)", "", "//base:image //src/a:image //src/a:spec //src/a:test //src/a:unit"),
    ("allpaths(//base, //src/a:test)", "", ""),
    ("allpaths(//src/a:code, //src/a:code)", "", "//src/a:code"),
    ("allpaths(//src/a:unit, //src/b:code)", "", ""),
    ("somepath(//src/a:test, //base)", "", "//src/a:test //src/a:spec //src/a:image //base:image"),
    ("somepath(//:all, //src/b:code)", "", "//:all //src/b:test //src/b:spec //src/b:image //src/b:code"),
    ("somepath(//src/..., //src/b:code)", "", "//src/b:code"),
    ("somepath(//base, //:all)", "", ""),
    ("somepath(//lib:lib, //lib:all)", "", "//lib:lib"),
    ("somepath(//:all, //base) + //lib:lib", "", "//:all //base:image //lib:lib //lib:unit"),
    ("kind(test, //...)", "", "//lib:unit //src/a:spec //src/a:unit //src/b:spec //src/b:unit"),
    ("kind('^test$', //lib:all)", "", "//lib:unit"),
    ("kind(\"es\", //lib:all)", "", "//lib:lib //lib:unit"),
    ("kind('rootfs|suite', //...)", "", "//:all //base:image //src/a:test //src/b:test"),
    ("kind(nothing, //...)", "", ""),
    ("kind('(?i)TEST', //src/a:all)", "", "//src/a:spec //src/a:unit"),
    ("attr(size, small, //...)", "", "//lib:unit //src/b:unit"),
    ("attr(size, 'small|large', kind(test, //...))", "", "//lib:unit //src/a:unit //src/b:unit"),
    ("attr(env, '^B=b$', //...)", "", "//src/b:unit"),
    ("attr(\"env\", \"A=1\", //...)", "", "//src/a:unit //src/b:unit"),
    ("attr(nothing, '', //...)", "", ""),
    ("attr(size, '', //...)", "", "//lib:unit //src/a:unit //src/b:unit"),
    ("filter('a:', //...)", "", "//src/a:code //src/a:image //src/a:spec //src/a:test //src/a:unit"),
    ("filter('^//src/[ab]:(unit|spec)$', //...)", "", "//src/a:spec //src/a:unit //src/b:spec //src/b:unit"),
    ("filter(unit, //... - //lib:all)", "", "//src/a:unit //src/b:unit"),
    ("filter('', //lib:all)", "", "//lib:lib //lib:unit"),
    ("owner(lib/lib.py)", "", "//lib:lib"),
    ("owner(lib.py)", "lib", "//lib:lib"),
    ("owner(./lib.py)", "lib", "//lib:lib"),
    ("owner(//src/a/main.py)", "lib", "//src/a:code"),
    ("owner('src/a/x y.txt')", "", "//src/a:code"),
    ("owner(lib/gone.py)", "", ""),
    ("rdeps(//..., owner(src/b/main.py)) ^ kind(test, //...)", "", "//src/b:spec //src/b:unit"),
    ("tests(//:all)", "", "//lib:unit //src/a:spec //src/a:unit //src/b:spec //src/b:unit"),
    ("tests(//src/a:test)", "", "//src/a:spec //src/a:unit"),
    ("tests(//src/a:unit + //lib:lib)", "", "//src/a:unit"),
    ("tests(set())", "", ""),
    ("set()", "", ""),
    ("set(//lib:lib)", "", "//lib:lib"),
    ("set(//src/a //lib:lib '//base:image')", "", "//base:image //lib:lib //src/a:image"),
    ("set(:unit :spec)", "src/a", "//src/a:spec //src/a:unit"),
    ("//lib:lib + //base", "", "//base:image //lib:lib"),
    ("//lib:lib union //base", "", "//base:image //lib:lib"),
    ("//src/a:all - //src/a:unit", "", "//src/a:code //src/a:image //src/a:spec //src/a:test"),
    ("//src/a:all except //src/a:unit", "", "//src/a:code //src/a:image //src/a:spec //src/a:test"),
    ("//src/a:all ^ //src/...:all", "", "//src/a:code //src/a:image //src/a:spec //src/a:test //src/a:unit"),
    ("//src/a:all intersect //lib:all", "", ""),
    ("//lib:lib + //base - //lib:lib", "", "//base:image"),
    ("//lib:lib + (//base - //lib:lib)", "", "//base:image //lib:lib"),
    ("//lib:lib - //lib:lib + //lib:lib ^ //lib:lib", "", "//lib:lib"),
    ("//lib:all -//lib:unit", "", "//lib:lib"),
    ("let x = //lib:lib in $x + //base", "", "//base:image //lib:lib"),
    ("let x = //lib:lib in let y = //base in $x + $y", "", "//base:image //lib:lib"),
    ("let x = //lib:lib in let x = deps(//src/a) - $x in $x", "", "//base:image //src/a:code //src/a:image"),
    ("(let x = //base in $x) + //lib:lib", "", "//base:image //lib:lib"),
    ("let v = //src/a:test in allpaths($v, //base) ^ $v", "", "//src/a:test"),
    ("let x = //src/a:unit in deps($x,1)", "", "//src/a:image //src/a:unit"),
    ("  \n deps( \t//lib:unit\n,1 )\r\n", "", "//base:image //lib:lib //lib:unit"),
  ]

  @Test(arguments: table)
  func `a query selects what it says`(query: String, folder: String, labels: String) throws {
    #expect(QueryWorkspace.names(try QueryWorkspace.evaluate(query, folder)).joined(separator: " ") == labels)
  }

  @Test func `depths, paths and reverse dependencies agree with a naive walk on random graphs`() throws {
    let seed = UInt64.random(in: .min ... .max)
    var random = SeededGenerator(seed: seed)
    for _ in 0..<60 {
      let count = Int.random(in: 2...24, using: &random)
      let names = (0..<count).map { "p\($0)" }
      let lines = names.enumerated().map { place, name in
        (name, (0..<2).compactMap { _ in names[(place + 1)...].randomElement(using: &random) })
      }
      let graph = Drawing.graph(lines.shuffled(using: &random)).graph
      // How many edges lie between two targets at least, by relaxing until nothing changes.
      var distance = (0..<count).map { from in (0..<count).map { from == $0 ? 0 : Int.max / 2 } }
      for _ in 0..<count {
        for from in 0..<count {
          for middle in graph.dependencies(of: from) {
            for to in 0..<count { distance[from][to] = min(distance[from][to], distance[middle][to] + 1) }
          }
        }
      }
      func run(_ text: String) throws -> [Int] {
        try Query.parse(text, relativeTo: .root).evaluate(in: graph) { _ in "t" }.targets
      }
      let (a, b) = (Int.random(in: 0..<count, using: &random), Int.random(in: 0..<count, using: &random))
      let (nameA, nameB) = (graph.nodes[a].label, graph.nodes[b].label)
      let depth = Int.random(in: 0...4, using: &random)
      let near = (0..<count).filter { distance[a][$0] <= depth }
      #expect(try run("deps(\(nameA), \(depth))") == near, "seed \(seed)")
      let dependents = (0..<count).filter { distance[$0][a] <= depth }
      #expect(try run("rdeps(//..., \(nameA), \(depth))") == dependents, "seed \(seed)")
      let between = (0..<count).filter { distance[a][$0] < count && distance[$0][b] < count }
      #expect(try run("allpaths(\(nameA), \(nameB))") == between, "seed \(seed)")
      let path = try run("somepath(\(nameA), \(nameB))")
      #expect(path.count == (distance[a][b] < count ? distance[a][b] + 1 : 0), "seed \(seed)")
      #expect(zip(path, path.dropFirst()).allSatisfy { graph.dependencies(of: $0).contains($1) }, "seed \(seed)")
    }
  }

  // MARK: Output

  @Test func `labels are printed one a line`() throws {
    let result = try QueryWorkspace.evaluate("//lib:all + //base")
    #expect(
      QueryOutput.label.render(result, in: QueryWorkspace.graph) == "//base:image\n//lib:lib\n//lib:unit\n")
    #expect(QueryOutput.label.render(QueryResult(targets: []), in: QueryWorkspace.graph) == "")
  }

  @Test func `JSON holds a target a line`() throws {
    let result = try QueryWorkspace.evaluate("//src/a:unit + //src/a:code + //lib:unit")
    #expect(
      QueryOutput.json.render(result, in: QueryWorkspace.graph) == """
        [
        {"label":"//lib:unit","rule":"test","location":"lib/targets.yaml:3:5","dependencies":[\
        {"label":"//base:image","role":"image"},{"label":"//lib:lib","role":"input"}],"attributes":{"size":["small"]},\
        "sources":[]},
        {"label":"//src/a:code","rule":"files","kind":"python","location":"src/a/targets.yaml:3:5","dependencies":[],\
        "attributes":{},"sources":["src/a/main.py","src/a/x y.txt"]},
        {"label":"//src/a:unit","rule":"test","kind":"python","location":"src/a/targets.yaml:3:5","dependencies":[\
        {"label":"//src/a:image","role":"image"}],"attributes":{"env":["A=1","B=a"],"size":["large"]},"sources":[]}
        ]

        """)
    #expect(QueryOutput.json.render(QueryResult(targets: []), in: QueryWorkspace.graph) == "[]\n")
  }

  @Test func `JSON escapes what a name or a value may hold`() {
    var diagnostics = DiagnosticList()
    let node = GraphNode(
      label: Drawing.label("a"), rule: "action",
      dependencies: [GraphEdge(target: Drawing.label("a/b"), role: .input, output: "x")],
      attributes: [("b", "\u{1}\\\"\n\té\u{7f}"), ("a", "1")], sources: [WorkspacePath(unchecked: "a/\"q\"")])
    let graph = TargetGraph(
      [node, GraphNode(label: Drawing.label("a/b"), rule: "files")], diagnostics: &diagnostics)
    #expect(
      QueryOutput.json.render(QueryResult(targets: [0]), in: graph) == #"""
        [
        {"label":"//a:t","rule":"action","dependencies":[{"label":"//a/b:t","role":"input","output":"x"}],\#
        "attributes":{"a":["1"],"b":["\u0001\\\"\n\té\u007f"]},"sources":["a/\"q\""]}
        ]

        """#)
  }

  @Test func `a drawing has the targets and the edges among them`() throws {
    let result = try QueryWorkspace.evaluate("somepath(//src/a:unit, //base) + //lib:lib")
    #expect(
      QueryOutput.dot.render(result, in: QueryWorkspace.graph) == """
        digraph slipway {
          node [shape=box];
          "//base:image";
          "//lib:lib";
          "//src/a:image";
          "//src/a:image" -> "//base:image";
          "//src/a:image" -> "//lib:lib";
          "//src/a:unit";
          "//src/a:unit" -> "//src/a:image";
        }

        """)
  }

  @Test func `a query over 2,400 targets takes little time`() throws {
    var nodes = [GraphNode(label: Drawing.label("//lib:lib"), rule: "files")]
    for number in 0..<600 {
      let package = "//connectors/source-\(number)"
      nodes.append(QueryWorkspace.node(package + ":code", "files"))
      nodes.append(
        QueryWorkspace.node(package + ":image", "image", [(package + ":code", .layer), ("//lib:lib", .layer)]))
      nodes.append(QueryWorkspace.node(package + ":unit", "test", [(package + ":image", .image)]))
      nodes.append(QueryWorkspace.node(package + ":test", "suite", [(package + ":unit", .test)]))
    }
    var diagnostics = DiagnosticList()
    let graph = TargetGraph(nodes, diagnostics: &diagnostics)
    let query = try Query.parse("kind(test, rdeps(//..., //lib:lib))", relativeTo: .root)
    var found = 0
    let clock = ContinuousClock()
    let elapsed = try (0..<5).map { _ in
      try clock.measure { found = try query.evaluate(in: graph) { _ in nil }.targets.count }
    }.min()
    #expect(found == 600)
    // A debug build on a loaded machine; a release build takes a hundredth of this.
    #expect(try #require(elapsed) < .milliseconds(500))
  }
}
