import Testing

@testable import Scheduling

@Suite struct SchedulerTests {
  private func scheduler(
    _ nodes: [Scheduler.Node], wanted: [Int]? = nil, capacity: Resources = .unlimited, jobs: Int = 8,
    keepGoing: Bool = true
  ) throws -> Scheduler {
    try Scheduler(
      nodes: nodes, wanted: wanted ?? Array(nodes.indices), capacity: capacity, jobs: jobs, keepGoing: keepGoing)
  }

  @Test func `a node is handed out once everything it depends on has succeeded`() throws {
    var scheduler = try scheduler([.init(), .init(dependencies: [0])])
    #expect(scheduler.start() == [0])
    #expect(scheduler.start() == [])
    #expect(scheduler.state(of: 1) == .waiting)
    scheduler.finished(0, .succeeded)
    #expect(scheduler.start() == [1])
    scheduler.finished(1, .succeeded)
    #expect(scheduler.isDone)
    #expect(scheduler.count(.succeeded) == 2)
  }

  @Test func `nodes that nothing wanted depends on are left alone`() throws {
    var scheduler = try scheduler([.init(), .init(), .init(dependencies: [1])], wanted: [2])
    #expect(scheduler.start() == [1])
    #expect(scheduler.state(of: 0) == .unwanted)
    #expect(scheduler.wantedCount == 2)
  }

  @Test func `the longest chain by expected seconds goes first, and the lower id among equals`() throws {
    var scheduler = try scheduler([
      .init(cost: 5), .init(cost: 1), .init(cost: 1), .init(dependencies: [1], cost: 10), .init(cost: 5),
    ])
    #expect(scheduler.start() == [1, 0, 4, 2])
  }

  @Test func `costs that are no numbers of seconds count as nothing`() throws {
    var scheduler = try scheduler([.init(cost: .nan), .init(cost: -4), .init(cost: .infinity), .init(cost: 1)])
    #expect(scheduler.start() == [3, 0, 1, 2])
  }

  @Test func `start hands out no more than asked for`() throws {
    var scheduler = try scheduler([.init(), .init(), .init()])
    #expect(scheduler.start(limit: 2) == [0, 1])
    #expect(scheduler.start() == [2])
  }

  @Test func `a miss waits for a job slot and takes the one that is given back`() throws {
    var scheduler = try scheduler([.init(cost: 1), .init(cost: 2), .init(cost: 3)], jobs: 2)
    for id in scheduler.start() { scheduler.requestExecution(id) }
    #expect(scheduler.startExecutions() == [2, 1])
    #expect(scheduler.startExecutions() == [])
    scheduler.finished(2, .succeeded)
    #expect(scheduler.startExecutions() == [0])
  }

  @Test func `what fits overtakes what does not`() throws {
    let capacity = Resources(cpu: 2000, memory: 100)
    var scheduler = try scheduler(
      [
        .init(cost: 9, resources: Resources(cpu: 1000, memory: 60)),
        .init(cost: 8, resources: Resources(cpu: 1000, memory: 60)),
        .init(cost: 7, resources: Resources(cpu: 1000, memory: 40)),
      ], capacity: capacity)
    for id in scheduler.start() { scheduler.requestExecution(id) }
    #expect(scheduler.startExecutions() == [0, 2])
    scheduler.finished(2, .succeeded)
    #expect(scheduler.startExecutions() == [])
    scheduler.finished(0, .succeeded)
    #expect(scheduler.startExecutions() == [1])
  }

  @Test func `what wants more than the machine has runs alone`() throws {
    var scheduler = try scheduler(
      [
        .init(cost: 9, resources: Resources(cpu: 100, memory: 1)),
        .init(cost: 8, resources: Resources(cpu: 64_000, memory: 0)), .init(cost: 7),
      ], capacity: Resources(cpu: 2000, memory: 100))
    for id in scheduler.start() { scheduler.requestExecution(id) }
    #expect(scheduler.startExecutions() == [0, 2])
    scheduler.finished(0, .succeeded)
    #expect(scheduler.startExecutions() == [])
    scheduler.finished(2, .succeeded)
    #expect(scheduler.startExecutions() == [1])
    scheduler.finished(1, .succeeded)
    #expect(scheduler.isDone)
  }

