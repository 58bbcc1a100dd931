import Caching
import Diagnostics
import Digests
import Files
import Glibc
import Manifests
import OCI
import Planning
import Synchronization
import SystemPackage

/// Makes a root file system of Debian packages with mmdebstrap, the one host tool that runs unsandboxed.
///
/// Its environment is empty but for fixed variables, and nothing of the host stays in the result: what mmdebstrap copies
/// in to work (resolver, host name, sources) is blanked before the tar is made.
struct RootfsExecution: Sendable {
  let store: Store
  let target: Target
  let lock: RootfsLock?
  /// The keys that alone may sign the mirror's indices; `nil` for those that the host trusts.
  let keyring: RootfsKeyring?
  let key: ActionKey

  private static let tool = "/usr/bin/mmdebstrap"
  private static let knownVersion = Mutex<String?>(nil)
  /// Seconds; a mirror may be slow.
  private static let timeout = 1800.0

  static func version() throws -> String {
    if let known = knownVersion.withLock({ $0 }) { return known }
    guard access(tool, X_OK) == 0 else {
      throw Diagnostic.error(
        "a root file system needs mmdebstrap, which is not at `\(tool)`", cause: .environment,
        hints: ["apt-get install mmdebstrap uidmap"])
    }
    let version = try writtenVersion() ?? HostTool.output([tool, "--version"]).filter { !$0.isNewline }
    knownVersion.withLock { $0 = version }
    return version
  }

  /// The version that the script says it has: starting Perl to ask it costs a tenth of a second.
  private static func writtenVersion() throws -> String? {
    let text = String(decoding: try Disk.contents(of: tool, limit: 4 << 20) ?? [], as: UTF8.self)
    guard let start = text.firstRange(of: "our $VERSION = '") else { return nil }
    let rest = text[start.upperBound...]
    guard let end = rest.firstIndex(of: "'"), rest.distance(from: rest.startIndex, to: end) < 32 else { return nil }
    return "mmdebstrap " + rest[..<end]
  }

  /// The parsed lock and the text that it was parsed from, which is in the key.
  static func lock(of target: Target, in workspace: Workspace) throws -> (lock: RootfsLock, text: String)? {
    guard let text = try lockText(of: target, in: workspace), let path = lockPath(of: target) else { return nil }
    return (try RootfsLock(parsing: text, file: path.string), text)
  }

  /// The lock's file; of several platforms each has one of its own, `os.arm64.lock` beside `os.amd64.lock`.
  static func lockPath(of target: Target) -> WorkspacePath? {
    guard let lock = target.declaration.rootfs?.lock?.value else { return nil }
    guard target.declaration.platforms.count > 1 else { return target.label.package.appending(lock) }
    return RootFileSystem.lock(lock, for: target.platform ?? Workspace.platform, of: target.label.package)
  }

  private static func lockText(of target: Target, in workspace: Workspace) throws -> String? {
    guard let lock = target.declaration.rootfs?.lock, let path = lockPath(of: target) else { return nil }
    do {
      return String(decoding: try workspace.tree.read(path, limit: 16 << 20), as: UTF8.self)
    } catch {
      throw Diagnostic.error(
        "cannot read the lock `\(path)`", at: lock.span,
        hints: ["write it: slipway lock \(target.label.withoutPlatform)"])
    }
  }

  func run() async throws -> ActionRecord {
    let started = CommandExecution.now()
    let clock = ContinuousClock.now
    let folder = try store.makeTemporaryFolder()
    defer { try? Disk.removeTree(folder.string) }
    let tar = folder.appending("root.tar").string
    let log = folder.appending("log").string
    let (status, report) = try await start(writing: tar, log: log)
    let logFile = try Disk.open(log, O_RDONLY)
    defer { try? logFile.close() }
    var record = ActionRecord(
      key: key.fingerprint, label: target.label.description, rule: "rootfs", verdict: .failed, exitCode: status,
      startedAt: started, completedAt: 0, duration: 0, explanation: key.explanation)
    record.log = try store.insert(contentsOf: logFile, executable: false)
    if status == 0 {
      let layer = try LayerImporter(store).importTar(FilePath(tar))
      let image = try ImageBuilder(store).build(
        base: nil, platform: target.platform ?? Workspace.platform,
        layers: [(layer, "slipway \(target.label.withoutPlatform)")],
        change: ImageChange(target.declaration.config))
      record.outputs = [ActionRecord.Output(name: "image", path: "", artifact: .image(image))]
      // What a floating target was made of. A locked one is a function of its lock, and must give no other output.
      if lock == nil {
        let text = report.releases.map { $0 + "\n" }.joined()
        record.outputs.append(
          ActionRecord.Output(
            name: ActionRecord.releasesOutput, path: "releases.txt",
            artifact: .file(try store.insert(Array(text.utf8)))))
      }
      record.verdict = .passed
    }
    record.completedAt = CommandExecution.now()
    record.duration = Int64((ContinuousClock.now - clock).milliseconds)
    return record
  }

  /// What Debian calls a platform.
  static func architecture(of platform: String, at span: SourceSpan? = nil) throws -> String {
    let names = [
      "linux/386": "i386", "linux/amd64": "amd64", "linux/arm/v5": "armel", "linux/arm/v7": "armhf",
      "linux/arm64": "arm64", "linux/mips64le": "mips64el", "linux/ppc64le": "ppc64el", "linux/riscv64": "riscv64",
      "linux/s390x": "s390x",
    ]
    if let name = names[platform] { return name }
    throw Diagnostic.error(
      "Debian has no packages for `\(platform)`", at: span,
      hints: ["it has them for " + names.keys.sorted().joined(separator: ", ")])
  }

