import Caching
import Diagnostics
import Digests
import Distribution
import Files
import Glibc
import Graph
import Manifests
import OCI
import Planning
import RemoteCaching
import RemoteExecution
import RemoteExecutionAPI
import Sandboxing
import Synchronization

extension CommandExecution {
  /// Runs it once, on the engine if there is one for it; the record is stored by the caller.
  func run(attempt: Int, with access: EngineAccess?) async throws -> ActionRecord {
    guard let access, access.takes(target, pulled: imageSource != nil) else { return try await run(attempt: attempt) }
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
    access.stage(target.label, .uploading)
    let (command, root) =
      try await access.namesImages ? commandInContainer(access) : commandInRoot(access)
    let described = try EngineAction(
      try await access.engine.worded(command), inputRoot: root, timeout: limits, into: store)
    let started = Self.now()
    let shown = streams ? OutputStream(target.label, events) : nil
    defer { shown?.finish() }
    var output: (@Sendable ([UInt8]) -> Void)?
    if let shown { output = { shown.feed($0) } }
    let answer: ExecutionEngine.Answer
    do throws(RemoteFailure) {
      answer = try await access.engine.run(
        described, from: store, time: .seconds(limits), stage: { [target] in access.tell($0, of: target) },
        output: output)
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
      if access.namesImages { try found.leaveContainer(access.engine.url) }
      (verdict, code) = Self.verdict(Self.status(result.exitCode), rule: target.rule)
      duration = Self.duration(result) ?? duration
    case .timedOut(let result):
      // What it printed before is of help; that it comes is not sure.
      found = (try? await EngineOutputs(result, of: access.engine, into: store)) ?? found
      // Its outputs would count for nothing.
      found.artifacts = [:]
    }
    var log = check == nil ? found.standardOutput + found.standardError : found.standardError + found.standardOutput
    if let check, verdict != .timedOut {
      let report = ProtocolCheck(check, output: found.standardOutput)
      log += Array(report.summary.utf8)
      if verdict == .passed, !report.passed { (verdict, code) = (.failed, 1) }
    }
    if code == 128 + SIGKILL, verdict == .failed {
      // The interface has no word for it; a container that is over its memory ends like that.
      log += Array(
        "slipway: killed on the worker, as by one that has no more memory for it (memory, properties)\n".utf8)
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

  // MARK: The image as the root

  /// The command as a worker is to run it in the input root, which holds the image too: hidden where inputs lie.
  private func commandInRoot(_ access: EngineAccess) async throws -> (REAPICommand, DirectoryArtifact) {
    let image = try await access.tree(of: action.image)
    var tree = TreeBuilder(store)
    tree.hides = true
    try tree.add("", .folder(image))
    try place(in: &tree) { path, directory, tree in try tree.mount(directory, at: path) }
    try tree.addFolder(String(action.workingDirectory.drop { $0 == "/" }))
    var command = command(properties: access.properties(of: target, resources: resources, image: nil))
    command.arguments = arguments
    command.workingDirectory = String(action.workingDirectory.drop { $0 == "/" })
    command.outputPaths = outputPaths
    return (command, try tree.finish())
  }

  private func command(properties: [REAPIPlatform.Property]) -> REAPICommand {
    var command = REAPICommand()
    command.environmentVariables = action.environment.map { variable in
      var result = REAPICommand.EnvironmentVariable()
      result.name = variable.name
      result.value = variable.value
      return result
    }.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    if !properties.isEmpty { command.platform.properties = properties }
    return command
  }

  private var arguments: [String] {
    let isCheck = action.arguments.first == ActionPlanner.protocolCheck
    let arguments = isCheck ? action.image.run.entrypoint + action.arguments.dropFirst() : action.arguments
    return arguments.map { $0 == ActionPlanner.junitPath ? Self.junitName : $0 }
  }

  /// Below the working folder.
  private var outputPaths: [String] {
    var paths = action.outputs.map(\.path)
    if target.rule == .test { paths.append(Self.junitName) }
    return paths.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  // MARK: The image as a container

  /// The command as a worker is to run it in a container of the image that it pulls.
  private func commandInContainer(_ access: EngineAccess) async throws -> (REAPICommand, DirectoryArtifact) {
    let image = try await access.reference(of: action.image, pulledAs: imageSource)
    let launch = ContainerLaunch(
      arguments: arguments, workingDirectory: action.workingDirectory, inputs: action.inputs.map(\.path),
      outputs: outputPaths)
    var tree = TreeBuilder(store)
    tree.hides = true
    try place(in: &tree, below: ContainerLaunch.inputs + "/") { path, directory, tree in
      try tree.mount(directory, at: path)
    }
    let script = try store.insert(Array(launch.script.utf8), executable: false)
    try tree.add(ContainerLaunch.path, .file(script))
    var command = command(properties: access.properties(of: target, resources: resources, image: image))
    command.arguments = ["sh", ContainerLaunch.path]
    command.outputPaths = launch.outputPaths
    return (command, try tree.finish())
  }
}

extension EngineOutputs {
  /// Names outputs as they were named in the container.
  ///
  /// Throws a `RemoteFailure` where the command was never begun, which is no fault of its own.
  fileprivate mutating func leaveContainer(_ url: String) throws {
    guard artifacts.removeValue(forKey: ContainerLaunch.mark) != nil else {
      let said =
        String(decoding: (standardError + standardOutput).suffix(500), as: UTF8.self)
        .split(separator: "\n").last.map { ": \($0)" } ?? ""
      throw RemoteFailure(
        .content, "Execute \(url): the worker did not begin the command in a container of its image\(said)")
    }
    let prefix = ContainerLaunch.outputs + "/"
    artifacts = Dictionary(
      uniqueKeysWithValues: artifacts.compactMap { path, artifact in
        path.hasPrefix(prefix) ? (String(path.dropFirst(prefix.count)), artifact) : nil
      })
  }
}
