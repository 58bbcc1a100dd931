import CSandbox
import Glibc
import Sandboxing
import SystemPackage
import Testing

private let isDivisible =
  geteuid() == 0 && access("/sys/fs/cgroup/pids/cgroup.procs", W_OK) == 0
  && access("/sys/fs/cgroup/memory/cgroup.procs", W_OK) == 0

/// Limits that hold for all processes of a sandbox together, by a control group.
///
/// They need a host on which the tests' own group can be divided: root on one with the old `pids` and `memory`
/// hierarchies is such.
@Suite(.enabled(if: isDivisible, "needs root and the control groups `pids` and `memory`"))
struct `Limits of a sandbox as a whole` {
  /// This process's folder in a hierarchy.
  private func ownGroup(_ controller: String) throws -> String {
    let file = try FileDescriptor.open("/proc/self/cgroup", .readOnly)
    defer { try? file.close() }
    let lines = String(decoding: try file.readAll(), as: UTF8.self).split(separator: "\n")
    let line = try #require(lines.first { $0.contains(":\(controller):") })
    let path = try #require(line.split(separator: ":").last)
    return "/sys/fs/cgroup/\(controller)" + (path == "/" ? "" : path)
  }

  private func groups(of helper: Int32, in folder: String) -> [String] {
    guard let stream = opendir(folder) else { return [] }
    defer { closedir(stream) }
    var found: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name.hasPrefix("slipway.\(helper).") { found.append("\(folder)/\(name)") }
    }
    return found.sorted()
  }

  @Test func `a sandbox has a group of its own, used again by the next, gone with the helper`() async throws {
    let host = try TestHost()
    let folders = [try ownGroup("pids"), try ownGroup("memory")]
    let helper = try await useGroups(host, folders)
    let isGone = try await eventually { folders.allSatisfy { groups(of: helper, in: $0).isEmpty } }
    #expect(isGone)
  }

  /// Gives the helper, which ends with the sandbox.
  private func useGroups(_ host: TestHost, _ folders: [String]) async throws -> Int32 {
    let sandbox = NamespaceSandbox()
    var spec = host.spec("true")
    spec.limits.processes = 41
    spec.limits.totalMemory = 1 << 30
    for _ in 0..<3 {
      #expect(try await sandbox.run(spec).isLimitedAsWhole)
      // The result comes from process 1; the group is free once the helper has seen that end, too.
      let children = "/proc/\(sandbox.helperProcess ?? 0)/task/\(sandbox.helperProcess ?? 0)/children"
      #expect(try await eventually { (try? host.read(children)) == [] })
    }
    let helper = try #require(sandbox.helperProcess)
    for folder in folders { #expect(groups(of: helper, in: folder).count == 1) }
    let group = try #require(groups(of: helper, in: folders[0]).first)
    #expect(try host.read("\(group)/pids.max") == Array("41\n".utf8))
    // Two at once have one each, and their processes are in them.
    var pair = host.shell("sleep 1")
    pair.limits.totalMemory = 1 << 30
    let both = pair
    async let first = sandbox.run(both)
    async let second = sandbox.run(both)
    let isFull = try await eventually {
      groups(of: helper, in: folders[0]).count { group in
        !((try? host.read("\(group)/cgroup.procs")) ?? []).isEmpty
      } == 2
    }
    #expect(isFull)
    #expect(try await [first.status, second.status] == [.exited(0), .exited(0)])
    return helper
  }

  @Test func `groups of a killed helper are removed by the next`() async throws {
    let host = try TestHost()
    let folder = try ownGroup("pids")
    let sandbox = NamespaceSandbox()
    var spec = host.spec("true")
    #expect(try await !sandbox.run(spec).isLimitedAsWhole)
    spec.limits.totalMemory = 1 << 30
    #expect(try await sandbox.run(spec).isLimitedAsWhole)
    let killed = try #require(sandbox.helperProcess)
    kill(killed, SIGKILL)
    #expect(try await eventually { sandbox.helperProcess == nil })
    #expect(try await sandbox.run(spec).isLimitedAsWhole)
    #expect(groups(of: killed, in: folder) == [])
  }

  @Test func `a memory hog of many processes is stopped`() async throws {
    let host = try TestHost()
    var spec = host.shell(
      "for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=/dev/null bs=30M count=100000 & done; wait; echo all")
    spec.limits.totalMemory = 100 << 20
    spec.limits.wallClock = 3
    let result = try await host.run(spec).result
    #expect(result.ranOutOfMemory)
    // Each of them alone is below it.
    let alone = try await host.run(host.spec("dd", "if=/dev/zero", "of=/dev/null", "bs=30M", "count=3")).result
    #expect(alone.status == .exited(0) && !alone.ranOutOfMemory)
  }

  @Test func `what is written in memory counts as memory`() async throws {
    let host = try TestHost()
    var spec = host.shell("dd if=/dev/zero of=/dev/shm/a bs=1M count=90; dd if=/dev/zero of=/tmp/b bs=1M count=90")
    spec.limits.scratch = 1 << 30
    spec.limits.totalMemory = 100 << 20
    let result = try await host.run(spec).result
    #expect(result.ranOutOfMemory && result.status != .exited(0))
    spec.limits.totalMemory = 250 << 20
    #expect(try await host.run(spec).result.status == .exited(0))
  }

  @Test func `a limit of the sandbox before is not the next one's`() async throws {
    let host = try TestHost()
    let sandbox = NamespaceSandbox()
    var spec = host.spec("dd", "if=/dev/zero", "of=/dev/null", "bs=60M", "count=2")
    for (limit, passes) in [(20 << 20, false), (nil, true), (20 << 20, false), (200 << 20, true)] as [(Int?, Bool)] {
      spec.limits.totalMemory = limit
      let result = try await host.run(spec, in: sandbox).result
      #expect((result.status == .exited(0)) == passes, "\(limit ?? 0): \(result.status)")
      #expect(result.ranOutOfMemory == !passes)
    }
  }

  @Test func `a fork bomb is stopped, and leaves nobody in the group`() async throws {
    let host = try TestHost()
    let folder = try ownGroup("pids")
    let sandbox = NamespaceSandbox()
    var spec = host.shell("f() { f & f & }; f; sleep 1; echo none")
    spec.limits.processes = 30
    spec.limits.totalMemory = 1 << 30
    spec.limits.wallClock = 5
    #expect(try await host.run(spec, in: sandbox).result.isLimitedAsWhole)
    let helper = try #require(sandbox.helperProcess)
    let group = try #require(groups(of: helper, in: folder).first)
    // Nobody is left in it.
    #expect(try host.read("\(group)/cgroup.procs").isEmpty)
    #expect(try await sandbox.run(host.spec("true")).status == .exited(0))
  }

  @Test func `an ordinary user has them in groups that were given to it`() throws {
    let host = try TestHost(for: .ordinary)
    try host.installProbe()
    let groups = try ["pids", "memory"].map { try ownGroup($0) + "/slipway-test-\(getpid())" }
    defer { for group in groups { rmdir(group) } }
    for group in groups {
      try #require(mkdir(group, 0o755) == 0)
      for name in ["", "/cgroup.procs", "/tasks"] { chown(group + name, TestHost.ordinaryUser, TestHost.ordinaryUser) }
    }
    let enter = groups.map { "echo $$ >\($0)/cgroup.procs" }.joined(separator: "; ")
    let ran = try HostCommand.run(
      ["sh", "-c", "\(enter); exec \"$@\"", "sh"] + HostCommand.prefix(for: .ordinary)
        + [host.path("sandbox-probe"), "--layer", host.path("top"), "--layer", host.path("base")]
        + ["--limit", "total-memory=50000000", "--env", "PATH=/bin", "--"]
        + ["sh", "-c", "for i in 1 2 3 4; do dd if=/dev/zero of=/dev/null bs=20M count=100 & done; wait"])
    #expect(ran.text.contains("limited true out of memory true"), "\(ran.text)")
    // Without the gift it has none, and runs all the same.
    let without = try HostCommand.run(
      HostCommand.prefix(for: .ordinary)
        + [host.path("sandbox-probe"), "--layer", host.path("top"), "--layer", host.path("base")]
        + ["--limit", "total-memory=50000000", "--env", "PATH=/bin", "--", "true"])
    #expect(without.status == 0 && without.text.contains("limited false out of memory false"), "\(without.text)")
  }
}
