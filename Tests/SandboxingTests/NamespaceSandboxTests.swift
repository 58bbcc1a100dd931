import CSandbox
import Diagnostics
import Glibc
import Sandboxing
import SystemPackage
import Testing

@Suite struct `The namespace sandbox` {
  @Test func `the environment is exactly the declared one`() async throws {
    let host = try TestHost()
    var spec = host.spec("env")
    spec.environment = ["PATH=/bin", "B=2", "A=a b", "EMPTY="]
    let (result, text) = try await host.run(spec)
    #expect(result.status == .exited(0))
    #expect(text == "PATH=/bin\nB=2\nA=a b\nEMPTY=\n")
  }

  @Test func `the working directory and HOME are made where they are missing`() async throws {
    let host = try TestHost()
    var spec = host.shell("pwd; cd; pwd; hostname; id -u; id -g")
    spec.workingDirectory = "/src/a/b"
    spec.environment.append("HOME=/tmp/home")
    let (_, text) = try await host.run(spec)
    #expect(text == "/src/a/b\n/tmp/home\nslipway\n1000\n1000\n")
  }

  @Test(arguments: [
    ("exit 0", SandboxResult.Status.exited(0)), ("exit 7", .exited(7)), ("kill -9 $$", .signaled(9)),
    ("kill -15 $$", .signaled(15)), ("no-such-command", .exited(127)), ("/victim", .exited(126)),
  ])
  func `the end of the command is told as it was`(script: String, status: SandboxResult.Status) async throws {
    let host = try TestHost()
    let (result, _) = try await host.run(host.shell(script))
    #expect(result.status == status)
  }

  @Test func `a command that cannot be executed says so in its output`() async throws {
    let host = try TestHost()
    let missing = try await host.run(host.spec("no-such-command"))
    #expect(missing.result.status == .exited(127))
    #expect(missing.text == "slipway: cannot execute `no-such-command`: No such file or directory\n")
    let plain = try await host.run(host.spec("/victim"))
    #expect(plain.result.status == .exited(126))
  }

  @Test func `standard input is the caller's, and empty where there is none`() async throws {
    let host = try TestHost()
    #expect(try await host.run(host.spec("cat"), input: "hello").text == "hello")
    var spec = host.spec("cat")
    spec.standardInput = nil
    #expect(try await TestHost.shared.run(spec).status == .exited(0))
  }

  @Test func `the topmost layer wins, and no layer is changed`() async throws {
    let host = try TestHost()
    try host.write("top/victim", "top")
    var spec = host.shell(
      "cat /victim; echo x > /victim; rm -r /victim-folder; chmod 700 /bin; cat /victim; ls /victim-folder")
    if !SandboxFeature.keepsOverlaysInMemory { spec.scratch = .folder(host.path("scratch")) }
    let (result, text) = try await host.run(spec)
    #expect(result.status == .exited(1))
    #expect(text == "topx\nls: /victim-folder: No such file or directory\n")
    #expect(try host.text("top/victim") == "top")
    #expect(try host.text("base/victim") == "original")
    #expect(try host.text("base/victim-folder/file") == "original")
  }

