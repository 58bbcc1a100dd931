import Caching
import Diagnostics
import Digests
import Distribution
import Files
import Graph
import Manifests
import OCI
import Planning
import RemoteCaching
import RemoteExecution
import RemoteExecutionAPI
import Sandboxing
import Synchronization

/// What a build needs of an engine: the client, and the images as trees.
final class EngineAccess: Sendable {
  let engine: ExecutionEngine
  /// Whether what the engine cannot run for reasons of its own is run here.
  let fallsBack: Bool
  private let offers: Set<WorkspaceSettings.Offer>
  private let properties: [PlatformProperty]
  /// Told how an action stands.
  let stage: @Sendable (Label, Stage) -> Void
  private let store: Store
  private let layers: LayerFolders
  private let trees = Mutex<[[Digest]: Task<DirectoryArtifact, any Error>]>([:])
  /// Why the engine was given up.
  private let lost = Mutex<RemoteFailure?>(nil)
  let locals: Permits

  init(
    _ opened: OpenedEngine, store: Store, layers: LayerFolders, stage: @escaping @Sendable (Label, Stage) -> Void
  ) {
    (engine, fallsBack, offers, properties) = (opened.client, opened.fallsBack, opened.offers, opened.properties)
    (self.store, self.layers, self.stage) = (store, layers, stage)
    locals = Permits(Host.cores)
  }

  /// Where an action stands that is not run here.
  enum Stage: String, Sendable {
    /// Its inputs go to the engine.
    case uploading
    case queued
    case running
    /// Its outputs come from the engine.
    case fetching
  }

  /// Whether the engine can run it: what reads an open file, or needs what the engine does not offer, stays here.
  func takes(_ target: Target) -> Bool {
    let declaration = target.declaration
    guard [.action, .test].contains(target.rule), declaration.stdin == nil else { return false }
    if (declaration.network?.value ?? .none) != .none, !offers.contains(.network) { return false }
    if !declaration.secrets.isEmpty, !offers.contains(.secrets) { return false }
    return target.platform.map { offers.contains(.platform($0)) } ?? true
  }

  /// The platform properties of an action: those of the workspace, and over them those of its target.
  func properties(of target: Target, resources: Resources) -> [REAPIPlatform.Property] {
    var values: [String: String] = [:]
    for property in properties + target.declaration.properties {
      values[property.name] = property.value.filled { placeholder in
        switch placeholder {
        case .cpu: resources.cpu.map { "\(Int($0.rounded(.up)))" }
        case .memory: resources.memory.map { "\($0)" }
        case .platform: target.platform ?? Workspace.platform
        case .kind: target.kind
        case .rule: target.rule.rawValue
        case .label: target.label.description
        case .network: target.declaration.network?.value == .host ? "on" : nil
        case .secrets: target.declaration.secrets.map(\.name.value).joined(separator: ",")
        }
      }
    }
    return values.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { name, value in
      var property = REAPIPlatform.Property()
      (property.name, property.value) = (name, value)
      return property
    }
  }

  var failure: RemoteFailure? { lost.withLock { $0 } }

  func giveUp(_ failure: RemoteFailure) { lost.withLock { $0 = $0 ?? failure } }

  /// An image's files as one tree, made once however many actions run in it.
  func tree(of image: ImageArtifact) async throws -> DirectoryArtifact {
    let name = image.layers.map(\.diffID)
    let (store, layers) = (store, layers)
    let task = trees.withLock { trees in
      if let task = trees[name] { return task }
      let task = Task { try await Self.tree(of: image, store, layers) }
      trees[name] = task
      return task
    }
    do { return try await task.value } catch {
      // A full disk may have room again when the next action asks.
      trees.withLock { $0[name] = nil }
      throw error
    }
  }

  /// Remembered as the result of an action of its own, whose bytes are kept and evicted like any other's.
  private static func tree(of image: ImageArtifact, _ store: Store, _ layers: LayerFolders) async throws
    -> DirectoryArtifact
  {
    let key = Fingerprint(of: "image tree 1 " + image.layers.map(\.diffID.hex).joined(separator: " "))
    let hold = try await store.lock(key)
    defer { withExtendedLifetime(hold) {} }
    if case .hit(let record) = store.actions.lookup(key), case .directory(let tree)? = record.outputs.first?.artifact,
      store.firstMissing(of: record) == nil
    {
      return tree
    }
    let start = CommandExecution.now()
    let tree = try ImageTree.insert(layers: await layers.folders(of: image), into: store)
    let end = CommandExecution.now()
    try store.actions.store(
      ActionRecord(
        key: key, label: "", rule: "image-tree", verdict: .passed, startedAt: start, completedAt: end,
        duration: end - start, outputs: [ActionRecord.Output(name: "tree", path: "tree", artifact: .directory(tree))]))
    return tree
  }
}

