/// The edges of a graph in one direction, packed: each node's targets ascending and once.
struct Adjacency: Sendable {
  private var starts: [Int32]
  private var targets: [Int32]

  init(_ lists: [[Int]]) {
    starts = [0]
    starts.reserveCapacity(lists.count + 1)
    targets = []
    targets.reserveCapacity(lists.reduce(0) { $0 + $1.count })
    for list in lists {
      var last: Int32 = -1
      for target in list.map(Int32.init).sorted() where target != last {
        targets.append(target)
        last = target
      }
      starts.append(Int32(targets.count))
    }
  }

  private init(starts: [Int32], targets: [Int32]) {
    self.starts = starts
    self.targets = targets
  }

  var count: Int { starts.count - 1 }

  subscript(node: Int) -> ArraySlice<Int32> { targets[Int(starts[node])..<Int(starts[node + 1])] }

  func reversed() -> Adjacency {
    var starts = Array(repeating: Int32(0), count: count + 1)
    for target in targets { starts[Int(target) + 1] += 1 }
    for node in 0..<count { starts[node + 1] += starts[node] }
    var next = starts
    var sources = Array(repeating: Int32(0), count: targets.count)
    // Sources come in ascending order, so each node's list is ascending too.
    for source in 0..<count {
      for target in self[source] {
        sources[Int(next[Int(target)])] = Int32(source)
        next[Int(target)] += 1
      }
    }
    return Adjacency(starts: starts, targets: sources)
  }

  /// The roots and all that edges lead to, within `bound` edges of them and only through `scope`.
  func reachable(from roots: TargetSet, within bound: Int = .max, scope: TargetSet? = nil) -> TargetSet {
    var reached = roots
    if let scope { reached.formIntersection(scope) }
    var frontier = reached.members
    var depth = 0
    while !frontier.isEmpty && depth < bound {
      var next: [Int] = []
      for node in frontier {
        for target in self[node] where scope?.contains(Int(target)) ?? true {
          if reached.insert(Int(target)) { next.append(Int(target)) }
        }
      }
      frontier = next
      depth += 1
    }
    return reached
  }

  /// Targets of edges before their sources, the lowest first of those that are ready; shorter where there are cycles.
  ///
  /// - Parameter backward: The same edges reversed.
  func topologicalOrder(backward: Adjacency) -> [Int] {
    var waiting = (0..<count).map { self[$0].count }
    var ready = MinimumHeap()
    for node in 0..<count where waiting[node] == 0 { ready.insert(node) }
    var order: [Int] = []
    order.reserveCapacity(count)
    while let node = ready.removeMinimum() {
      order.append(node)
      for dependent in backward[node] {
        waiting[Int(dependent)] -= 1
        if waiting[Int(dependent)] == 0 { ready.insert(Int(dependent)) }
      }
    }
    return order
  }
}

/// A binary heap of indices.
private struct MinimumHeap {
  private var items: [Int] = []

  mutating func insert(_ item: Int) {
    items.append(item)
    var child = items.count - 1
    while child > 0, items[(child - 1) / 2] > items[child] {
      items.swapAt((child - 1) / 2, child)
      child = (child - 1) / 2
    }
  }

  mutating func removeMinimum() -> Int? {
    guard let last = items.popLast() else { return nil }
    guard let minimum = items.first else { return last }
    items[0] = last
    var parent = 0
    while true {
      var child = 2 * parent + 1
      if child >= items.count { break }
      if child + 1 < items.count, items[child + 1] < items[child] { child += 1 }
      if items[parent] <= items[child] { break }
      items.swapAt(parent, child)
      parent = child
    }
    return minimum
  }
}
