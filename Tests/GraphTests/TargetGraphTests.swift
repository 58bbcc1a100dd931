import Diagnostics
import Files
import SeededRandom
import Testing

@testable import Graph

/// Small graphs for tests: a name is a label's package, its target is `t`, and every edge has a place of its own.
enum Drawing {
  static func label(_ name: String) -> Label {
    if name.hasPrefix("//"), let label = try? Label.parse(name) { return label }
    return Label(package: WorkspacePath(unchecked: name), name: "t")
  }

  /// `["a": ["b"]]`-like: targets with what they depend on.
  static func nodes(_ lines: [(String, [String])]) -> [GraphNode] {
    lines.map { name, dependencies in
      let label = label(name)
      let file = label.package.appending("targets.yaml").string
      let edges = dependencies.enumerated().map { number, dependency in
        let target = Drawing.label(dependency)
        let text = target.description
        return GraphEdge(
          target: target, role: .input,
          span: SourceSpan(
            file: file, line: number + 2, column: 5, length: text.unicodeScalars.count, excerpt: "  - " + text))
      }
      return GraphNode(
        label: label, rule: "files", span: SourceSpan(file: file, line: 1, column: 1), dependencies: edges)
    }
  }

  static func graph(_ lines: [(String, [String])]) -> (graph: TargetGraph, messages: String) {
    var diagnostics = DiagnosticList()
    let graph = TargetGraph(nodes(lines), diagnostics: &diagnostics)
    return (graph, diagnostics.sorted.map(\.rendered).joined())
  }
}

extension TargetGraph {
  func names(_ indices: [Int]) -> [String] { indices.map { nodes[$0].label.package.string } }
}

@Suite struct TargetGraphTests {
  @Test func `a graph knows dependencies, dependents, order and closure`() throws {
    let (graph, messages) = Drawing.graph([("d", []), ("a", ["c", "b"]), ("c", ["d"]), ("b", ["d", "d"]), ("e", [])])
    #expect(messages.isEmpty)
    #expect(graph.names(Array(graph.nodes.indices)) == ["a", "b", "c", "d", "e"])
    let a = try #require(graph.index(of: Drawing.label("a")))
    let d = try #require(graph.index(of: Drawing.label("d")))
    #expect(graph.index(of: Drawing.label("x")) == nil)
    #expect(graph.names(graph.dependencies(of: a)) == ["b", "c"])
    #expect(graph.names(graph.dependents(of: d)) == ["b", "c"])
    #expect(graph.names(graph.topologicalOrder) == ["d", "b", "c", "a", "e"])
    #expect(graph.names(graph.closure(of: [a])) == ["d", "b", "c", "a"])
    #expect(graph.names(graph.closure(of: [d, d])) == ["d"])
    #expect(graph.closure(of: []).isEmpty)
  }

  @Test func `an empty graph is a graph`() {
    let (graph, messages) = Drawing.graph([])
    #expect(messages.isEmpty)
    #expect(graph.topologicalOrder.isEmpty)
    #expect(graph.closure(of: []).isEmpty)
  }

  static let unknown: [(String, String)] = [
    (
      "//libs/protocol:libb",
      """
      a/targets.yaml:2:5: error: unknown target `//libs/protocol:libb`
      2 |   - //libs/protocol:libb
        |     ^^^^^^^^^^^^^^^^^^^^
      hint: did you mean `//libs/protocol:lib`?

      """
    ),
    (
      "//libs/protocl:lib",
      """
      a/targets.yaml:2:5: error: unknown target `//libs/protocl:lib`
      2 |   - //libs/protocl:lib
        |     ^^^^^^^^^^^^^^^^^^
      hint: did you mean `//libs/protocol:lib`?

      """
    ),
    (
      "//libs/protocol:wholly-different",
      """
      a/targets.yaml:2:5: error: unknown target `//libs/protocol:wholly-different`
      2 |   - //libs/protocol:wholly-different
        |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      note: `//libs/protocol` has `lib` and `test`

      """
    ),
    (
      "//q:t",
      """
      a/targets.yaml:2:5: error: unknown target `//q:t`
      2 |   - //q:t
        |     ^^^^^
      hint: did you mean `//a:t`?

      """
    ),
    (
      "//somewhere/far/away:x",
      """
      a/targets.yaml:2:5: error: unknown target `//somewhere/far/away:x`
      2 |   - //somewhere/far/away:x
        |     ^^^^^^^^^^^^^^^^^^^^^^

      """
    ),
  ]

  @Test(arguments: unknown)
  func `an unknown target is shown where it is named, with the nearest`(label: String, message: String) {
    let (graph, messages) = Drawing.graph([
      ("a", [label, "//libs/protocol:lib"]), ("//libs/protocol:lib", []), ("//libs/protocol:test", []),
    ])
    #expect(messages == message)
    // The edge is dropped, the others stay.
    #expect(graph.dependencies(of: 0) == [1])
    #expect(graph.nodes[0].dependencies.map(\.target.description) == ["//libs/protocol:lib"])
  }

