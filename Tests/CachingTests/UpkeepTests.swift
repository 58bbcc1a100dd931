import Digests
import Glibc
import SystemPackage
import Testing

@testable import Caching

@Suite struct UpkeepTests {
  let scratch: Scratch
  let store: Store

  init() throws {
    scratch = try Scratch()
    store = try scratch.store()
  }

  func record(_ name: String, _ artifact: Artifact) throws -> ActionRecord {
    let record = ActionRecord(
      key: Fingerprint(of: name), label: "//:\(name)", rule: "action", verdict: .passed, startedAt: 0, completedAt: 0,
      duration: 0, outputs: [.init(name: "o", path: "o", artifact: artifact)])
    try store.actions.store(record)
    return record
  }

  func tree(_ text: String) throws -> DirectoryArtifact {
    var builder = TreeBuilder(store)
    try builder.add("a/file", .file(try store.insert(text: text)))
    return try builder.finish()
  }

  /// Changes one bit of a file of the store, as a disk or a careless hand would: size, mode and times stay.
  func flip(_ path: String, at offset: Int) throws {
    let mode = try #require(try Disk.status(path)).permissions
    chmod(path, 0o644)
    let fd = try Disk.open(path, O_RDWR)
    defer { try? fd.close() }
    var byte: UInt8 = 0
    #expect(pread(fd.rawValue, &byte, 1, off_t(offset)) == 1)
    byte ^= 4
    #expect(pwrite(fd.rawValue, &byte, 1, off_t(offset)) == 1)
    chmod(path, mode)
    Disk.setModificationTime(path)
  }

  func isHit(_ record: ActionRecord) throws -> Bool {
    if case .hit = try scratch.store().actions.lookup(record.key) { return true }
    return false
  }

  @Test func `statistics count each class, and the bytes of trees as none`() throws {
    let root = try tree("12345")
    _ = try store.materialize(root)
    _ = try record("r", .directory(root))
    try Disk.makeFolders(store.layerPath(.empty).string)
    try scratch.write("store/layer/\(Digest.empty.hex.prefix(2))/\(Digest.empty.hex)/f", "1234567")
    var failed = try record("f", .file(try store.insert(text: "12345")))
    failed.verdict = .failed
    try store.actions.store(failed)
    let found = try store.statistics()
    #expect(found.blobs.count == 3)
    #expect(found.trees == .init(count: 1, bytes: 0))
    #expect(found.layers == .init(count: 1, bytes: 7))
    #expect(found.records.count == 2)
    #expect(found.failures.count == 1)
    #expect(found.bytes == found.blobs.bytes + 7 + found.records.bytes + found.failures.bytes)
  }

  @Test func `a sound store is verified whole and keeps all`() throws {
    let root = try tree("sound")
    _ = try store.materialize(root)
    let record = try record("r", .directory(root))
    let result = try store.verify()
    #expect(result == Store.Verification(blobs: 3, records: 1, removed: []))
    #expect(store.generation == 0)
    #expect(try isHit(record))
  }

  @Test func `a result whose bytes are elsewhere is no damage`() throws {
    let root = try tree("elsewhere")
    let record = try record("r", .directory(root))
    let blob = try scratch.store().blobPath(root.root, executable: false)
    #expect(unlink(blob) == 0)
    #expect(try scratch.store().verify().removed == [])
    #expect(try !isHit(record))
  }

  @Test(arguments: [0, 150_000, 299_999])
  func `a flipped bit anywhere is found; blob, records and trees that need it go, the rest stays`(offset: Int) throws {
    let large = String(repeating: "0123456789", count: 30_000)
    let (bad, good) = (try tree(large), try tree("good"))
    let (badTree, goodTree) = (try store.materialize(bad).string, try store.materialize(good).string)
    let (lost, kept) = (try record("bad", .directory(bad)), try record("good", .directory(good)))
    let path = store.blobPath(Digest(of: large), executable: false)
    try flip(path, at: offset)
    #expect(try isHit(lost))
    let result = try store.verify()
    #expect(result.removed == [path, store.recordPath(lost.key), badTree])
    #expect(access(path, F_OK) != 0)
    #expect(access(badTree, F_OK) != 0)
    #expect(access(goodTree, F_OK) == 0)
    #expect(store.generation == 1)
    #expect(try !isHit(lost))
    #expect(try isHit(kept))
    #expect(try store.verify().removed == [])
    // A build makes it again.
    _ = try tree(large)
    let again = try store.materialize(bad).string
    #expect(try Disk.contents(of: again + "/a/file", limit: 1 << 20) == Array(large.utf8))
  }

  @Test func `the executable twin is verified too, and a sound twin saves the record`() throws {
    let file = try store.insert(text: "#!/bin/sh\n")
    _ = try store.path(of: file.digest, executable: true)
    let record = try record("r", .file(file))
    let twin = store.blobPath(file.digest, executable: true)
    try flip(twin, at: 3)
    #expect(try store.verify().removed == [twin])
    #expect(try isHit(record))
  }

  @Test func `a damaged folder of a directory, a wrong mode, a wrong name and a damaged record are found`() throws {
    let root = try tree("x")
    let lost = try record("r", .directory(root))
    try flip(store.blobPath(root.root, executable: false), at: 1)
    let writable = store.blobPath(try store.insert(text: "writable").digest, executable: false)
    chmod(writable, 0o666)
    try scratch.write("store/cas/zz/name", "not a digest")
    try scratch.write("store/ac/00/" + String(repeating: "0", count: 32), "not a record")
    let removed = try store.verify().removed
    #expect(
      removed.sorted()
        == [
          scratch.path + "/store/ac/00/" + String(repeating: "0", count: 32), store.recordPath(lost.key),
          store.blobPath(root.root, executable: false), writable, scratch.path + "/store/cas/zz/name",
        ].sorted())
    #expect(try store.verify().removed == [])
  }

  @Test func `a use is noted at most once a day, and moves the change time only`() throws {
    let path = try store.path(of: try store.insert(text: "x")).string
    let before = try #require(try Disk.status(path)).changed
    usleep(12_000)
    store.noteUse(path)
    #expect(try Disk.status(path)?.changed == before)
  }
}
