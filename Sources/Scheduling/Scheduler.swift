/// Decides what runs next: a value that neither waits, nor reads a clock, nor touches the machine.
///
///     unwanted
///        | is wanted
///        v    all before it has ended       start()
///     waiting ---------------------> ready ---------> evaluating ----- finished(_:_:) -----+
///        |                             |                  | requestExecution(_:)           |
///        |                             |                  v                                v
///        |                             |                queued                         succeeded
///        |                             |                |    | startExecutions()          failed
///        |                             |                |    v                           skipped
///        |                             |                |  running -- finished(_:_:) -> cancelled
///        v                             v                v
///     skipped, cancelled           cancelled        cancelled
///
/// The caller's loop, until `isDone`: evaluate what `start` gives, begin what `startExecutions` gives, report what
/// `takeDecided` gives, and when all three gave nothing wait for an execution to end.
///
/// Evaluating a node means to compute its key and look it up. That is cheap, takes nothing of the machine, and ends
/// most nodes; only a miss asks for an execution, which waits for cpu, memory and a job slot.
///
/// - A node becomes ready or is skipped when everything before it has ended, not earlier: so the reason of a skip
///   does not depend on which failure came first.
/// - After a failure without keep-going nothing new is handed out, except what a `when: {failed: L}` that has come
///   true needs. What was never started is cancelled once the rest has ended.
/// - Retries are the caller's: a node that is retried stays `running`.
///
/// The same calls in the same order give the same answers. Calling out of turn (finishing what is not running) is a
/// bug of the caller, and traps.
package struct Scheduler: Sendable {
  /// How many root failures a skip names.
  package static let maximumRoots = 3

  let nodes: [Node]
  private let keepGoing: Bool
  /// Seconds from a node's start to the end of the longest chain that waits for it.
  let priorities: [Double]
  /// Those that something waits for which can run nowhere but here.
  private let feedsThisMachine: [Bool]
  /// Those that wait for node `i`: `successors[successorStart[i]..<successorStart[i + 1]]`, ascending.
  private let successors: [Int32]
  private let successorStart: [Int32]

  private(set) var phases: [Phase]
  private var phaseCounts = [Int](repeating: 0, count: Phase.allCases.count)
  /// How many of the nodes before it have not ended.
  private var unsettled: [Int32]
  private(set) var reasons: [Int: SkipReason] = [:]
  /// The failures behind each node that failed or was skipped because of one.
  private var roots: [Int: [Int]] = [:]
  private var ready = Heap()
  private var queue: ExecutionQueue
  private var decided: [Int] = []
  private var isCancelled = false
  /// Of what runs and could run in a slot of an engine.
  private var places: [Int: Place] = [:]
  /// Seconds of what has neither begun nor ended: what can run nowhere but here, and what can.
  private var remaining = (here: 0.0, elsewhere: 0.0)
  private let jobs: Int
  private let slots: Int
  /// A failure has stopped all that is not `essential`.
  private var isDraining = false
  /// Nodes that a `when: {failed: L}` that has come true waits for.
  private var essential: [Bool]

  /// Throws the cycle when nodes reachable from `wanted` wait for each other. Indices must name nodes.
  package init(
    nodes: [Node], wanted: [Int], capacity: Resources, jobs: Int, slots: Int = 0, keepGoing: Bool
  ) throws(Cycle) {
    let plan = try Plan(nodes: nodes, wanted: wanted)
    self.nodes = nodes
    self.keepGoing = keepGoing
    (self.jobs, self.slots) = (max(1, jobs), slots)
    priorities = plan.priorities
    feedsThisMachine = plan.feedsThisMachine
    successors = plan.successors
    successorStart = plan.successorStart
    unsettled = plan.predecessorCount
    phases = [Phase](repeating: .unwanted, count: nodes.count)
    essential = [Bool](repeating: false, count: nodes.count)
    queue = ExecutionQueue(capacity: capacity, jobs: jobs, slots: slots)
    phaseCounts[Int(Phase.unwanted.rawValue)] = nodes.count
    for id in nodes.indices where plan.isWanted[id] { move(id, to: .waiting) }
    for id in nodes.indices where phases[id] == .waiting && unsettled[id] == 0 {
      if nodes[id].when == .unaffected { settle(id, .skipped, .unaffected) } else { becomeReady(id) }
    }
  }

  // MARK: What to do now

  /// The next nodes to evaluate, at most `limit`, the longest critical path first.
  package mutating func start(limit: Int = .max) -> [Int] {
    var result: [Int] = []
    while result.count < limit, let id = ready.popFirst() {
      move(id, to: .evaluating)
      result.append(id)
    }
    return result
  }

  /// The executions to begin now, the longest critical path first: as many as fit the machine, its job slots and those of
  /// an engine.
  package mutating func startExecutions() -> [Int] {
    var result: [Int] = []
    // Sums of what comes and goes leave a little, of either sign.
    let rest = 1e-6
    let keepsJob = remaining.here > rest
    // Help with the engine's work is none where it is done before this machine is.
    let left = remaining.here / Double(jobs)
    let takesGuests = slots == 0 || !keepsJob || left <= remaining.elsewhere / Double(slots)
    while let (id, place) = queue.startNext(takesGuests: takesGuests, keepsJob: keepsJob, left: left) {
      move(id, to: .running)
      if place != .here { places[id] = place }
      result.append(id)
    }
    return result
  }

  /// The nodes that ended without having been handed out since the last call: skipped, or cancelled.
  ///
  /// Also those that `requestExecution` queued and that were then cancelled.
  package mutating func takeDecided() -> [Int] {
    defer { decided = [] }
    return decided
  }

  // MARK: What has happened

  /// An evaluation found no result: the node waits to be executed.
  package mutating func requestExecution(_ id: Int) {
    move(id, to: .queued)
    if isCancelled {
      settle(id, .cancelled)
    } else {
      enqueue(id)
      finishDraining()
    }
  }

  /// An evaluation or an execution ended.
  package mutating func finished(_ id: Int, _ outcome: Outcome) {
    precondition(phases[id] == .evaluating || phases[id] == .running, "finished what was not handed out")
    if phases[id] == .running {
      queue.finish(nodes[id].resources, at: places.removeValue(forKey: id) ?? .here)
    }
    switch outcome {
    case .succeeded: settle(id, .succeeded)
    case .failed: settle(id, .failed)
    case .skipped: settle(id, .skipped, .reported)
    case .cancelled: settle(id, .cancelled)
    }
    finishDraining()
  }

  /// An execution that is about to be reported as finished took so many seconds, in which the command itself ran for some:
  /// the queue learns what this machine and the engine take.
  ///
  /// - Parameter now: Seconds since any moment.
  package mutating func measured(_ id: Int, seconds: Double, running: Double, at now: Double) {
    queue.measured(seconds, running: running, at: now, places[id] ?? .here)
  }

  /// Nothing new starts any more; what has been handed out is still to be reported as finished.
  package mutating func cancel() {
    guard !isCancelled else { return }
    isCancelled = true
    ready = Heap()
    queue.removeAll()
    for id in phases.indices {
      switch phases[id] {
      case .waiting, .ready, .queued:
        move(id, to: .cancelled)
        decided.append(id)
      default: break
      }
    }
  }

  // MARK: How it stands

  /// Every wanted node has ended.
  package var isDone: Bool {
    count(.waiting) + count(.ready) + count(.evaluating) + count(.queued) + count(.running) == 0
  }

  /// Where a node runs that `startExecutions` gave.
  package func place(of id: Int) -> Place { places[id] ?? .here }

  package func count(_ phase: Phase) -> Int { phaseCounts[Int(phase.rawValue)] }

  /// How many nodes were asked for, directly or not.
  package var wantedCount: Int { phases.count - count(.unwanted) }

  package func state(of id: Int) -> State {
    switch phases[id] {
    case .unwanted: .unwanted
    case .waiting: .waiting
    case .ready: .ready
    case .evaluating: .evaluating
    case .queued: .queued
    case .running: .running
    case .succeeded: .succeeded
    case .failed: .failed
    case .skipped: .skipped(reasons[id] ?? .reported)
    case .cancelled: .cancelled
    }
  }

  // MARK: Transitions

  /// The only place where a node changes its state.
  private mutating func move(_ id: Int, to next: Phase) {
    let now = phases[id]
    precondition(now.leads(to: next), "node \(id) cannot go from \(now) to \(next)")
    phaseCounts[Int(now.rawValue)] -= 1
    phaseCounts[Int(next.rawValue)] += 1
    phases[id] = next
    if now == .unwanted { count(id, 1) } else if next == .running || next.isFinal && now != .running { count(id, -1) }
  }

  private mutating func count(_ id: Int, _ sign: Double) {
    guard slots > 0, nodes[id].cost.isFinite else { return }
    if nodes[id].mayRunElsewhere {
      remaining.elsewhere += sign * nodes[id].cost
    } else {
      remaining.here += sign * nodes[id].cost
    }
  }

  private mutating func becomeReady(_ id: Int) {
    move(id, to: .ready)
    if !isDraining || essential[id] { ready.insert(id, priority: priorities[id]) }
  }

  private mutating func enqueue(_ id: Int) {
    guard !isDraining || essential[id] else { return }
    queue.insert(
      id, nodes[id].resources, mayRunElsewhere: nodes[id].mayRunElsewhere, feedsThisMachine: feedsThisMachine[id],
      priority: priorities[id])
  }

  /// Ends a node, and whatever that decides.
  private mutating func settle(_ first: Int, _ phase: Phase, _ reason: SkipReason? = nil) {
    var pending: [(id: Int, phase: Phase, reason: SkipReason?)] = [(first, phase, reason)]
    while let (id, phase, reason) = pending.popLast() {
      if !isHandedOut(id) { decided.append(id) }
      move(id, to: phase)
      reasons[id] = reason
      if phase == .failed {
        roots[id] = [id]
        drain(after: id)
      }
      for edge in successorStart[id]..<successorStart[id + 1] {
        let next = Int(successors[Int(edge)])
        unsettled[next] -= 1
        guard unsettled[next] == 0, phases[next] == .waiting else { continue }
        if let (phase, reason) = decision(next) {
          pending.append((next, phase, reason))
        } else {
          becomeReady(next)
        }
      }
    }
  }

  private func isHandedOut(_ id: Int) -> Bool { phases[id] == .evaluating || phases[id] == .running }

  /// How a node ends for whose sake nothing more will end; `nil` when it is to run.
  private mutating func decision(_ id: Int) -> (Phase, SkipReason?)? {
    let node = nodes[id]
    var allSucceeded = true
    node.forEachPredecessor { allSucceeded = allSucceeded && phases[$0] == .succeeded }
    if allSucceeded, node.when == nil { return nil }
    if case .failed(let other)? = node.when, phases[other] != .failed {
      return phases[other] == .cancelled ? (.cancelled, nil) : (.skipped, .notFailed(other))
    }
    var failures: [Int] = []
    for other in node.dependencies where phases[other] == .failed || phases[other] == .skipped {
      failures += roots[other] ?? []
    }
    if !failures.isEmpty {
      failures = Self.lowest(failures)
      roots[id] = failures
      return (.skipped, .failed(roots: failures))
    }
    if let other = node.needs.filter({ phases[$0] == .failed || phases[$0] == .skipped }).min() {
      roots[id] = roots[other]
      return (.skipped, .needs(other))
    }
    if let other = node.dependencies.filter({ phases[$0] == .skipped }).min() {
      return (.skipped, .dependencySkipped(other))
    }
    let isCancelled = { (other: Int) in phases[other] == .cancelled }
    return (node.dependencies + node.needs + node.after).contains(where: isCancelled) ? (.cancelled, nil) : nil
  }

  private static func lowest(_ ids: [Int]) -> [Int] {
    var result: [Int] = []
    for id in ids.sorted() where result.last != id && result.count < maximumRoots { result.append(id) }
    return result
  }

  // MARK: Ending after a failure

  /// Stops what is waiting for its turn, except for what must run because this node failed.
  private mutating func drain(after failure: Int) {
    guard !keepGoing, !isCancelled else { return }
    if !isDraining {
      isDraining = true
      ready = Heap()
      queue.removeAll()
    }
    var pending: [Int] = []
    for edge in successorStart[failure]..<successorStart[failure + 1] {
      let next = Int(successors[Int(edge)])
      if nodes[next].when == .failed(failure) { pending.append(next) }
    }
    while let id = pending.popLast() {
      guard !essential[id] else { continue }
      essential[id] = true
      if phases[id] == .ready { ready.insert(id, priority: priorities[id]) }
      if phases[id] == .queued { enqueue(id) }
      pending += nodes[id].predecessors
    }
  }

  /// Cancels what a failure has kept from starting, once nothing is left to end.
  private mutating func finishDraining() {
    guard isDraining, ready.isEmpty, queue.count == 0, count(.evaluating) + count(.running) == 0 else { return }
    // More than one pass where a skip made ready what only waits for an end, such as a suite.
    while count(.ready) + count(.queued) > 0 {
      for id in phases.indices where phases[id] == .ready || phases[id] == .queued { settle(id, .cancelled) }
    }
  }
}

extension Scheduler.Node {
  /// All that must have ended before it can start.
  func forEachPredecessor(_ body: (Int) -> Void) {
    guard when != .unaffected else { return }
    for other in dependencies { body(other) }
    for other in needs { body(other) }
    for other in after { body(other) }
    if case .failed(let other)? = when { body(other) }
  }

  var predecessors: [Int] {
    var result: [Int] = []
    forEachPredecessor { result.append($0) }
    return result
  }
}
