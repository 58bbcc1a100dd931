import Glibc
import Synchronization
import SystemPackage

/// A server that a test starts on loopback, and that ends with it: by `stop`, or when the test process is gone.
package final class ServerProcess: @unchecked Sendable {
  package let port: Int
  package let folder: FilePath
  private let process: pid_t
  private let lifeline: Int32
  private var isRunning = true

  /// Programs that tests run.
  package static let resources: String = checkout + "/Tests/DistributionTests/Servers"

  /// The folder of the repository.
  package static let checkout: String =
    "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")

  /// Starts a command, whose standard error is the file `log`, and waits until something listens at the port.
  package init(_ command: [String], port: Int, folder: FilePath, patience: Duration = .seconds(20)) throws {
    self.port = port
    self.folder = folder
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
      throw ServerFailure("no socket pair")
    }
    lifeline = ends[0]
    let log = folder.string + "/log"
    process = try Self.spawn(["/bin/sh", Self.resources + "/keep.sh"] + command, input: ends[1], output: log)
    Glibc.close(ends[1])
    let deadline = ContinuousClock.now + patience
    while !Self.listens(port) {
      guard ContinuousClock.now < deadline, waitpid(process, nil, WNOHANG) == 0 else {
        Glibc.close(lifeline)
        throw ServerFailure("\(command) did not start: \(Self.text(log).suffix(2000))")
      }
      usleep(10_000)
    }
  }

  deinit { stop() }

  package func stop() {
    guard isRunning else { return }
    isRunning = false
    Glibc.close(lifeline)
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    // What ran inside of bwrap is killed when that ends, and holds the port until then.
    let deadline = ContinuousClock.now + .seconds(5)
    while Self.listens(port), ContinuousClock.now < deadline { usleep(1000) }
  }

  package static func spawn(_ arguments: [String], input: Int32? = nil, output: String) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if let input {
      posix_spawn_file_actions_adddup2(&actions, input, 0)
    } else {
      posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    }
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o644)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    // The threads that tests run on block all signals, and a child would inherit that.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var mask = sigset_t()
    sigemptyset(&mask)
    posix_spawnattr_setsigmask(&attributes, &mask)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var child: pid_t = 0
    var list: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { list.forEach { free($0) } }
    let status = posix_spawnp(&child, arguments[0], &actions, &attributes, &list, environ)
    guard status == 0 else { throw ServerFailure("cannot start \(arguments): \(String(cString: strerror(status)))") }
    return child
  }

  /// Runs a command to its end; what it printed.
  @discardableResult
  package static func run(_ arguments: [String], folder: FilePath) throws -> String {
    let log = folder.string + "/run.\(UInt32.random(in: 0 ... .max))"
    let child = try spawn(arguments, output: log)
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    guard status == 0 else { throw ServerFailure("\(arguments) failed: \(text(log))") }
    return text(log)
  }

  private static let next = Atomic<Int>(Int.random(in: 0..<10_000))

  /// A port that nobody has, below those that the kernel gives to outgoing connections, and that no other test gets.
  ///
  /// The socket that asks closes on exec: a server that another test starts just then would keep it for good.
  package static func freePort() throws -> Int {
    for _ in 0..<1000 {
      let port = 20_000 + next.add(1, ordering: .relaxed).newValue % 12_000
      let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      defer { Glibc.close(fd) }
      var address = loopback(UInt16(port))
      let bound = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
      }
      if bound { return port }
    }
    throw ServerFailure("no free port")
  }

  private static func loopback(_ port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
  }

  private static func listens(_ port: Int) -> Bool {
    let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { Glibc.close(fd) }
    var address = loopback(UInt16(port))
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }

  package static func text(_ path: String) -> String {
    guard let file = fopen(path, "r") else { return "" }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = fread(&buffer, 1, buffer.count, file)
      if count == 0 { return String(decoding: bytes, as: UTF8.self) }
      bytes += buffer[..<count]
    }
  }

  package static func write(_ text: String, to path: String) throws {
    guard let file = fopen(path, "w") else { throw ServerFailure("cannot write \(path)") }
    fputs(text, file)
    fclose(file)
  }
}

package struct ServerFailure: Error, CustomStringConvertible {
  package let description: String
  package init(_ text: String) { description = text }
}
