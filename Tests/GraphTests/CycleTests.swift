import Diagnostics
import Files
import Testing

@testable import Graph

@Suite struct CycleTests {
  @Test func `a target that depends on itself is a cycle`() {
    let (graph, messages) = Drawing.graph([("a", ["a", "b"]), ("b", [])])
    #expect(
      messages == """
        a/targets.yaml:2:5: error: dependency cycle: //a:t -> //a:t
        2 |   - //a:t
          |     ^^^^^

        """)
    #expect(graph.dependencies(of: 0) == [1])
  }

  @Test func `a cycle of two is shown whole, each edge where it stands`() {
    let (graph, messages) = Drawing.graph([("b", ["a"]), ("a", ["b"])])
    #expect(
      messages == """
        a/targets.yaml:2:5: error: dependency cycle: //a:t -> //b:t -> //a:t
        2 |   - //b:t
          |     ^^^^^
        b/targets.yaml:2:5: note: `//b:t` depends on `//a:t` here
        2 |   - //a:t
          |     ^^^^^

        """)
    #expect(graph.names(graph.topologicalOrder) == ["b", "a"])
  }

  @Test func `a cycle of three behind an entry leaves the entry out`() {
    let (graph, messages) = Drawing.graph([
      ("entry", ["y"]), ("x", ["y", "leaf"]), ("y", ["z"]), ("z", ["x"]), ("leaf", []),
    ])
    #expect(
      messages == """
        x/targets.yaml:2:5: error: dependency cycle: //x:t -> //y:t -> //z:t -> //x:t
        2 |   - //y:t
          |     ^^^^^
        y/targets.yaml:2:5: note: `//y:t` depends on `//z:t` here
        2 |   - //z:t
          |     ^^^^^
        z/targets.yaml:2:5: note: `//z:t` depends on `//x:t` here
        2 |   - //x:t
          |     ^^^^^

        """)
    #expect(graph.topologicalOrder.count == 5)
  }

  static let shapes: [(edges: [(String, [String])], cycles: [String])] = [
    ([("a", ["b"]), ("b", ["a"]), ("c", ["d"]), ("d", ["c"])], ["a b a", "c d c"]),
    ([("a", ["b"]), ("b", ["a", "c"]), ("c", ["d"]), ("d", ["c"])], ["a b a", "c d c"]),
    // Two that share a target: both are mistakes.
    ([("a", ["b", "c"]), ("b", ["a"]), ("c", ["a"])], ["a b a", "a c a"]),
    // Two that share an edge: breaking one breaks both.
    ([("a", ["b"]), ("b", ["c", "d"]), ("c", ["a"]), ("d", ["a"])], ["a b c a", "a b d a"]),
    ([("a", ["b", "c"]), ("b", ["d"]), ("c", ["d"]), ("d", ["a"])], ["a b d a"]),
    // The shortest is shown, not the one that is walked first.
    ([("a", ["b", "z"]), ("b", ["c"]), ("c", ["z"]), ("z", ["a"])], ["a z a"]),
    // A figure of eight, and a self-loop within a cycle.
    ([("a", ["a", "b"]), ("b", ["a"])], ["a a", "a b a"]), ([("a", ["b"]), ("b", ["b", "a"])], ["a b a", "b b"]),
    ([("a", ["b"]), ("b", ["c"]), ("c", ["b"])], ["b c b"]),
    ([("a", ["b", "c"]), ("b", ["d"]), ("c", ["d"]), ("d", [])], []),
    ([("a", ["b", "c"]), ("b", ["c", "a"]), ("c", ["a", "b"])], ["a b a", "a c a", "b c b"]),
  ]

  @Test(arguments: shapes)
  func `every shape of cycle is found, and none is left`(edges: [(String, [String])], cycles: [String]) {
    var diagnostics = DiagnosticList()
    let graph = TargetGraph(Drawing.nodes(edges), diagnostics: &diagnostics)
    let found = diagnostics.diagnostics.map { error in
      error.message.dropFirst("dependency cycle: ".count).split(separator: " -> ")
        .map { $0.dropFirst(2).prefix { $0 != ":" } }.joined(separator: " ")
    }
    #expect(found.sorted() == cycles)
    #expect(graph.topologicalOrder.sorted() == Array(graph.nodes.indices))
  }

  @Test func `a knot of many targets is reported in part, and none of it is left`() {
    let names = (0..<30).map { "p\($0)" }
    var diagnostics = DiagnosticList()
    let graph = TargetGraph(Drawing.nodes(names.map { ($0, names) }), diagnostics: &diagnostics)
    #expect(diagnostics.diagnostics.count == 21)
    #expect(
      diagnostics.diagnostics.last?.rendered == """
        error: more dependency cycles are left: 20 are shown
        hint: break these and run again

        """)
    #expect(graph.topologicalOrder.count == 30)
  }

  @Test func `a cycle whose edges have no place is still shown`() {
    var diagnostics = DiagnosticList()
    let nodes = [("a", "b"), ("b", "a")].map { name, other in
      GraphNode(
        label: Drawing.label(name), rule: "suite",
        dependencies: [GraphEdge(target: Drawing.label(other), role: .test)])
    }
    _ = TargetGraph(nodes, diagnostics: &diagnostics)
    #expect(
      diagnostics.diagnostics.map(\.rendered) == ["error: dependency cycle: //a:t -> //b:t -> //a:t\n"])
  }

  /// Every directed graph of three targets, self-loops included: 512 of them.
  @Test func `all small graphs are reported if and only if they have a cycle, and come out without one`() {
    let names = ["a", "b", "c"]
    for bits in 0..<512 {
      let lines = names.indices.map { row in
        (names[row], names.indices.filter { bits >> (row * 3 + $0) & 1 == 1 }.map { names[$0] })
      }
      let has = { (from: Int, to: Int) in bits >> (from * 3 + to) & 1 == 1 }
      var reach = names.indices.map { row in names.indices.map { has(row, $0) } }
      for middle in 0..<3 {
        for from in 0..<3 {
          for to in 0..<3 where reach[from][middle] && reach[middle][to] { reach[from][to] = true }
        }
      }
      var diagnostics = DiagnosticList()
      let graph = TargetGraph(Drawing.nodes(lines), diagnostics: &diagnostics)
      #expect(diagnostics.hasErrors == (0..<3).contains { reach[$0][$0] }, "graph \(bits)")
      #expect(graph.topologicalOrder.count == 3, "graph \(bits)")
      // Every kept edge was given, and an edge in no cycle is kept.
      for from in 0..<3 {
        for to in 0..<3 where has(from, to) && !reach[to][from] {
          #expect(graph.dependencies(of: from).contains(to), "graph \(bits)")
        }
        #expect(graph.dependencies(of: from).allSatisfy { has(from, $0) }, "graph \(bits)")
      }
    }
  }
}
