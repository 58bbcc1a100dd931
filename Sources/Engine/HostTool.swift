import Caching
import Diagnostics
import Files
import Glibc
import SystemPackage

/// A program of the host, run with a fixed environment: git and mmdebstrap, nothing that a stranger names.
enum HostTool {
  /// Runs to the end; standard output and error go to the file `log`. A process still running after `timeout` seconds
  /// is killed with its group.
  static func run(_ arguments: [String], environment: [String], log: String, timeout: Double) async throws -> Int32 {
    let file = try Disk.open(log, O_WRONLY | O_CREAT | O_TRUNC)
    defer { try? file.close() }
    let process = try spawn(arguments, environment: environment, output: file.rawValue)
    return try await withTaskCancellationHandler {
      // Waits by polling: a wait in the cooperative pool would hold one of its two threads for a minute.
      let start = ContinuousClock.now
      while true {
        var status: Int32 = 0
        let ended = waitpid(process, &status, WNOHANG)
        if ended == process { return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + status & 0x7f }
        if ended < 0, errno != EINTR { throw Disk.failure("wait for", arguments[0]) }
        if ContinuousClock.now - start > .seconds(timeout) { kill(-process, SIGKILL) }
        do { try await Task.sleep(for: .milliseconds(20)) } catch {
          kill(-process, SIGTERM)
          while waitpid(process, &status, 0) < 0, errno == EINTR {}
          throw error
        }
      }
    } onCancel: {
      kill(-process, SIGTERM)
    }
  }

  /// Standard output of a quick program.
  static func output(_ arguments: [String]) throws -> String {
    var pipes: [Int32] = [0, 0]
    guard pipe(&pipes) == 0, fcntl(pipes[0], F_SETFD, FD_CLOEXEC) == 0, fcntl(pipes[1], F_SETFD, FD_CLOEXEC) == 0 else {
      throw Disk.failure("make a pipe for", arguments[0])
    }
    let reader = FileDescriptor(rawValue: pipes[0])
    let writer = FileDescriptor(rawValue: pipes[1])
    defer { try? reader.close() }
    let process: pid_t
    do {
      defer { try? writer.close() }
      process = try spawn(arguments, environment: ["PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"], output: writer.rawValue)
    }
    var bytes: [UInt8] = []
    try withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 1) { buffer in
      while true {
        let count = try reader.read(into: buffer)
        if count == 0 || bytes.count > 1 << 20 { break }
        bytes += buffer[..<count]
      }
    }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    guard status == 0 else {
      throw Diagnostic.error("`\(arguments.joined(separator: " "))` failed", cause: .environment)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func spawn(_ arguments: [String], environment: [String], output: Int32) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, output, 2)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    ChildSignals.reset(&attributes, flags: Int32(POSIX_SPAWN_SETPGROUP))
    var process: pid_t = 0
    let code = withStrings(arguments) { arguments in
      withStrings(environment) { environment in
        posix_spawn(&process, arguments[0] ?? strdup(""), &actions, &attributes, arguments, environment)
      }
    }
    guard code == 0 else { throw Disk.failure("start", arguments[0], code) }
    return process
  }

  private static func withStrings<R>(
    _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> R
  ) -> R {
    var pointers = strings.map { strdup($0) }
    defer { for pointer in pointers { free(pointer) } }
    pointers.append(nil)
    return body(&pointers)
  }
}
