import SeededRandom
import Testing

@testable import Scheduling

/// A machine without time: it runs what the scheduler hands out, and watches that every promise is kept.
private struct Simulation {
  let seed: UInt64
  var random: SeededGenerator
  let nodes: [Scheduler.Node]
  let wanted: [Int]
  let capacity: Resources
  let jobs: Int
  let keepGoing: Bool
  let outcomes: [Scheduler.Outcome]
  let isMiss: [Bool]
  let cancelAtStep: Int?
  private(set) var broken: [String] = []
  /// All that happened, in order.
  private(set) var history: [String] = []
  private var running: [(id: Int, end: Int)] = []
  private var evaluating: [Int] = []
  private var queued = Set<Int>()
  private var ended = Set<Int>()
  private var failed = Set<Int>()
  private var cancelled = false

  init(seed: UInt64) {
    self.seed = seed
    var random = SeededGenerator(seed: seed)
    let count = Int.random(in: 1...60, using: &random)
    let density = Int.random(in: 1...30, using: &random)
    let failures = [0, 5, 30].randomElement(using: &random) ?? 0
    capacity = Resources(cpu: Int.random(in: 1...8, using: &random), memory: Int.random(in: 1...16, using: &random))
    jobs = Int.random(in: 1...8, using: &random)
    keepGoing = random.chance(60)
    // Ids in any order, so that nothing leans on dependencies having lower ones.
    let ids = (0..<count).shuffled(using: &random)
    var nodes = [Scheduler.Node](repeating: .init(), count: count)
    for to in 0..<count {
      for from in 0..<to where random.chance(density) {
        switch Int.random(in: 0..<10, using: &random) {
        case 0: nodes[ids[to]].needs.append(ids[from])
        case 1: nodes[ids[to]].after.append(ids[from])
        case 2: nodes[ids[to]].when = nodes[ids[to]].when ?? .failed(ids[from])
        default: nodes[ids[to]].dependencies.append(ids[from])
        }
      }
      if random.chance(2) { nodes[ids[to]].when = .unaffected }
      nodes[ids[to]].cost = Double(Int.random(in: 0...20, using: &random))
      nodes[ids[to]].resources = Resources(
        cpu: Int.random(in: 0...9, using: &random), memory: Int.random(in: 0...18, using: &random))
    }
    self.nodes = nodes
    wanted = (0..<count).filter { _ in random.chance(70) }
    outcomes = (0..<count).map { _ in
      random.chance(failures) ? .failed : random.chance(1) ? .skipped : random.chance(1) ? .cancelled : .succeeded
    }
    isMiss = (0..<count).map { _ in random.chance(60) }
    cancelAtStep = random.chance(20) ? Int.random(in: 0...60, using: &random) : nil
    self.random = random
  }

  mutating func run() throws -> [Scheduler.State] {
    var scheduler = try Scheduler(nodes: nodes, wanted: wanted, capacity: capacity, jobs: jobs, keepGoing: keepGoing)
    var step = 0
    while !scheduler.isDone {
      step += 1
      if step > 10_000 {
        broken.append("it never ends")
        break
      }
      if step == cancelAtStep {
        scheduler.cancel()
        cancelled = true
        queued = []
        history.append("cancel")
      }
      takeDecided(&scheduler)
      begin(&scheduler)
      checkRunning(scheduler)
      advance(&scheduler)
    }
    takeDecided(&scheduler)
    return nodes.indices.map(scheduler.state)
  }

  private mutating func takeDecided(_ scheduler: inout Scheduler) {
    for id in scheduler.takeDecided() {
      history.append("decided \(id) \(scheduler.state(of: id))")
      queued.remove(id)
      end(id)
    }
  }

  private mutating func begin(_ scheduler: inout Scheduler) {
    for id in scheduler.start(limit: random.chance(50) ? .max : 1) {
      history.append("evaluate \(id)")
      checkOrder(id, scheduler)
      evaluating.append(id)
    }
    for id in scheduler.startExecutions() {
      history.append("execute \(id)")
      if queued.remove(id) == nil { broken.append("\(id) was executed without being asked for") }
      running.append((id, Int.random(in: 1...10, using: &random)))
    }
  }

  /// Nothing is handed out too early, after a cancellation, or after a failure that was to stop it.
  private mutating func checkOrder(_ id: Int, _ scheduler: Scheduler) {
    let node = nodes[id]
    for other in node.dependencies + node.needs where scheduler.state(of: other) != .succeeded {
      broken.append("\(id) started before \(other) had succeeded")
    }
    for other in node.after where !ended.contains(other) { broken.append("\(id) started before \(other) had ended") }
    if case .failed(let other)? = node.when, scheduler.state(of: other) != .failed {
      broken.append("\(id) started though \(other) had not failed")
    }
    if cancelled { broken.append("\(id) started after the cancellation") }
    if !keepGoing, !failed.isEmpty, !essential(failed).contains(id) {
      broken.append("\(id) started after a failure")
    }
  }

  private func essential(_ failed: Set<Int>) -> Set<Int> {
    var result = Set<Int>()
    var pending = nodes.indices.filter { id in failed.contains { nodes[id].when == .failed($0) } }
    while let id = pending.popLast() {
      if result.insert(id).inserted { pending += nodes[id].predecessors }
    }
    return result
  }

  private func exceeds(_ id: Int) -> Bool {
    nodes[id].resources.cpu > capacity.cpu || nodes[id].resources.memory > capacity.memory
  }

