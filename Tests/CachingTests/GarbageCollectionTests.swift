import Digests
import Glibc
import SystemPackage
import Testing

@testable import Caching

@Suite struct GarbageCollectionTests {
  static let day: Int64 = 86_400

  let scratch: Scratch
  let store: Store

  init() throws {
    scratch = try Scratch()
    store = try scratch.store()
  }

  /// A success with one output of a kilobyte, used later than all made before.
  func record(_ name: String) throws -> ActionRecord {
    let text = name + String(repeating: "x", count: 1024 - name.utf8.count)
    let record = ActionRecord(
      key: Fingerprint(of: name), label: "//:\(name)", rule: "action", verdict: .passed, startedAt: 0, completedAt: 1,
      duration: 1, outputs: [.init(name: "o", path: "o", artifact: .file(try store.insert(text: text)))])
    try store.actions.store(record)
    // Change times have the granularity of the kernel's tick.
    usleep(12_000)
    return record
  }

  func isHit(_ record: ActionRecord) -> Bool {
    if case .hit = store.actions.lookup(record.key) { return true }
    return false
  }

  @Test func `with nothing to remove neither the generation nor the log changes`() throws {
    let record = try record("a")
    let result = try #require(try store.gc(maxSize: 1 << 30, maxAge: 30 * Self.day))
    #expect(result == Store.Collection(remaining: try store.statistics().bytes))
    #expect(store.generation == 0)
    #expect(try scratch.text("store/evicted.log") == nil)
    #expect(isHit(record))
  }

  @Test func `above its size a store loses the least recently used results first, with their blobs`() throws {
    let records = try ["a", "b", "c", "d"].map { try self.record($0) }
    // Used last although made first.
    usleep(12_000)
    #expect(Disk.setModificationTime(store.recordPath(records[0].key)))
    let before = try store.statistics().bytes
    let result = try #require(try store.gc(maxSize: before - 1500, maxAge: nil))
    #expect(records.map(isHit) == [true, false, false, true])
    #expect(result.records == 2)
    #expect(result.blobs == 2)
    #expect(result.remaining == before - result.freed)
    #expect(try store.statistics().bytes == result.remaining)
  }

  @Test func `results that nobody used for longer than the age go, whatever the size`() throws {
    let old = try record("old")
    #expect(try store.gc(maxSize: nil, maxAge: 3 * Self.day, now: Store.now + 2 * Self.day)?.records == 0)
    #expect(isHit(old))
    let result = try #require(try store.gc(maxSize: nil, maxAge: 3 * Self.day, now: Store.now + 4 * Self.day))
    #expect(result.records == 1)
    #expect(result.blobs == 1)
    #expect(result.remaining == 0)
  }

  @Test func `a miss says when and by which policy gc removed the result, and no longer once it is there again`() throws
  {
    let (aged, large) = (try record("aged"), try record("large"))
    let now = Store.now
    // One by its age, the other by the size.
    #expect(Disk.setModificationTime(store.recordPath(large.key)))
    _ = try store.gc(maxSize: 0, maxAge: nil, now: now)
    guard case .miss(.evicted(at: now, policy: "max-size")) = store.actions.lookup(large.key) else {
      Issue.record("no reason")
      return
    }
    try store.actions.store(try record("aged"))
    #expect(isHit(aged))
    _ = try store.gc(maxSize: nil, maxAge: 1, now: now + 100)
    guard case .miss(.evicted(at: let time, policy: "max-age")) = store.actions.lookup(aged.key) else {
      Issue.record("no reason")
      return
    }
    #expect(time == now + 100)
    #expect(try scratch.text("store/evicted.log")?.split(separator: "\n").count == 3)
    guard case .miss(.absent) = store.actions.lookup(Fingerprint(of: "never")) else {
      Issue.record("a reason for what never was")
      return
    }
  }

  @Test func `the generation is raised whenever something goes`() throws {
    for round in 1...3 {
      _ = try record("r")
      _ = try store.gc(maxSize: 0, maxAge: nil)
      #expect(store.generation == round)
      #expect(try scratch.store().generation == round)
    }
  }

  @Test func `after a gc a directory that was whole before is looked at again`() throws {
    var builder = TreeBuilder(store)
    try builder.add("f", .file(try store.insert(text: "f")))
    let root = try builder.finish()
    #expect(store.firstMissing(of: .directory(root)) == nil)
    _ = try store.gc(maxSize: 0, maxAge: nil)
    #expect(store.firstMissing(of: .directory(root)) == root.root)
  }

