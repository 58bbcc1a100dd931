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

  /// The parsed lock and the text that it was parsed from, which is in the key.
  /// The version that the script says it has: starting Perl to ask it costs a tenth of a second.
  private static func writtenVersion() throws -> String? {
    let text = String(decoding: try Disk.contents(of: tool, limit: 4 << 20) ?? [], as: UTF8.self)
    guard let start = text.firstRange(of: "our $VERSION = '") else { return nil }
    let rest = text[start.upperBound...]
    guard let end = rest.firstIndex(of: "'"), rest.distance(from: rest.startIndex, to: end) < 32 else { return nil }
    return "mmdebstrap " + rest[..<end]
  }

  static func lock(of target: Target, in workspace: Workspace) throws -> (lock: RootfsLock, text: String)? {
    guard let text = try lockText(of: target, in: workspace), let lock = target.declaration.rootfs?.lock else {
      return nil
    }
    return (try RootfsLock(parsing: text, file: target.label.package.appending(lock.value).string), text)
  }

  private static func lockText(of target: Target, in workspace: Workspace) throws -> String? {
    guard let lock = target.declaration.rootfs?.lock else { return nil }
    let path = target.label.package.appending(lock.value)
    do {
      return String(decoding: try workspace.tree.read(path, limit: 16 << 20), as: UTF8.self)
    } catch {
      throw Diagnostic.error(
        "cannot read the lock `\(path)`", at: lock.span, hints: ["write it: slipway lock \(target.label)"])
    }
  }

  /// Blanks what names the host, its mirrors or the moment.
  private static let cleaning = """
    set -e; cd "$1"
    for f in etc/resolv.conf etc/hostname etc/apt/sources.list etc/machine-id; do rm -f "$f"; : > "$f"; chmod 0644 "$f"; done
    rm -rf etc/apt/preferences.d/slipway etc/apt/sources.list.d/* etc/apt/apt.conf.d/99mmdebstrap \
      var/cache/debconf/*-old var/cache/ldconfig var/lib/dpkg/*-old var/log/* var/lib/dbus/machine-id root/.cache \
      etc/*-
    """

  func run() async throws -> ActionRecord {
    let started = CommandExecution.now()
    let clock = ContinuousClock.now
    let folder = try store.makeTemporaryFolder()
    defer { try? Disk.removeTree(folder.string) }
    let tar = folder.appending("root.tar").string
    let log = folder.appending("log").string
    let status = try await HostTool.run(
      arguments(writing: tar), environment: Self.environment, log: log, timeout: Self.timeout)
    let report = RootfsReport(parsing: try Disk.contents(of: log, limit: 64 << 20) ?? [])
    try report.check(against: lock, succeeded: status == 0, label: target.label)
    let logFile = try Disk.open(log, O_RDONLY)
    defer { try? logFile.close() }
    var record = ActionRecord(
      key: key.fingerprint, label: target.label.description, rule: "rootfs", verdict: .failed, exitCode: status,
      startedAt: started, completedAt: 0, duration: 0, explanation: key.explanation)
    record.log = try store.insert(contentsOf: logFile, executable: false)
    if status == 0 {
      let layer = try LayerImporter(store).importTar(FilePath(tar))
      var change = ImageChange()
      let config = target.declaration.config
      change.entrypoint = config.entrypoint?.map(\.value)
      change.command = config.command?.map(\.value)
      change.environment = config.env.map { ($0.name.value, $0.value.value) }
      for label in config.labels { change.labels[label.name.value] = label.value.value }
      change.user = config.user?.name.value
      change.workingDirectory = config.workdir?.value
      let image = try ImageBuilder(store).build(
        base: nil, platform: Workspace.platform, layers: [(layer, "slipway \(target.label)")], change: change)
      record.outputs = [ActionRecord.Output(name: "image", path: "", artifact: .image(image))]
      record.verdict = .passed
    }
    record.completedAt = CommandExecution.now()
    record.duration = Int64((ContinuousClock.now - clock).milliseconds)
    return record
  }

  private static var environment: [String] {
    // TMPDIR must be reachable by the ids that mmdebstrap maps; the store of a user in a private home is not.
    var variables = [
      "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC", "SOURCE_DATE_EPOCH=315532800", "TMPDIR=/tmp",
    ]
    if let home = getenv("HOME") { variables.append("HOME=\(String(cString: home))") }
    return variables
  }

  /// The packages that the target has when they are taken from the mirror as it is now.
  func resolve() async throws -> RootfsLock {
    let folder = try store.makeTemporaryFolder()
    defer { try? Disk.removeTree(folder.string) }
    let log = folder.appending("log").string
    let status = try await HostTool.run(
      arguments(writing: nil), environment: Self.environment, log: log, timeout: Self.timeout)
    let bytes = try Disk.contents(of: log, limit: 64 << 20) ?? []
    let report = RootfsReport(parsing: bytes)
    try report.check(against: nil, succeeded: status == 0, label: target.label)
    guard status == 0 else {
      throw Diagnostic.error(
        "cannot resolve the packages of \(target.label): mmdebstrap ended with \(status)", cause: .build,
        notes: report.lastErrors.map { Diagnostic.Note($0) })
    }
    return try report.lock(label: target.label)
  }

  /// `nil` throws the root file system away.
  func arguments(writing tar: String?) throws -> [String] {
    guard let root = target.declaration.rootfs else {
      throw Diagnostic.error("\(target.label) says nothing of its root file system", cause: .internal)
    }
    var packages = root.packages.map(\.value)
    if let lock { packages = lock.packages.map { "\($0.name)=\($0.version)" } }
    let architecture = Workspace.platform.hasSuffix("arm64") ? "arm64" : "amd64"
    var arguments = [
      Self.tool, "--quiet", getuid() == 0 ? "--mode=root" : "--mode=unshare",
      "--variant=\(root.variant?.value ?? "minbase")", "--format=\(tar == nil ? "null" : "tar")",
      "--architectures=\(architecture)",
    ]
    if !packages.isEmpty { arguments.append("--include=" + packages.joined(separator: ",")) }
    if !root.components.isEmpty {
      arguments.append("--components=" + root.components.map(\.value).joined(separator: ","))
    }
    for path in root.exclude { arguments.append("--dpkgopt=path-exclude=\(path.value)") }
    for hook in lock?.preferenceHooks ?? [] { arguments.append("--setup-hook=\(hook)") }
    if let lock { arguments.append("--extract-hook=\(RootfsReport.probe(lock))") }
    // Before the target's own commands, which may remove dpkg, and after them, since they may install.
    arguments.append("--customize-hook=\(RootfsReport.listing)")
    for command in root.customize {
      arguments.append("--customize-hook=chroot \"$1\" /bin/sh -e -c \(Self.quoted(command.value))")
    }
    if !root.customize.isEmpty { arguments.append("--customize-hook=\(RootfsReport.listing)") }
    arguments.append("--customize-hook=\(Self.cleaning)")
    arguments += [root.suite.value, tar ?? "/dev/null"]
    if let mirror = root.mirror { arguments.append(mirror.value) }
    return arguments
  }

  /// One word of a shell.
  static func quoted(_ text: String) -> String {
    var result = "'"
    for character in text { result += character == "'" ? "'\\''" : String(character) }
    return result + "'"
  }
}
