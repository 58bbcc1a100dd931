import Caching
import Diagnostics
import Digests
import Events
import Files
import Graph
import Manifests
import Planning
import Sandboxing
import Scheduling

/// What a build came to.
package struct BuildOutcome: Sendable {
  package var exitCode: Int32
  /// Labels that were asked for, in order.
  package var wanted: [Label] = []
  /// Those among `wanted` that would execute, in a dry run.
  package var wouldExecute: [(label: Label, reason: String)] = []
  /// Of what is built; in a dry run, of what is known.
  package var outputs: [Label: [ActionRecord.Output]] = [:]
  /// Action keys of all that was walked, as far as they can be told without executing.
  package var keys: [Label: Fingerprint] = [:]
  /// Those among `wanted` that are built, or whose tests passed.
  package var succeeded: Set<Label> = []
  package var diagnostics = DiagnosticList()
}

/// One walk over the wanted targets: keys are computed as targets become ready, hits are taken, misses are executed.
///
/// All state belongs to the one task that runs `run`; only executions run beside it.
package final class Build {
  let workspace: Workspace
  let store: Store
  let actions: ActionCache
  let options: BuildOptions
  let events: EventStream
  let sandbox: any Sandbox
  let layers: LayerFolders
  let newLayers: NewLayers
  let snapshot: SourceSnapshot
  let registries: RegistryAccess
  let plan: Plan
  let history: History
  /// The remote tier, if there is one.
  let shared: (any SharedResults)?
  /// The engine that runs actions, if there is one.
  let engine: EngineAccess?

  var planner: ActionPlanner
  /// Asked only for what is to run for another platform.
  private lazy var emulation = Emulation()
  var outcome = BuildOutcome(exitCode: 0)
  var codes: Set<Int32> = []
  /// Verdicts of this walk, by node of the graph.
  var verdicts: [Int: ActionRecord.Verdict] = [:]
  var wouldRun: Set<Label> = []

  package init(
    workspace: Workspace, store: Store, registries: RegistryAccess, plan: Plan, history: History,
    options: BuildOptions, events: EventStream, shared: (any SharedResults)? = nil,
    engine: OpenedEngine? = nil
  ) throws {
    self.shared = shared
    watch = LookUpWatch(limit: shared?.patience ?? .zero)
    self.registries = registries
    self.workspace = workspace
    self.store = store
    self.plan = plan
    self.history = history
    self.options = options
    self.events = events
    actions = store.actions
    sandbox = options.sandbox == .runc ? try RuncSandbox() : NamespaceSandbox()
    let layers = LayerFolders(store: store)
    self.layers = layers
    self.engine = engine.map { engine in
      EngineAccess(engine, store: store, layers: layers, registries: registries) { label, stage in
        events.emit(Event(.actionStage, label: label.description, reason: stage.rawValue))
      }
    }
    newLayers = NewLayers(store)
    snapshot = SourceSnapshot(store: store, tree: workspace.tree)
    planner = ActionPlanner(
      targets: plan.targets, platform: Workspace.platform,
      fingerprints: { [tree = workspace.tree] in try tree.fingerprints(of: $0) }, bundled: Workspace.bundled)
  }

  /// Builds `wanted` and all that they depend on.
  ///
  /// `already` counts targets that are known to be up to date without a walk; `started` may report them.
  package func run(_ wanted: [Label], already: Int = 0, started: () -> Void = {}) async throws -> BuildOutcome {
    outcome.wanted = wanted
    let indices = wanted.compactMap { plan.graph.index(of: $0) }
    let graph = plan.graph
    var scheduler: Scheduler
    do {
      scheduler = try Scheduler(
        nodes: graph.nodes.indices.map(node), wanted: indices, capacity: Self.capacity, jobs: jobs, slots: slots,
        keepGoing: options.keepGoing)
    } catch {
      throw Diagnostic.error("targets wait for each other", cause: .internal)
    }
    events.emit(Event(.buildStarted, targets: countedTargets(scheduler) + already))
    started()
    await withTaskGroup(of: Step.self) { group in
      while !scheduler.isDone {
        if Task.isCancelled { scheduler.cancel() }
        var progressed = false
        for id in scheduler.start() {
          progressed = true
          evaluate(id, &scheduler)
        }
        for (id, question) in questions {
          group.addTask { .looked(await question()) }
          if watch.asked(id) { hedge(id, &scheduler) }
        }
        questions = []
        if !isWatching, watch.isWaiting {
          isWatching = true
          let pause = watch.pause
          group.addTask {
            try? await Task.sleep(for: pause)
            return .watched
          }
        }
        for id in scheduler.startExecutions() {
          progressed = true
          guard var work = pending.removeValue(forKey: id) else { continue }
          if scheduler.place(of: id) != .elsewhere { work.engine = nil }
          if let hit = superseded.removeValue(forKey: id), let target = plan.targets[graph.nodes[id].label] {
            take(hit, target, &scheduler)
            continue
          }
          events.emit(Event(.actionStarted, label: graph.nodes[id].label.description, rule: graph.nodes[id].rule))
          group.addTask(operation: execution(of: id, work))
        }
        for id in scheduler.takeDecided() { reportDecided(id, scheduler.state(of: id)) }
        if progressed || scheduler.isDone { continue }
        switch await group.next() {
        case .looked(let lookUp)?: complete(lookUp, &scheduler)
        case .watched?:
          isWatching = false
          for id in watch.overdue() { hedge(id, &scheduler) }
        case .executed(let execution)?:
          for (node, work) in complete(execution, &scheduler) {
            group.addTask(operation: self.execution(of: node, work))
          }
        case nil: return
        }
      }
      // Answers that nobody waits for any more.
      group.cancelAll()
    }
    // The last failure may have decided others, with nothing left to start.
    for id in scheduler.takeDecided() { reportDecided(id, scheduler.state(of: id)) }
    if Task.isCancelled { codes.insert(8) }
    let tests = events.counts.tests
    if tests.noTests > 0, tests.passed + tests.flaky + tests.failed + tests.timedOut == 0 { codes.insert(4) }
    outcome.exitCode = [37, 36, 8, 2, 1, 3, 4].first { codes.contains($0) } ?? 0
    outcome.outputs = planner.outputs
    outcome.succeeded = Set(
      indices.filter { scheduler.state(of: $0) == .succeeded }.map { graph.nodes[$0].label })
    return outcome
  }

  /// How many of the targets to walk run anything: `files` and suites do not, and are not counted.
  private func countedTargets(_ scheduler: Scheduler) -> Int {
    plan.graph.nodes.indices.filter { index in
      guard scheduler.state(of: index) != .unwanted, let target = plan.targets[plan.graph.nodes[index].label] else {
        return false
      }
      return BuildState.Sort(target.rule).isCounted
    }.count
  }

  private let begun = ContinuousClock.now
  /// Work that waits for its turn to execute, by node.
  var pending: [Int: Work] = [:]
  /// Questions to the remote tier that are to be asked.
  private var questions: [(node: Int, ask: @Sendable () async -> LookUp)] = []
  let watch: LookUpWatch
  private var isWatching = false
  /// Work of nodes that the remote tier is asked about.
  var asked: [Int: Work] = [:]
  /// Those of them that are executed all the same, since the answer is late; with what runs.
  var hedged: [Int: Task<Execution, Never>?] = [:]
  /// Answers that came in time to spare an execution that had begun.
  var superseded: [Int: LookUp] = [:]
  /// Nodes that run once more for the sake of others, which lack the bytes that they gave: those others.
  var awaited: [Int: Set<Int>] = [:]
  /// How often a node lacked bytes.
  var recoveries: [Int: Int] = [:]

  // MARK: Evaluation

  /// Computes a ready node's key and looks it up; a miss asks for an execution.
  private func evaluate(_ id: Int, _ scheduler: inout Scheduler) {
    let label = plan.graph.nodes[id].label
    guard let target = plan.targets[label] else { return scheduler.finished(id, .failed) }
    seen[label] = BuildState.Seen(isVerified: false)
    do {
      switch target.rule {
      case .files, .publish:
        planner.outputs[label] = target.image.flatMap { planner.outputs[$0.label] } ?? []
        seen[label] = BuildState.Seen(isVerified: true)
        scheduler.finished(id, .succeeded)
      case .suite: evaluateSuite(id, target, &scheduler)
      case .action, .fetch, .test, .image, .rootfs, .pull:
        // Before its key, which needs the outputs that a dry run does not make.
        if dependsOnUnbuilt(target) {
          return noteDryRun(id, target, "an input would be built first", &scheduler)
        }
        let work = try prepare(target)
        outcome.keys[label] = work.key.fingerprint
        let start = ContinuousClock.now
        let found = lookUp(work, target)
        localStatistics.seconds += (ContinuousClock.now - start).seconds
        switch found {
        case .hit(let record): take(record, id, target, .hitLocal, &scheduler)
        case .miss(let reason, let kind, let recorded):
          localStatistics.misses[kind, default: 0] += 1
          guard let shared else { return try miss(id, target, work, reason, &scheduler) }
          reasons[id] = reason
          let bringsBytes = mustBeLocal(target)
          asked[id] = work
          let watch = watch
          questions.append(
            (id, { await Self.lookUp(id, work, recorded: recorded, bringsBytes: bringsBytes, shared, watch) }))
        }
      }
    } catch {
      fail(id, target, error, &scheduler)
    }
  }

  /// Ends a node with a result that was known.
  func take(
    _ record: ActionRecord, _ id: Int, _ target: Target, _ tier: Event.Outcome, _ scheduler: inout Scheduler
  ) {
    planner.outputs[target.label] = record.outputs
    verdicts[id] = record.verdict
    history.note(target.label, key: record.key, milliseconds: record.duration)
    hits.append(record.key)
    if tier == .hitRemote { remoteSeconds[id] = Double(record.duration) / 1000 }
    if tier == .hitLocal {
      localStatistics.hits += 1
      localStatistics.savedSeconds += Double(record.duration) / 1000
    }
    noteVerified(target, record)
    finish(id, target, tier, record: record)
    scheduler.finished(id, .succeeded)
  }

  func miss(_ id: Int, _ target: Target, _ work: Work, _ reason: String, _ scheduler: inout Scheduler) throws {
    if options.isDryRun { return noteDryRun(id, target, reason, &scheduler) }
    if let platform = target.platform, target.rule.runsCommand || target.rule == .rootfs {
      try emulation.require(target.label, for: platform, host: Workspace.platform)
    }
    let remote = plan.graph.nodes[id].dependencies.compactMap { edge in
      plan.graph.index(of: edge.target).flatMap { remoteSeconds[$0] }
    }
    pending[id] = work
    pending[id]?.remakeSeconds = remote.isEmpty ? nil : remote.reduce(0, +)
    reasons[id] = reason
    scheduler.requestExecution(id)
  }

  /// Takes in what the remote tier knows of a local miss.
  private func complete(_ lookUp: LookUp, _ scheduler: inout Scheduler) {
    let id = lookUp.node
    guard let target = plan.targets[plan.graph.nodes[id].label] else { return scheduler.finished(id, .failed) }
    asked[id] = nil
    if let execution = hedged.removeValue(forKey: id) {
      // Its execution is on its way, and counts if it has ended, or the answer is no hit.
      guard case .hit = lookUp.answer, verdicts[id] == nil else { return }
      superseded[id] = lookUp
      execution?.cancel()
      return
    }
    let reason = reasons.removeValue(forKey: id) ?? ""
    do {
      switch lookUp.answer {
      case .hit: take(lookUp, target, &scheduler)
      case .miss(let remote):
        try miss(id, target, lookUp.work, remote.map { "\(reason); remote: \($0)" } ?? reason, &scheduler)
      }
    } catch { fail(id, target, error, &scheduler) }
  }

  /// Why no tier had a hit, of nodes that are executed; the local one, of nodes that the remote one is asked about.
  var reasons: [Int: String] = [:]

  /// How long the actions of remote hits took, by node.
  private var remoteSeconds: [Int: Double] = [:]

  /// What the local tier did.
  private(set) var localStatistics = TierStatistics()

  /// Keys of hits, whose use is noted once at the end.
  var hits: [Fingerprint] = []

  /// What the next build may take as up to date, as long as the stamps hold.
  private(set) var seen: [Label: BuildState.Seen] = [:]

  private func noteVerified(_ target: Target, _ record: ActionRecord) {
    var entry = BuildState.Seen(
      isVerified: record.isSuccess && retries[plan.graph.index(of: target.label) ?? -1] == nil)
    if let freshness = target.declaration.freshness {
      entry.validUntil = record.completedAt + Int64(freshness.value) * 1000
    }
    seen[target.label] = entry
  }

  private func dependsOnUnbuilt(_ target: Target) -> Bool {
    guard options.isDryRun, let index = plan.graph.index(of: target.label) else { return false }
    return plan.graph.nodes[index].dependencies.contains { edge in
      ![.needs, .when, .test].contains(edge.role) && wouldRun.contains(edge.target)
    }
  }

  private func noteDryRun(_ id: Int, _ target: Target, _ reason: String, _ scheduler: inout Scheduler) {
    wouldRun.insert(target.label)
    outcome.wouldExecute.append((target.label, reason))
    events.emit(
      Event(
        .targetFinished, label: target.label.description, rule: target.rule.rawValue, outcome: .skipped,
        reason: reason))
    scheduler.finished(id, .succeeded)
  }

  private func evaluateSuite(_ id: Int, _ target: Target, _ scheduler: inout Scheduler) {
    planner.outputs[target.label] = []
    let failed = target.tests.filter { test in
      guard let index = plan.graph.index(of: test) else { return false }
      return scheduler.state(of: index) != .succeeded
    }
    seen[target.label] = BuildState.Seen(isVerified: failed.isEmpty)
    scheduler.finished(id, failed.isEmpty ? .succeeded : .failed)
  }

  enum LocalLookUp {
    case hit(ActionRecord)
    /// Why, and of what kind that is; and the result whose bytes alone are missing, if the remote tier may have them.
    case miss(String, kind: String, recorded: ActionRecord?)
  }

  private func lookUp(_ work: Work, _ target: Target) -> LocalLookUp {
    if options.rerun, target.rule == .test, outcome.wanted.contains(target.label) {
      return .miss("--rerun", kind: "rerun", recorded: nil)
    }
    switch actions.lookup(work.key.fingerprint) {
    case .hit(let record):
      if let freshness = work.freshness, !record.isFresh(at: CommandExecution.now(), within: freshness) {
        return .miss("older than its freshness", kind: "not fresh", recorded: nil)
      }
      return .hit(record)
    case .miss(let reason):
      guard shared != nil, case .missingBlob = reason, case .hit(let record) = actions.recorded(work.key.fingerprint)
      else { return .miss(reason.text, kind: reason.kind, recorded: nil) }
      return .miss(reason.text, kind: reason.kind, recorded: record)
    }
  }

  // MARK: Completion

  /// Takes in the end of an execution; gives what is to be executed in its place: the same action by another key when
  /// its sources were edited meanwhile, or what made the bytes that it lacks.
  private func complete(_ execution: Execution, _ scheduler: inout Scheduler) -> [(node: Int, work: Work)] {
    let id = execution.node
    let label = plan.graph.nodes[id].label
    guard let target = plan.targets[label] else {
      scheduler.finished(id, .failed)
      return []
    }
    if let hit = superseded.removeValue(forKey: id), case .failure = execution.result {
      if case .hit(let record) = hit.answer { reportAction(target, record, .hitRemote) }
      take(hit, target, &scheduler)
      return []
    }
    do {
      switch execution.result {
      case .failure(let error as SourceChanged):
        // A file was edited after its key was computed: what the action would have seen has another key.
        retries[id, default: 0] += 1
        guard retries[id, default: 0] <= 10 else {
          throw Diagnostic.error(
            "`\(error.path)` kept changing while \(label) was built", cause: .environment,
            hints: ["build again when nothing writes to it"])
        }
        try workspace.tree.refresh(.packages([error.package]))
        return try prepareAgain(id, target, &scheduler)
      case .failure(is LostInputs):
        if let works = recover(id) {
          for (_, work) in works {
            let target = work.target
            events.emit(Event(.actionStarted, label: target.label.description, rule: target.rule.rawValue))
          }
          return works
        }
        throw Diagnostic.error(
          "cannot build \(label): bytes that it reads are gone from every cache", cause: .environment,
          hints: ["slipway build \(label) --remote-cache '' does without the remote cache"])
      case .failure(let error): throw error
      case .success(let done):
        if awaited[id] != nil { return try resume(after: id, target, done.record, &scheduler) }
        settle(id, target, done, &scheduler)
      }
    } catch { failAll(waitingFor: id, target, error, &scheduler) }
    return []
  }

  private func settle(_ id: Int, _ target: Target, _ done: Execution.Done, _ scheduler: inout Scheduler) {
    let (label, record) = (target.label, done.record)
    history.note(label, key: record.key, milliseconds: record.duration)
    verdicts[id] = record.verdict
    if !done.wasHit {
      scheduler.measured(
        id, seconds: done.seconds, running: Double(record.duration) / 1000, at: (ContinuousClock.now - begun).seconds)
    }
    reportAction(target, record, done.wasHit ? .hitLocal : record.isUsable ? .executed : .failed)
    if record.isUsable {
      planner.outputs[label] = record.outputs
      noteVerified(target, record)
      finish(id, target, done.wasHit ? .hitLocal : .executed, record: record)
      scheduler.finished(id, .succeeded)
    } else {
      codes.insert(target.rule == .test ? 3 : 1)
      finish(id, target, .failed, record: record)
      scheduler.finished(id, .failed)
    }
  }

  private func reportAction(_ target: Target, _ record: ActionRecord, _ outcome: Event.Outcome) {
    events.emit(
      Event(
        .actionFinished, label: target.label.description, rule: target.rule.rawValue, key: record.key.description,
        outcome: outcome, exitCode: Int(record.exitCode), durationMs: Int(record.duration)))
  }

  /// The work of a node whose key may be another one by now; none when that key has a result here.
  private func prepareAgain(_ id: Int, _ target: Target, _ scheduler: inout Scheduler) throws
    -> [(node: Int, work: Work)]
  {
    if let hit = superseded.removeValue(forKey: id) {
      take(hit, target, &scheduler)
      return []
    }
    var work = try prepare(target)
    if awaited[id] != nil {
      work.ignoresCache = true
    } else if case .hit(let record) = lookUp(work, target) {
      take(record, id, target, .hitLocal, &scheduler)
      return []
    }
    return [(id, work)]
  }

  /// A node ran once more for the bytes that it gives: prepares the dependents that now have all of theirs.
  private func resume(after id: Int, _ target: Target, _ record: ActionRecord, _ scheduler: inout Scheduler) throws
    -> [(node: Int, work: Work)]
  {
    reportAction(target, record, record.isUsable ? .executed : .failed)
    guard record.isUsable else {
      throw Diagnostic.error(
        "\(target.label), whose bytes are gone from every cache, failed when it ran again (\(record.failureReason))",
        cause: .build, hints: ["slipway logs \(target.label)"])
    }
    var works: [(node: Int, work: Work)] = []
    for dependent in recovered(id, record) {
      guard let other = plan.targets[plan.graph.nodes[dependent].label] else { continue }
      do { works += try prepareAgain(dependent, other, &scheduler) } catch {
        failAll(waitingFor: dependent, other, error, &scheduler)
      }
    }
    return works
  }

  /// Fails a node that runs, or, where it ran once more for others, all of those.
  private func failAll(waitingFor id: Int, _ target: Target, _ error: any Error, _ scheduler: inout Scheduler) {
    guard let dependents = awaited.removeValue(forKey: id) else { return fail(id, target, error, &scheduler) }
    for dependent in dependents.sorted() {
      guard let other = plan.targets[plan.graph.nodes[dependent].label] else { continue }
      for producer in awaited.keys { awaited[producer]?.remove(dependent) }
      failAll(waitingFor: dependent, other, error, &scheduler)
    }
  }

  /// How often a node's sources were edited under it.
  var retries: [Int: Int] = [:]

  private func finish(_ id: Int, _ target: Target, _ result: Event.Outcome, record: ActionRecord? = nil) {
    var event = Event(
      .targetFinished, label: target.label.description, rule: target.rule.rawValue,
      key: record?.key.description, outcome: result)
    if let record {
      event.durationMs = Int(record.duration)
      event.exitCode = Int(record.exitCode)
      if target.rule == .test { event.verdict = record.verdict.event }
      if !result.isHit { event.miss = reasons[id] }
      if result == .failed {
        event.reason = record.failureReason
        event.text = record.log.flatMap { try? store.read($0.digest, limit: 64 << 20) }
      }
    }
    events.emit(event)
  }

  func fail(_ id: Int, _ target: Target, _ error: any Error, _ scheduler: inout Scheduler) {
    if error is CancellationError {
      codes.insert(8)
      scheduler.cancel()
      return scheduler.finished(id, .cancelled)
    }
    report(error, of: target)
    scheduler.finished(id, .failed)
  }

  /// Says what a target failed with, and counts it in the exit code.
  func report(_ error: any Error, of target: Target) {
    let list = (error as? DiagnosticList)?.diagnostics ?? [error.diagnostic(about: target.label)]
    for diagnostic in list { codes.insert(diagnostic.cause.rawValue) }
    outcome.diagnostics.diagnostics += list
    events.emit(
      Event(
        .targetFinished, label: target.label.description, rule: target.rule.rawValue, outcome: .failed,
        reason: "error", message: list.map(\.rendered).joined()))
  }

  private func reportDecided(_ id: Int, _ state: Scheduler.State) {
    let node = plan.graph.nodes[id]
    func label(_ other: Int) -> String { plan.graph.nodes[other].label.description }
    let reason: String
    switch state {
    case .skipped(.failed(let roots)): reason = roots.map(label).joined(separator: ", ") + " failed"
    case .skipped(.needs(let other)): reason = "needs \(label(other))"
    case .skipped(.notFailed(let other)): reason = "\(label(other)) did not fail"
    case .skipped(.unaffected): reason = "not affected"
    case .skipped(.dependencySkipped(let other)): reason = "\(label(other)) was skipped"
    case .skipped(.reported): reason = "skipped"
    default: return
    }
    if let rule = Rule(rawValue: node.rule), !BuildState.Sort(rule).isCounted { return }
    events.emit(
      Event(.targetFinished, label: node.label.description, rule: node.rule, outcome: .skipped, reason: reason))
  }
}

extension ActionRecord {
  /// Whether what depends on it may go on: it passed, at once or when tried again, or held no tests.
  var isUsable: Bool { isSuccess || verdict == .noTests || verdict == .flaky }

  var failureReason: String {
    switch verdict {
    case .timedOut: "timeout"
    case .signaled: "signal \(exitCode - 128)"
    default: "exit \(exitCode)"
    }
  }
}

extension ActionRecord.Verdict {
  package var event: Event.Verdict {
    switch self {
    case .passed: .passed
    case .failed, .signaled: .failed
    case .noTests: .noTests
    case .timedOut: .timedOut
    case .flaky: .flaky
    }
  }
}

extension Error {
  func diagnostic(about label: Label) -> Diagnostic {
    (self as? Diagnostic) ?? .error("cannot build \(label): \(self)", cause: .internal)
  }
}
