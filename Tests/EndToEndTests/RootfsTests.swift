import Glibc
import Testing

/// Root file systems from a mirror of the test's own: locked, floating, of a date.
@Suite struct `root file systems` {
  /// A workspace whose `//os` takes its packages from a mirror beside it.
  private struct Bench {
    let project: Project
    let mirror: PackageMirror

    init(_ mirror: PackageMirror? = nil, tool version: String = "1.0") throws {
      project = try Project()
      self.mirror = try mirror ?? PackageMirror(in: project.folder)
      if mirror == nil { try self.mirror.publish(tool: version) }
      try project.copy(self.mirror.key, to: "os/mirror.gpg", mode: 0o644)
      try declare()
    }

    /// `//os:locked` and `//os:floating`, and a test that reads what `tool` brought.
    func declare(
      packages: String = "[tool]", keyring: String? = "mirror.gpg", snapshot: String? = nil, platforms: String? = nil
    ) throws {
      var common = "rule: rootfs, suite: test, variant: essential, packages: \(packages), mirror: '\(mirror.url())'"
      if let keyring { common += ", keyring: \(keyring)" }
      if let snapshot { common += ", snapshot: \(snapshot)" }
      if let platforms { common += ", platforms: \(platforms)" }
      try project.write(
        "os/targets.yaml",
        "targets:\n  locked: {\(common), lock: os.lock}\n  floating: {\(common)}\n"
          + "  read: {rule: test, image: ':locked', run: [busybox, grep, -x, hello, /opt/tool]}\n")
    }

    func lock() throws {
      let end = try project.run("lock", "//os:locked")
      #expect(end.standardOutput == "os/os.lock\t3 packages\n", "\(end.standardError)")
    }

    func layout(_ label: String = "//os:locked") throws -> String {
      guard let layout = try project.outputs(label)["image"] else { throw Failure("no layout of \(label)") }
      return try project.read("\(layout)/index.json")
    }

    /// Builds `//os:locked`, which must fail with 36 and lead to `slipway lock`; gives the messages.
    func refused() throws -> String {
      let result = try project.build("//os:locked")
      #expect(result.status == 36, "\(result.error)")
      #expect(result.failed == ["//os:locked"])
      #expect(result.error.contains("\nhint: slipway lock //os:locked\n"), "\(result.error)")
      return result.error
    }
  }

  @Test func `the same lock gives the same image again, from an empty cache and at another time`() throws {
    let bench = try Bench()
    try bench.lock()
    #expect(try bench.project.read("os/os.lock").contains("\ntool 1.0 "))
    let first = try bench.project.build("//os:read")
    #expect(first.status == 0, "\(first.error)")
    let layout = try bench.layout()

    // The mirror's index has another date, and the cache holds nothing.
    try bench.mirror.publish(tool: "1.0")
    bench.project.cache = "\(bench.project.folder)/other-cache"
    let second = try bench.project.build("//os:read")
    #expect(second.status == 0, "\(second.error)")
    #expect(second.executed.contains("//os:locked"))
    #expect(try bench.layout() == layout)
    #expect(try bench.project.build("//os:read").executed == [])
  }

  @Test func `a version that the mirror no longer has ends with 36, and locking again helps`() throws {
    let bench = try Bench()
    try bench.lock()
    try bench.mirror.publish(tool: "1.1")
    #expect(try bench.refused().contains("\nnote: it lacks `tool 1.0`\n"))
    try bench.lock()
    let result = try bench.project.build("//os:read")
    #expect(result.status == 0, "\(result.error)")
  }

  @Test func `other bytes of a locked version are refused before a package is downloaded`() throws {
    let bench = try Bench()
    try bench.lock()
    #expect(try bench.mirror.requests().contains("/ran-tool"), "a maintainer script must be seen when it runs")
    let good = try bench.project.read("os/os.lock")
    let before = try bench.mirror.requests().count

    // The lock is tampered with.
    let tampered = good.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      line.hasPrefix("tool ") ? "tool 1.0 " + String(repeating: "0", count: 64) : String(line)
    }.joined(separator: "\n")
    try bench.project.write("os/os.lock", tampered)
    #expect(try bench.refused().contains("\nnote: the SHA-256 of `tool 1.0` is not the locked one\n"))

