import Caching
import Diagnostics
import Glibc
import SystemPackage

/// A server that a test starts on loopback, and that ends with it, or with the tests, however they go.
final class MetadataServer: @unchecked Sendable {
  let port: Int
  let log: String
  private let process: pid_t
  private let lifeline: Int32

  /// - Parameter command: Gets no input; its output is appended to the file `log`.
  init(_ command: [String], port: Int, log: String) throws {
    self.port = port
    self.log = log
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
      throw Diagnostic.error("no socket pair", cause: .environment)
    }
    lifeline = ends[0]
    // The shell waits on its input, which ends with this process, and takes the server with it.
    let script =
      "\"$@\" 3<&- & s=$!; trap 'kill $s; wait $s; exit 0' TERM; (cat <&3 >/dev/null; kill $s 2>/dev/null) & wait $s"
    process = try Self.spawn(["/bin/sh", "-c", script, "server"] + command, lifeline: ends[1], log: log)
    close(ends[1])
    let deadline = ContinuousClock.now + .seconds(20)
    while !Self.listens(port) {
      guard ContinuousClock.now < deadline, waitpid(process, nil, WNOHANG) == 0 else {
        kill(process, SIGTERM)
        let text = try Disk.contents(of: log, limit: 1 << 20).map { String(decoding: $0, as: UTF8.self) } ?? ""
        throw Diagnostic.error("\(command) did not start: \(text.suffix(2000))", cause: .environment)
      }
      usleep(10_000)
    }
  }

  deinit {
    close(lifeline)
    kill(process, SIGTERM)
    while waitpid(process, nil, 0) < 0 && errno == EINTR {}
  }

  private static func spawn(_ arguments: [String], lifeline: Int32?, log: String) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    if let lifeline { posix_spawn_file_actions_adddup2(&actions, lifeline, 3) }
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // A thread of the pool blocks all signals, and a child would inherit that: nothing could end it.
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var child: pid_t = 0
    var list: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { list.forEach { free($0) } }
    let status = posix_spawnp(&child, arguments[0], &actions, &attributes, &list, environ)
    guard status == 0 else {
      throw Diagnostic.error("cannot start \(arguments): \(String(cString: strerror(status)))", cause: .environment)
    }
    return child
  }

  /// Runs a command to its end; its exit status and what it printed.
  static func run(_ arguments: [String], in folder: FilePath) throws -> (status: Int32, output: String) {
    let log = folder.string + "/run.\(UInt32.random(in: 0 ... .max))"
    let child = try spawn(arguments, lifeline: nil, log: log)
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    let text = try Disk.contents(of: log, limit: 1 << 26).map { String(decoding: $0, as: UTF8.self) } ?? ""
    return (status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f), text)
  }

  static func write(_ text: String, to path: String) throws {
    let file = try Disk.open(path, O_WRONLY | O_CREAT | O_TRUNC)
    defer { try? file.close() }
    try Array(text.utf8).withUnsafeBytes { try Disk.write(file, $0, path: path) }
  }

  static func freePort() throws -> Int {
    let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { close(fd) }
    var address = loopback(0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(fd, $0, length) == 0 && getsockname(fd, $0, &length) == 0
      }
    }
    guard bound else { throw Diagnostic.error("no free port", cause: .environment) }
    return Int(UInt16(bigEndian: address.sin_port))
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
    defer { close(fd) }
    var address = loopback(UInt16(port))
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }

  // MARK: Servers

  struct TLS {
    var certificate: String
    var key: String
  }

  /// nginx with WebDAV, configured as an ordinary user can run it.
  ///
  /// - Parameters:
  ///   - users: The lines of a password file: without one, everybody may do everything.
  ///   - location: Lines that are added to the folder's configuration.
  static func nginx(in folder: FilePath, users: String? = nil, tls: TLS? = nil, location: String = "") throws
    -> MetadataServer
  {
    let port = try freePort()
    let root = folder.string
    // On the file system of the files, so that a PUT ends in a rename.
    for name in ["files", "files/.tmp", "tmp"] { try Disk.makeFolders("\(root)/\(name)") }
    if let users { try write(users, to: "\(root)/users") }
    let temporary = ["fastcgi", "uwsgi", "scgi", "proxy"].map { "\($0)_temp_path \(root)/tmp/\($0);" }
    try write(
      """
      daemon off; master_process off; pid \(root)/nginx.pid; error_log \(root)/nginx.log error;
      events { worker_connections 256; }
      http {
        access_log off; default_type application/octet-stream; client_max_body_size 64m;
        client_body_temp_path \(root)/files/.tmp;
        \(temporary.joined(separator: "\n  "))
        server {
          listen 127.0.0.1:\(port)\(tls == nil ? "" : " ssl");
          \(tls.map { "ssl_certificate \($0.certificate); ssl_certificate_key \($0.key);" } ?? "")
          location / {
            root \(root)/files;
            \(location.contains("dav_methods") ? "" : "dav_methods PUT DELETE;")
            \(location.contains("create_full_put_path") ? "" : "create_full_put_path on;")
            \(users == nil ? "" : "auth_basic metadata; auth_basic_user_file \(root)/users;")
            \(location)
          }
        }
      }
      """, to: "\(root)/nginx.conf")
    return try MetadataServer(
      ["nginx", "-p", root, "-e", "\(root)/nginx.log", "-c", "\(root)/nginx.conf"], port: port, log: "\(root)/nginx.log"
    )
  }

  static func dockerRegistry(in folder: FilePath) throws -> MetadataServer {
    let port = try freePort()
    try write(
      """
      version: 0.1
      log: {level: error, accesslog: {disabled: true}}
      storage: {filesystem: {rootdirectory: "\(folder)/registry"}, delete: {enabled: true}}
      http: {addr: "127.0.0.1:\(port)", secret: tests}
      """, to: "\(folder)/registry.yml")
    return try MetadataServer(
      ["docker-registry", "serve", "\(folder)/registry.yml"], port: port, log: "\(folder)/registry.log")
  }
}
