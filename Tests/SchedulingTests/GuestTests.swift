import Testing

@testable import Scheduling

/// Who runs what may run on an engine as well as here.
@Suite struct GuestTests {
  private static func scheduler(guests: Int, own: Int = 0, jobs: Int = 2, slots: Int) throws -> Scheduler {
    var nodes = [Scheduler.Node](repeating: Scheduler.Node(cost: 1), count: guests + own)
    for id in 0..<guests { nodes[id].mayRunElsewhere = true }
    var scheduler = try Scheduler(
      nodes: nodes, wanted: Array(nodes.indices), capacity: Resources(cpu: 8000, memory: 8 << 30), jobs: jobs,
      slots: slots, keepGoing: true)
    for id in scheduler.start() { scheduler.requestExecution(id) }
    return scheduler
  }

  private static func places(_ scheduler: inout Scheduler) -> [Scheduler.Place] {
    scheduler.startExecutions().map { scheduler.place(of: $0) }
  }

  @Test func `one job is kept for what can run nowhere else, as long as there is any`() throws {
    var scheduler = try Self.scheduler(guests: 8, slots: 2)
    #expect(Self.places(&scheduler) == [.elsewhere, .elsewhere, .asGuest, .asGuest])
    var mixed = try Self.scheduler(guests: 8, own: 1, jobs: 3, slots: 2)
    #expect(Self.places(&mixed) == [.elsewhere, .elsewhere, .asGuest, .asGuest, .here])
    mixed.finished(8, .succeeded)
    #expect(Self.places(&mixed) == [.asGuest])
  }

  @Test(arguments: [(50.0, 0), (60.0, 1)])
  func `what leads to work of this machine is as urgent as all of that work`(longest: Double, first: Int) throws {
    var guests = [1.0, longest].map { Scheduler.Node(cost: $0) }
    for id in guests.indices { guests[id].mayRunElsewhere = true }
    // Ten seconds that wait for the first, a hundred that do not: two jobs take 55 s.
    let nodes = guests + [Scheduler.Node(dependencies: [0], cost: 10), Scheduler.Node(cost: 100)]
    var scheduler = try Scheduler(
      nodes: nodes, wanted: Array(nodes.indices), capacity: Resources(cpu: 8000, memory: 8 << 30), jobs: 2, slots: 1,
      keepGoing: true)
    for id in scheduler.start() where id < 2 { scheduler.requestExecution(id) }
    #expect(scheduler.startExecutions().first == first)
  }

  @Test func `what runs is not counted as left`() throws {
    // The engine has a minute to run, and has begun it: this machine has more to do.
    var nodes = [60.0, 1].map { Scheduler.Node(cost: $0) }
    for id in nodes.indices { nodes[id].mayRunElsewhere = true }
    nodes.append(Scheduler.Node(cost: 10))
    var scheduler = try Scheduler(
      nodes: nodes, wanted: Array(nodes.indices), capacity: Resources(cpu: 8000, memory: 8 << 30), jobs: 2, slots: 1,
      keepGoing: true)
    for id in scheduler.start() where id == 0 { scheduler.requestExecution(id) }
    #expect(Self.places(&scheduler) == [.elsewhere])
    scheduler.requestExecution(1)
    #expect(Self.places(&scheduler) == [])
  }

  @Test func `what is known to take no time is help all the same`() throws {
    // Their sum does not come back to nothing when they have ended.
    var nodes = [0.1, 0.2, 0.3, 0, 0, 0].map { Scheduler.Node(cost: $0) }
    for id in nodes.indices { nodes[id].mayRunElsewhere = true }
    nodes.append(Scheduler.Node(cost: 0.7))
    var scheduler = try Scheduler(
      nodes: nodes, wanted: Array(nodes.indices), capacity: Resources(cpu: 8000, memory: 8 << 30), jobs: 2, slots: 1,
      keepGoing: true)
    for id in scheduler.start() where id < 3 || id == 6 { scheduler.requestExecution(id) }
    while case let started = scheduler.startExecutions(), !started.isEmpty {
      for id in started { scheduler.finished(id, .succeeded) }
    }
    for id in 3..<6 { scheduler.requestExecution(id) }
    #expect(Self.places(&scheduler) == [.elsewhere, .asGuest, .asGuest])
  }

  @Test func `what is done here before the engine begins it stays here`() throws {
    var scheduler = try Self.scheduler(guests: 10, slots: 2)
    #expect(Self.places(&scheduler).count == 4)
    // An engine that takes a second to begin what takes a hundredth of one here: four of those that wait are done first.
    scheduler.measured(2, seconds: 0.01, running: 0.002, at: 1)
    scheduler.measured(0, seconds: 1.5, running: 0.5, at: 1)
    scheduler.finished(0, .succeeded)
    #expect(Self.places(&scheduler) == [])
    scheduler.finished(2, .succeeded)
    #expect(Self.places(&scheduler) == [.asGuest])
  }

  @Test func `what takes longer than the engine's answer goes there`() throws {
    var scheduler = try Self.scheduler(guests: 10, slots: 2)
    #expect(Self.places(&scheduler).count == 4)
    scheduler.measured(2, seconds: 30, running: 30, at: 1)
    scheduler.measured(0, seconds: 31, running: 30, at: 1)
    scheduler.finished(0, .succeeded)
    #expect(Self.places(&scheduler) == [.elsewhere])
  }

  @Test func `an engine that is slow to begin is given the rest where this machine would take longer still`() throws {
    var scheduler = try Self.scheduler(guests: 100, slots: 2)
    #expect(Self.places(&scheduler).count == 4)
    scheduler.measured(2, seconds: 0.1, running: 0.1, at: 1)
    scheduler.measured(0, seconds: 2, running: 0, at: 1)
    scheduler.finished(0, .succeeded)
    // 96 that wait and two that run, on two jobs, take five seconds.
    #expect(Self.places(&scheduler) == [.elsewhere])
  }

  @Test func `an engine with many before it is not given more that is done here sooner`() throws {
    var scheduler = try Self.scheduler(guests: 60, slots: 20)
    #expect(Self.places(&scheduler).count == 22)
    scheduler.measured(20, seconds: 0.01, running: 0.01, at: 0.01)
    // The first ones had waited for nothing, and one ends each half second.
    scheduler.measured(0, seconds: 0.5, running: 0.5, at: 0.5)
    scheduler.finished(0, .succeeded)
    #expect(Self.places(&scheduler) == [.elsewhere])
    scheduler.measured(1, seconds: 0.5, running: 0.5, at: 1)
    scheduler.finished(1, .succeeded)
    #expect(Self.places(&scheduler) == [])
  }

  @Test func `a single slow answer is forgotten`() {
    var average = MovingAverage()
    #expect(average.value == nil)
    average.add(16)
    #expect(average.value == 16)
    for _ in 0..<16 { average.add(0) }
    #expect((average.value ?? 16) < 0.2)
  }
}
