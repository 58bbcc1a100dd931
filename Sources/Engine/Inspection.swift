import Caching
import Diagnostics
import Digests
import Events
import Files
import Glibc
import Graph
import Manifests
import OCI
import Planning
import Sandboxing
import SystemPackage

extension Session {
  func walk(_ plan: Plan, options: BuildOptions = BuildOptions()) throws -> Build {
    try Build(
      workspace: workspace, store: store, registries: registries, plan: plan, history: history, options: options,
      events: EventStream(sinks: []), shared: try remote(options))
  }

  /// Why a target would run, or why it was a hit; and where its package's files are seen in the sandbox.
  ///
  /// A target for several platforms is explained for each; any other one, for another platform only if that is named.
  package func explain(_ text: String, platforms: [String], options: BuildOptions) async throws -> String {
    let (plan, target) = try target(text)
    var spread = PlatformSpread(plan: plan, labels: [target.label])
    do {
      spread = try await self.spread(target, in: plan, chosen: platforms)
    } catch  where platforms.isEmpty {
      // A base whose registry cannot be asked is itself what is missing.
    }
    await registries.close()
    let build = try walk(spread.plan, options: options)
    var texts: [String] = []
    for label in spread.labels {
      let text = try await build.explain(label).text(root: "/src/\(target.label.package)")
      texts.append(spread.labels.count == 1 ? text : "\(label.platform ?? Workspace.platform): \(text)")
    }
    if let warning = opened?.tier?.warning { texts.append(warning.rendered) }
    await closeRemote(EventStream(sinks: []))
    return texts.joined()
  }

  /// The bytes of the log of a target's last run, on another platform than this machine's if one is named.
  package func log(of text: String, platform: String?) async throws -> [UInt8] {
    var (_, target) = try target(text)
    if let platform, platform != Workspace.platform { target.label = target.label.on(platform) }
    guard let entry = history.entry(of: target.label), let record = store.actions.any(entry.key) else {
      throw Diagnostic.error(
        "\(target.label) has not run here", cause: .input, hints: ["slipway build \(target.label.withoutPlatform)"])
    }
    guard let log = record.log else {
      throw Diagnostic.error("\(target.label) runs in process and keeps no log")
    }
    guard try await bring([.file(log)]) else {
      throw Diagnostic.error(
        "the log of \(target.label) is gone from every cache", cause: .environment,
        hints: ["run it again: slipway build --rerun \(target.label.withoutPlatform)"])
    }
    return try store.read(log.digest, limit: 1 << 30)
  }

  /// Copies a built target's outputs to `.slipway/out`, and gives their paths in the workspace.
  ///
  /// Images for several platforms are one layout with an index of them; any other target's outputs are this machine's,
  /// unless a platform is named.
  package func exportOutputs(of text: String, platforms: [String]) async throws -> [(name: String, path: String)] {
    let (plan, target) = try target(text)
    let spread = try await spread(target, in: plan, chosen: platforms)
    await registries.close()
    var outputs: [[ActionRecord.Output]] = []
    for label in spread.labels {
      let name = target.label.description
      if let entry = history.entry(of: label), case .hit(let record) = store.actions.recorded(entry.key) {
        guard try await bring(record.outputs.map(\.artifact)) else {
          throw Diagnostic.error(
            "the outputs of \(name) are not on this machine", cause: .environment,
            hints: ["bring them from the remote cache, or make them: slipway build --download requested \(name)"])
        }
        outputs.append(record.outputs)
        continue
      }
      let platform = label.platform ?? (spread.labels.count > 1 ? Workspace.platform : nil)
      throw Diagnostic.error(
        "\(name) has no result in the cache" + (platform.map { " for \($0)" } ?? ""),
        hints: [
          "build it first: slipway build \(name)" + (platforms.map { " --platform \($0)" }.joined()),
          platform.map { _ in "or name the platforms that are built: --platform \(Workspace.platform)" },
        ].compactMap(\.self))
    }
    // Of several platforms there are images, and what else a root file system gives is this machine's.
    let images = outputs.flatMap { $0 }.compactMap(\.image)
    return try export(outputs[0], images.isEmpty ? nil : PlatformImages(images, in: store), of: target.label)
  }

  /// `.slipway/out/<package>/<target>/…`; images as OCI layouts.
  private func export(_ outputs: [ActionRecord.Output], _ images: PlatformImages?, of label: Label) throws -> [(
    name: String, path: String
  )] {
    try outputs.map { output in
      let name = output.path.isEmpty ? output.name : output.path
      let relative = ".slipway/out/\(label.package)/\(label.name)/\(name)"
      let path = workspace.root.appending(relative)
      try Disk.makeFolders(path.removingLastComponent().string)
      if output.image != nil, let images {
        try ImageLayout(store).write([(images, "latest")], to: path)
      } else {
        try store.export(output.artifact, to: path)
      }
      return (output.name, relative)
    }
  }

  // MARK: Query

  /// The graph of the whole workspace.
  package func graph() throws -> (plan: Plan, warnings: [Diagnostic]) {
    let everything = try TargetPatternSet([TargetPattern.parse("//...", relativeTo: .root)])
    let (plan, _, warnings) = try plan(everything)
    return (plan, warnings)
  }

  // MARK: Sandboxes for people

