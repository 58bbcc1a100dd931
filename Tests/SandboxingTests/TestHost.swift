import CSandbox
import Diagnostics
import Glibc
import Sandboxing
import SystemPackage
import Testing

/// A folder on the host with root file systems in it; removed when the test is over.
final class TestHost: Sendable {
  /// Who starts the sandbox.
  enum User: String, CaseIterable, Sendable, CustomTestStringConvertible {
    /// The host's root, in namespaces of its own, so that what breaks out is not loose on the machine.
    case root
    /// A user without privileges, without subordinate ids.
    case ordinary

    /// Root can play both; an ordinary user only itself.
    static var possible: [User] { geteuid() == 0 ? [.root, .ordinary] : [.ordinary] }

    var testDescription: String { rawValue }
  }

  static let ordinaryUser: uid_t = 54_321

  let folder: String

  /// Needs Debian's `busybox-static`, and `python3` where attacks run.
  init(for user: User? = nil) throws {
    var template = Array("/tmp/slipway-sandbox-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Diagnostic.error("mkdtemp: \(errno)", cause: .environment) }
    folder = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    chmod(folder, 0o755)
    guard access("/bin/busybox", X_OK) == 0 else {
      throw Diagnostic.error(
        "`/bin/busybox` is missing", cause: .environment, hints: ["apt-get install busybox-static"])
    }
    for path in ["base", "base/bin", "base/usr", "base/victim-folder", "top", "input", "scratch"] {
      mkdir(self.path(path), 0o755)
    }
    try copy("/bin/busybox", to: "base/bin/busybox")
    for applet in Self.applets { symlink("busybox", path("base/bin/\(applet)")) }
    for library in ["lib", "lib64"] { symlink("usr/\(library)", path("base/\(library)")) }
    try write("base/victim", "original")
    try write("base/victim-folder/file", "original")
    try write("input/file", "original")
    if user == .ordinary, geteuid() == 0 { try giveAway() }
  }

  deinit { slipway_remove_tree(folder) }

  private static let applets = [
    "sh", "cat", "ls", "echo", "true", "false", "sleep", "dd", "env", "id", "mkdir", "mkfifo", "ln", "kill", "touch",
    "head", "wc", "tr", "test", "stat", "rm", "mv", "seq", "grep", "find", "readlink", "chmod", "setsid", "pwd",
    "hostname", "ip", "ps", "cp", "sort", "stty", "tty", "usleep",
  ]

  func path(_ relative: String) -> String { "\(folder)/\(relative)" }

  func read(_ path: String) throws -> [UInt8] {
    let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
    defer { try? file.close() }
    return try file.readAll()
  }

  func text(_ relative: String) throws -> String { String(decoding: try read(path(relative)), as: UTF8.self) }

  func write(_ relative: String, _ text: String) throws { try write(relative, Array(text.utf8), mode: 0o644) }

  func write(_ relative: String, _ bytes: [UInt8], mode: mode_t) throws {
    let file = try FileDescriptor.open(
      FilePath(path(relative)), .writeOnly, options: [.create, .truncate, .closeOnExec],
      permissions: FilePermissions(rawValue: mode))
    defer { try? file.close() }
    try file.writeAll(bytes)
  }

  /// Puts the probe where every user may execute it.
  func installProbe() throws { try copy(HostCommand.probe, to: "sandbox-probe") }

  /// By another process: were a program open for writing here, a test that starts a process at that moment would pass
  /// the descriptor on, and nobody could execute it (ETXTBSY).
  private func copy(_ source: String, to target: String) throws {
    let copied = try HostCommand.run(["cp", source, path(target)])
    guard copied.status == 0 else { throw Diagnostic.error(copied.text, cause: .environment) }
  }

  private func giveAway() throws {
    let paths =
      Self.applets.map { "base/bin/\($0)" } + [
        "", "base", "base/bin", "base/bin/busybox", "base/usr", "base/lib", "base/lib64", "base/victim",
        "base/victim-folder", "base/victim-folder/file", "top", "input", "input/file", "scratch",
      ]
    for one in paths { lchown(path(one), Self.ordinaryUser, Self.ordinaryUser) }
  }

  func spec(_ arguments: String...) -> SandboxSpec {
    var spec = SandboxSpec()
    spec.layers = [path("top"), path("base")]
    spec.arguments = arguments
    spec.environment = ["PATH=/bin:/usr/bin"]
    return spec
  }

  func shell(_ script: String) -> SandboxSpec { spec("sh", "-c", script) }

  /// Runs and gives what was written to standard output and error.
  func run(
    _ spec: SandboxSpec, in sandbox: any Sandbox = shared, input: String = ""
  ) async throws -> (result: SandboxResult, text: String) {
    var spec = spec
    let output = try Self.scratchFile()
    let standardInput = try Self.scratchFile()
    defer {
      try? output.close()
      try? standardInput.close()
    }
    try standardInput.writeAll(Array(input.utf8))
    try standardInput.seek(offset: 0, from: .start)
    spec.standardInput = standardInput
    spec.standardOutput = output
    spec.standardError = output
    let result = try await sandbox.run(spec)
    try output.seek(offset: 0, from: .start)
    return (result, String(decoding: try output.readAll(), as: UTF8.self))
  }

  static let shared = NamespaceSandbox()

  static func scratchFile() throws -> FileDescriptor {
    var template = Array("/tmp/slipway-output-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    unlink(template)
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    return FileDescriptor(rawValue: descriptor)
  }
}

extension FileDescriptor {
  func readAll() throws -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = try buffer.withUnsafeMutableBytes { try read(into: $0) }
      if count == 0 { return bytes }
      bytes += buffer.prefix(count)
    }
  }
}

