extension Scheduler {
  /// What of the graph never changes while it is walked.
  struct Plan {
    var isWanted: [Bool]
    /// Those that wait for node `i`: `successors[successorStart[i]..<successorStart[i + 1]]`, ascending.
    var successors: [Int32]
    var successorStart: [Int32]
    /// How many entries of `successors` are node `i`.
    var predecessorCount: [Int32]
    var priorities: [Double]
    /// Something that waits for node `i`, directly or not, can run nowhere but on this machine.
    var feedsThisMachine: [Bool]

    init(nodes: [Node], wanted: [Int]) throws(Cycle) {
      isWanted = [Bool](repeating: false, count: nodes.count)
      predecessorCount = [Int32](repeating: 0, count: nodes.count)
      successorStart = [Int32](repeating: 0, count: nodes.count + 1)
      priorities = [Double](repeating: 0, count: nodes.count)
      feedsThisMachine = [Bool](repeating: false, count: nodes.count)
      successors = []
      findWanted(nodes, from: wanted)
      connect(nodes)
      let order = try topologicalOrder(nodes)
      for id in order.reversed() {
        var longest = 0.0
        for edge in successorStart[id]..<successorStart[id + 1] {
          let next = Int(successors[Int(edge)])
          longest = max(longest, priorities[next])
          if feedsThisMachine[next] || !nodes[next].mayRunElsewhere { feedsThisMachine[id] = true }
        }
        let cost = nodes[id].cost
        priorities[id] = longest + (cost.isFinite && cost > 0 ? cost : 0)
      }
    }

    private mutating func findWanted(_ nodes: [Node], from wanted: [Int]) {
      var pending = wanted
      while let id = pending.popLast() {
        guard !isWanted[id] else { continue }
        isWanted[id] = true
        nodes[id].forEachPredecessor { other in if !isWanted[other] { pending.append(other) } }
      }
    }

    private mutating func connect(_ nodes: [Node]) {
      for id in nodes.indices where isWanted[id] {
        nodes[id].forEachPredecessor { other in
          successorStart[other + 1] += 1
          predecessorCount[id] += 1
        }
      }
      for id in nodes.indices { successorStart[id + 1] += successorStart[id] }
      successors = [Int32](repeating: 0, count: Int(successorStart[nodes.count]))
      var next = successorStart
      for id in nodes.indices where isWanted[id] {
        nodes[id].forEachPredecessor { other in
          successors[Int(next[other])] = Int32(id)
          next[other] += 1
        }
      }
    }

    private func topologicalOrder(_ nodes: [Node]) throws(Cycle) -> [Int] {
      var left = predecessorCount
      var order = nodes.indices.filter { isWanted[$0] && left[$0] == 0 }
      var next = 0
      while next < order.count {
        let id = order[next]
        next += 1
        for edge in successorStart[id]..<successorStart[id + 1] {
          let successor = Int(successors[Int(edge)])
          left[successor] -= 1
          if left[successor] == 0 { order.append(successor) }
        }
      }
      if let start = nodes.indices.first(where: { isWanted[$0] && left[$0] > 0 }) {
        throw Self.cycle(nodes, left, from: start)
      }
      return order
    }

    /// Each node with something left before it has a predecessor of that sort: following them must close a circle.
    private static func cycle(_ nodes: [Node], _ left: [Int32], from start: Int) -> Cycle {
      var path: [Int] = []
      var place: [Int: Int] = [:]
      var id = start
      while place[id] == nil {
        place[id] = path.count
        path.append(id)
        guard let before = nodes[id].predecessors.first(where: { left[$0] > 0 }) else { break }
        id = before
      }
      return Cycle(nodes: Array(path[(place[id] ?? 0)...]))
    }
  }
}