  @Test func `all that a result needs stays: directories, twins, trees, layers, logs, image documents`() throws {
    var builder = TreeBuilder(store)
    try builder.add("a/b", .file(try store.insert(text: "b", executable: true)))
    let root = try builder.finish()
    let tree = try store.materialize(root).string
    let (layer, config, manifest) = (
      try store.insert(text: "layer"), try store.insert(text: "config"), try store.insert(text: "manifest")
    )
    let unpacked = store.layerPath(Digest(of: "tar")).string
    try Disk.makeFolders(unpacked)
    let image = ImageArtifact(
      platform: "linux/amd64", layers: [.init(diffID: Digest(of: "tar"), digest: layer.digest, size: layer.size)],
      config: config.digest, configSize: config.size, manifest: manifest.digest, manifestSize: manifest.size,
      run: .init())
    var record = ActionRecord(
      key: Fingerprint(of: "k"), label: "", rule: "", verdict: .passed, startedAt: 0, completedAt: 0, duration: 0,
      outputs: [
        .init(name: "d", path: "d", artifact: .directory(root)), .init(name: "i", path: "", artifact: .image(image)),
      ])
    record.log = try store.insert(text: "log")
    record.junit = try store.insert(text: "junit")
    try store.actions.store(record)
    var failed = record
    failed.key = Fingerprint(of: "failed")
    failed.verdict = .failed
    failed.outputs = []
    failed.log = try store.insert(text: "log of the failure")
    try store.actions.store(failed)
    let garbage = try store.insert(text: "garbage")
    var other = TreeBuilder(store)
    try other.add("g", .file(garbage))
    let garbageTree = try store.materialize(other.finish()).string
    let before = try store.statistics()
    // A small number of bytes too many: what no record needs goes, and that is enough.
    let result = try #require(try store.gc(maxSize: before.bytes - 1, maxAge: nil, grace: 0, now: Store.now + 5))
    #expect(result.records == 0)
    #expect(result.blobs == 2)
    #expect(result.trees == 1)
    #expect(access(garbageTree, F_OK) != 0)
    #expect(access(tree, F_OK) == 0)
    #expect(access(unpacked, F_OK) == 0)
    #expect(isHit(record))
    #expect(store.actions.failure(failed.key) == failed)
    #expect(try store.read(Digest(of: "log of the failure"), limit: 99).count == 18)
    // And without any result nothing is left.
    let end = try #require(try store.gc(maxSize: 0, maxAge: nil))
    #expect(end.remaining == 0)
    #expect(end.layers == 1)
    #expect(try store.statistics() == Store.Statistics())
  }

  @Test func `what two results need goes only with the second`() throws {
    let shared = try store.insert(text: String(repeating: "s", count: 4096))
    var records: [ActionRecord] = []
    for name in ["a", "b"] {
      let record = ActionRecord(
        key: Fingerprint(of: name), label: "", rule: "", verdict: .passed, startedAt: 0, completedAt: 0, duration: 0,
        outputs: [.init(name: "o", path: "o", artifact: .file(shared))])
      try store.actions.store(record)
      records.append(record)
      usleep(12_000)
    }
    _ = try store.gc(maxSize: try store.statistics().bytes - 1, maxAge: nil)
    #expect(records.map(isHit) == [false, true])
    #expect(store.contains(shared.digest, size: shared.size))
  }

  @Test func `what no result needs stays for its grace`() throws {
    let source = try store.insert(text: "source")
    let now = Store.now
    #expect(try store.gc(maxSize: nil, maxAge: nil, grace: 1000, now: now)?.blobs == 0)
    #expect(store.contains(source.digest, size: source.size))
    #expect(try store.gc(maxSize: nil, maxAge: nil, grace: 1000, now: now + 1100)?.blobs == 1)
  }

  @Test func `a damaged record goes first, and removes nothing that others need`() throws {
    let good = try record("good")
    let bad = Fingerprint(of: "bad")
    try store.replace(store.recordPath(bad), with: Array("not a record".utf8))
    let result = try #require(try store.gc(maxSize: try store.statistics().bytes - 1, maxAge: nil))
    #expect(result.records == 1)
    #expect(access(store.recordPath(bad), F_OK) != 0)
    #expect(isHit(good))
  }

  @Test func `gc by size begins above the size and goes down to nine tenths`() throws {
    for name in 0..<20 { _ = try record("r\(name)") }
    let bytes = try store.statistics().bytes
    #expect(try store.gcIfLarger(than: bytes) == nil)
    let result = try #require(try store.gcIfLarger(than: bytes - 1))
    #expect(result.remaining <= (bytes - 1) / 10 * 9)
    #expect(result.remaining > (bytes - 1) / 10 * 8)
  }

  @Test func `temporary folders go when their process is gone, not when it lives or another holds them`() throws {
    let mine = try store.makeTemporaryFolder().string
    let tmp = scratch.path + "/store/tmp/"
    // No process has this number: the kernel's limit is 4,194,304.
    try scratch.write("store/tmp/5000000.1.1/deep/file", "x")
    try scratch.write("store/tmp/\(getpid()).1.1/file", "the number is ours, the start is not")
    try scratch.write("store/tmp/stray", "x")
    try Disk.makeFolders(tmp + "5000001.1.1")
    let held = try Disk.open(tmp + "5000001.1.1", O_RDONLY | O_DIRECTORY)
    defer { try? held.close() }
    #expect(flock(held.rawValue, LOCK_SH) == 0)
    _ = try store.gc(maxSize: nil, maxAge: nil)
    #expect(access(mine, F_OK) == 0)
    #expect(access(tmp + "5000000.1.1", F_OK) != 0)
    #expect(access(tmp + "\(getpid()).1.1", F_OK) != 0)
    #expect(access(tmp + "stray", F_OK) != 0)
    #expect(access(tmp + "5000001.1.1", F_OK) == 0)
  }

  @Test func `the log of evictions forgets its older half`() throws {
    let keys = (0..<30_000).map { (Fingerprint(of: "\($0)"), policy: "max-size") }
    try store.logEvictions(keys, at: 7)
    let bytes = try #require(try Disk.contents(of: scratch.path + "/store/evicted.log", limit: 8 << 20))
    #expect(bytes.count <= 512 << 10)
    #expect(bytes.starts(with: Array("7 ".utf8)))
    #expect(store.eviction(of: keys[0].0) == nil)
    #expect(store.eviction(of: keys[29_999].0)?.policy == "max-size")
  }
}
