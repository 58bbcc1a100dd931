import Glibc
import SystemPackage

/// A program of the host, started by a test; its output goes to files, so that no pipe can fill up.
final class HostProcess {
  struct Finished {
    /// The exit status; 128 and the signal's number when a signal ended it.
    var status: Int32
    var standardOutput: String
    var standardError: String
  }

  /// A command that hangs fails its test instead of hanging it.
  static let deadline = 90.0

  let id: pid_t
  private let output: FileDescriptor
  private let error: FileDescriptor
  private var status: Int32?

  /// `environment` is all that the program sees of an environment.
  init(_ arguments: [String], directory: String, environment: [String: String], input: String? = nil) throws {
    output = try Self.scratchFile()
    error = try Self.scratchFile()
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    let source = try Self.scratchFile()
    defer { try? source.close() }
    _ = try source.writeAll(Array((input ?? "").utf8))
    try source.seek(offset: 0, from: .start)
    posix_spawn_file_actions_adddup2(&actions, source.rawValue, 0)
    posix_spawn_file_actions_adddup2(&actions, output.rawValue, 1)
    posix_spawn_file_actions_adddup2(&actions, error.rawValue, 2)
    // `env` becomes the program; glibc's own way to start in a folder is hidden from Swift.
    let words: [UnsafeMutablePointer<CChar>?] = (["env", "-C", directory] + arguments).map { strdup($0) } + [nil]
    let variables: [UnsafeMutablePointer<CChar>?] =
      environment.sorted { $0.key < $1.key }.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for word in words + variables { free(word) } }
    var process: pid_t = 0
    let code = posix_spawnp(&process, "/usr/bin/env", &actions, nil, words, variables)
    guard code == 0 else { throw Failure("cannot start `\(arguments.first ?? "")`: error \(code)") }
    id = process
  }

  deinit {
    kill(SIGKILL)
    _ = wait()
    try? output.close()
    try? error.close()
  }

  func kill(_ signal: Int32) {
    if status == nil { _ = Glibc.kill(id, signal) }
  }

  var isRunning: Bool {
    poll()
    return status == nil
  }

  /// Waits for its end, and kills it at the deadline.
  func wait() -> Int32 {
    let start = monotonicSeconds()
    var pause: UInt32 = 500
    while isRunning {
      if monotonicSeconds() - start > Self.deadline { kill(SIGKILL) }
      usleep(pause)
      pause = min(pause * 2, 8000)
    }
    return status ?? -1
  }

  func finish() throws -> Finished {
    let status = wait()
    return Finished(status: status, standardOutput: try Self.text(output), standardError: try Self.text(error))
  }

  /// What it has written to standard output so far.
  func outputSoFar() throws -> String { try Self.text(output) }

  /// What it has written to standard error so far.
  func errorSoFar() throws -> String { try Self.text(error) }

  private func poll() {
    guard status == nil else { return }
    var raw: Int32 = 0
    guard waitpid(id, &raw, WNOHANG) == id else { return }
    status = raw & 0x7f == 0 ? (raw >> 8) & 0xff : 128 + (raw & 0x7f)
  }

  private static func text(_ file: FileDescriptor) throws -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = try buffer.withUnsafeMutableBytes { try file.read(fromAbsoluteOffset: Int64(bytes.count), into: $0) }
      if count == 0 { return String(decoding: bytes, as: UTF8.self) }
      bytes += buffer.prefix(count)
    }
  }

  private static func scratchFile() throws -> FileDescriptor {
    var template = Array("/tmp/slipway-output-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    guard descriptor >= 0 else { throw Errno(rawValue: errno) }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    unlink(template)
    return FileDescriptor(rawValue: descriptor)
  }
}

/// A test cannot go on, and why.
struct Failure: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

func monotonicSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