  /// The specification of a target's action with the caller's terminal, its argv replaced.
  ///
  /// It is for this machine's platform, unless another one is named.
  package func shell(_ text: String, platform: String?, command: [String]) async throws -> Int32 {
    let lease = try await store.lease()
    defer { withExtendedLifetime(lease) {} }
    var (plan, target) = try target(text)
    guard target.rule.runsCommand else {
      throw Diagnostic.error("\(target.label) has the rule `\(target.rule.rawValue)` and runs no command")
    }
    if let platform, platform != Workspace.platform {
      plan = try await spread(target, in: plan, chosen: [platform]).plan
      target = plan.targets[target.label.on(platform)] ?? target
      try Emulation().require(target.label, for: platform, host: Workspace.platform, hasChoice: false)
    }
    let dependencies = plan.graph.nodes[plan.graph.index(of: target.label) ?? 0].dependencies.filter {
      ![DependencyRole.needs, .when, .test].contains($0.role)
    }.map(\.target)
    let build = try walk(plan)
    let outcome = try await build.run(dependencies)
    guard outcome.exitCode == 0 else {
      throw Diagnostic.error(
        "cannot build what \(target.label) reads", cause: .build,
        hints: ["slipway build " + dependencies.map(\.description).joined(separator: " ")])
    }
    let work = try build.prepare(target)
    guard case .command(let execution) = work.kind else {
      throw Diagnostic.error("\(target.label) runs no command", cause: .internal)
    }
    await closeRemote(EventStream(sinks: []))
    guard try await bring(work.needs) else {
      throw Diagnostic.error(
        "what \(target.label) reads is gone from every cache", cause: .environment,
        hints: ["slipway build \(target.label) makes it again"])
    }
    var spec = try await execution.specification(log: nil)
    spec.arguments = command.isEmpty ? ["/bin/sh", "-i"] : command
    spec.standardInput = .standardInput
    spec.standardOutput = .standardOutput
    spec.standardError = .standardError
    spec.interactive = isatty(0) == 1
    spec.limits.wallClock = 86_400
    spec.limits.memory = nil
    return try await Self.run(spec, in: build.sandbox)
  }

  /// Runs an image's entrypoint as a connector's user would: `-- spec`, `-- check --config /secrets/config.json`.
  ///
  /// `mounts` are `HOST:PATH[:rw]`.
  package func run(
    _ image: ImageArtifact, of label: Label, arguments: [String], mounts: [String], network: SandboxSpec.Network
  ) async throws -> Int32 {
    let lease = try await store.lease()
    defer { withExtendedLifetime(lease) {} }
    var spec = SandboxSpec()
    spec.layers = try await LayerFolders(store: store).folders(of: image)
    spec.arguments = arguments.isEmpty ? image.run.entrypoint + image.run.command : image.run.entrypoint + arguments
    guard !spec.arguments.isEmpty else {
      throw Diagnostic.error("\(label) has no entrypoint; name a command after `--`")
    }
    var environment = ActionPlanner.fixedEnvironment.filter { $0.0 != "SOURCE_DATE_EPOCH" }.map { "\($0.0)=\($0.1)" }
    for variable in image.run.environment {
      let name = variable.prefix { $0 != "=" } + "="
      environment.removeAll { $0.hasPrefix(name) }
      environment.append(variable)
    }
    spec.environment = environment
    spec.workingDirectory = image.run.workingDirectory.isEmpty ? "/" : image.run.workingDirectory
    spec.network = network
    if network == .host { spec.mounts += HostNetwork.mounts.filter { $0.target != "/etc/slipway-pip.conf" } }
    let secrets = workspace.root.appending(label.package.string).appending("secrets")
    if access(secrets.string, R_OK | X_OK) == 0 {
      spec.mounts.append(SandboxSpec.Mount(source: secrets.string, target: "/secrets", access: .readOnly))
    }
    for mount in mounts { spec.mounts.append(try Self.mount(mount)) }
    spec.standardInput = .standardInput
    spec.standardOutput = .standardOutput
    spec.standardError = .standardError
    spec.limits.wallClock = 86_400
    if !SandboxFeature.keepsOverlaysInMemory { spec.scratch = .folder(try store.makeTemporaryFolder().string) }
    return try await Self.run(spec, in: NamespaceSandbox())
  }

  /// Keeps nothing of what is written.
  private static func run(_ spec: SandboxSpec, in sandbox: any Sandbox) async throws -> Int32 {
    let outcome: Result<SandboxResult, any Error>
    do { outcome = .success(try await sandbox.run(spec)) } catch { outcome = .failure(error) }
    for output in (try? outcome.get().outputs) ?? [] { try? output?.close() }
    if case .folder(let path) = spec.scratch { try Disk.removeTree(path) }
    return code(try outcome.get().status)
  }

  private static func mount(_ text: String) throws -> SandboxSpec.Mount {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2 || (parts.count == 3 && ["ro", "rw"].contains(parts[2])), parts[1].hasPrefix("/") else {
      throw Diagnostic.error(
        "`\(text)` is not HOST:PATH or HOST:PATH:rw", hints: ["PATH is absolute, in the container"])
    }
    guard let real = realpath(parts[0], nil) else { throw Disk.failure("mount", parts[0]) }
    defer { free(real) }
    return SandboxSpec.Mount(
      source: String(cString: real), target: parts[1], access: parts.last == "rw" ? .readWrite : .readOnly)
  }

  private static func code(_ status: SandboxResult.Status) -> Int32 {
    switch status {
    case .exited(let code): code
    case .signaled(let signal): 128 + signal
    case .timedOut: 124
    case .cancelled: 8
    }
  }
}