  @Test func `an edge without a place names the target that it leaves`() {
    var diagnostics = DiagnosticList()
    let edge = GraphEdge(target: Drawing.label("//x/y:zzzzz"), role: .needs)
    _ = TargetGraph(
      [GraphNode(label: Drawing.label("a"), rule: "test", dependencies: [edge])], diagnostics: &diagnostics)
    #expect(
      diagnostics.diagnostics.map(\.rendered)
        == ["error: unknown target `//x/y:zzzzz`, which `//a:t` depends on\n"])
  }

  @Test func `thousands of unknown targets are all reported, quickly`() {
    let lines = (0..<2_000).map { number in
      (String(repeating: "long/", count: 12) + "p\(number)", ["gone/\(number)"])
    }
    var diagnostics = DiagnosticList()
    let nodes = Drawing.nodes(lines)
    let elapsed = ContinuousClock().measure { _ = TargetGraph(nodes, diagnostics: &diagnostics) }
    #expect(diagnostics.diagnostics.count == 2_000)
    #expect(elapsed < .seconds(20))
  }

  @Test func `a label declared twice counts once, the first time`() {
    let (graph, messages) = Drawing.graph([("a", []), ("b", []), ("a", ["b"])])
    #expect(
      messages == """
        a/targets.yaml:1:1: error: `//a:t` is declared twice
        a/targets.yaml:1:1: note: it is first declared here

        """)
    #expect(graph.names(Array(graph.nodes.indices)) == ["a", "b"])
    #expect(graph.dependencies(of: 0).isEmpty)
  }

  @Test func `the order of the nodes that are given changes nothing`() {
    let seed = UInt64.random(in: .min ... .max)
    var random = SeededGenerator(seed: seed)
    for _ in 0..<50 {
      // With cycles and unknown targets.
      let lines = (0..<30).map { number in
        ("p\(number)", (0..<2).map { _ in "p\(Int.random(in: 0..<33, using: &random))" })
      }
      let expected = Drawing.graph(lines)
      let actual = Drawing.graph(lines.shuffled(using: &random))
      #expect(actual.messages == expected.messages, "seed \(seed)")
      #expect(actual.graph.topologicalOrder == expected.graph.topologicalOrder, "seed \(seed)")
      #expect(actual.graph.nodes.map(\.dependencies) == expected.graph.nodes.map(\.dependencies), "seed \(seed)")
    }
  }

  /// By definition: the least label whose dependencies are all placed comes next.
  static func naiveOrder(_ graph: TargetGraph) -> [Int] {
    var placed: [Int] = []
    while let next = graph.nodes.indices.first(where: { index in
      !placed.contains(index) && graph.dependencies(of: index).allSatisfy(placed.contains)
    }) {
      placed.append(next)
    }
    return placed
  }

  @Test func `random graphs come out sorted and closed as a naive walk has it`() {
    let seed = UInt64.random(in: .min ... .max)
    var random = SeededGenerator(seed: seed)
    for _ in 0..<200 {
      let count = Int.random(in: 1...40, using: &random)
      // Edges go from a shuffled place to a later one, so that labels and order have nothing to do with each other.
      let names = (0..<count).map { "p\($0)" }.shuffled(using: &random)
      let lines = names.enumerated().map { place, name in
        (
          name,
          (0..<Int.random(in: 0...4, using: &random)).compactMap { _ in
            names[(place + 1)...].randomElement(using: &random)
          }
        )
      }
      let (graph, messages) = Drawing.graph(lines.shuffled(using: &random))
      #expect(messages.isEmpty)
      #expect(graph.topologicalOrder == Self.naiveOrder(graph), "seed \(seed)")
      let roots = (0..<3).map { _ in Int.random(in: 0..<count, using: &random) }
      var reached = Set<Int>()
      func visit(_ target: Int) {
        if reached.insert(target).inserted { graph.dependencies(of: target).forEach(visit) }
      }
      roots.forEach(visit)
      #expect(graph.closure(of: roots) == graph.topologicalOrder.filter(reached.contains), "seed \(seed)")
      for target in 0..<count {
        let dependents = (0..<count).filter { graph.dependencies(of: $0).contains(target) }
        #expect(graph.dependents(of: target) == dependents, "seed \(seed)")
      }
    }
  }

  /// Nodes named so that they sort along the chain.
  static func chain(_ count: Int, closed: Bool) -> [GraphNode] {
    (0..<count).map { number in
      let package = { (index: Int) in WorkspacePath(unchecked: "p\(1_000_000 + index)") }
      let next = number + 1 < count ? number + 1 : closed ? 0 : nil
      return GraphNode(
        label: Label(package: package(number), name: "t"), rule: "files",
        dependencies: next.map { [GraphEdge(target: Label(package: package($0), name: "t"), role: .input)] } ?? [])
    }
  }

  @Test func `a chain of 100,000 targets overflows no stack`() throws {
    var diagnostics = DiagnosticList()
    let graph = TargetGraph(Self.chain(100_000, closed: false), diagnostics: &diagnostics)
    #expect(diagnostics.diagnostics.isEmpty)
    #expect(graph.topologicalOrder == (0..<100_000).reversed())
    #expect(graph.closure(of: [0]).count == 100_000)
    let query = try Query.parse("somepath(//p1000000:t, //p1099999:t) ^ rdeps(//..., //p1099999:t)", relativeTo: .root)
    #expect(try query.evaluate(in: graph) { _ in nil }.targets.count == 100_000)
  }

  @Test func `a ring of 100,000 targets is one cycle, shown in part`() throws {
    var diagnostics = DiagnosticList()
    let graph = TargetGraph(Self.chain(100_000, closed: true), diagnostics: &diagnostics)
    #expect(graph.topologicalOrder.count == 100_000)
    let error = try #require(diagnostics.diagnostics.first)
    #expect(diagnostics.diagnostics.count == 1)
    #expect(error.message.hasPrefix("dependency cycle: //p1000000:t -> //p1000001:t -> "))
    #expect(error.message.contains("//p1000007:t -> (99984 more) -> //p1099992:t"))
    #expect(error.message.hasSuffix("//p1099999:t -> //p1000000:t"))
  }
}
