@testable import Scheduling

/// What the definitions say must become of every node when all that may run does run, worked out without a
/// schedule: nodes come after what they depend on.
struct Oracle {
  let nodes: [Scheduler.Node]
  /// How each node ends if it runs.
  let outcomes: [Scheduler.Outcome]
  private(set) var states: [Scheduler.State] = []
  private var failures: [Set<Int>] = []

  init(nodes: [Scheduler.Node], outcomes: [Scheduler.Outcome]) {
    self.nodes = nodes
    self.outcomes = outcomes
    for id in nodes.indices {
      let (state, roots) = end(of: id)
      states.append(state)
      failures.append(roots)
    }
  }

  /// What must run, with all before it, although a failure has stopped the rest.
  func essential(failed: Set<Int>) -> Set<Int> {
    var result = Set<Int>()
    for id in nodes.indices.reversed() {
      let isHandler = if case .failed(let other)? = nodes[id].when { failed.contains(other) } else { false }
      if isHandler || result.contains(id) {
        result.insert(id)
        result.formUnion(nodes[id].predecessors)
      }
    }
    return result
  }

  private func end(of id: Int) -> (Scheduler.State, Set<Int>) {
    let node = nodes[id]
    if node.when == .unaffected { return (.skipped(.unaffected), []) }
    if case .failed(let other)? = node.when, states[other] != .failed {
      return (states[other] == .cancelled ? .cancelled : .skipped(.notFailed(other)), [])
    }
    let roots = node.dependencies.reduce(into: Set<Int>()) { $0.formUnion(failures[$1]) }
    if !roots.isEmpty {
      let named = Array(roots.sorted().prefix(Scheduler.maximumRoots))
      return (.skipped(.failed(roots: named)), Set(named))
    }
    for other in node.needs.sorted() where states[other] != .succeeded && states[other] != .cancelled {
      return (.skipped(.needs(other)), failures[other])
    }
    for other in node.dependencies.sorted() where states[other] != .succeeded && states[other] != .cancelled {
      return (.skipped(.dependencySkipped(other)), [])
    }
    if node.predecessors.contains(where: { states[$0] == .cancelled }) { return (.cancelled, []) }
    switch outcomes[id] {
    case .succeeded: return (.succeeded, [])
    case .failed: return (.failed, [id])
    case .skipped: return (.skipped(.reported), [])
    case .cancelled: return (.cancelled, [])
    }
  }
}