  @Test func `a skip names the failures at its root, whichever came first`() throws {
    let nodes: [Scheduler.Node] = [
      .init(), .init(), .init(dependencies: [0]), .init(dependencies: [2, 1]), .init(),
    ]
    for order in [[0, 1], [1, 0]] {
      var scheduler = try scheduler(nodes)
      #expect(scheduler.start() == [0, 1, 4])
      for id in order { scheduler.finished(id, .failed) }
      #expect(scheduler.state(of: 2) == .skipped(.failed(roots: [0])))
      #expect(scheduler.state(of: 3) == .skipped(.failed(roots: [0, 1])))
      #expect(scheduler.takeDecided() == [2, 3])
      #expect(scheduler.takeDecided() == [])
      #expect(!scheduler.isDone)
      scheduler.finished(4, .succeeded)
      #expect(scheduler.isDone)
    }
  }

  @Test func `needs that does not succeed is named, and counts as the failure for what comes after`() throws {
    var scheduler = try scheduler([.init(), .init(needs: [0]), .init(dependencies: [1]), .init(needs: [1])])
    _ = scheduler.start()
    scheduler.finished(0, .failed)
    #expect(scheduler.state(of: 1) == .skipped(.needs(0)))
    #expect(scheduler.state(of: 2) == .skipped(.failed(roots: [0])))
    #expect(scheduler.state(of: 3) == .skipped(.needs(1)))
  }

  @Test(arguments: [
    (Scheduler.Outcome.failed, Scheduler.State.ready), (.succeeded, .skipped(.notFailed(0))),
    (.skipped, .skipped(.notFailed(0))), (.cancelled, .cancelled),
  ])
  func `when failed runs if and only if the other failed`(outcome: Scheduler.Outcome, state: Scheduler.State) throws {
    var scheduler = try scheduler([.init(), .init(when: .failed(0))], wanted: [1])
    #expect(scheduler.start() == [0])
    scheduler.finished(0, outcome)
    #expect(scheduler.state(of: 1) == state)
  }

  @Test func `a target that is not affected is skipped, and nothing is built for its sake`() throws {
    var scheduler = try scheduler(
      [.init(), .init(dependencies: [0], when: .unaffected), .init(dependencies: [1])], wanted: [2])
    #expect(scheduler.isDone)
    #expect(scheduler.takeDecided() == [1, 2])
    #expect(scheduler.state(of: 0) == .unwanted)
    #expect(scheduler.state(of: 1) == .skipped(.unaffected))
    #expect(scheduler.state(of: 2) == .skipped(.dependencySkipped(1)))
  }

  @Test func `a suite starts once its members have ended, in whatever way`() throws {
    var scheduler = try scheduler([.init(), .init(), .init(dependencies: [0]), .init(after: [1, 2])])
    _ = scheduler.start()
    scheduler.finished(1, .succeeded)
    scheduler.finished(0, .failed)
    #expect(scheduler.start() == [3])
  }

  @Test func `without keep-going a failure stops what has not begun, and lets end what has`() throws {
    var scheduler = try scheduler(
      [.init(cost: 3), .init(cost: 2), .init(cost: 1), .init(dependencies: [1]), .init(after: [0, 2])], jobs: 2,
      keepGoing: false)
    for id in scheduler.start() { scheduler.requestExecution(id) }
    #expect(scheduler.startExecutions() == [0, 1])
    scheduler.finished(0, .failed)
    #expect(scheduler.startExecutions() == [])
    #expect(!scheduler.isDone)
    scheduler.finished(1, .succeeded)
    #expect(scheduler.isDone)
    #expect(scheduler.takeDecided() == [2, 4, 3])
    #expect([2, 3, 4].map(scheduler.state) == [.cancelled, .cancelled, .cancelled])
  }