/// Runs `sandbox-probe` as another user, or any command of the host.
struct HostCommand {
  var status: Int32
  var text: String

  static var probe: String {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count)
    let test = String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self)
    return test.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
      + "/sandbox-probe"
  }

  /// The words that start a command as `user`, where nothing it breaks is the machine's own.
  static func prefix(for user: TestHost.User) -> [String] {
    switch user {
    case .root: ["unshare", "--mount", "--ipc", "--uts", "--net", "--pid", "--fork", "--mount-proc"]
    case .ordinary:
      geteuid() == 0
        ? ["setpriv", "--reuid=\(TestHost.ordinaryUser)", "--regid=\(TestHost.ordinaryUser)", "--clear-groups"] : []
    }
  }

  static func start(_ arguments: [String]) throws -> (process: pid_t, output: FileDescriptor) {
    let output = try TestHost.scratchFile()
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output.rawValue, 1)
    posix_spawn_file_actions_adddup2(&actions, output.rawValue, 2)
    var process: pid_t = 0
    var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    let error = posix_spawnp(&process, words[0] ?? strdup(""), &actions, nil, &words, environ)
    guard error == 0 else { throw Diagnostic.error("cannot start `\(arguments[0])`: \(error)", cause: .environment) }
    return (process, output)
  }

  static func run(_ arguments: [String]) throws -> HostCommand {
    let (process, output) = try start(arguments)
    defer { try? output.close() }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    try output.seek(offset: 0, from: .start)
    return HostCommand(
      status: status & 0x7f == 0 ? (status >> 8) & 0xff : -1,
      text: String(decoding: try output.readAll(), as: UTF8.self))
  }
}

/// Whether some process of the machine has `word` among its arguments.
func isRunning(_ word: String) -> Bool {
  guard let folder = opendir("/proc") else { return false }
  defer { closedir(folder) }
  while let entry = readdir(folder) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    guard name.allSatisfy(\.isNumber),
      let file = try? FileDescriptor.open(FilePath("/proc/\(name)/cmdline"), .readOnly, options: .closeOnExec)
    else { continue }
    defer { try? file.close() }
    if let bytes = try? file.readAll(), bytes.split(separator: 0).contains(where: { $0.elementsEqual(word.utf8) }) {
      return true
    }
  }
  return false
}

/// Waits up to five seconds for `condition`.
func eventually(_ condition: () -> Bool) async throws -> Bool {
  for _ in 0..<250 {
    if condition() { return true }
    try await Task.sleep(for: .milliseconds(20))
  }
  return condition()
}
