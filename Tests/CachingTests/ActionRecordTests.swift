import Diagnostics
import Digests
import Glibc
import SystemPackage
import Testing

@testable import Caching

@Suite struct ActionRecordTests {
  let scratch: Scratch
  let store: Store

  init() throws {
    scratch = try Scratch()
    store = try scratch.store()
  }

  static let explanation = [
    KeyField(.rule, "format", "1"), KeyField(.env, "LANG", "ü\n\0"), KeyField(.input, "a/b", ""),
  ]

  /// A success with outputs of every sort, whose every blob is in the store.
  func record(_ name: String = "key") throws -> ActionRecord {
    var builder = TreeBuilder(store)
    try builder.add("deep/er/file", .file(try store.insert(text: "file of \(name)")))
    try builder.add("link", .symlink("deep/er/file"))
    let layer = try store.insert(text: "layer of \(name)")
    let config = try store.insert(text: "config of \(name)")
    let manifest = try store.insert(text: "manifest of \(name)")
    let image = ImageArtifact(
      platform: "linux/amd64", layers: [.init(diffID: .empty, digest: layer.digest, size: layer.size)],
      config: config.digest, configSize: config.size, manifest: manifest.digest, manifestSize: manifest.size,
      run: .init(
        environment: ["A=b=c", "E="], entrypoint: ["python", ""], command: ["-m", "x"], workingDirectory: "/w",
        user: "airbyte"))
    var record = ActionRecord(
      key: Fingerprint(of: name), label: "//a/b:\(name)", rule: "action", verdict: .passed,
      startedAt: 1_764_000_000_123,
      completedAt: 1_764_000_001_456, duration: 1333, log: try store.insert(text: "log of \(name)"),
      junit: try store.insert(text: "junit of \(name)"),
      outputs: [
        .init(
          name: "tool", path: "bin/tool", artifact: .file(try store.insert(text: "tool of \(name)", executable: true))),
        .init(name: "site", path: "site", artifact: .directory(try builder.finish())),
        .init(name: "image", path: "", artifact: .image(image)),
      ], explanation: Self.explanation)
    record.cpuTime = 900
    record.peakMemory = 1 << 40
    record.attempt = 2
    return record
  }

  // MARK: Coding

  @Test func `decoding is the inverse of encoding`() throws {
    let record = try record()
    let decoded = try #require(ActionRecord(decoding: record.encoded))
    #expect(decoded == record)
    #expect(decoded.explanation == Self.explanation)
    #expect(decoded.output(named: "site") == record.outputs[1].artifact)
    #expect(decoded.output(named: "none") == nil)
  }

  @Test(arguments: ActionRecord.Verdict.allCases, [Int32.min, -1, 0, 1, 137, Int32.max])
  func `every verdict and exit code survives`(verdict: ActionRecord.Verdict, code: Int32) throws {
    let record = ActionRecord(
      key: Fingerprint(of: "k"), label: "", rule: "", verdict: verdict, exitCode: code, startedAt: .min,
      completedAt: .max, duration: -1)
    #expect(ActionRecord(decoding: record.encoded) == record)
    #expect(record.isSuccess == (verdict == .passed && code == 0))
  }

  @Test func `a record with any byte changed, or cut anywhere, or with more at its end is refused`() throws {
    let bytes = try record().encoded
    for index in bytes.indices {
      for change: UInt8 in [0x01, 0x80, 0xFF] {
        var damaged = bytes
        damaged[index] ^= change
        #expect(ActionRecord(decoding: damaged) == nil, "byte \(index)")
      }
      #expect(ActionRecord(decoding: Array(bytes[..<index])) == nil, "cut at \(index)")
    }
    #expect(ActionRecord(decoding: bytes + [0]) == nil)
  }

  @Test func `damage under a right checksum is refused or read, and never traps`() throws {
    let bytes = try record().encoded
    let start = Array("slipway action record 1\n".utf8).count + 32
    func sealed(_ body: [UInt8]) -> [UInt8] {
      bytes[..<(start - 32)] + Array(body.withUnsafeBytes { Fingerprint(of: $0) }.description.utf8) + body
    }
    let body = Array(bytes[start...])
    #expect(ActionRecord(decoding: sealed(body)) != nil)
    var refused = 0
    for index in body.indices {
      for value: UInt8 in [0, 1, 0x7F, 0x80, 0xFF, body[index] ^ 0x40] {
        var damaged = body
        damaged[index] = value
        if let record = ActionRecord(decoding: sealed(damaged)) { _ = record.explanation } else { refused += 1 }
      }
      if let record = ActionRecord(decoding: sealed(Array(body[..<index]))) {
        _ = record.explanation
      } else {
        refused += 1
      }
      // A length or a count that no memory could hold.
      let huge = body[..<index] + [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01] + body[index...]
      if let record = ActionRecord(decoding: sealed(Array(huge))) { _ = record.explanation } else { refused += 1 }
    }
    #expect(refused > body.count)
  }

  @Test func `a result is fresh up to its age, and one from the future never is`() throws {
    let record = try record()
    #expect(record.isFresh(at: record.completedAt, within: 0))
    #expect(record.isFresh(at: record.completedAt + 10, within: 10))
    #expect(!record.isFresh(at: record.completedAt + 11, within: 10))
    #expect(!record.isFresh(at: record.completedAt - 1, within: 10))
  }