  /// The machine is never overcommitted, and never idle while something that waits would fit.
  private mutating func checkRunning(_ scheduler: Scheduler) {
    let cpu = running.reduce(0) { $0 + nodes[$1.id].resources.cpu }
    let memory = running.reduce(0) { $0 + nodes[$1.id].resources.memory }
    let alone = running.contains { exceeds($0.id) }
    if running.count > jobs { broken.append("\(running.count) run in \(jobs) slots") }
    if alone ? running.count > 1 : cpu > capacity.cpu || memory > capacity.memory {
      broken.append("overcommitted by \(running)")
    }
    guard running.count < jobs, !alone, keepGoing || failed.isEmpty else { return }
    for id in queued.sorted() {
      let need = nodes[id].resources
      if exceeds(id) ? running.isEmpty : cpu + need.cpu <= capacity.cpu && memory + need.memory <= capacity.memory {
        broken.append("\(id) would fit, and waits")
      }
    }
  }

  /// Evaluates what was handed out, or lets the execution end that ends first.
  private mutating func advance(_ scheduler: inout Scheduler) {
    guard evaluating.isEmpty || (!running.isEmpty && random.chance(20)) else {
      let id = evaluating.removeFirst()
      if isMiss[id] {
        queued.insert(id)
        scheduler.requestExecution(id)
        if cancelled { queued.remove(id) }
      } else {
        report(id, &scheduler)
      }
      return
    }
    guard let index = running.indices.min(by: { (running[$0].end, running[$0].id) < (running[$1].end, running[$1].id) })
    else { return }
    let id = running.remove(at: index).id
    for other in running.indices { running[other].end += 1 }
    report(id, &scheduler)
  }

  private mutating func report(_ id: Int, _ scheduler: inout Scheduler) {
    let outcome: Scheduler.Outcome = cancelled && random.chance(50) ? .cancelled : outcomes[id]
    history.append("finished \(id) \(outcome)")
    if outcome == .failed { failed.insert(id) }
    scheduler.finished(id, outcome)
    end(id)
  }

  private mutating func end(_ id: Int) {
    if !ended.insert(id).inserted { broken.append("\(id) ended twice") }
  }

  /// Every wanted node ended once, and nothing else did.
  mutating func checkEnd(_ states: [Scheduler.State]) {
    var reached = Set<Int>()
    var pending = wanted
    while let id = pending.popLast() {
      if reached.insert(id).inserted { pending += nodes[id].predecessors }
    }
    if ended != reached { broken.append("ended \(ended.sorted()), wanted \(reached.sorted())") }
    for (id, state) in states.enumerated() {
      switch state {
      case .unwanted: if reached.contains(id) { broken.append("\(id) was forgotten") }
      case .succeeded, .failed, .skipped, .cancelled: break
      default: broken.append("\(id) is left \(state)")
      }
    }
  }
}

@Suite struct SimulationTests {
  @Test(arguments: [0, 1, 2, 3])
  func `no order of events breaks a promise, and the same events give the same answers`(part: UInt64) throws {
    // One new world at each run, beside those that every run walks.
    let seeds = (0..<150).map { $0 * 4 + part } + [UInt64.random(in: .min ... .max)]
    for seed in seeds {
      var first = Simulation(seed: seed)
      let states = try first.run()
      first.checkEnd(states)
      #expect(first.broken == [], "seed \(seed)")
      var second = Simulation(seed: seed)
      let again = try second.run()
      #expect(first.history == second.history && states == again, "seed \(seed) is not repeatable")
    }
  }

  @Test func `keep-going worlds end as the definitions say`() throws {
    var compared = 0
    for seed in 0..<400 as Range<UInt64> {
      var simulation = Simulation(seed: seed)
      guard simulation.keepGoing, simulation.cancelAtStep == nil else { continue }
      let states = try simulation.run()
      guard let order = topological(simulation.nodes) else { continue }
      let place = Dictionary(uniqueKeysWithValues: order.enumerated().map { ($1, $0) })
      let succeeded = try oracle(simulation, order, place)
      for id in simulation.nodes.indices where states[id] != .unwanted {
        compared += 1
        #expect((states[id] == .succeeded) == succeeded[id], "seed \(seed) node \(id) is \(states[id])")
      }
    }
    #expect(compared > 2000)
  }

  private func topological(_ nodes: [Scheduler.Node]) -> [Int]? {
    var order: [Int] = []
    var placed = Set<Int>()
    while order.count < nodes.count {
      let next = nodes.indices.filter { !placed.contains($0) && placed.isSuperset(of: nodes[$0].predecessors) }
      if next.isEmpty { return nil }
      order += next
      placed.formUnion(next)
    }
    return order
  }

  /// Whether each node succeeds, by the oracle, which wants lower ids first.
  private func oracle(_ simulation: Simulation, _ order: [Int], _ place: [Int: Int]) throws -> [Bool] {
    let renamed = order.map { id in
      var node = simulation.nodes[id]
      node.dependencies = node.dependencies.compactMap { place[$0] }
      node.needs = node.needs.compactMap { place[$0] }
      node.after = node.after.compactMap { place[$0] }
      if case .failed(let other)? = node.when { node.when = place[other].map { .failed($0) } }
      return node
    }
    let oracle = Oracle(nodes: renamed, outcomes: order.map { simulation.outcomes[$0] })
    return simulation.nodes.indices.map { id in place[id].map { oracle.states[$0] == .succeeded } ?? false }
  }
}