    // The mirror signs another package under the same version.
    try bench.project.write("os/os.lock", good)
    try bench.mirror.publish(tool: "1.0", saying: "evil")
    #expect(try bench.refused().contains("\nnote: the SHA-256 of `tool 1.0` is not the locked one\n"))

    let after = try bench.mirror.requests().dropFirst(before)
    #expect(!after.isEmpty)
    #expect(after.allSatisfy { $0.hasPrefix("/debian/dists/") }, "\(after)")
  }

  @Test func `a .deb that differs from its index ends with 36 before its scripts run`() throws {
    let bench = try Bench()
    try bench.lock()
    let before = try bench.mirror.requests().count
    let file = "\(bench.mirror.folder)/debian/pool/tool_1.0.deb"
    var bytes = try readBytes(file)
    bytes[bytes.count - 1] ^= 1
    try bytes.withUnsafeBytes { buffer in
      guard let handle = fopen(file, "w"), fwrite(buffer.baseAddress, 1, buffer.count, handle) == buffer.count,
        fclose(handle) == 0
      else { throw Failure("cannot write \(file)") }
    }
    _ = try bench.refused()
    #expect(try bench.mirror.requests().dropFirst(before).contains("/debian/pool/tool_1.0.deb"))
    #expect(try !bench.mirror.requests().dropFirst(before).contains("/ran-tool"))
  }

  @Test func `a package that is not in the lock is never installed`() throws {
    let bench = try Bench()
    try bench.lock()
    let lines = try bench.project.read("os/os.lock").split(separator: "\n")
    try bench.project.write(
      "os/os.lock", lines.filter { !$0.hasPrefix("extra ") }.joined(separator: "\n") + "\n")
    let before = try bench.mirror.requests().count
    #expect(try bench.refused().contains("\nnote: tool : Depends: extra but it is not installable\n"))
    try bench.project.write(
      "os/os.lock", lines.filter { !$0.hasPrefix("base ") }.joined(separator: "\n") + "\n")
    _ = try bench.refused()
    #expect(try bench.mirror.requests().dropFirst(before).allSatisfy { $0.hasPrefix("/debian/dists/") })
  }

  @Test func `a floating root file system tells the InRelease files of its first use, and stays with it`() throws {
    let bench = try Bench()
    let result = try bench.project.build("//os:floating")
    #expect(result.status == 0, "\(result.error)")
    let sum = try HostProcess(
      ["sha256sum", "\(bench.mirror.folder)/debian/dists/test/InRelease"], directory: "/",
      environment: ["PATH": "/usr/bin:/bin"]
    ).finish().standardOutput.prefix(64)
    let recorded = "127.0.0.1:\(bench.mirror.port)_debian_dists_test_InRelease"
    guard let file = try bench.project.outputs("//os:floating")["releases"] else { throw Failure("no releases") }
    #expect(try bench.project.read(file) == "\(sum)  \(recorded)\n")
    let explained = try bench.project.run("explain", "//os:floating").standardOutput
    #expect(explained.contains("\n  = floating: \(recorded) \(sum)\n"), "\(explained)")

    // What the mirror has meanwhile is not asked for.
    let layout = try bench.layout("//os:floating")
    try bench.mirror.publish(tool: "1.1")
    let before = try bench.mirror.requests().count
    #expect(try bench.project.build("//os:floating").executed == [])
    #expect(try bench.mirror.requests().count == before)
    #expect(try bench.layout("//os:floating") == layout)
  }

  @Test func `a snapshot is the archive of that date, and a mirror without it is named`() throws {
    let bench = try Bench(tool: "2.0")
    try bench.mirror.publish("debian/20200101T000000Z", tool: "1.0")
    try bench.declare(snapshot: "20200101T000000Z")
    try bench.lock()
    #expect(try bench.project.read("os/os.lock").contains("\ntool 1.0 "))
    #expect(try bench.project.build("//os:read").status == 0)

    try bench.declare(snapshot: "20190101T000000Z")
    let result = try bench.project.build("//os:floating")
    #expect(result.status == 36, "\(result.error)")
    #expect(
      result.error.contains(
        "error: the mirror has no snapshot of 20190101T000000Z for //os:floating: "
          + "\(bench.mirror.url())/20190101T000000Z\n"), "\(result.error)")
  }

  @Test func `a mirror whose keys nobody trusts, or a package that it lacks, gives a message of its own`() throws {
    let bench = try Bench()
    try bench.declare(keyring: nil)
    let unsigned = try bench.project.build("//os:floating")
    #expect(unsigned.status == 36)
    #expect(unsigned.error.contains("hint: name the mirror's own keys in the target: `keyring: mirror.gpg`\n"))
    try bench.declare(packages: "[\"to'ol\"]")
    let unknown = try bench.project.build("//os:floating")
    #expect(unknown.status == 1)
    #expect(unknown.error.contains("note: Unable to locate package to'ol\n"), "\(unknown.error)")
  }

  @Test func `of two platforms the one that nothing here emulates is named, and the other is locked and built`() throws
  {
    #if arch(arm64)
      let (own, foreign) = ("arm64", "amd64")
    #else
      let (own, foreign) = ("amd64", "arm64")
    #endif
    let bench = try Bench()
    try bench.declare(platforms: "[linux/amd64, linux/arm64]")
    let message = "//os:locked cannot run for linux/\(foreign) on this host, which is linux/\(own)"
    let lock = try bench.project.run("lock", "//os:locked")
    #expect(lock.status == 36)
    #expect(lock.standardOutput == "os/os.\(own).lock\t3 packages\n")
    #expect(lock.standardError.contains("error: \(message)\n"), "\(lock.standardError)")
    #expect(lock.standardError.contains("\nhint: install emulators"))
    #expect(!bench.project.exists("os/os.\(foreign).lock"))

    // A lock that another machine wrote, and a package that is the same there.
    try bench.project.write("os/os.\(foreign).lock", try bench.project.read("os/os.\(own).lock"))
    let requests = try bench.mirror.requests().count
    let built = try bench.project.build("//os:locked")
    #expect(built.status == 36 && built.failed == ["//os:locked@linux/\(foreign)"], "\(built.error)")
    #expect(built.error.contains("error: \(message)\n"), "\(built.error)")
    #expect(built.error.contains("\nhint: or leave the platform out: --platform linux/\(own)\n"))
    #expect(try bench.mirror.requests().dropFirst(requests).allSatisfy { !$0.contains("binary-\(foreign)") })
    #expect(try bench.project.build("//os:read", options: ["--platform", "linux/\(own)"]).status == 0)
  }

  @Test func `what the caller left open is not handed on`() throws {
    let bench = try Bench()
    // A CI system's runner may leave a dozen descriptors to all that it starts.
    bench.project.prefix = [
      "bash", "-c", #"for fd in {3..20}; do eval "exec $fd</dev/null"; done; exec "$@""#, "bash",
    ]
    try bench.lock()
    #expect(try bench.project.build("//os:read").status == 0)
  }

  @Test func `an ordinary user locks and builds the same root file system`() throws {
    let bench = try Bench()
    try bench.lock()
    #expect(try bench.project.build("//os:read").status == 0)
    let layout = try bench.layout()
    let lock = try bench.project.read("os/os.lock")
    guard geteuid() == 0 else { return }  // then that was an ordinary user

    let other = try Bench(bench.mirror)
    let folder = other.project.folder
    // A user who has subordinate ids, in this process's view of the host's files only.
    for (name, line) in [
      ("passwd", "slipway-test:x:54321:54321::\(folder)/home:/bin/sh"), ("subuid", "slipway-test:700000:65536"),
      ("subgid", "slipway-test:700000:65536"),
    ] {
      let text = (try? String(decoding: readBytes("/etc/\(name)"), as: UTF8.self)) ?? ""
      try other.project.write("../\(name)", "\(text)\(line)\n")
    }
    let own = try HostProcess(
      ["chown", "-R", "-h", "54321:54321", folder], directory: "/", environment: ["PATH": "/usr/bin:/bin"])
    #expect(own.wait() == 0)
    other.project.prefix = [
      "unshare", "--mount", "sh", "-e", "-c",
      """
      for name in passwd subuid subgid; do touch /etc/$name; mount --bind "$0/$name" /etc/$name; done
      exec setpriv --reuid=54321 --regid=54321 --clear-groups "$@"
      """, folder,
    ]
    try other.lock()
    #expect(try other.project.read("os/os.lock") == lock)
    let result = try other.project.build("//os:read")
    #expect(result.status == 0, "\(result.error)")
    #expect(try other.layout() == layout)
  }
}
