import Caching
import Diagnostics
import Digests
import Distribution
import Events
import Files
import FoundationEssentials
import Glibc
import Graph
import Manifests
import Planning
import Sandboxing
import SystemPackage

/// What the host gives to an action that may use the network, and to no other.
enum HostNetwork {
  /// Files that name servers and certificates; those that exist are seen read-only at the same path.
  static let files = [
    "/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf",
  ]

  static var mounts: [SandboxSpec.Mount] {
    var mounts = files.filter { access($0, R_OK) == 0 }.map { SandboxSpec.Mount(source: $0, target: $0) }
    for variable in ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"] {
      guard let path = getenv(variable).map({ String(cString: $0) }), path.hasPrefix("/"), access(path, R_OK) == 0,
        !mounts.contains(where: { $0.target == path })
      else { continue }
      mounts.append(SandboxSpec.Mount(source: path, target: path))
    }
    if let home = getenv("HOME").map({ String(cString: $0) }) {
      for path in ["\(home)/.config/pip/pip.conf", "\(home)/.pip/pip.conf"] where access(path, R_OK) == 0 {
        mounts.append(SandboxSpec.Mount(source: path, target: "/etc/slipway-pip.conf"))
        break
      }
    }
    return mounts
  }

  /// Settings of package indexes, proxies and certificates: they decide from where bytes come, never which.
  static var environment: [String] {
    let prefixes = ["PIP_INDEX_URL=", "PIP_EXTRA_INDEX_URL=", "PIP_CERT=", "PIP_DEFAULT_TIMEOUT=", "PIP_TRUSTED_HOST="]
    let names = ["http_proxy=", "https_proxy=", "no_proxy=", "ssl_cert_file=", "requests_ca_bundle="]
    var found: [String] = []
    var next = environ
    while let entry = next.pointee {
      let text = String(cString: entry)
      if prefixes.contains(where: text.hasPrefix) || names.contains(where: text.lowercased().hasPrefix) {
        found.append(text)
      }
      next += 1
    }
    if mounts.contains(where: { $0.target == "/etc/slipway-pip.conf" }) {
      found.append("PIP_CONFIG_FILE=/etc/slipway-pip.conf")
    }
    return found.sorted()
  }
}

/// Runs the command of an action, a fetch or a test in the sandbox and stores what it made.
struct CommandExecution {
  let workspace: Workspace
  let store: Store
  let sandbox: any Sandbox
  let layers: LayerFolders
  let snapshot: SourceSnapshot
  let target: Target
  var action: ActionDescription
  let key: ActionKey
  /// Only of a fetch.
  var fetchPlan: FileArtifact?
  /// Where its image comes from, if that was pulled.
  var imageSource: Reference?
  let events: EventStream
  /// Whether what it prints is told while it runs.
  var streams = false

  /// Runs it once; the record is stored by the caller.
  ///
  /// Throws `SourceChanged`, a `Diagnostic` of the host's, or `CancellationError`.
  func run(attempt: Int) async throws -> ActionRecord {
    sandbox.prepare()
    let logPath = try store.temporaryPath()
    let log = try Disk.open(logPath, O_RDWR | O_CREAT | O_EXCL | O_APPEND)
    defer {
      try? log.close()
      unlink(logPath)
    }
    let protocolCommand = try protocolCommand()
    let captured = protocolCommand == nil ? nil : try captureFile()
    defer { captured?.discard() }
    var spec = try await specification(log: log)
    if let captured { spec.standardOutput = captured.file }
    // The outputs are read through the sandbox's view, which needs its scratch folder until the end.
    defer { discard(spec.scratch) }
    let started = Self.now()
    let result = try await shown(logPath) { try await sandbox.run(spec) }
    defer { for output in result.outputs { try? output?.close() } }
    if result.status == .cancelled { throw CancellationError() }

    var (verdict, code) = Self.verdict(result.status, rule: target.rule)
    if verdict != .passed { try requireRoom() }
    if let command = protocolCommand, let captured {
      let output = try captured.contents()
      try append(output, to: log)
      let check = ProtocolCheck(command, output: output)
      try append(Array(check.summary.utf8), to: log)
      if verdict == .passed, !check.passed { (verdict, code) = (.failed, 1) }
    }
    if result.status == .timedOut {
      try append(Array("slipway: stopped after \(Int(spec.limits.wallClock)) s (timeout)\n".utf8), to: log)
    }
    if result.ranOutOfMemory, let limit = spec.limits.totalMemory {
      let text = "slipway: out of memory: all processes together may take \(ByteText.short(limit)) (memory)\n"
      try append(Array(text.utf8), to: log)
    }
    var outputs: [ActionRecord.Output] = []
    var problems: [Diagnostic] = []
    if verdict == .passed { problems = try collect(result, spec.scratch, since: started, into: &outputs) }
    var junit: FileArtifact?
    if target.rule == .test, let file = result.outputs[action.outputs.count] {
      do {
        junit = try store.capture(file: file, name: ActionPlanner.junitPath)
      } catch let error as Diagnostic where error.cause == .build { problems.append(error) }
    }
    if !problems.isEmpty {
      try append(Array(problems.map(\.rendered).joined().utf8), to: log)
      if verdict == .passed { (verdict, code) = (.failed, 1) }
    }
    if verdict == .passed, attempt > 1 { verdict = .flaky }
    var record = ActionRecord(
      key: key.fingerprint, label: target.label.description, rule: target.rule.rawValue, verdict: verdict,
      exitCode: code, startedAt: started, completedAt: Self.now(), duration: Int64(result.wallClock * 1000),
      outputs: outputs, explanation: key.explanation)
    record.cpuTime = Int64(result.cpuTime * 1000)
    record.peakMemory = Int64(result.peakMemory)
    record.attempt = Int64(attempt)
    record.log = try insertLog(log)
    record.junit = junit
    return record
  }