  @Test func `without keep-going what waits for the failure still runs, with all that it needs`() throws {
    var scheduler = try scheduler(
      [.init(cost: 5), .init(), .init(dependencies: [1], when: .failed(0)), .init()], jobs: 1, keepGoing: false)
    for id in scheduler.start() { scheduler.requestExecution(id) }
    #expect(scheduler.startExecutions() == [0])
    scheduler.finished(0, .failed)
    #expect(scheduler.startExecutions() == [1])
    scheduler.finished(1, .succeeded)
    #expect(scheduler.start() == [2])
    scheduler.finished(2, .succeeded)
    #expect(scheduler.isDone)
    #expect(scheduler.state(of: 3) == .cancelled)
  }

  @Test func `cancelling starts nothing new, and waits for what has begun`() throws {
    var scheduler = try scheduler([.init(), .init(), .init(dependencies: [0]), .init()], jobs: 1)
    #expect(scheduler.start(limit: 2) == [0, 1])
    scheduler.requestExecution(0)
    #expect(scheduler.startExecutions() == [0])
    scheduler.cancel()
    #expect(scheduler.start() == [])
    #expect(scheduler.takeDecided() == [2, 3])
    scheduler.requestExecution(1)
    #expect(scheduler.takeDecided() == [1])
    #expect(!scheduler.isDone)
    scheduler.finished(0, .cancelled)
    #expect(scheduler.isDone)
    #expect(scheduler.count(.cancelled) == 4)
  }

  @Test func `a cycle is thrown with its nodes in order`() {
    #expect(throws: Scheduler.Cycle(nodes: [1, 2, 3])) {
      try Scheduler(
        nodes: [.init(dependencies: [1]), .init(needs: [2]), .init(when: .failed(3)), .init(after: [1])],
        wanted: [0], capacity: .unlimited, jobs: 1, keepGoing: true)
    }
    #expect(throws: Scheduler.Cycle(nodes: [0])) {
      try Scheduler(
        nodes: [.init(dependencies: [0])], wanted: [0], capacity: .unlimited, jobs: 1, keepGoing: true)
    }
  }

  @Test func `a cycle that nothing wanted reaches is no matter`() throws {
    var scheduler = try scheduler([.init(), .init(dependencies: [2]), .init(dependencies: [1])], wanted: [0])
    #expect(scheduler.start() == [0])
  }

  @Test(
    arguments: [
      (.failed(roots: [0]), "//t:0 failed"), (.failed(roots: [0, 2]), "//t:0 and //t:2 failed"),
      (.failed(roots: [0, 2, 5]), "//t:0, //t:2 and //t:5 failed"), (.needs(1), "needs //t:1"),
      (.notFailed(1), "//t:1 did not fail"), (.unaffected, "not affected"),
      (.dependencySkipped(3), "//t:3 was skipped"),
    ] as [(Scheduler.SkipReason, String)])
  func `a skip tells its reason in a few words`(reason: Scheduler.SkipReason, text: String) {
    #expect(reason.text { "//t:\($0)" } == text)
  }

  @Test func `a chain of a hundred thousand nodes does not exhaust the stack`() throws {
    let count = 100_000
    let nodes = (0..<count).map { Scheduler.Node(dependencies: $0 == 0 ? [] : [$0 - 1]) }
    var scheduler = try scheduler(nodes, wanted: [count - 1])
    #expect(scheduler.start() == [0])
    scheduler.finished(0, .failed)
    #expect(scheduler.isDone)
    #expect(scheduler.count(.skipped) == count - 1)
    #expect(scheduler.state(of: count - 1) == .skipped(.failed(roots: [0])))
  }
}
