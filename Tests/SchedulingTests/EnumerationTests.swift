import Testing

@testable import Scheduling

/// Every small graph, every way its nodes can end, and (where few enough) every order in which they can.
@Suite struct EnumerationTests {
  enum Edge: CaseIterable { case none, dependency, needs, after, when }

  /// Every graph of `count` nodes whose edges, from a lower to a higher id, are of these sorts.
  private func graphs(_ count: Int, _ edges: [Edge], _ body: ([Scheduler.Node]) throws -> Void) rethrows {
    let places = (0..<count).flatMap { to in (0..<to).map { (from: $0, to: to) } }
    var choice = [Int](repeating: 0, count: places.count)
    while true {
      if let nodes = graph(count, places, choice.map { edges[$0] }) { try body(nodes) }
      guard let next = choice.firstIndex(where: { $0 + 1 < edges.count }) else { return }
      for index in 0..<next { choice[index] = 0 }
      choice[next] += 1
    }
  }

  /// `nil` when a node would have two conditions.
  private func graph(_ count: Int, _ places: [(from: Int, to: Int)], _ edges: [Edge]) -> [Scheduler.Node]? {
    var nodes = [Scheduler.Node](repeating: .init(), count: count)
    for (place, edge) in zip(places, edges) {
      switch edge {
      case .none: break
      case .dependency: nodes[place.to].dependencies.append(place.from)
      case .needs: nodes[place.to].needs.append(place.from)
      case .after: nodes[place.to].after.append(place.from)
      case .when:
        guard nodes[place.to].when == nil else { return nil }
        nodes[place.to].when = .failed(place.from)
      }
    }
    return nodes
  }

  private func outcomes(
    _ count: Int, _ choices: [Scheduler.Outcome], _ body: ([Scheduler.Outcome]) throws -> Void
  ) rethrows {
    var total = 1
    for _ in 0..<count { total *= choices.count }
    for number in 0..<total {
      var rest = number
      try body(
        (0..<count).map { _ in
          defer { rest /= choices.count }
          return choices[rest % choices.count]
        })
    }
  }

  enum Order { case every, lowestFirst, highestFirst }

  /// Walks to the end along one order of finishing, or each of them; returns how many ends there were.
  private func walk(
    _ start: Scheduler, _ oracle: Oracle, executes: Int, _ order: Order, _ atEnd: (Scheduler, Set<Int>) -> Void
  ) -> Int {
    var ends = 0
    var pending = [(scheduler: start, active: Set<Int>(), handedOut: Set<Int>())]
    while var (scheduler, active, handedOut) = pending.popLast() {
      for id in scheduler.start() {
        handedOut.insert(id)
        if executes >> id & 1 == 1 { scheduler.requestExecution(id) } else { active.insert(id) }
      }
      active.formUnion(scheduler.startExecutions())
      guard !active.isEmpty else {
        ends += 1
        atEnd(scheduler, handedOut)
        continue
      }
      let sorted = active.sorted()
      let next = order == .every ? sorted[...] : order == .lowestFirst ? sorted.prefix(1) : sorted.suffix(1)
      for id in next {
        var copy = scheduler
        copy.finished(id, oracle.outcomes[id])
        pending.append((copy, active.subtracting([id]), handedOut))
      }
    }
    return ends
  }

  private func check(
    _ nodes: [Scheduler.Node], _ outcomes: [Scheduler.Outcome], executes: Int, jobs: Int, _ order: Order
  ) throws -> Int {
    let oracle = Oracle(nodes: nodes, outcomes: outcomes)
    var ends = 0
    for keepGoing in [true, false] {
      let scheduler = try Scheduler(
        nodes: nodes, wanted: Array(nodes.indices), capacity: .unlimited, jobs: jobs, keepGoing: keepGoing)
      ends += walk(scheduler, oracle, executes: executes, order) { scheduler, handedOut in
        var context: String { "\(nodes) \(outcomes) executes \(executes) jobs \(jobs) keepGoing \(keepGoing)" }
        if !scheduler.isDone { Issue.record("not done: \(context)") }
        let states = nodes.indices.map(scheduler.state)
        let failed = Set(nodes.indices.filter { states[$0] == .failed })
        if keepGoing || failed.isEmpty {
          if states != oracle.states { Issue.record("\(states), not \(oracle.states): \(context)") }
          return
        }
        let essential = oracle.essential(failed: failed)
        for id in nodes.indices {
          let agrees = states[id] == oracle.states[id]
          if essential.contains(id), !agrees { Issue.record("\(id) must run: \(context)") }
          switch states[id] {
          case .succeeded, .failed:
            if !agrees { Issue.record("\(id) is \(states[id]): \(context)") }
            if !handedOut.contains(id) { Issue.record("\(id) never ran: \(context)") }
          case .skipped(.failed(let roots)):
            if !failed.isSuperset(of: roots) { Issue.record("\(id) blames others: \(context)") }
          case .skipped, .cancelled: break
          default: Issue.record("\(id) is left \(states[id]): \(context)")
          }
        }
      }
    }
    return ends
  }

  @Test(arguments: [(2, 576), (3, 61_152)])
  func `every graph ends as the definitions say, in every order of finishing`(count: Int, expected: Int) throws {
    var ends = 0
    try graphs(count, Edge.allCases) { nodes in
      try outcomes(count, [.succeeded, .failed, .skipped, .cancelled]) { outcomes in
        for executes in [0, 0b111, 0b101] {
          ends += try check(nodes, outcomes, executes: executes, jobs: 8, .every)
        }
      }
    }
    #expect(ends == expected)
  }

  @Test(
    arguments: [
      (4, [.none, .dependency, .needs, .when], Order.lowestFirst),
      (4, [.none, .dependency, .after, .when], .highestFirst),
      (5, [.none, .dependency], .highestFirst),
    ] as [(Int, [Edge], Order)])
  func `every larger graph of fewer sorts of edges ends so too`(count: Int, edges: [Edge], order: Order) throws {
    try graphs(count, edges) { nodes in
      try outcomes(count, [.succeeded, .failed]) { outcomes in
        _ = try check(nodes, outcomes, executes: 0b10110, jobs: 2, order)
      }
    }
  }
}