  private func shown(_ log: String, _ run: () async throws -> SandboxResult) async throws -> SandboxResult {
    streams ? try await OutputStream(target.label, events).following(log, run) : try await run()
  }

  /// A command that finds no room for what it writes fails, and that is not its fault.
  private func requireRoom() throws {
    guard let room = Disk.room(store.root.string), room < 64 << 10 else { return }
    throw Diagnostic.error(
      "the disk of the cache `\(store.root)` is full: what \(target.label) came to counts for nothing",
      cause: .environment, hints: [Disk.roomHint])
  }

  /// Removes what the command wrote; what stays costs disk until this process is gone, which is worth a warning.
  private func discard(_ scratch: SandboxSpec.Scratch) {
    guard case .folder(let path) = scratch else { return }
    do {
      try Disk.removeTree(path)
    } catch {
      let reason = error.diagnostic(about: target.label).message
      events.emit(Event(.cacheWarning, message: Diagnostic.warning("\(reason); it stays for now").rendered))
    }
  }

  // MARK: The sandbox's view

  func specification(log: FileDescriptor?) async throws -> SandboxSpec {
    var spec = SandboxSpec()
    spec.layers = try await layers.folders(of: action.image)
    try placeInputs(in: &spec)
    let isCheck = action.arguments.first == ActionPlanner.protocolCheck
    spec.arguments =
      isCheck ? action.image.run.entrypoint + action.arguments.dropFirst() : action.arguments
    if isCheck, action.image.run.entrypoint.isEmpty {
      throw Diagnostic.error(
        "\(target.label) checks the protocol of an image without an entrypoint", at: target.declaration.place.span,
        hints: ["give the image one: config: {entrypoint: [...]}"])
    }
    spec.environment = action.environment.map { "\($0.name)=\($0.value)" }
    spec.workingDirectory = action.workingDirectory
    spec.network = action.network == .host ? .host : .none
    if spec.network == .host {
      spec.mounts += HostNetwork.mounts
      if target.rule == .fetch { spec.environment += HostNetwork.environment }
    }
    spec.mounts += try secretMounts()
    try limit(&spec)
    spec.outputs = action.outputs.map { Self.absolute($0.path, in: action.workingDirectory) }
    if target.rule == .test { spec.outputs.append(ActionPlanner.junitPath) }
    // Looked through only when an output is missing.
    if !action.outputs.isEmpty { spec.outputs.append(action.workingDirectory) }
    if let stdin = action.stdin { spec.standardInput = try openInput(at: stdin) }
    spec.standardOutput = log
    spec.standardError = log
    return spec
  }

