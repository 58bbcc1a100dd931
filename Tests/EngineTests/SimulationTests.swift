import Diagnostics
import Files
import Graph
import SeededRandom
import SystemPackage
import Testing

@testable import Engine

@Suite struct SimulationTests {
  /// `affected` is held against brute force elsewhere.
  @Test(arguments: [11, 12, 13])
  func `a replay finds for every commit what affected finds`(seed: UInt64) throws {
    let history = try GeneratedHistory(seed: seed)
    var random = SeededGenerator(seed: seed)
    for _ in 1...50 {
      for _ in 0..<Int.random(in: 1...2, using: &random) { _ = try history.change() }
      try history.commit()
    }
    let session = try Session(directory: FilePath(history.root), cache: FilePath(history.top + "/cache"))
    let repository = try #require(GitHistory(of: session.workspace.root))
    let (base, head) = (try repository.commit("HEAD~50"), try repository.commit("HEAD"))
    let commits = try repository.commits(after: base, to: head)
    #expect(commits.count == 50 && commits.last?.id == head)
    var replay = try Replay(repository, base)
    var (previous, compared, count) = (base, 0, 0)
    for commit in commits {
      let step = try replay.advance(to: commit)
      defer { previous = commit.id }
      // What cannot be planned has no exact answer.
      guard let affected = try? session.affected(since: previous, until: commit.id, exactBase: true),
        affected.warnings.isEmpty, !step.isBroken
      else { continue }
      #expect(step.difference.affected.sorted() == affected.labels, "seed \(seed), \(commit.id)")
      #expect(step.difference.removed.sorted() == affected.removed, "seed \(seed), \(commit.id)")
      compared += 1
      count += affected.labels.count
    }
    #expect(compared > 25 && count > 25, "\(compared) commits, \(count) targets")
  }

  @Test func `machines take the longest way first, and commits wait for each other`() {
    var pool = MachinePool(machines: 2)
    // 3 -> 4 is the longest way; 2 and 2 fit beside it.
    pool.run([.init(seconds: 2), .init(seconds: 3), .init(seconds: 4, dependencies: [1]), .init(seconds: 2)], at: 0)
    #expect(pool.latencies == [7] && pool.seconds == 11 && pool.longestQueue == 0)
    pool.run([.init(seconds: 1)], at: 1)
    // The machine that had the short ones is free at 4.
    #expect(pool.latencies == [7, 4] && pool.longestQueue == 1)
    pool.run([], at: 2)
    #expect(pool.latencies.last == 0 && pool.longestQueue == 1)
    pool.run([.init(seconds: 1)], at: 3)
    #expect(pool.latencies.last == 3 && pool.longestQueue == 2)
    pool.run([.init(seconds: 1)], at: 100)
    #expect(pool.latencies.last == 1 && pool.longestQueue == 2)
  }

  @Test(arguments: 1...6, [1, 2, 7])
  func `no schedule beats its longest way or the sum over all machines`(seed: UInt64, machines: Int) {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<50 {
      var tasks: [MachinePool.Task] = []
      for index in 0..<Int.random(in: 1...30, using: &random) {
        let before = (0..<index).filter { _ in Int.random(in: 0..<8, using: &random) == 0 }
        tasks.append(.init(seconds: Double(Int.random(in: 0...9, using: &random)), dependencies: before))
      }
      var ways: [Double] = []
      for task in tasks { ways.append(task.seconds + (task.dependencies.map { ways[$0] }.max() ?? 0)) }
      let sum = tasks.reduce(0) { $0 + $1.seconds }
      var pool = MachinePool(machines: machines)
      pool.run(tasks, at: 5)
      #expect(pool.latencies[0] >= max(ways.max() ?? 0, sum / Double(machines)))
      #expect(pool.latencies[0] <= sum && pool.seconds == sum)
    }
  }
}
