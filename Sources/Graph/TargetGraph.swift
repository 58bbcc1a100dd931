import Diagnostics
import Files

/// The targets of a workspace and what they depend on: without cycles, and without an edge that leads nowhere.
///
/// A target is an index into `nodes`; indices order as labels do.
package struct TargetGraph: Sendable {
  /// Sorted by label; their edges are those that the graph kept.
  package let nodes: [GraphNode]
  /// Dependencies first; among those that are ready, by label.
  package let topologicalOrder: [Int]
  private let indices: [Label: Int]
  let forward: Adjacency
  let backward: Adjacency

  /// Takes nodes in any order.
  ///
  /// Reports targets declared twice (the first in the given order counts), unknown targets, and cycles. Edges to
  /// unknown targets are dropped, and for every cycle one edge that closes it.
  package init(_ given: [GraphNode], diagnostics: inout DiagnosticList) {
    var sorted = given
    if !zip(given, given.dropFirst()).allSatisfy({ $0.label < $1.label }) {
      sorted = Self.sortedOnce(given, &diagnostics)
    }
    var indices: [Label: Int] = [:]
    indices.reserveCapacity(sorted.count)
    for (index, node) in sorted.enumerated() { indices[node.label] = index }
    // Each label is looked up once: a lookup hashes two strings.
    let targets = sorted.map { node in node.dependencies.map { indices[$0.target] } }
    if targets.contains(where: { $0.contains(nil) }) { Self.dropUnknown(&sorted, indices, &diagnostics) }
    var forward = Adjacency(targets.map { $0.compactMap(\.self) })
    var order = forward.topologicalOrder(backward: forward.reversed())
    if order.count < sorted.count {
      let dropped = Cycles.report(sorted, indices, forward, &diagnostics)
      for (source, targets) in dropped {
        sorted[source].dependencies.removeAll { edge in indices[edge.target].map(targets.contains) ?? true }
      }
      forward = Adjacency(sorted.map { node in node.dependencies.compactMap { indices[$0.target] } })
      order = forward.topologicalOrder(backward: forward.reversed())
    }
    nodes = sorted
    self.indices = indices
    self.forward = forward
    backward = forward.reversed()
    topologicalOrder = order
  }

  package func index(of label: Label) -> Int? { indices[label] }

  /// Direct dependencies, sorted, each once.
  package func dependencies(of index: Int) -> [Int] { forward[index].map(Int.init) }

  /// Direct dependents, sorted, each once.
  package func dependents(of index: Int) -> [Int] { backward[index].map(Int.init) }

  /// The roots and all that they depend on, in topological order.
  package func closure(of roots: [Int]) -> [Int] {
    let reached = forward.reachable(from: TargetSet(roots, count: nodes.count))
    return topologicalOrder.filter(reached.contains)
  }

  private static func sortedOnce(_ given: [GraphNode], _ diagnostics: inout DiagnosticList) -> [GraphNode] {
    let order = given.indices.sorted { a, b in
      given[a].label == given[b].label ? a < b : given[a].label < given[b].label
    }
    var sorted: [GraphNode] = []
    sorted.reserveCapacity(given.count)
    for index in order {
      let node = given[index]
      if let last = sorted.last, last.label == node.label {
        let first = Diagnostic.Note("it is first declared here", at: last.span)
        diagnostics.diagnostics.append(
          .error("`\(node.label)` is declared twice", at: node.span, notes: last.span == nil ? [] : [first]))
      } else {
        sorted.append(node)
      }
    }
    return sorted
  }

  private static func dropUnknown(
    _ nodes: inout [GraphNode], _ indices: [Label: Int], _ diagnostics: inout DiagnosticList
  ) {
    // A missing package can orphan thousands of edges; suggestions compare with every label.
    var suggestions = 20
    let labels = nodes.map(\.label)
    for index in nodes.indices {
      guard nodes[index].dependencies.contains(where: { indices[$0.target] == nil }) else { continue }
      let node = nodes[index]
      for edge in node.dependencies where indices[edge.target] == nil {
        var error = Diagnostic.error("unknown target `\(edge.target)`", at: edge.span ?? node.span)
        if edge.span == nil { error.message += ", which `\(node.label)` depends on" }
        if suggestions > 0 {
          suggestions -= 1
          let siblings = labels.filter { $0.package == edge.target.package }.map(\.name)
          UnknownTarget.explain(&error, edge.target, siblings: siblings, elsewhere: labels)
        }
        diagnostics.diagnostics.append(error)
      }
      nodes[index].dependencies.removeAll { indices[$0.target] == nil }
    }
  }
}