  private func limit(_ spec: inout SandboxSpec) throws {
    let own = target.declaration.resources
    let general = workspace.settings.defaults[target.rule] ?? Resources()
    spec.limits.wallClock = Double(own.timeout ?? general.timeout ?? 600)
    // What is reserved is several times what is used (stacks and arenas of threads): a limit on one of four times the
    // other stops what runs away, and nothing else.
    // An emulator reserves 128 MiB in every process for what it translates, and uses them by and by.
    let emulator = target.platform == nil ? 0 : 128 << 20
    spec.limits.memory = (own.memory ?? general.memory).map { $0 * 4 + 2 * emulator }
    if let processes = own.processes ?? general.processes { spec.limits.processes = processes }
    if let scratch = own.scratch ?? general.scratch { spec.limits.scratch = scratch }
    // What gives files only fits into memory; a folder may be of any size, and is better on disk.
    let needsDisk =
      target.rule == .fetch || (target.rule == .action && !action.outputs.allSatisfy { $0.path.contains(".") })
      || !SandboxFeature.keepsOverlaysInMemory
    // What is written in memory is memory, too.
    if let memory = own.memory ?? general.memory {
      spec.limits.totalMemory = memory + emulator + (needsDisk ? 0 : spec.limits.scratch)
    }
    if needsDisk { spec.scratch = .folder(try store.makeTemporaryFolder().string) }
  }

  /// Files and symlinks become one tree, the topmost layer; folders are mounted at their place.
  private func placeInputs(in spec: inout SandboxSpec) throws {
    var tree = TreeBuilder(store)
    try place(in: &tree) { path, directory, _ in
      spec.mounts.append(
        SandboxSpec.Mount(source: try store.materialize(directory).string, target: "/" + path))
    }
    try tree.addFolder(String(action.workingDirectory.drop { $0 == "/" }))
    let root = try tree.finish()
    spec.layers.insert(try store.materialize(root).string, at: 0)
  }

  /// Puts inputs at their places in a tree, below a prefix that ends in `/`; whole folders as `mount` sees fit.
  func place(
    in tree: inout TreeBuilder, below prefix: String = "",
    mount: (_ path: String, DirectoryArtifact, inout TreeBuilder) throws -> Void
  ) throws {
    for input in action.inputs {
      let path = prefix + input.path.drop { $0 == "/" }
      switch input.content {
      case .source(let file) where file.mode == .symlink:
        try tree.add(path, .symlink(String(decoding: try workspace.tree.read(file.path, limit: 4096), as: UTF8.self)))
      case .source(let file): try tree.add(path, .file(try snapshot.artifact(of: file)))
      case .file(let file): try tree.add(path, .file(file))
      case .bundled(let name, _):
        try tree.add(path, .file(try store.insert(Workspace.bundled(name) ?? [], executable: false)))
      case .directory(let directory): try mount(path, directory, &tree)
      }
    }
  }

  private func secretMounts() throws -> [SandboxSpec.Mount] {
    let folder = workspace.root.appending(target.label.package.string).appending("secrets")
    return try target.declaration.secrets.compactMap { secret in
      let path = folder.appending(secret.name.value).string
      if access(path, R_OK) == 0 {
        return SandboxSpec.Mount(source: path, target: "/secrets/\(secret.name.value)")
      }
      if secret.isOptional { return nil }
      throw Diagnostic.error(
        "no secret `\(secret.name.value)` for \(target.label)", at: secret.name.span, cause: .environment,
        hints: ["put it at \(target.label.package)/secrets/\(secret.name.value); git must ignore that folder"])
    }
  }

  /// A file input, opened for the command's standard input.
  private func openInput(at path: String) throws -> FileDescriptor {
    let absolute = Self.absolute(path, in: action.workingDirectory)
    for input in action.inputs where input.path == absolute {
      switch input.content {
      case .source(let file): return try Disk.open(store.path(of: snapshot.artifact(of: file)).string, O_RDONLY)
      case .file(let file): return try Disk.open(store.path(of: file).string, O_RDONLY)
      default: break
      }
    }
    throw Diagnostic.error(
      "the standard input of \(target.label), `\(path)`, is none of its inputs", at: target.declaration.stdin?.span)
  }

  static func absolute(_ path: String, in folder: String) -> String {
    path.hasPrefix("/") ? path : folder.hasSuffix("/") ? folder + path : folder + "/" + path
  }

  // MARK: Results

  static func verdict(_ status: SandboxResult.Status, rule: Rule) -> (ActionRecord.Verdict, Int32) {
    switch status {
    case .exited(0): (.passed, 0)
    // pytest's own code for "no tests were collected".
    case .exited(5) where rule == .test: (.noTests, 5)
    case .exited(let code): (.failed, code)
    case .signaled(let signal): (.signaled, 128 + signal)
    case .timedOut: (.timedOut, 124)
    case .cancelled: (.failed, 130)
    }
  }

