import Diagnostics
import Digests
import Graph
import Testing

@testable import Engine

@Suite struct RootfsLockTests {
  private let a = Digest(of: "a")
  private let b = Digest(of: "b")
  private let label = Label(package: .root, name: "rootfs")

  private func lock(_ lines: String...) throws -> RootfsLock {
    try RootfsLock(parsing: lines.joined(separator: "\n"), file: "rootfs.lock")
  }

  private func report(_ lines: String...) -> RootfsReport {
    RootfsReport(parsing: Array(lines.joined(separator: "\n").utf8))
  }

  /// `bash` 5.2 with the digest a, and `zlib1g` 1:1.2 with the digest b.
  private var installed: RootfsReport {
    report(
      "Get:1 http://mirror bash", "slipway-installed: bash=5.2-1", "slipway-installed: zlib1g=1:1.2",
      "slipway-archive: bash=5.2-1=\(a)", "slipway-archive: bash=5.1-1=\(b)", "slipway-archive: zlib1g=1:1.2=\(b)")
  }

  @Test func `a lock reads back what it wrote, sorted`() throws {
    let lock = RootfsLock(packages: [
      .init(name: "zlib1g", version: "1:1.2", digest: b), .init(name: "bash", version: "5.2-1", digest: a),
    ])
    #expect(lock.text.hasSuffix("\nbash 5.2-1 \(a)\nzlib1g 1:1.2 \(b)\n"))
    #expect(try RootfsLock(parsing: lock.text, file: "rootfs.lock") == lock)
  }

  @Test(arguments: [
    "bash 5.2-1", "bash 5.2-1 abc", "bash  5.2-1 0", "Bash 5 \(Digest(of: "a"))", "ba'sh 5 \(Digest(of: "a"))",
    "bash 5';id;' \(Digest(of: "a"))", "-bash 5 \(Digest(of: "a"))", "bash x5 \(Digest(of: "a"))", "", "# only this",
  ])
  func `a line that could mean something else is refused, with its place`(line: String) {
    let error = #expect(throws: DiagnosticList.self) { try lock("# comment", line) }
    #expect(error?.sorted.first?.span?.file == "rootfs.lock")
  }

  @Test func `a package may stand once`() {
    let error = #expect(throws: DiagnosticList.self) { try lock("bash 1 \(a)", "bash 2 \(b)") }
    #expect(error?.sorted.map(\.message) == ["`bash` stands twice in the lock"])
    #expect(error?.sorted.first?.span?.line == 2)
  }

  @Test func `what a run installed can be locked, and then passes`() throws {
    let lock = try installed.lock(label: label)
    #expect(lock.text.hasSuffix("\nbash 5.2-1 \(a)\nzlib1g 1:1.2 \(b)\n"))
    try installed.check(against: lock, succeeded: true, label: label)
  }

  @Test func `a package that no index vouches for cannot be locked`() {
    #expect(throws: Diagnostic.self) { try report("slipway-installed: local=1").lock(label: label) }
    #expect(throws: Diagnostic.self) { try report().lock(label: label) }
  }