  private static var environment: [String] {
    // TMPDIR must be reachable by the ids that mmdebstrap maps; the store of a user in a private home is not.
    var variables = [
      "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC", "SOURCE_DATE_EPOCH=315532800", "TMPDIR=/tmp",
    ]
    if let home = getenv("HOME") { variables.append("HOME=\(String(cString: home))") }
    return variables
  }

  /// Runs mmdebstrap; `nil` throws the root file system away. Throws where the mirror or the lock is at fault.
  private func start(writing tar: String?, log: String) async throws -> (status: Int32, report: RootfsReport) {
    let keys = try keyring.map { try $0.placed() }
    defer { if let keys { try? Disk.removeTree(keys) } }
    let status = try await HostTool.run(
      arguments(writing: tar, keys: keys), environment: Self.environment, log: log, timeout: Self.timeout)
    let report = RootfsReport(parsing: try Disk.contents(of: log, limit: 64 << 20) ?? [])
    let root = target.declaration.rootfs
    try report.check(
      against: lock, succeeded: status == 0, label: target.label,
      mirror: root.map { RootfsSources($0).name } ?? "", snapshot: root?.snapshot?.value)
    return (status, report)
  }

  /// The packages that the target has when they are taken from the mirror as it is now.
  func resolve() async throws -> RootfsLock {
    let folder = try store.makeTemporaryFolder()
    defer { try? Disk.removeTree(folder.string) }
    let (status, report) = try await start(writing: nil, log: folder.appending("log").string)
    guard status == 0 else {
      throw Diagnostic.error(
        "cannot resolve the packages of \(target.label): mmdebstrap ended with \(status)", cause: .build,
        notes: report.lastErrors.map { Diagnostic.Note($0) })
    }
    return try report.lock(label: target.label)
  }

  func arguments(writing tar: String?, keys: String?) throws -> [String] {
    guard let root = target.declaration.rootfs else {
      throw Diagnostic.error("\(target.label) says nothing of its root file system", cause: .internal)
    }
    var packages = root.packages.map(\.value)
    if let lock { packages = lock.packages.map { "\($0.name)=\($0.version)" } }
    let architecture = try Self.architecture(
      of: target.platform ?? Workspace.platform, at: target.declaration.place.span)
    var arguments = [
      Self.tool, "--quiet", getuid() == 0 ? "--mode=root" : "--mode=unshare",
      "--variant=\(root.variant?.value ?? "minbase")", "--format=\(tar == nil ? "null" : "tar")",
      "--architectures=\(architecture)", "--skip=update",
    ]
    if !packages.isEmpty { arguments.append("--include=" + packages.joined(separator: ",")) }
    if !root.components.isEmpty {
      arguments.append("--components=" + root.components.map(\.value).joined(separator: ","))
    }
    // With keys of its own the target trusts no others, not even those that mmdebstrap knows for the suite.
    if let keys { arguments += ["--keyring=\(keys)", "--skip=check/signed-by"] }
    // The indices of the past have expired.
    if root.snapshot != nil { arguments.append("--aptopt=Acquire::Check-Valid-Until \"false\"") }
    for path in root.exclude { arguments.append("--dpkgopt=path-exclude=\(path.value)") }
    for hook in RootfsHooks.setup(root.packages.map(\.value), lock) { arguments.append("--setup-hook=\(hook)") }
    // Before the target's own commands, which may remove dpkg, and after them, since they may install.
    arguments.append("--customize-hook=\(RootfsHooks.listing)")
    for command in root.customize {
      arguments.append("--customize-hook=\(RootfsHooks.customization(command.value))")
    }
    if !root.customize.isEmpty { arguments.append("--customize-hook=\(RootfsHooks.listing)") }
    arguments.append("--customize-hook=\(RootfsHooks.cleaning)")
    return arguments + [root.suite.value, tar ?? "/dev/null"]
      + RootfsSources(root).arguments
  }
}

extension ActionRecord {
  /// The output of a floating root file system that names the InRelease files it was made from.
  static let releasesOutput = "releases"
}

/// Keys of a private mirror, from a file of the workspace.
struct RootfsKeyring: Sendable {
  var bytes: [UInt8]
  /// apt takes `.asc` for text, and `.gpg` for OpenPGP packets.
  var isArmored: Bool

  init?(of target: Target, in workspace: Workspace) throws {
    guard let keyring = target.declaration.rootfs?.keyring else { return nil }
    let path = target.label.package.appending(keyring.value)
    do {
      bytes = try workspace.tree.read(path, limit: 4 << 20)
    } catch {
      throw Diagnostic.error("cannot read the keyring `\(path)`", at: keyring.span)
    }
    isArmored = keyring.value.hasSuffix(".asc")
  }

  /// A folder that holds the keys alone, where the ids that mmdebstrap maps can read it.
  func placed() throws -> String {
    var template = Array("/tmp/slipway-keys-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Disk.failure("make a folder in", "/tmp") }
    let folder = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    let path = folder + (isArmored ? "/keys.asc" : "/keys.gpg")
    guard chmod(folder, 0o755) == 0 else { throw Disk.failure("open to apt", folder) }
    let file = try Disk.open(path, O_WRONLY | O_CREAT | O_EXCL)
    defer { try? file.close() }
    try bytes.withUnsafeBytes { try Disk.write(file, $0, path: path) }
    guard fchmod(file.rawValue, 0o644) == 0 else { throw Disk.failure("open to apt", path) }
    return folder
  }
}
