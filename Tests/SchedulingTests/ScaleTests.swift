import Glibc
import SeededRandom
import Testing

@testable import Scheduling

/// The scheduler in front of an engine with many workers: how close it comes to the best that any could do, and what it
/// costs the client.
@Suite struct ScaleTests {
  /// An image and what it is made of, then its tests, in shapes and with times as connectors have them.
  private static func connectors(_ count: Int, seed: UInt64) -> [Scheduler.Node] {
    var random = SeededGenerator(seed: seed)
    /// Long tails, as times of tests have: most take seconds, some a hundred times as long.
    func time(median: Double) -> Double {
      let (a, b) = (Double.random(in: .ulpOfOne..<1, using: &random), Double.random(in: 0..<1, using: &random))
      return median * exp(0.9 * (-2 * log(a)).squareRoot() * cos(2 * .pi * b))
    }
    // What all are based on, a hit.
    var nodes = [Scheduler.Node(cost: 0.1, resources: Resources(cpu: 1000, memory: 1 << 30))]
    func add(_ cost: Double, after dependencies: [Int], _ mayRunElsewhere: Bool = true) -> Int {
      var node = Scheduler.Node(
        dependencies: dependencies, cost: cost, resources: Resources(cpu: 1000, memory: 256 << 20))
      node.mayRunElsewhere = mayRunElsewhere
      nodes.append(node)
      return nodes.count - 1
    }
    for _ in 0..<count {
      let packages = add(time(median: 8), after: [0])
      let image = add(0.05, after: [0, packages], false)
      for _ in 0..<Int.random(in: 2...4, using: &random) { _ = add(time(median: 12), after: [image]) }
    }
    return nodes
  }

  /// Milliseconds of this repository's own connectors, as a run without a cache recorded them; images without those whose
  /// base was new.
  private static let recorded = (
    actions: [
      123, 129, 131, 131, 135, 136, 139, 144, 145, 158, 168, 176, 204, 207, 209, 229, 831, 879, 892, 918, 955, 1001,
      1055, 7008,
    ],
    images: [3, 4, 4, 11, 12],
    tests: [
      115, 119, 121, 122, 123, 125, 129, 130, 134, 135, 136, 137, 139, 143, 253, 256, 259, 272, 293, 608, 680, 793,
      1049, 1062, 10447,
    ]
  )

  /// The same shape, with times drawn from those.
  private static func recordedConnectors(_ count: Int, seed: UInt64) -> [Scheduler.Node] {
    var random = SeededGenerator(seed: seed)
    var nodes = connectors(count, seed: seed)
    for id in nodes.indices.dropFirst() {
      let times =
        !nodes[id].mayRunElsewhere ? recorded.images : nodes[id].dependencies == [0] ? recorded.actions : recorded.tests
      nodes[id].cost = Double(times.randomElement(using: &random) ?? 0) / 1000
    }
    return nodes
  }

  private struct Run {
    var makespan = 0.0
    /// Seconds of this thread.
    var cpu = 0.0
    /// Of what engines can run, and of what only the client can.
    var work = 0.0
    var ownWork = 0.0
    var longest = 0.0
  }

  private static func run(_ nodes: [Scheduler.Node], workers: Int) throws -> Run {
    var result = Run()
    var ends = [Double](repeating: 0, count: nodes.count)
    for (id, node) in nodes.enumerated() {
      ends[id] = (node.dependencies.map { ends[$0] }.max() ?? 0) + node.cost
      if node.mayRunElsewhere { result.work += node.cost } else { result.ownWork += node.cost }
    }
    result.longest = ends.max() ?? 0
    let start = Self.processorTime()
    var scheduler = try Scheduler(
      nodes: nodes, wanted: Array(nodes.indices), capacity: Resources(cpu: 2000, memory: 8 << 30), jobs: 2,
      slots: workers, keepGoing: true)
    var running = Heap()
    var finish = [Double](repeating: 0, count: nodes.count)
    var elsewhere = 0
    while !scheduler.isDone {
      for id in scheduler.start() { scheduler.requestExecution(id) }
      for id in scheduler.startExecutions() {
        finish[id] = result.makespan + nodes[id].cost
        // The heap gives the greatest first.
        running.insert(id, priority: -finish[id])
        if scheduler.place(of: id) == .elsewhere { elsewhere += 1 }
        #expect(elsewhere <= workers)
      }
      guard let id = running.popFirst() else { break }
      result.makespan = finish[id]
      if scheduler.place(of: id) == .elsewhere { elsewhere -= 1 }
      scheduler.measured(id, seconds: nodes[id].cost, running: nodes[id].cost, at: result.makespan)
      scheduler.finished(id, .succeeded)
    }
    result.cpu = Self.processorTime() - start
    #expect(scheduler.count(.succeeded) == nodes.count)
    return result
  }

  private static func processorTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  @Test(arguments: [600, 6_000], [10, 100, 1_000])
  func `workers are kept busy up to a tenth of the best, for next to no processor time`(_ count: Int, _ workers: Int)
    throws
  {
    for seed: UInt64 in 1...3 {
      for (name, nodes) in [
        ("drawn", Self.connectors(count, seed: seed)), ("recorded", Self.recordedConnectors(count, seed: seed)),
      ] {
        let run = try Self.run(nodes, workers: workers)
        let work = run.work / Double(workers)
        // Two jobs of the client make all images.
        let bound = max(run.longest, work, run.ownWork / 2)
        #expect(run.makespan <= 1.1 * bound, "\(name): \(run), at best \(bound) s")
        #expect(run.cpu <= 0.05 * run.makespan, "\(name): \(run)")
        print(
          "\(name): \(count) connectors, \(workers) workers: \(run.makespan / bound) of \(bound) s, \(run.cpu) s of the client"
        )
      }
    }
  }

  /// KiB, of this process.
  private static func peakMemory() -> Int? {
    guard let file = fopen("/proc/self/status", "r") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, 256, file) != nil {
      let words = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split {
        $0 == "\t" || $0 == " "
      }
      if words.first == "VmHWM:" { return words.count > 1 ? Int(words[1]) : nil }
    }
    return nil
  }

  /// Of a process that has all of the tests loaded besides.
  @Test func `the client keeps below 200 MB with 6,000 connectors on 1,000 workers`() async {
    await #expect(processExitsWith: .success) {
      _ = try Self.run(Self.connectors(6_000, seed: 1), workers: 1_000)
      // Not what `getrusage` tells: that is at least the peak of the process that started this one.
      let peak = try #require(Self.peakMemory())
      #expect(peak < 200 << 10, "\(peak >> 10) MB")
    }
  }
}
