import Caching
import Diagnostics
import Digests
import Events
import Graph
import Manifests
import Planning

/// One miss, ready to be executed on any thread.
struct Work: Sendable {
  enum Kind: Sendable {
    case command(CommandExecution)
    case image(ImageExecution)
    case rootfs(RootfsExecution)
    case pull(PullExecution)
    case downloads(DownloadExecution)
  }

  var target: Target
  var workspace: Workspace
  var kind: Kind
  var key: ActionKey
  /// Runs after a failure of a test that is declared flaky, or with `retries:`.
  var retries: Int
  /// A verdict that another process stored meanwhile does not count.
  var ignoresCache: Bool
  /// Milliseconds after which a result no longer counts.
  var freshness: Int64?
  var actions: ActionCache
  /// What the remote tier calls it; nil without one, or where it could not be told.
  var request: SharedRequest?
  var shared: (any SharedResults)?
  var engine: EngineAccess?
  /// That those actions took whose outputs it reads and only the remote tier has; nil where there are none.
  var remakeSeconds: Double?

  /// A result that another process stored while this one waited for the lock.
  func current() -> ActionRecord? {
    guard !ignoresCache, case .hit(let record) = actions.lookup(key.fingerprint) else { return nil }
    if let freshness, !record.isFresh(at: CommandExecution.now(), within: freshness) { return nil }
    return record
  }
}

struct Execution: Sendable {
  struct Done: Sendable {
    var record: ActionRecord
    /// Another process had executed it while this one waited for the lock.
    var wasHit: Bool
    /// From its start to its end, all attempts and what is around them.
    var seconds = 0.0
  }

  var node: Int
  var result: Result<Done, any Error>
}

extension Build {
  /// Executes under the key's lock, so that no two processes do the same work; stores the record.
  static func execute(_ node: Int, _ work: Work) async -> Execution {
    let start = ContinuousClock.now
    do {
      let lock = try await work.actions.store.lock(work.key.fingerprint)
      defer { withExtendedLifetime(lock) {} }
      if let record = work.current() {
        return Execution(node: node, result: .success(.init(record: record, wasHit: true)))
      }
      if let shared = work.shared,
        await !shared.fetch(work.needs, into: work.actions.store, insteadOf: work.remakeSeconds)
      {
        throw LostInputs()
      }
      var attempt = 0
      while true {
        attempt += 1
        let record: ActionRecord
        switch work.kind {
        case .command(let command): record = try await command.run(attempt: attempt, with: work.engine)
        case .image(let image): record = try await image.run()
        case .rootfs(let rootfs): record = try await rootfs.run()
        case .pull(let pull): record = try await pull.run()
        case .downloads(let downloads): record = try await downloads.run()
        }
        try work.actions.store(record)
        if record.isSuccess, let shared = work.shared, let request = work.request ?? (try? work.sharedRequest()) {
          shared.offer(record, as: request, from: work.actions.store)
        }
        if record.isUsable || attempt > work.retries {
          let seconds = (ContinuousClock.now - start).seconds
          return Execution(node: node, result: .success(.init(record: record, wasHit: false, seconds: seconds)))
        }
      }
    } catch {
      return Execution(node: node, result: .failure(error))
    }
  }

  /// The key of a target whose inputs are known, and what it takes to execute it.
  func prepare(_ target: Target) throws -> Work {
    let ignoresCache = options.rerun && target.rule == .test && outcome.wanted.contains(target.label)
    func work(_ kind: Work.Kind, _ key: ActionKey) -> Work {
      let retries = target.declaration.resources.retries ?? (target.declaration.isFlaky ? 2 : 0)
      return Work(
        target: target, workspace: workspace, kind: kind, key: key, retries: retries, ignoresCache: ignoresCache,
        freshness: target.declaration.freshness.map { Int64($0.value) * 1000 }, actions: actions, shared: shared,
        engine: engine)
    }
    switch target.rule {
    case .image:
      let base = target.image == nil ? nil : try planner.image(of: target)
      let layers = try planner.layers(of: target)
      let key = planner.imageKey(of: target, base: base, layers: layers)
      return work(
        .image(
          ImageExecution(
            workspace: workspace, store: store, snapshot: snapshot, folders: self.layers, newLayers: newLayers,
            target: target, base: base,
            layers: layers, key: key)), key)
    case .rootfs:
      let tool = try RootfsExecution.version()
      let lock = try RootfsExecution.lock(of: target, in: workspace)
      let keyring = try RootfsKeyring(of: target, in: workspace)
      let key = planner.rootfsKey(
        of: target, tool: tool, lock: lock?.text, keyring: keyring.map { Digest(of: $0.bytes) })
      return work(
        .rootfs(RootfsExecution(store: store, target: target, lock: lock?.lock, keyring: keyring, key: key)), key)
    case .fetch where !target.declaration.urls.isEmpty:
      let key = try planner.fetchKey(of: target)
      return work(.downloads(DownloadExecution(target: target, key: key, store: store, registries: registries)), key)
    case .pull:
      let pull = try PullExecution(target: target, planner: planner, store: store, registries: registries)
      return work(.pull(pull), pull.key)
    default:
      var action = try planner.action(of: target)
      let isChanged = target.rule == .test && !options.testArguments.isEmpty && outcome.wanted.contains(target.label)
      if isChanged { action.arguments += options.testArguments }
      var fetchPlan: FileArtifact?
      let key: ActionKey
      if target.rule == .fetch {
        key = try planner.fetchKey(of: target)
        if case .file(let file)? = target.plan.flatMap({ plan in
          planner.outputs[plan.label]?.first { plan.output == nil || $0.name == plan.output }?.artifact
        }) {
          fetchPlan = file
        }
      } else {
        key = ActionKey(action)
      }
      return work(
        .command(
          CommandExecution(
            workspace: workspace, store: store, sandbox: sandbox, layers: layers, snapshot: snapshot, target: target,
            action: action, key: key, fetchPlan: fetchPlan, imageSource: imageSource(of: target), events: events,
            streams: options.streams)), key)
    }
  }
}
