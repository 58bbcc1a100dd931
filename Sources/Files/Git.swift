import Diagnostics
import Glibc
import SystemPackage

/// Runs git on a folder and gives its output.
struct Git: Sendable {
  struct Output {
    var status: Int32
    var bytes: [UInt8]
    var errors: String
  }

  /// Absolute.
  let folder: String
  /// Git on a cold disk and a large tree takes seconds; more than this means that it hangs.
  static let timeoutSeconds = 300
  private static let outputLimit = 1 << 30

  /// Runs `git -C FOLDER ARGUMENTS` with `input`; throws a `Diagnostic` when it cannot start or hangs.
  ///
  /// No lock is taken, messages are English. The environment loses git's own variables that
  /// would point elsewhere (a hook sets them), and keeps those that configure.
  func run(_ arguments: [String], input: [UInt8] = []) throws -> Output {
    let output = try Pipe()
    let errors = try Pipe()
    let source = try Pipe()
    let process = try spawn(["git", "-C", folder] + arguments, source, output, errors)
    source.closeReader()
    output.closeWriter()
    errors.closeWriter()
    let deadline = ContinuousClock.now + .seconds(Self.timeoutSeconds)
    var result = Output(status: 0, bytes: [], errors: "")
    var errorBytes: [UInt8] = []
    var sent = 0
    var isOpen = (output: true, errors: true)
    var failure: Diagnostic?
    if input.isEmpty { source.closeWriter() }
    while failure == nil, isOpen.output || isOpen.errors {
      var polled = [
        pollfd(fd: isOpen.output ? output.reader : -1, events: Int16(POLLIN), revents: 0),
        pollfd(fd: isOpen.errors ? errors.reader : -1, events: Int16(POLLIN), revents: 0),
        pollfd(fd: sent < input.count ? source.writer : -1, events: Int16(POLLOUT), revents: 0),
      ]
      let ready = poll(&polled, 3, 1_000)
      if ready < 0, errno != EINTR { failure = .cannot("wait for git in", folder, .last) }
      if ContinuousClock.now > deadline {
        failure = .error(
          "`git \(Self.name(arguments))` did not end within \(Self.timeoutSeconds) s", cause: .environment)
      }
      guard ready > 0 else { continue }
      if polled[0].revents != 0 { isOpen.output = output.read(into: &result.bytes) }
      if polled[1].revents != 0 { isOpen.errors = errors.read(into: &errorBytes) }
      if polled[2].revents != 0 {
        sent = source.send(input, from: sent)
        if sent == input.count { source.closeWriter() }
      }
      if result.bytes.count > Self.outputLimit || errorBytes.count > Self.outputLimit {
        failure = .error("`git \(Self.name(arguments))` printed more than 1 GiB", cause: .environment)
      }
    }
    if failure != nil { kill(process, SIGKILL) }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    if let failure { throw failure }
    // WIFEXITED and WEXITSTATUS are macros.
    result.status = status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    result.errors = String(decoding: errorBytes.prefix(4_096), as: UTF8.self)
    return result
  }

  /// The output of a command that must succeed (exit 0 or one of `accepted`).
  func output(_ arguments: [String], input: [UInt8] = [], accepting accepted: [Int32] = [0]) throws -> [UInt8] {
    let result = try run(arguments, input: input)
    guard accepted.contains(result.status) else { throw failure(arguments, result) }
    return result.bytes
  }

  func failure(_ arguments: [String], _ output: Output) -> Diagnostic {
    let lines = output.errors.split(separator: "\n")
    let reason = lines.first.map(String.init) ?? "exit status \(output.status)"
    return .error(
      "`git \(Self.name(arguments))` failed in `\(folder)`: \(reason)", cause: .environment,
      notes: lines.dropFirst().prefix(8).map { Diagnostic.Note(String($0)) })
  }

  private static func name(_ arguments: [String]) -> String { arguments.first { !$0.hasPrefix("-") } ?? "" }

  private func spawn(_ arguments: [String], _ input: Pipe, _ output: Pipe, _ errors: Pipe) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, input.reader, 0)
    posix_spawn_file_actions_adddup2(&actions, output.writer, 1)
    posix_spawn_file_actions_adddup2(&actions, errors.writer, 2)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    ChildSignals.reset(&attributes)
    var process = pid_t()
    let status = Self.withCStrings(arguments) { arguments in
      Self.withCStrings(Self.environment()) { environment in
        posix_spawnp(&process, "git", &actions, &attributes, arguments, environment)
      }
    }
    guard status == 0 else {
      throw Diagnostic.error(
        "cannot start `git`: \(Errno(rawValue: status).description.lowercased())", cause: .environment,
        hints: status == ENOENT ? ["install git: `\(folder)` lies in a git work tree"] : [])
    }
    return process
  }

  /// Variables that tell git where the repository is.
  private static let misleading = [
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE", "GIT_QUARANTINE_PATH", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
    "GIT_LITERAL_PATHSPECS", "GIT_OPTIONAL_LOCKS", "LC_ALL", "LANGUAGE",
  ]

  private static func environment() -> [String] {
    var result = ["LC_ALL=C", "GIT_OPTIONAL_LOCKS=0"]
    var next = environ
    while let entry = next.pointee {
      let text = String(cString: entry)
      if !misleading.contains(where: { text.hasPrefix($0 + "=") }), !text.hasPrefix("GIT_TRACE") { result.append(text) }
      next += 1
    }
    return result
  }

  private static func withCStrings<Result>(
    _ texts: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    var pointers = texts.map { strdup($0) }
    pointers.append(nil)
    defer { for pointer in pointers { free(pointer) } }
    return pointers.withUnsafeBufferPointer { buffer in
      // The array is never empty: it ends in nil.
      withUnsafePointer(to: nil as UnsafeMutablePointer<CChar>?) { body(buffer.baseAddress ?? $0) }
    }
  }
}

/// Two connected descriptors that close with it.
private final class Pipe {
  private(set) var reader: Int32 = -1
  private(set) var writer: Int32 = -1

  /// Sockets, because `send` can refuse SIGPIPE and they close on exec from the start.
  init() throws {
    var ends: [Int32] = [-1, -1]
    let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, type, 0, &ends) == 0 else {
      throw Diagnostic.error("cannot create a pipe: \(Errno.last.description.lowercased())", cause: .environment)
    }
    (reader, writer) = (ends[0], ends[1])
  }

  deinit {
    closeReader()
    closeWriter()
  }

  func closeReader() {
    if reader >= 0 { close(reader) }
    reader = -1
  }

  func closeWriter() {
    if writer >= 0 { close(writer) }
    writer = -1
  }

  /// Whether more may come.
  func read(into bytes: inout [UInt8]) -> Bool {
    withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 64) { buffer in
      let count = Glibc.read(reader, buffer.baseAddress, buffer.count)
      if count > 0 { bytes.append(contentsOf: buffer[..<count]) }
      return count > 0 || (count < 0 && errno == EINTR)
    }
  }

  /// How far it got; to the end when nobody reads any more.
  func send(_ bytes: [UInt8], from start: Int) -> Int {
    let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
    let count = bytes.withUnsafeBytes { Glibc.send(writer, $0.baseAddress.map { $0 + start }, $0.count - start, flags) }
    if count >= 0 { return start + count }
    return errno == EAGAIN || errno == EINTR ? start : bytes.count
  }
}
