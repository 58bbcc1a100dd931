import Diagnostics
import Glibc
import OCI

/// A program `docker-credential-NAME`, which answers `get` with JSON (docker/docker-credential-helpers).
struct CredentialHelper: Sendable {
  let name: String
  let environment: [String: String]
  var timeout: Duration = .seconds(30)

  private static let answerLimit = 64 << 10

  /// `nil` where the helper knows nothing of the server.
  func credential(for server: String) async throws -> Credential? {
    let this = self
    // A thread of its own: the program may wait for a person or a smart card.
    return try await withCheckedThrowingContinuation { continuation in
      var attributes = pthread_attr_t()
      pthread_attr_init(&attributes)
      pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
      let work = Unmanaged.passRetained(Work { continuation.resume(with: Result { try this.ask(server) }) })
      var thread = pthread_t()
      let status = pthread_create(
        &thread, &attributes,
        { argument in
          if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().run() }
          return nil
        }, work.toOpaque())
      pthread_attr_destroy(&attributes)
      if status != 0 {
        work.release()
        continuation.resume(throwing: failure("cannot be started: no thread for it"))
      }
    }
  }

  private final class Work {
    let run: () -> Void
    init(_ run: @escaping () -> Void) { self.run = run }
  }

  private func ask(_ server: String) throws -> Credential? {
    guard !name.contains("/"), !name.isEmpty else { throw failure("is not the name of a program") }
    guard let program = find() else { throw failure("was not found on PATH") }
    let (status, answer) = try run(program, input: Array((server + "\n").utf8))
    if status != 0 {
      // The one failure that helpers agree on; anything else must not be taken for "nobody".
      let text = String(decoding: answer, as: UTF8.self)
      if text.contains("credentials not found") { return nil }
      throw failure("failed with exit status \(status)")
    }
    guard let json = JSON(decoding: answer), let user = json["Username"]?.string, let secret = json["Secret"]?.string
    else { throw failure("gave an answer that is not the JSON of a credential") }
    if user.isEmpty && secret.isEmpty { return nil }
    return user == "<token>" ? .identityToken(secret) : .basic(user: user, password: secret)
  }

  private func find() -> String? {
    for folder in (environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin").split(separator: ":") {
      let path = "\(folder)/docker-credential-\(name)"
      if folder.hasPrefix("/"), access(path, X_OK) == 0 { return path }
    }
    return nil
  }

  /// Runs `PROGRAM get` in a process group of its own, which is killed when the time is over.
  private func run(_ program: String, input: [UInt8]) throws -> (status: Int32, output: [UInt8]) {
    // A pair of sockets is closed on exec from its first instant, as `pipe` cannot have it.
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
      throw failure("cannot be started: no socket pair")
    }
    let (ours, theirs) = (ends[0], ends[1])
    defer { close(ours) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, theirs, 0)
    posix_spawn_file_actions_adddup2(&actions, theirs, 1)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // NIO ignores SIGPIPE in the whole process, and a child would inherit that.
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGPIPE)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setpgroup(&attributes, 0)
    var mask = sigset_t()
    sigemptyset(&mask)
    posix_spawnattr_setsigmask(&attributes, &mask)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
    var arguments: [UnsafeMutablePointer<CChar>?] = [strdup(program), strdup("get"), nil]
    var variables = environment.sorted { $0.key < $1.key }.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { (arguments + variables).forEach { free($0) } }
    var child: pid_t = 0
    let status = posix_spawn(&child, program, &actions, &attributes, &arguments, &variables)
    close(theirs)
    guard status == 0 else {
      throw failure("cannot be started: \(String(cString: strerror(status)).lowercased())")
    }
    // A server's name fits any buffer; a child that reads nothing is no signal for us.
    _ = input.withUnsafeBytes { send(ours, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    shutdown(ours, Int32(SHUT_WR))
    let deadline = ContinuousClock.now + timeout
    do {
      if let output = try read(ours, deadline), let status = wait(child, deadline) { return (status, output) }
      throw failure("gave no answer within \(timeout.components.seconds) s")
    } catch {
      kill(-child, SIGKILL)
      _ = wait(child, ContinuousClock.now + .seconds(5))
      throw error
    }
  }

  /// Reads to the end; `nil` when the time is over first.
  private func read(_ fd: Int32, _ deadline: ContinuousClock.Instant) throws -> [UInt8]? {
    var output: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let left = ContinuousClock.now.duration(to: deadline)
      guard left > .zero else { return nil }
      var entry = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
      let ready = poll(&entry, 1, Int32(clamping: left.components.seconds * 1000 + 100))
      if ready < 0 && errno == EINTR { continue }
      guard ready != 0 else { continue }
      let count = Glibc.read(fd, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return output }
      output += buffer[..<count]
      guard output.count <= Self.answerLimit else { throw failure("gave an answer of more than 64 KiB") }
    }
  }

  /// The exit status, 128 and the signal for one that was killed; `nil` when the time is over first.
  private func wait(_ child: pid_t, _ deadline: ContinuousClock.Instant) -> Int32? {
    var status: Int32 = 0
    while true {
      let ended = waitpid(child, &status, WNOHANG)
      if ended == child { return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f) }
      if ended < 0 && errno != EINTR { return 255 }
      if ContinuousClock.now > deadline { return nil }
      usleep(2000)
    }
  }

  private func failure(_ what: String) -> Diagnostic {
    .error(
      "the credential helper `docker-credential-\(name)` \(what)", cause: .environment,
      hints: ["it is named by `credsStore` or `credHelpers` in Docker's `config.json`"])
  }
}