extension CommandExecution {
  /// Runs it once, on the engine if there is one for it; the record is stored by the caller.
  func run(attempt: Int, with access: EngineAccess?) async throws -> ActionRecord {
    guard let access, access.takes(target) else { return try await run(attempt: attempt) }
    var failure = access.failure
    if failure == nil {
      do { return try await run(attempt: attempt, on: access) } catch let lost as RemoteFailure {
        // What broke off because the build was interrupted is no failure of the engine's.
        if Task.isCancelled { throw CancellationError() }
        failure = lost
        // The next action would fare no better.
        if lost.isFinal || lost.reason == .connection || lost.reason == .timeout { access.giveUp(lost) }
      }
    }
    guard access.fallsBack else {
      var hints = ["without an engine: --executor ''; in place of it, where it fails: executor: {fallback: true}"]
      switch failure?.reason {
      case .denied: hints.insert("it knows whom it may serve by SLIPWAY_EXECUTOR_TOKEN, or _USER and _PASSWORD", at: 0)
      case .tls:
        hints.insert(
          "the engine's authority: executor: {ca: FILE}; what it may want to see: SLIPWAY_EXECUTOR_CERTIFICATE and _KEY",
          at: 0)
      default: break
      }
      throw Diagnostic.error(
        "cannot run \(target.label) on the engine: \(failure.map { "\($0)" } ?? "")", cause: .environment, hints: hints)
    }
    // The scheduler took it for one that needs nothing of this machine.
    await access.locals.take()
    defer { access.locals.giveBack() }
    return try await run(attempt: attempt)
  }

  /// Beside the outputs, below the working folder: a worker gives nothing from elsewhere.
  private static let junitName = ".slipway-junit.xml"

  /// Runs it once on an engine; the record is stored by the caller.
  ///
  /// Throws `SourceChanged`, a `RemoteFailure` of the engine's, a `Diagnostic`, or `CancellationError`.
  func run(attempt: Int, on access: EngineAccess) async throws -> ActionRecord {
    let check = try protocolCommand()
    let limits = try timeLimit()
    let action = EngineActionBuilder(self)
    let command = try await access.engine.worded(
      action.command(isCheck: check != nil, access.properties(of: target, resources: resources)))
    let described = try EngineAction(
      command,
      inputRoot: try await inputRoot(access), timeout: limits, into: store)
    let started = Self.now()
    let answer: ExecutionEngine.Answer
    do throws(RemoteFailure) {
      access.stage(target.label, .uploading)
      answer = try await access.engine.run(described, from: store, time: .seconds(limits)) { [target] stage in
        switch stage {
        case .queued: access.stage(target.label, .queued)
        case .executing: access.stage(target.label, .running)
        case .completed: access.stage(target.label, .fetching)
        case .unknown, .cacheCheck, .UNRECOGNIZED: break
        }
      }
    } catch {
      if error.reason == .cancelled { throw CancellationError() }
      throw error
    }
    var (verdict, code): (ActionRecord.Verdict, Int32) = (.timedOut, 124)
    var found = EngineOutputs()
    var duration = Self.now() - started
    switch answer {
    case .completed(let result):
      found = try await EngineOutputs(result, of: access.engine, into: store)
      (verdict, code) = Self.verdict(Self.status(result.exitCode), rule: target.rule)
      duration = Self.duration(result) ?? duration
    case .timedOut(let result):
      // What it printed before is of help; that it comes is not sure.
      found = (try? await EngineOutputs(result, of: access.engine, into: store)) ?? found
    }
    var log = check == nil ? found.standardOutput + found.standardError : found.standardError + found.standardOutput
    if let check, verdict != .timedOut {
      let report = ProtocolCheck(check, output: found.standardOutput)
      log += Array(report.summary.utf8)
      if verdict == .passed, !report.passed { (verdict, code) = (.failed, 1) }
    }
    if verdict == .timedOut { log += Array("slipway: stopped after \(limits) s (timeout)\n".utf8) }
    var outputs: [ActionRecord.Output] = []
    if verdict == .passed {
      for output in self.action.outputs {
        guard let artifact = found.artifacts[output.path] else {
          let text = "declared output `\(output.path)` was not created by \(target.label)"
          log += Array(Diagnostic.error(text, cause: .build).rendered.utf8)
          (verdict, code) = (.failed, 1)
          continue
        }
        outputs.append(ActionRecord.Output(name: output.name, path: output.path, artifact: artifact))
      }
    }
    if verdict == .passed, attempt > 1 { verdict = .flaky }
    var record = ActionRecord(
      key: key.fingerprint, label: target.label.description, rule: target.rule.rawValue, verdict: verdict,
      exitCode: code, startedAt: started, completedAt: Self.now(), duration: duration,
      outputs: verdict == .passed || verdict == .flaky ? outputs : [], explanation: key.explanation)
    record.attempt = Int64(attempt)
    record.log = try store.insert(log)
    if case .file(let file)? = found.artifacts[Self.junitName] { record.junit = file }
    return record
  }