  // MARK: Look-up

  /// Removes or changes a file of the store by its digest.
  func remove(_ digest: Digest) {
    unlink(store.blobPath(digest, executable: false))
    unlink(store.blobPath(digest, executable: true))
  }

  func miss(_ key: Fingerprint) throws -> ActionCache.Miss? {
    // A store of its own, as another process has, which remembers nothing about directories.
    if case .miss(let miss) = try scratch.store().actions.lookup(key) { return miss }
    return nil
  }

  @Test func `what was stored is a hit, equal to what was stored`() throws {
    let record = try record()
    #expect(try miss(record.key) == .absent)
    try store.actions.store(record)
    guard case .hit(let found) = store.actions.lookup(record.key) else {
      Issue.record("a miss")
      return
    }
    #expect(found == record)
  }

  @Test func `a record of which any byte is damaged on the disk is a miss`() throws {
    let record = try record()
    try store.actions.store(record)
    let path = store.recordPath(record.key)
    let bytes = try #require(try Disk.contents(of: path, limit: 1 << 20))
    for index in stride(from: 0, to: bytes.count, by: 7) {
      var damaged = bytes
      damaged[index] ^= 0x20
      try store.replace(path, with: damaged)
      guard case .miss(.corrupt) = store.actions.lookup(record.key) else {
        Issue.record("byte \(index) was not noticed")
        continue
      }
    }
    try store.replace(path, with: [])
    #expect(try miss(record.key) == .corrupt)
    // And the next result takes its place.
    try store.actions.store(record)
    #expect(try miss(record.key) == nil)
  }

  @Test func `a record under another key's name is a miss`() throws {
    let record = try record()
    try store.actions.store(record)
    let other = Fingerprint(of: "other")
    try store.replace(store.recordPath(other), with: record.encoded)
    #expect(try miss(other) == .corrupt)
  }

  @Test func `a folder or a record that is too large in the place of a record is a miss`() throws {
    let key = Fingerprint(of: "folder")
    try Disk.makeFolders(store.recordPath(key))
    #expect(try miss(key) == .corrupt)
    let large = Fingerprint(of: "large")
    try store.replace(store.recordPath(large), with: [1])
    #expect(truncate(store.recordPath(large), off_t(ActionCache.recordLimit) + 1) == 0)
    #expect(try miss(large) == .corrupt)
  }

  @Test func `a result of which any blob is gone or cut short is a miss that names it`() throws {
    let record = try record()
    try store.actions.store(record)
    var digests: [Digest] = []
    for artifact in record.artifacts {
      switch artifact {
      case .file(let file): digests.append(file.digest)
      case .image(let image): digests += [image.manifest, image.config] + image.layers.map(\.digest)
      case .directory(let directory):
        digests.append(directory.root)
        try store.walk(directory) { _, node in
          if case .file(let file) = node { digests.append(file.digest) }
          if case .folder(let inner) = node { digests.append(inner.root) }
        }
      }
    }
    #expect(digests.count == 10)
    for digest in digests {
      let executable = access(store.blobPath(digest, executable: true), F_OK) == 0
      let path = store.blobPath(digest, executable: executable)
      let bytes = try store.read(digest, limit: 1 << 20)
      remove(digest)
      #expect(try miss(record.key) == .missingBlob(digest))
      try store.replace(path, with: Array(bytes.dropLast()), mode: 0o444)
      #expect(try miss(record.key) == .missingBlob(digest))
      unlink(path)
      _ = try store.insert(bytes, executable: executable)
      #expect(try miss(record.key) == nil)
    }
  }

  @Test func `a failure is never a hit, hides no earlier success, and goes with the next one`() throws {
    let passed = try record()
    for verdict in ActionRecord.Verdict.allCases {
      var failed = passed
      failed.verdict = verdict
      failed.exitCode = 3
      failed.key = Fingerprint(of: "\(verdict)")
      try store.actions.store(failed)
      #expect(try miss(failed.key) == .absent)
      #expect(store.actions.failure(failed.key) == failed)
      // Even where somebody puts it in the place of a success.
      try store.replace(store.recordPath(failed.key), with: failed.encoded)
      #expect(try miss(failed.key) == .corrupt)
    }
    var failed = passed
    failed.verdict = .timedOut
    try store.actions.store(passed)
    try store.actions.store(failed)
    #expect(try miss(passed.key) == nil)
    #expect(store.actions.failure(passed.key) == failed)
    try store.actions.store(passed)
    #expect(store.actions.failure(passed.key) == nil)
  }

  @Test func `two stores that write one record at once leave one whole record`() async throws {
    let record = try record()
    let encoded = record.encoded
    let path = scratch.path + "/store"
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<4 {
        group.addTask {
          let store = try Store(root: FilePath(path))
          for _ in 0..<50 {
            try store.actions.store(record)
            guard case .hit(let found) = store.actions.lookup(record.key), found.encoded == encoded else {
              Issue.record("half a record was seen")
              return
            }
          }
        }
      }
      try await group.waitForAll()
    }
  }
}