  @Test func `where an input lies on the host cannot be told`() async throws {
    let host = try TestHost()
    try host.write("input/big", Array(repeating: 65, count: 3 << 20), mode: 0o644)
    var spec = host.shell(
      "grep -l slipway-sandbox /proc/self/mountinfo /proc/mounts; cat /folder/file /file; wc -c </folder/big;"
        + " stat -c '%A %Y' /file; echo x >/file; echo x >/folder/new; ls /folder")
    spec.mounts = [
      .init(source: host.path("input"), target: "/folder"), .init(source: host.path("input/file"), target: "/file"),
    ]
    // A copy takes nothing off the scratch space.
    spec.limits.scratch = 1 << 20
    let (_, text) = try await host.run(spec)
    #expect(
      text.split(separator: "\n").filter { !$0.contains("can't create") } == [
        "originaloriginal3145728", "-r--r--r-- 315532800", "big", "file",
      ])
    // What a user asks for by its path is shown as it is, and may be writable.
    spec = host.shell("echo changed >/folder/file; echo x >/fixed/new")
    spec.mounts = [
      .init(source: host.path("input"), target: "/folder", access: .readWrite),
      .init(source: host.path("top"), target: "/fixed", access: .readOnly),
    ]
    _ = try await host.run(spec)
    #expect(try host.text("input/file") == "changed\n")
    #expect(access(host.path("top/new"), F_OK) != 0)
  }

  @Test func `a mount is read-only, at any depth, through the image's own links only`() async throws {
    let host = try TestHost()
    // The image's links lead to the root and out of it; the host's folder of that name must not be touched.
    symlink("/../../../outside", host.path("base/link"))
    mkdir(host.path("base/outside"), 0o755)
    symlink("../../../../etc", host.path("base/escape"))
    var spec = host.shell(
      "cat /a/b/c/file /outside/deep/file /etc/slipway-test/file /run/deep/file; echo no > /a/b/c/file")
    spec.mounts = ["/a/b/c", "/link/deep", "/escape/slipway-test"].map { .init(source: host.path("input"), target: $0) }
    // As /etc/resolv.conf often is: a link to what only a running system has.
    symlink("../run/deep/file", host.path("base/usr/dangling"))
    symlink("loop", host.path("base/loop"))
    spec.mounts.append(.init(source: host.path("input/file"), target: "/usr/dangling"))
    let (result, text) = try await host.run(spec)
    #expect(result.status == .exited(1))
    #expect(text == "originaloriginaloriginaloriginalsh: can't create /a/b/c/file: Read-only file system\n")
    #expect(access("/etc/slipway-test", F_OK) != 0)
    spec.mounts = [.init(source: host.path("input"), target: "/loop/x")]
    let error = await #expect(throws: Diagnostic.self) { try await TestHost.shared.run(spec) }
    #expect(error?.message == "cannot make mount point `/loop/x`: too many levels of symbolic links")
  }

  @Test func `outputs are opened after the end, whatever they are`() async throws {
    let host = try TestHost()
    var spec = host.shell(
      """
      echo one > /out; mkdir -p /d/e; echo two > /d/e/f; ln -s /etc/passwd /link; mkfifo /fifo; ln -s d /way
      ln -s /proc/1 /proc-link; echo changed > /victim
      """)
    spec.outputs = ["/out", "/missing", "/d", "/link", "/fifo", "/way/e/f", "/proc-link/environ", "/victim", "/bin/sh"]
    let result = try await host.run(spec).result
    defer { for case let output? in result.outputs { try? output.close() } }
    #expect(result.status == .exited(0))
    func kind(_ index: Int) -> mode_t {
      var status = stat()
      guard let output = result.outputs[index], fstat(output.rawValue, &status) == 0 else { return 0 }
      return status.st_mode & S_IFMT
    }
    #expect((0..<9).map(kind) == [S_IFREG, 0, S_IFDIR, S_IFLNK, S_IFIFO, S_IFREG, 0, S_IFREG, S_IFLNK])
    #expect(try result.outputs[0]?.readAll() == Array("one\n".utf8))
    #expect(try result.outputs[5]?.readAll() == Array("two\n".utf8))
    #expect(try result.outputs[7]?.readAll() == Array("changed\n".utf8))
    // A folder is read through the sandbox's view after the sandbox is gone.
    let folder = try #require(result.outputs[2])
    let inner = slipway_openat_in_root(folder.rawValue, "e/f", O_RDONLY)
    #expect(inner >= 0)
    if inner >= 0 {
      #expect(try FileDescriptor(rawValue: inner).closeAfter { try $0.readAll() } == Array("two\n".utf8))
    }
  }

  @Test func `hundreds of outputs come in order`() async throws {
    let host = try TestHost()
    var spec = host.shell("for i in $(seq 0 299); do echo $i > /$i; done; rm /7")
    spec.outputs = (0..<300).map { "/\($0)" }
    let result = try await host.run(spec).result
    let texts = try result.outputs.map { try $0?.closeAfter { String(decoding: try $0.readAll(), as: UTF8.self) } }
    #expect(texts == (0..<300).map { $0 == 7 ? nil : "\($0)\n" })
  }

  @Test func `a scratch folder holds what was written, and can be removed`() async throws {
    let host = try TestHost()
    var spec = host.shell("echo x > /out; mkdir -p /locked/in; chmod 000 /locked; rm /victim")
    spec.scratch = .folder(host.path("scratch"))
    let result = try await host.run(spec).result
    #expect(result.status == .exited(0))
    #expect(try host.text("scratch/upper/out") == "x\n")
    #expect(slipway_remove_tree(host.path("scratch")) == 0)
    #expect(access(host.path("scratch"), F_OK) != 0)
  }

  @Test func `only loopback is there, and up`() async throws {
    let host = try TestHost()
    let (_, text) = try await host.run(host.shell("ip -o addr | grep -c LOOPBACK,UP; ip -o link | wc -l"))
    #expect(text.split(separator: "\n").last == "1")
  }

  @Test func `a deadline kills grandchildren in sessions of their own`() async throws {
    let host = try TestHost()
    var spec = host.shell("setsid sleep 98761 & setsid sh -c 'setsid sleep 98761 & sleep 98761' & sleep 98761")
    spec.limits.wallClock = 0.3
    let result = try await host.run(spec).result
    #expect(result.status == .timedOut)
    #expect(result.wallClock < 5)
    #expect(!isRunning("98761"))
  }

  @Test func `what the command leaves behind is killed when it ends`() async throws {
    let host = try TestHost()
    let result = try await host.run(host.shell("setsid sleep 98762 & exit 3")).result
    #expect(result.status == .exited(3))
    #expect(!isRunning("98762"))
  }

  @Test func `cancelling the task kills every process`() async throws {
    let host = try TestHost()
    let task = Task { try await host.run(host.shell("sleep 98763 & sleep 98763")).result }
    #expect(try await eventually { isRunning("98763") })
    task.cancel()
    #expect(try await task.value.status == .cancelled)
    #expect(!isRunning("98763"))
  }

  @Test func `a task that is cancelled at any moment ends`() async throws {
    let host = try TestHost()
    for delay in 0..<40 {
      let task = Task { try await host.run(host.spec("sleep", "98764")).result }
      try await Task.sleep(for: .microseconds(delay * 200))
      task.cancel()
      #expect(try await task.value.status == .cancelled)
    }
    #expect(!isRunning("98764"))
  }

  @Test func `fifty run at once`() async throws {
    let host = try TestHost()
    let statuses = try await withThrowingTaskGroup(of: SandboxResult.Status.self) { group in
      for index in 0..<50 {
        group.addTask { try await host.run(host.shell("sleep 0.1; exit \(index)")).result.status }
      }
      return try await group.reduce(into: Set()) { $0.insert($1) }
    }
    #expect(statuses == Set((0..<50).map { .exited($0) }))
  }

  @Test(arguments: TestHost.User.possible)
  func `every process dies with the caller, even when that is killed`(user: TestHost.User) async throws {
    let host = try TestHost(for: user)
    try host.installProbe()
    let word = user == .root ? "98765" : "98766"
    let words = user == .root ? [] : HostCommand.prefix(for: user)
    let started = try HostCommand.start(
      words + [host.path("sandbox-probe"), "--layer", host.path("base"), "--", "/bin/sh", "-c"]
        + ["setsid sleep \(word) & sleep \(word); echo"])
    defer { try? started.output.close() }
    #expect(try await eventually { isRunning(word) })
    kill(started.process, SIGKILL)
    waitpid(started.process, nil, 0)
    #expect(try await eventually { !isRunning(word) })
  }

  @Test func `the helper starts again after it was killed`() async throws {
    let host = try TestHost()
    let sandbox = NamespaceSandbox()
    _ = try await sandbox.run(host.spec("true"))
    let helper = try #require(sandbox.helperProcess)
    let running = Task { try await host.run(host.spec("sleep", "98767"), in: sandbox) }
    #expect(try await eventually { isRunning("98767") })
    kill(helper, SIGKILL)
    await #expect(throws: Diagnostic.self) { try await running.value }
    #expect(try await eventually { !isRunning("98767") })
    #expect(try await sandbox.run(host.spec("true")).status == .exited(0))
  }

  @Test func `no descriptor is left open`() async throws {
    let host = try TestHost()
    let ran = try HostCommand.run(
      [HostCommand.probe, "--repeat", "300", "--jobs", "8", "--output", "/victim", "--layer", host.path("base")]
        + ["--", "/bin/sh", "-c", "test $(ls /proc/self/fd | wc -l) = 4"])
    #expect(ran.status == 0 && ran.text.contains("300 runs, 0 failed"), "\(ran.text)")
  }

  @Test func `an interactive command leads a terminal of its own, with job control`() throws {
    let host = try TestHost()
    try host.installProbe()
    let script = "tty; stty size; set -m; sleep 0.01 & fg; trap 'echo stopped; exit 5' INT; kill -INT $$"
    // `script` gives a terminal, whose size is set on the way.
    try host.write(
      "command",
      "stty rows 41 cols 97\n" + host.path("sandbox-probe") + " --interactive --env PATH=/bin "
        + "--layer \(host.path("base")) -- sh -c \"\(script.replacing("$", with: "\\$"))\"\n")
    let ran = try HostCommand.run(["script", "-qec", "sh \(host.path("command")); stty -a", "/dev/null"])
    // At the end of its own input `script` types a zero, which comes back at any moment, as it is or as `^@`.
    let text = ran.text.replacing("\0", with: "").replacing("^@", with: "")
    let lines = text.split(whereSeparator: \.isNewline).map(String.init)
    #expect(text.contains("/dev/pts/0\r\n41 97\r\n") && lines.contains("stopped"), "\(ran.text)")
    #expect(!ran.text.contains("job control"), "\(ran.text)")
    #expect(lines.contains { $0.hasPrefix("result exited(5)") })
    // The caller's terminal is as it was: not raw.
    #expect(ran.text.contains(" icanon") && !ran.text.contains("-icanon"))
  }

  @Test func `a missing layer is named`() async throws {
    let host = try TestHost()
    var spec = host.spec("true")
    spec.layers = [host.path("nowhere")]
    let error = await #expect(throws: Diagnostic.self) { try await TestHost.shared.run(spec) }
    #expect(error?.message == "cannot open layer `\(host.path("nowhere"))`: no such file or directory")
    #expect(error?.cause == .environment)
  }

  @Test func `a specification that makes no sense is refused`() async throws {
    for change: @Sendable (inout SandboxSpec) -> Void in [
      { $0.arguments = [] }, { $0.workingDirectory = "relative" }, { $0.outputs = ["out"] },
      { $0.environment = ["A=\0"] }, { $0.hostname = String(repeating: "h", count: 65) },
    ] {
      var spec = SandboxSpec()
      spec.arguments = ["true"]
      change(&spec)
      await #expect(throws: Diagnostic.self) { try await TestHost.shared.run(spec) }
    }
  }
}

extension FileDescriptor {
  fileprivate func closeAfter<T>(_ body: (FileDescriptor) throws -> T) throws -> T {
    defer { try? close() }
    return try body(self)
  }
}
