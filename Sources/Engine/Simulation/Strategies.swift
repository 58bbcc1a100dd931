import Digests
import Files
import Graph
import Manifests
import Planning

/// What each strategy runs for one commit after another, and what that costs.
struct Strategies {
  private let durations: Durations
  private var pools: [MachinePool]
  private(set) var results = Simulation.Strategy.allCases.map { Simulation.Result(strategy: $0) }
  /// The planned keys that were built before, with slipway and with a layer cache.
  private var cached: Set<Fingerprint>
  private var layers: Set<Fingerprint>
  private var packages: [WorkspacePath: [Label]] = [:]
  private var start: Int64?

  /// All that is there at the beginning has been built.
  init(machines: Int, durations: Durations, plan: PlannedTree) {
    self.durations = durations
    pools = Simulation.Strategy.allCases.map { _ in MachinePool(machines: machines) }
    cached = Set(plan.keys.values)
    layers = cached
    packages = Dictionary(grouping: plan.targets.keys, by: \.package)
  }

  mutating func run(_ commit: GitCommit, _ step: Replay.Step, _ plan: PlannedTree) -> Simulation.Commit {
    let first = start ?? commit.time
    start = first
    // Commits whose clocks went back arrive with those before them.
    let arrival = Double(max(0, commit.time - first))
    follow(step, plan)
    var line = Simulation.Commit(id: commit.id, time: commit.time)
    let affected = step.difference.affected.filter { plan.targets[$0].map(\.rule.isExecuted) ?? false }.sorted()
    let executed = affected.filter { label in plan.keys[label].map { !cached.contains($0) } ?? false }
    line.affected = affected.count
    line.hits = affected.count - executed.count
    line.executed = executed.count
    let tasks = tasks(executed, plan)
    line.seconds = tasks.reduce(0) { $0 + $1.seconds }
    cached.formUnion(executed.compactMap { plan.keys[$0] })
    account(.slipway, tasks, executed.count, arrival)

    let everything = packages.values.map { labels in task(labels.filter { isExecuted($0, plan) }, plan) }
    account(.everything, everything, packages.values.reduce(0) { $0 + $1.count { isExecuted($0, plan) } }, arrival)

    var (fresh, withLayers): ([MachinePool.Task], [MachinePool.Task]) = ([], [])
    var counts = (fresh: 0, withLayers: 0)
    for folder in step.folders.sorted() where packages[folder] != nil {
      let closure = closure(of: packages[folder] ?? [], plan).filter { isExecuted($0, plan) }
      let due = closure.filter { label in
        guard let key = plan.keys[label] else { return false }
        if plan.targets[label]?.rule == .test { return label.package == folder }
        return layers.insert(key).inserted
      }
      fresh.append(task(closure, plan))
      withLayers.append(task(due, plan))
      counts.fresh += closure.count
      counts.withLayers += due.count
    }
    account(.changedFolders, fresh, counts.fresh, arrival)
    account(.cachedFolders, withLayers, counts.withLayers, arrival)
    let missed = affected.count { plan.targets[$0]?.rule == .test && !step.folders.contains($0.package) }
    for index in results.indices where [.changedFolders, .cachedFolders].contains(results[index].strategy) {
      results[index].missedTests += missed
    }
    return line
  }

  private mutating func account(
    _ strategy: Simulation.Strategy, _ tasks: [MachinePool.Task], _ executed: Int, _ arrival: Double
  ) {
    guard let index = results.firstIndex(where: { $0.strategy == strategy }) else { return }
    pools[index].run(tasks, at: arrival)
    results[index].executed += executed
    results[index].machineSeconds = pools[index].seconds
    results[index].latencies = pools[index].latencies
    results[index].longestQueue = pools[index].longestQueue
  }

  private mutating func follow(_ step: Replay.Step, _ plan: PlannedTree) {
    for label in step.difference.removed { packages[label.package]?.removeAll { $0 == label } }
    for label in step.difference.affected where !(packages[label.package] ?? []).contains(label) {
      packages[label.package, default: []].append(label)
    }
    for label in step.difference.removed where packages[label.package]?.isEmpty == true {
      packages[label.package] = nil
    }
  }

  private func isExecuted(_ label: Label, _ plan: PlannedTree) -> Bool {
    plan.targets[label].map(\.rule.isExecuted) ?? false
  }

  private func seconds(of label: Label, _ plan: PlannedTree) -> Double {
    plan.targets[label].map { durations.seconds(of: label, rule: $0.rule) } ?? 0
  }

  /// One machine does it all, one after another.
  private func task(_ labels: [Label], _ plan: PlannedTree) -> MachinePool.Task {
    MachinePool.Task(seconds: labels.reduce(0) { $0 + seconds(of: $1, plan) })
  }

  /// One task a target, after those that it depends on.
  private func tasks(_ labels: [Label], _ plan: PlannedTree) -> [MachinePool.Task] {
    let among = Set(labels)
    var positions: [Label: Int] = [:]
    var tasks: [MachinePool.Task] = []
    func add(_ label: Label) {
      if positions[label] != nil { return }
      // A cycle, which is a mistake, ends here.
      positions[label] = -1
      let before = (plan.edges[label] ?? []).map(\.target).filter(among.contains)
      for other in before { add(other) }
      tasks.append(
        MachinePool.Task(
          seconds: seconds(of: label, plan), dependencies: before.compactMap { positions[$0] }.filter { $0 >= 0 }))
      positions[label] = tasks.count - 1
    }
    for label in labels { add(label) }
    return tasks
  }

  /// Targets and all that they come from, without tests that are no part of it.
  private func closure(of labels: [Label], _ plan: PlannedTree) -> [Label] {
    var seen = Set(labels)
    var pending = labels
    while let label = pending.popLast() {
      for edge in plan.edges[label] ?? [] where edge.role != .needs && edge.role != .when {
        if seen.insert(edge.target).inserted { pending.append(edge.target) }
      }
    }
    return seen.sorted()
  }
}

extension Rule {
  /// Whether to make it takes time.
  fileprivate var isExecuted: Bool { self != .files && self != .suite && self != .publish }
}
