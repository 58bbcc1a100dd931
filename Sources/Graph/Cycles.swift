import Diagnostics

/// Finds the cycles of a graph, shows them, and says which edges to drop so that none is left.
enum Cycles {
  /// At most so many cycles are shown in full; a knot of many targets holds exponentially many.
  private static let limit = 20
  /// At most so many labels and notes for one cycle.
  private static let shown = 16

  /// The edges to drop: for each source in ascending order, its targets.
  static func report(
    _ nodes: [GraphNode], _ indices: [Label: Int], _ edges: Adjacency, _ diagnostics: inout DiagnosticList
  ) -> [(source: Int, targets: Set<Int>)] {
    var dropped = DroppedEdges()
    var reported = 0
    // Every round takes one shortest cycle out of every knot, so that independent mistakes are all shown at once.
    while reported < limit {
      let knots = edges.knots(without: dropped)
      if knots.isEmpty { return dropped.list }
      for knot in knots.prefix(limit - reported) {
        let cycle = edges.shortestCycle(in: knot, without: dropped)
        diagnostics.diagnostics.append(describe(cycle, nodes, indices))
        dropped.insert(cycle[cycle.count - 1], cycle[0])
        reported += 1
      }
    }
    let more = edges.edgesThatCloseCycles(without: dropped)
    if !more.isEmpty {
      let message = "more dependency cycles are left: \(limit) are shown"
      diagnostics.diagnostics.append(.error(message, hints: ["break these and run again"]))
      for (source, target) in more { dropped.insert(source, target) }
    }
    return dropped.list
  }

  private static func describe(_ cycle: [Int], _ nodes: [GraphNode], _ indices: [Label: Int]) -> Diagnostic {
    var names = cycle.map { nodes[$0].label.description }
    if names.count > shown {
      let hidden = names.count - shown
      names = names.prefix(shown / 2) + ["(\(hidden) more)"] + names.suffix(shown / 2)
    }
    names.append(nodes[cycle[0]].label.description)
    var error = Diagnostic.error("dependency cycle: " + names.joined(separator: " -> "))
    for (position, source) in cycle.enumerated() {
      let target = cycle[(position + 1) % cycle.count]
      let edge = nodes[source].dependencies.first { indices[$0.target] == target }
      let span = edge?.span ?? nodes[source].span
      if position == 0 {
        error.span = span
      } else if error.notes.count < shown, span != nil {
        let message = "`\(nodes[source].label)` depends on `\(nodes[target].label)` here"
        error.notes.append(Diagnostic.Note(message, at: span))
      }
    }
    return error
  }
}

struct DroppedEdges {
  private struct Edge: Hashable {
    var source: Int
    var target: Int
  }

  private var edges = Set<Edge>()

  mutating func insert(_ source: Int, _ target: Int) { edges.insert(Edge(source: source, target: target)) }

  func contains(_ source: Int, _ target: Int) -> Bool {
    !edges.isEmpty && edges.contains(Edge(source: source, target: target))
  }

  var list: [(source: Int, targets: Set<Int>)] {
    var bySource: [Int: Set<Int>] = [:]
    for edge in edges { bySource[edge.source, default: []].insert(edge.target) }
    return bySource.sorted { $0.key < $1.key }.map { (source: $0.key, targets: $0.value) }
  }
}

extension Adjacency {
  /// The strongly connected components that hold a cycle: members ascending, components by their first member.
  ///
  /// Tarjan's algorithm with a stack of its own: a chain may be as long as memory allows.
  func knots(without dropped: DroppedEdges) -> [[Int]] {
    var number = Array(repeating: -1, count: count)
    var low = Array(repeating: 0, count: count)
    var isOpen = Array(repeating: false, count: count)
    var open: [Int] = []
    var next = 0
    var knots: [[Int]] = []
    var path: [(node: Int, edge: Int)] = []
    for root in 0..<count where number[root] < 0 {
      path.append((root, 0))
      while let (node, edge) = path.last {
        if edge == 0 {
          number[node] = next
          low[node] = next
          next += 1
          open.append(node)
          isOpen[node] = true
        }
        let targets = self[node]
        if edge < targets.count {
          path[path.count - 1].edge += 1
          let target = Int(targets[targets.startIndex + edge])
          if dropped.contains(node, target) { continue }
          if number[target] < 0 {
            path.append((target, 0))
          } else if isOpen[target] {
            low[node] = min(low[node], number[target])
          }
          continue
        }
        path.removeLast()
        if let parent = path.last { low[parent.node] = min(low[parent.node], low[node]) }
        guard low[node] == number[node] else { continue }
        var members: [Int] = []
        while let member = open.popLast() {
          isOpen[member] = false
          members.append(member)
          if member == node { break }
        }
        let isKnot = members.count > 1 || (targets.contains(Int32(node)) && !dropped.contains(node, node))
        if isKnot { knots.append(members.sorted()) }
      }
    }
    return knots.sorted { $0[0] < $1[0] }
  }

  /// A shortest cycle through the first member of a knot, which begins it.
  func shortestCycle(in knot: [Int], without dropped: DroppedEdges) -> [Int] {
    let start = knot[0]
    let scope = TargetSet(knot, count: count)
    var cameFrom: [Int: Int] = [:]
    var queue = [start]
    var head = 0
    while head < queue.count {
      let node = queue[head]
      head += 1
      for target in self[node].map(Int.init) where scope.contains(target) && !dropped.contains(node, target) {
        if target == start {
          var cycle = [node]
          while let before = cameFrom[cycle[cycle.count - 1]] { cycle.append(before) }
          return cycle.reversed()
        }
        if cameFrom[target] == nil {
          cameFrom[target] = node
          queue.append(target)
        }
      }
    }
    return [start]
  }

  /// Edges to a node that is still being visited, depth first; without them no cycle is left.
  func edgesThatCloseCycles(without dropped: DroppedEdges) -> [(source: Int, target: Int)] {
    enum State { case new, visiting, done }
    var state = Array(repeating: State.new, count: count)
    var closing: [(source: Int, target: Int)] = []
    var path: [(node: Int, edge: Int)] = []
    for root in 0..<count where state[root] == .new {
      path.append((root, 0))
      state[root] = .visiting
      while let (node, edge) = path.last {
        let targets = self[node]
        guard edge < targets.count else {
          state[node] = .done
          path.removeLast()
          continue
        }
        path[path.count - 1].edge += 1
        let target = Int(targets[targets.startIndex + edge])
        if dropped.contains(node, target) { continue }
        switch state[target] {
        case .visiting: closing.append((node, target))
        case .done: break
        case .new:
          state[target] = .visiting
          path.append((target, 0))
        }
      }
    }
    return closing
  }
}
