import Diagnostics
import Digests
import Glibc
import SeededRandom
import SystemPackage
import Testing

@testable import Files

@Suite struct IndexTests {
  static let a = WorkspacePath(unchecked: "connectors/a")
  static let main = WorkspacePath(unchecked: "connectors/a/main.py")

  @Test func `a saved index knows what was hashed, until the file changes`() throws {
    let workspace = try WorkingTreeTests.sample(git: true)
    let first = try workspace.tree()
    try first.refresh()
    let known = try first.fingerprints(of: [Self.main])
    try first.save()
    let second = try workspace.tree()
    try second.refresh()
    // Bytes that no stat betrays are not read again: proof that the index answered.
    let state = second.withState { $0 }
    let entry = state.index.entries[try #require(state.entry(Self.main))]
    #expect(entry.hasContent)
    #expect(entry.fingerprint == known[0].fingerprint)
    try workspace.write("connectors/a/main.py", "print(2)")
    try second.refresh(.packages([Self.a]))
    let changed = second.withState { $0 }
    #expect(!changed.index.entries[try #require(changed.entry(Self.main))].hasContent)
    #expect(try second.fingerprints(of: [Self.main])[0].fingerprint == Fingerprint(of: "print(2)"))
  }

  /// Kernels since 6.13 give nearly every change its own time, so the race itself cannot be staged: its traces are.
  @Test(arguments: [(-10_000_000, false), (0, false), (9_999_999, false), (10_000_001, true), (60_000_000_000, true)])
  func `content that was read within a tick of the last change is read again`(after: Int, isKept: Bool) throws {
    let workspace = try WorkingTreeTests.sample(git: false)
    let tree = try workspace.tree()
    try tree.refresh()
    _ = try tree.fingerprints(of: [Self.main])
    let stale = Fingerprint(of: "stale")
    try tree.withState { state in
      let position = try #require(state.entry(Self.main))
      let changed = state.index.entries[position].stat.ctime
      state.index.entries[position].fingerprint = stale
      state.index.entries[position].hashedAt = ObservationTime(nanoseconds: changed + Int64(after))
    }
    try tree.refresh()
    #expect((try tree.fingerprints(of: [Self.main])[0].fingerprint == stale) == isKept)
  }

  @Test func `whole seconds hide changes for up to two of them`() {
    var stat = FileStat()
    stat.ctime = 5_000_000_000
    #expect(!stat.isSettled(at: ObservationTime(nanoseconds: 6_900_000_000)))
    #expect(stat.isSettled(at: ObservationTime(nanoseconds: 7_000_000_001)))
  }

  @Test func `every edit of a burst is seen, although times may repeat`() throws {
    let workspace = try WorkingTreeTests.sample(git: false)
    let tree = try workspace.tree()
    for round in 100..<400 {
      try workspace.write("connectors/a/main.py", "print(\(round))")
      try tree.refresh(.packages([Self.a]))
      #expect(try tree.fingerprints(of: [Self.main])[0].fingerprint == Fingerprint(of: "print(\(round))"))
    }
  }

  @Test func `a stamp waits until changes are bound to show, and then follows them`() throws {
    let workspace = try WorkingTreeTests.sample(git: true)
    let tree = try workspace.tree()
    // A loaded machine may rest for longer than a tick between the two.
    var hasWaited = false
    for _ in 0..<100 where !hasWaited {
      try workspace.write("connectors/a/main.py", "new")
      try tree.refresh()
      hasWaited = tree.stamp(of: Self.a) == nil
    }
    #expect(hasWaited)
    let other = try #require(tree.stamp(of: WorkspacePath(unchecked: "connectors/b")))
    workspace.settle()
    try tree.refresh(.packages([Self.a]))
    let stamp = try #require(tree.stamp(of: Self.a))
    try tree.save()
    let again = try workspace.tree()
    #expect(again.stamp(of: Self.a) == nil, "nothing was looked at yet")
    try again.refresh(.packages([Self.a]))
    #expect(again.stamp(of: Self.a) == stamp)
    #expect(again.stamp(of: WorkspacePath(unchecked: "connectors/b")) == nil)
    try workspace.shell("chmod +x \"$1\"", workspace.path("connectors/a/main.py"))
    workspace.settle()
    try again.refresh()
    #expect(try #require(again.stamp(of: Self.a)) != stamp)
    #expect(again.stamp(of: WorkspacePath(unchecked: "connectors/b")) == other)
    #expect(again.stamp(of: WorkspacePath(unchecked: "connectors")) == nil)
  }

  @Test func `any damage to the index file only costs its content`() throws {
    let workspace = try WorkingTreeTests.sample(git: true)
    let expected = try WorkingTreeTests.agree(workspace)
    let file = workspace.state
    let whole = try Self.bytes(file)
    var random = SeededGenerator(seed: 7)
    for round in 0..<60 {
      var damaged = whole
      switch round % 3 {
      case 0: damaged.removeLast(Int.random(in: 1...damaged.count, using: &random))
      case 1: damaged[Int.random(in: 0..<damaged.count, using: &random)] ^= 1 << UInt8.random(in: 0...7, using: &random)
      default: damaged.append(contentsOf: [1, 2, 3])
      }
      #expect(damaged.withUnsafeBytes { TreeIndex($0) } == nil)
      try Self.replace(file, damaged)
      #expect(try WorkingTreeTests.agree(workspace) == expected)
    }
    // A folder in its place cannot be replaced: the build goes on, the caller warns.
    try workspace.shell("rm -f \"$1\" && mkdir \"$1\" && touch \"$1/x\"", file.string)
    let tree = try workspace.tree()
    try tree.refresh()
    #expect(try tree.snapshot() == expected)
    #expect(throws: Diagnostic.self) { try tree.save() }
  }

  @Test func `a forged checksum leads out of no bounds`() throws {
    let workspace = try WorkingTreeTests.sample(git: false)
    try WorkingTreeTests.agree(workspace)
    let whole = try Self.bytes(workspace.state)
    var random = SeededGenerator(seed: 11)
    var accepted = 0
    for _ in 0..<2_000 {
      var forged = whole
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        forged[Int.random(in: 24..<forged.count, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
      }
      let checksum = forged.withUnsafeBytes { Fingerprint(of: UnsafeRawBufferPointer(rebasing: $0[24...])) }
      withUnsafeBytes(of: checksum) { forged.replaceSubrange(8..<24, with: $0) }
      guard let index = forged.withUnsafeBytes({ TreeIndex($0) }) else { continue }
      accepted += 1
      let table = PackageTable(index)
      #expect(table.owners.count == index.entries.count)
    }
    #expect(accepted > 0)
  }

  @Test func `two trees that save one index leave a sound one`() throws {
    let workspace = try WorkingTreeTests.sample(git: true)
    inParallel(8, chunk: 1) { range in
      for number in range {
        do {
          for _ in 0..<10 {
            let tree = try workspace.tree()
            try tree.refresh(number % 2 == 0 ? .all : .packages([Self.a]))
            _ = try tree.snapshot()
            tree.withState { $0.isDirty = true }
            try tree.save()
          }
        } catch { Issue.record(error) }
      }
    }
    #expect(TreeIndex(file: workspace.state.string) != nil)
    try WorkingTreeTests.agree(workspace)
    try workspace.shell("test -z \"$(ls -A \"$1\" | grep tmp)\"", workspace.path(".slipway"))
  }

  @Test func `settings decide the list`() throws {
    let workspace = try WorkingTreeTests.sample(git: true)
    let all = try WorkingTreeTests.agree(workspace)
    let fewer = try WorkingTreeTests.agree(workspace, ignore: ["**/src/**", "readme.md"])
    #expect(fewer.count == all.count - 2)
    #expect(try WorkingTreeTests.agree(workspace) == all)
  }

  @Test func `outside git the fixed names are no sources`() throws {
    let workspace = try WorkingTreeTests.sample(git: false)
    let before = try WorkingTreeTests.agree(workspace)
    for name in ["__pycache__/x", "m.pyc", ".venv/bin/python", ".pytest_cache/v", ".DS_Store", "src/.slipway/y"] {
      try workspace.write("connectors/a/" + name)
    }
    #expect(try WorkingTreeTests.agree(workspace) == before)
    try workspace.git("init", "-q")
    #expect(try WorkingTreeTests.agree(workspace) != before)
  }

  @Test func `a submodule is its commit id`() throws {
    let workspace = try WorkingTreeTests.sample(git: true)
    let other = try WorkingTreeTests.sample(git: true)
    let path = WorkspacePath(unchecked: "connectors/a/module")
    try workspace.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", other.root.string, path.string)
    let before = try WorkingTreeTests.agree(workspace)
    let tree = try workspace.tree()
    try tree.refresh()
    #expect(tree.mode(of: path) == .submodule)
    #expect(!tree.packages.contains { $0.isInside(path) })
    try workspace.write("connectors/a/module/new", "x")
    #expect(try WorkingTreeTests.agree(workspace) == before)
    try workspace.shell(
      "cd \"$1\" && git add -A && git -c user.name=t -c user.email=t@e commit -qm n && cd .. && git add -A",
      workspace.path(path.string))
    #expect(try WorkingTreeTests.agree(workspace) != before)
  }

  @Test func `a name that no path can hold is an error that names it`() throws {
    let workspace = try WorkingTreeTests.sample(git: true)
    try workspace.write("connectors/a/a\nb")
    let error = try #require(throws: Diagnostic.self) { try workspace.tree().refresh() }
    #expect(error.message == "the name of `connectors/a/a\nb` holds a newline")
    try workspace.tree(ignore: ["**/a?b"]).refresh()
  }

  @Test func `random edits end in what a fresh look finds`() throws {
    for git in [true, false] {
      let seed = UInt64.random(in: .min ... .max)
      var random = SeededGenerator(seed: seed)
      let workspace = try WorkingTreeTests.sample(git: git)
      var tree = try workspace.tree()
      for round in 0..<40 {
        for _ in 0..<Int.random(in: 1...4, using: &random) {
          try Self.edit(workspace, &random)
        }
        if Int.random(in: 0..<4, using: &random) == 0 { workspace.settle() }
        if Int.random(in: 0..<3, using: &random) == 0 {
          try tree.save()
          tree = try workspace.tree()
        }
        if Int.random(in: 0..<3, using: &random) == 0 { try tree.refresh(.packages([Self.a])) }
        try tree.refresh()
        let found = try tree.snapshot()
        let expected = try workspace.freshTree().snapshot()
        try #require(found == expected, "seed \(seed), git \(git), round \(round)")
      }
    }
  }

  private static func edit(_ workspace: Workspace, _ random: inout SeededGenerator) throws {
    let folders = ["", "connectors/", "connectors/a/", "connectors/a/src/", "connectors/b/", "x/y/"]
    let names = ["metadata.yaml", "targets.yaml", "f", "g.py", "d", "build", "e"]
    let folder = folders.randomElement(using: &random) ?? ""
    let name = folder + (names.randomElement(using: &random) ?? "f")
    let other = (folders.randomElement(using: &random) ?? "") + (names.randomElement(using: &random) ?? "f")
    let path = workspace.path(name)
    let text = String(Int.random(in: 100...999, using: &random))
    // Commands that fail (into a file, onto a folder) are edits that did not happen.
    let script: String
    switch Int.random(in: 0..<(workspace.isGit ? 16 : 11), using: &random) {
    case 0...3: script = "mkdir -p \"$(dirname \"$1\")\" && printf \(text) >\"$1\""
    case 4: script = "rm -rf \"$1\""
    case 5: script = "mv \"$1\" \"$2\""
    case 6: script = "test -f \"$1\" && chmod \(Bool.random(using: &random) ? "+" : "-")x \"$1\""
    case 7: script = "mkdir -p \"$1/deep\""
    case 8: script = "ln -sfn \(text) \"$1\""
    case 9:
      script =
        "test -f \"$1\" && touch -r \"$1\" \"$3/../t$$\" && printf \(text) >\"$1\" && touch -r \"$3/../t$$\" \"$1\"; rm -f \"$3/../t$$\""
    case 10: script = "cp -a \"$1\" \"$2\""
    case 11: script = "cd \"$3\" && git add -A"
    case 12: script = "cd \"$3\" && git add -A && git commit -qm x"
    case 13: script = "echo build >\"$(dirname \"$1\")/.gitignore\""
    case 14: script = "rm -f \"$(dirname \"$1\")/.gitignore\""
    default: script = "cd \"$3\" && git rm -q --cached -r \"$1\""
    }
    try workspace.shell("{ \(script); } >/dev/null 2>&1 || true", path, workspace.path(other), workspace.root.string)
  }

  @Test func `a copy gives both hashes of the bytes it wrote`() throws {
    let workspace = try WorkingTreeTests.sample(git: false)
    let tree = try workspace.tree()
    try tree.refresh()
    for size in [0, 1, 1_000, 131_071, 131_072, 131_073, 500_000] {
      let text = String(repeating: "a", count: size)
      try workspace.write("connectors/a/main.py", text)
      let target = workspace.root.appending("copy")
      let file = try FileDescriptor.open(
        target, .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite])
      let reading = try file.closeAfter { try tree.reader.copy(Self.main, to: file) }
      #expect(reading.isStable)
      #expect(reading.size == size)
      #expect(reading.mode == .regular)
      #expect(reading.fingerprint == Fingerprint(of: text))
      #expect(reading.digest == Digest(of: text))
      #expect(try Self.bytes(target) == Array(text.utf8))
      // Whoever has the digest already does not compute it again.
      let again = try FileDescriptor.open(target, .writeOnly, options: [.truncate])
      let second = try again.closeAfter { try tree.reader.copy(Self.main, to: again, wantsDigest: false) }
      #expect(second.digest == nil && second.fingerprint == reading.fingerprint)
    }
  }

  @Test func `a digest counts for the bytes of its fingerprint alone`() throws {
    let workspace = try WorkingTreeTests.sample(git: false)
    let tree = try workspace.tree()
    try tree.refresh()
    let file = try #require(try tree.fingerprints(of: [Self.main]).first)
    #expect(tree.digest(of: file) == nil)
    let content = try #require(try tree.contents(of: [Self.main]).first)
    #expect(tree.digest(of: file) == content.digest)
    #expect(tree.digest(of: SourceFile(path: Self.main, mode: .regular, fingerprint: Fingerprint(of: "other"))) == nil)
    try workspace.write("connectors/a/main.py", "z")
    workspace.settle()
    try tree.refresh()
    #expect(tree.digest(of: file) == nil)
    let changed = try #require(try tree.contents(of: [Self.main]).first)
    #expect(changed.digest == Digest(of: "z"))
    #expect(tree.digest(of: changed.file) == changed.digest)
    #expect(tree.digest(of: file) == nil)
  }

  @Test func `a file that changes while it is read says so`() throws {
    let workspace = try WorkingTreeTests.sample(git: false)
    try workspace.write("connectors/a/main.py", String(repeating: "a", count: 400_000))
    let tree = try workspace.tree()
    try tree.refresh()
    // The reader writes into the very file that it reads.
    let target = workspace.root.appending(Self.main.string)
    let file = try FileDescriptor.open(target, .readWrite, options: [.append])
    let reading = try file.closeAfter { try tree.reader.copy(Self.main, to: file) }
    #expect(!reading.isStable)
  }

  @Test func `what is no file any more is a clear error`() throws {
    let workspace = try WorkingTreeTests.sample(git: false)
    let tree = try workspace.tree()
    try tree.refresh()
    try workspace.remove("connectors/a/main.py")
    #expect(
      try #require(throws: Diagnostic.self) { try tree.fingerprints(of: [Self.main]) }.message
        == "`connectors/a/main.py` vanished while it was read")
    try workspace.shell("mkfifo \"$1\"", workspace.path(Self.main.string))
    #expect(
      try #require(throws: Diagnostic.self) { try tree.fingerprints(of: [Self.main]) }.message
        == "`connectors/a/main.py` is no longer a file")
    #expect(throws: Diagnostic.self) { try tree.fingerprints(of: [WorkspacePath(unchecked: "nowhere")]) }
  }

  private static func bytes(_ path: FilePath) throws -> [UInt8] {
    let file = try FileDescriptor.open(path, .readOnly)
    return try file.closeAfter {
      var bytes: [UInt8] = []
      try withUnsafeTemporaryAllocation(byteCount: 1 << 20, alignment: 64) { buffer in
        while case let count = try file.read(into: buffer), count > 0 { bytes.append(contentsOf: buffer[..<count]) }
      }
      return bytes
    }
  }

  private static func replace(_ path: FilePath, _ bytes: [UInt8]) throws {
    let file = try FileDescriptor.open(path, .writeOnly, options: [.truncate])
    try file.closeAfter { _ = try file.writeAll(bytes) }
  }
}
