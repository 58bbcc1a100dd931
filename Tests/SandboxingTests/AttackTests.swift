import Glibc
import Sandboxing
import SystemPackage
import Testing

/// Each attack of `Attacks/attacks.py`, from inside, by a sandbox that root and that an ordinary user started.
@Suite struct `Attacks on the sandbox` {
  static let attacks = [
    "remount_writable", "mount_something", "write_kernel_files", "set_user_id_files", "device_nodes", "change_inputs",
    "change_layers", "trace_init", "look_into_init", "other_processes", "kill_init", "keyrings", "abstract_sockets",
    "network", "type_into_terminal", "namespaces", "own_executable", "become_another_user", "file_handles",
    "kernel_surfaces", "foreign_system_calls", "raise_limits", "leaked_descriptors", "host_paths",
  ]

  private static let script =
    #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast()
    .joined(separator: "/") + "/Attacks/attacks.py"

  /// What an attack must not reach: a process, a port and an abstract socket of the host.
  private struct Outside: ~Copyable {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    let abstract = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    let name = "slipway-attack-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
    private(set) var port = 0

    init() {
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
      var length = socklen_t(MemoryLayout<sockaddr_in>.size)
      let socket = listener
      withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
          _ = bind(socket, pointer, length)
          _ = getsockname(socket, pointer, &length)
        }
      }
      listen(listener, 1)
      port = Int(UInt16(bigEndian: address.sin_port))
      var path = sockaddr_un()
      path.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &path.sun_path) { $0.dropFirst().copyBytes(from: Array(name.utf8)) }
      let size = socklen_t(MemoryLayout<sa_family_t>.size + 1 + name.utf8.count)
      let other = abstract
      withUnsafePointer(to: &path) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = bind(other, $0, size) }
      }
      listen(abstract, 1)
    }

    deinit {
      close(listener)
      close(abstract)
    }

    func environment(_ host: TestHost) -> [String] {
      [
        "PATH=/usr/bin:/bin", "OUTSIDE_PID=\(getpid())", "OUTSIDE_PORT=\(port)", "OUTSIDE_ABSTRACT=\(name)",
        "OUTSIDE_FOLDER=\(host.folder)",
      ]
    }
  }

  private func options(_ host: TestHost, _ environment: [String]) -> [String] {
    ["--layer", host.path("top"), "--layer", host.path("base"), "--mount", "/usr:/usr"]
      + ["--mount", "\(host.path("input")):/input", "--mount", "\(host.path("attacks.py")):/attacks.py"]
      + ["--limit", "wall-clock=30"] + environment.flatMap { ["--env", $0] }
  }

  private func prepared(_ user: TestHost.User) throws -> TestHost {
    let host = try TestHost(for: user)
    try host.write("attacks.py", host.read(Self.script), mode: 0o644)
    try host.installProbe()
    return host
  }

  @Test(arguments: TestHost.User.possible, Self.attacks)
  func `an attack is held`(user: TestHost.User, attack: String) throws {
    let host = try prepared(user)
    let outside = Outside()
    let ran = try HostCommand.run(
      HostCommand.prefix(for: user) + [host.path("sandbox-probe")] + options(host, outside.environment(host))
        + ["--", "python3", "/attacks.py", attack])
    #expect(ran.status == 0 && ran.text.hasPrefix("held\n"), "\(ran.text)")
    #expect(try host.text("base/victim") == "original")
    #expect(try host.text("base/victim-folder/file") == "original")
    #expect(try host.text("input/file") == "original")
  }

  /// The others speak of process 1, which the command itself is there, or of what only our own helper gives.
  static let heldByRunc = attacks.filter {
    ![
      "write_kernel_files", "trace_init", "look_into_init", "kill_init", "become_another_user",
    ].contains($0)
  }

  @Test(arguments: Self.heldByRunc)
  func `an attack is held by runc, too`(attack: String) throws {
    let user = TestHost.User.possible[0]
    let host = try prepared(user)
    let outside = Outside()
    let ran = try HostCommand.run(
      HostCommand.prefix(for: user) + [host.path("sandbox-probe"), "--runc"]
        + options(host, outside.environment(host) + ["HOME=/"]) + ["--", "python3", "/attacks.py", attack])
    #expect(ran.status == 0 && ran.text.contains("held\n"), "\(ran.text)")
    #expect(try host.text("base/victim") == "original")
    #expect(try host.text("input/file") == "original")
  }

  @Test(arguments: TestHost.User.possible)
  func `the host's abstract sockets are out of reach on its network, too`(user: TestHost.User) throws {
    let host = try prepared(user)
    let outside = Outside()
    // Without namespaces of its own here: it is the same network that this is about.
    let prefix = user == .root ? [] : HostCommand.prefix(for: user)
    let ran = try HostCommand.run(
      prefix + [host.path("sandbox-probe"), "--network", "host"] + options(host, outside.environment(host))
        + ["--", "python3", "/attacks.py", "abstract_sockets"])
    // An older kernel cannot, and `doctor` must know.
    let isHeld = ran.status == 0 && ran.text.hasPrefix("held\n")
    #expect(isHeld == SandboxFeature.keepsAbstractSocketsApart, "\(ran.text)")
  }

  @Test func `the list names every attack of the script`() throws {
    let ran = try HostCommand.run(["python3", Self.script, "--list"])
    #expect(ran.text.split(separator: "\n").map(String.init).sorted() == Self.attacks.sorted())
  }

  /// The script itself can fail: each of these is open where there is no sandbox.
  @Test(arguments: [
    "keyrings", "namespaces", "foreign_system_calls", "file_handles", "become_another_user", "type_into_terminal",
    "abstract_sockets", "host_paths", "raise_limits",
  ])
  func `an attack succeeds where there is no sandbox`(attack: String) throws {
    let host = try prepared(.ordinary)
    let outside = Outside()
    let ran = try HostCommand.run(
      HostCommand.prefix(for: .ordinary) + ["env"] + outside.environment(host) + ["UNDECLARED=1"]
        + ["python3", host.path("attacks.py"), attack])
    #expect(ran.status != 0, "\(ran.text)")
  }
}