  private func collect(
    _ result: SandboxResult, _ scratch: SandboxSpec.Scratch, since start: Int64,
    into outputs: inout [ActionRecord.Output]
  ) throws -> [Diagnostic] {
    var problems: [Diagnostic] = []
    // What one output has taken away, another that leads to the same place would miss.
    let folder = action.outputs.count == 1 ? try upperFolder(scratch) : nil
    defer { try? folder?.close() }
    for (output, found) in zip(action.outputs, result.outputs) {
      let upper = folder.map { Store.Upper($0, path: Self.absolute(output.path, in: action.workingDirectory)) }
      guard let file = found else {
        problems.append(missing(output.path, in: result.outputs.last ?? nil, since: start))
        continue
      }
      do {
        let status = try Disk.status(of: file, path: output.path)
        let artifact: Artifact =
          status.kind == .folder
          ? .directory(try store.capture(directory: file, name: output.path, takingFrom: upper))
          : .file(try store.capture(file: file, name: output.path, takingFrom: upper))
        outputs.append(ActionRecord.Output(name: output.name, path: output.path, artifact: artifact))
      } catch let error as Diagnostic where error.cause != .environment { problems.append(error) }
    }
    if let fetchPlan, problems.isEmpty {
      let plan = try FetchPlan(
        parsing: store.read(fetchPlan.digest, limit: 64 << 20), name: "the plan of \(target.label)")
      var files: [(path: String, digest: Digest)] = []
      for output in outputs {
        switch output.artifact {
        case .file(let file): files.append((output.path, file.digest))
        case .directory(let directory):
          try store.walk(directory) { path, node in
            switch node {
            case .file(let file): files.append((path, file.digest))
            case .symlink: problems.append(.error("`\(path)` is a symlink, which no plan holds", cause: .build))
            case .folder: break
            }
          }
        case .image: break
        }
      }
      problems += plan.problems(of: files).map { .error($0, cause: .build) }
    }
    return problems
  }

  /// Where the files lie that the command wrote, if that is on the disk; the caller closes it.
  private func upperFolder(_ scratch: SandboxSpec.Scratch) throws -> FileDescriptor? {
    guard case .folder(let path) = scratch else { return nil }
    return try Disk.open(path + "/upper", O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
  }

  private func missing(_ output: String, in folder: FileDescriptor?, since start: Int64) -> Diagnostic {
    let known = action.inputs.map(\.path) + action.outputs.map { Self.absolute($0.path, in: action.workingDirectory) }
    let skipped = Set(known)
    let written = folder.map { folder in
      WrittenFiles(in: folder, since: start) { skipped.contains(Self.absolute($0, in: action.workingDirectory)) }
    }
    let near = written?.near(output) ?? []
    let list = near.map { "`\($0)`" }.joined(separator: ", ")
    let more = (written?.paths.count ?? 0) - near.count
    let note =
      near.isEmpty
      ? "wrote nothing else below `\(action.workingDirectory)`"
      : "it wrote \(list)" + (more > 0 ? " and \(more) more" : "")
    return .error(
      "declared output `\(output)` was not created by \(target.label)", cause: .build,
      notes: [Diagnostic.Note("the command exited 0" + (near.isEmpty ? " and " : "; ") + note)])
  }

  private func append(_ bytes: [UInt8], to log: FileDescriptor) throws {
    try bytes.withUnsafeBytes { try Disk.write(log, $0, path: "the log of \(target.label)") }
  }

  private func insertLog(_ log: FileDescriptor) throws -> FileArtifact {
    guard lseek(log.rawValue, 0, SEEK_SET) == 0 else { throw Disk.failure("rewind", "the log of \(target.label)") }
    return try store.insert(contentsOf: log, executable: false, path: "the log of \(target.label)")
  }

  func protocolCommand() throws -> ProtocolCheck.Command? {
    guard action.arguments.first == ActionPlanner.protocolCheck else { return nil }
    if action.arguments.count > 1, let command = ProtocolCheck.Command(rawValue: action.arguments[1]) { return command }
    throw Diagnostic.error(
      "`slipway-protocol` needs one of spec, check, discover, read, write", at: target.declaration.run.first?.span)
  }

  private struct CapturedOutput {
    let file: FileDescriptor
    let path: String
    /// Of standard output that is checked.
    static let limit = 256 << 20

    func contents() throws -> [UInt8] { try Disk.contents(of: path, limit: Self.limit) ?? [] }

    func discard() {
      try? file.close()
      unlink(path)
    }
  }

  private func captureFile() throws -> CapturedOutput {
    let path = try store.temporaryPath()
    return CapturedOutput(file: try Disk.open(path, O_RDWR | O_CREAT | O_EXCL), path: path)
  }

  static func now() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }
}