  private static func status(_ code: Int32) -> SandboxResult.Status {
    // Runners tell a signal as a shell does.
    code > 128 && code < 160 ? .signaled(code - 128) : .exited(code)
  }

  private static func duration(_ result: REAPIActionResult) -> Int64? {
    let metadata = result.executionMetadata
    guard metadata.hasExecutionStartTimestamp, metadata.hasExecutionCompletedTimestamp else { return nil }
    let (start, end) = (metadata.executionStartTimestamp, metadata.executionCompletedTimestamp)
    let milliseconds = (end.seconds - start.seconds) * 1000 + Int64(end.nanos - start.nanos) / 1_000_000
    return (0..<1 << 40).contains(milliseconds) ? milliseconds : nil
  }

  /// What is written at the target, else of its rule in the workspace.
  private var resources: Resources {
    var resources = target.declaration.resources
    if let general = workspace.settings.defaults[target.rule] { resources.fill(from: general) }
    return resources
  }

  private func timeLimit() throws -> Int { resources.timeout ?? 600 }

  /// The image's tree, hidden where inputs lie.
  private func inputRoot(_ access: EngineAccess) async throws -> DirectoryArtifact {
    let image = try await access.tree(of: action.image)
    var tree = TreeBuilder(store)
    tree.hides = true
    try tree.add("", .folder(image))
    for input in action.inputs {
      let path = String(input.path.drop { $0 == "/" })
      switch input.content {
      case .source(let file) where file.mode == .symlink:
        try tree.add(path, .symlink(String(decoding: try workspace.tree.read(file.path, limit: 4096), as: UTF8.self)))
      case .source(let file): try tree.add(path, .file(try snapshot.artifact(of: file)))
      case .file(let file): try tree.add(path, .file(file))
      case .bundled(let name, _):
        try tree.add(path, .file(try store.insert(Workspace.bundled(name) ?? [], executable: false)))
      case .directory(let directory): try tree.add(path, .folder(directory))
      }
    }
    try tree.addFolder(String(action.workingDirectory.drop { $0 == "/" }))
    return try tree.finish()
  }

  /// The command as a worker is to run it in the root that holds the image.
  private struct EngineActionBuilder {
    let execution: CommandExecution

    init(_ execution: CommandExecution) { self.execution = execution }

    func command(isCheck: Bool, _ properties: [REAPIPlatform.Property]) -> REAPICommand {
      let action = execution.action
      var command = REAPICommand()
      let arguments = isCheck ? action.image.run.entrypoint + action.arguments.dropFirst() : action.arguments
      command.arguments = arguments.map { $0 == ActionPlanner.junitPath ? CommandExecution.junitName : $0 }
      command.environmentVariables = action.environment.map { variable in
        var result = REAPICommand.EnvironmentVariable()
        result.name = variable.name
        result.value = variable.value
        return result
      }.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
      command.workingDirectory = String(action.workingDirectory.drop { $0 == "/" })
      var paths = action.outputs.map(\.path)
      if execution.target.rule == .test { paths.append(CommandExecution.junitName) }
      command.outputPaths = paths.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
      if !properties.isEmpty { command.platform.properties = properties }
      return command
    }
  }
}