  @Test func `every difference from the lock is an environment error that leads to slipway lock`() throws {
    let cases = [
      (try lock("bash 5.2-1 \(b)", "zlib1g 1:1.2 \(b)"), "the SHA-256 of `bash` 5.2-1 is not the locked one"),
      (try lock("bash 5.1-1 \(b)", "zlib1g 1:1.2 \(b)"), "`bash` is locked to 5.1-1, and 5.2-1 was installed"),
      (try lock("bash 5.2-1 \(a)"), "`zlib1g` is not in the lock"),
      (try lock("bash 5.2-1 \(a)", "cat 1 \(a)", "zlib1g 1:1.2 \(b)"), "`cat` was not installed"),
    ]
    for (lock, note) in cases {
      let error = #expect(throws: Diagnostic.self) {
        try installed.check(against: lock, succeeded: true, label: label)
      }
      #expect(error?.notes.map(\.message) == [note])
      #expect(error?.cause == .environment)
      #expect(error?.hints == ["slipway lock //:rootfs"])
    }
  }

  @Test func `a version that the mirror no longer has leads to slipway lock`() throws {
    let report = report("slipway-missing: bash 5.2-1", "E: mmdebstrap failed to run")
    let error = #expect(throws: Diagnostic.self) {
      try report.check(against: try lock("bash 5.2-1 \(a)"), succeeded: false, label: label)
    }
    #expect(error?.cause == .environment)
    #expect(error?.hints == ["slipway lock //:rootfs"])
    #expect(error?.notes.map(\.message) == ["it lacks `bash 5.2-1`"])
  }

  @Test func `a mirror out of reach is the environment's fault, a failing command is not`() throws {
    let error = #expect(throws: Diagnostic.self) {
      try report("Err:1 http://mirror bookworm InRelease").check(against: nil, succeeded: false, label: label)
    }
    #expect(error?.cause == .environment)
    try report("ln: failed").check(against: nil, succeeded: false, label: label)
  }

  @Test func `other bytes than the locked ones are found before anything is unpacked`() throws {
    let report = report("slipway-differs: bash 5.2-1", "E: setup failed")
    let error = #expect(throws: Diagnostic.self) {
      try report.check(against: try lock("bash 5.2-1 \(a)"), succeeded: false, label: label)
    }
    #expect(error?.cause == .environment)
    #expect(error?.hints == ["slipway lock //:rootfs"])
    #expect(error?.notes.map(\.message) == ["the SHA-256 of `bash 5.2-1` is not the locked one"])
  }

  @Test func `a package that the lock lacks leads to slipway lock, one that the target misspells does not`() throws {
    let report = report("slipway-unmet: tool : Depends: extra but it is not installable")
    let error = #expect(throws: Diagnostic.self) {
      try report.check(against: try lock("tool 1 \(a)"), succeeded: false, label: label)
    }
    #expect(error?.cause == .environment)
    #expect(error?.hints == ["slipway lock //:rootfs"])
    #expect(error?.notes.map(\.message) == ["tool : Depends: extra but it is not installable"])
    let floating = #expect(throws: Diagnostic.self) {
      try report.check(against: nil, succeeded: false, label: label)
    }
    #expect(floating?.cause == .build)
    #expect(floating?.hints == [])
  }

  @Test func `a mirror without history is named together with the date`() throws {
    let report = report(
      "Err:2 http://mirror/20260101T000000Z sid Release",
      "E: The repository 'http://mirror/20260101T000000Z sid Release' does not have a Release file.")
    let error = #expect(throws: Diagnostic.self) {
      try report.check(
        against: nil, succeeded: false, label: label, mirror: "http://mirror/20260101T000000Z",
        snapshot: "20260101T000000Z")
    }
    #expect(error?.cause == .environment)
    #expect(
      error?.message
        == "the mirror has no snapshot of 20260101T000000Z for //:rootfs: http://mirror/20260101T000000Z")
  }

  @Test func `indices that no trusted key signed lead to keyring`() throws {
    let report = report("E: The repository 'http://mirror sid InRelease' is not signed.")
    let error = #expect(throws: Diagnostic.self) { try report.check(against: nil, succeeded: false, label: label) }
    #expect(error?.cause == .environment)
    #expect(error?.hints.first?.contains("keyring:") == true)
  }

  @Test func `a run tells which InRelease files it used`() {
    #expect(
      report("slipway-release: \(a)  mirror_dists_sid_InRelease", "slipway-installed: bash=5").releases
        == ["\(a)  mirror_dists_sid_InRelease"])
  }

  @Test func `a lock of thousands of packages stays below the size of an argument`() throws {
    let packages = (0..<5000).map { RootfsLock.Package(name: "package\($0)", version: "1:2.3-4", digest: a) }
    let hooks = RootfsHooks.setup([], RootfsLock(packages: packages))
    #expect(hooks.allSatisfy { $0.utf8.count < 128 << 10 })
    #expect(hooks.filter { $0.contains(a.hex) }.count == 13)
  }

  @Test func `the words of a target are no commands`() {
    let hooks = RootfsHooks.setup(["x';touch$IFS/tmp/y;'", "$(id)"], nil)
    #expect(hooks.last?.contains("echo 'x'\\'';touch$IFS/tmp/y;'\\'' $(id)'") == true)
  }
}
