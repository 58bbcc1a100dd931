import Diagnostics
import Digests
import Glibc
import SystemPackage
import Testing

@testable import Caching

@Suite struct ContentStoreTests {
  let scratch: Scratch
  let store: Store

  init() throws {
    scratch = try Scratch()
    store = try scratch.store()
  }

  @Test func `a blob is at its digest, read-only, with the constant time`() throws {
    let file = try store.insert(text: "abc")
    let path = try store.path(of: file).string
    #expect(path.hasSuffix("/cas/ba/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"))
    var status = stat()
    #expect(stat(path, &status) == 0)
    #expect(status.st_mode & 0o7777 == 0o444)
    #expect(status.st_mtim.tv_sec == 315_532_800)
    #expect(try store.read(file.digest, limit: 3) == Array("abc".utf8))
  }

  @Test func `a blob that exists is not written again, one of another size is replaced`() throws {
    let file = try store.insert(text: "abc")
    let path = try store.path(of: file).string
    let before = try #require(try Disk.status(path))
    try scratch.write("abc", "abc")
    let fd = try scratch.open("abc")
    defer { try? fd.close() }
    #expect(try store.insert(contentsOf: fd, executable: false) == file)
    #expect(try Disk.status(path)?.changed == before.changed)
    chmod(path, 0o644)
    #expect(truncate(path, 1) == 0)
    #expect(!store.contains(file.digest, size: 3))
    _ = try store.insert(text: "abc")
    #expect(try store.read(file.digest, limit: 3) == Array("abc".utf8))
  }

  @Test func `either twin gives the other when it is asked for`() throws {
    let file = try store.insert(text: "#!/bin/sh\n", executable: true)
    #expect(store.contains(file.digest, size: file.size))
    #expect(!store.hasBlob(file.digest, size: file.size, executable: false))
    let plain = try store.path(of: file.digest, executable: false).string
    #expect(try Disk.status(plain)?.permissions == 0o444)
    #expect(try Disk.status(plain + ".x")?.permissions == 0o555)
  }

  @Test(arguments: [0, 1, 4095, 262_143, 262_144, 262_145, 1_000_003])
  func `a file of any size is copied whole, with its fingerprint`(size: Int) throws {
    let text = String(repeating: "0123456789abcdef\n", count: size / 17 + 1).prefix(size)
    try scratch.write("f", String(text))
    let fd = try scratch.open("f")
    defer { try? fd.close() }
    let (artifact, fingerprint) = try store.insertFingerprinting(contentsOf: fd, executable: false)
    #expect(artifact == FileArtifact(digest: Digest(of: String(text)), size: size, isExecutable: false))
    #expect(fingerprint == Fingerprint(of: String(text)))
    #expect(try store.read(artifact.digest, limit: size) == Array(text.utf8))
  }

  @Test func `a writer that is not finished leaves nothing`() throws {
    do {
      let writer = try BlobWriter(store)
      try [1, 2, 3].withUnsafeBytes { try writer.write($0) }
    }
    #expect(try store.statistics().blobs.count == 0)
    let session = try #require(try Disk.names(inFolder: scratch.path + "/store/tmp").first)
    #expect(try Disk.names(inFolder: scratch.path + "/store/tmp/" + session) == [])
  }

  @Test func `a moved file with another hard link is copied`() throws {
    try scratch.write("a", "moved")
    #expect(link(scratch.path + "/a", scratch.path + "/b") == 0)
    let artifact = FileArtifact(digest: Digest(of: "moved"), size: 5, isExecutable: false)
    try store.insert(movingFrom: FilePath(scratch.path + "/a"), artifact)
    try scratch.write("b", "evil!")
    #expect(try store.read(artifact.digest, limit: 5) == Array("moved".utf8))
  }

  @Test func `a moved file is renamed and loses its write permission`() throws {
    try scratch.write("a", "moved")
    let artifact = FileArtifact(digest: Digest(of: "moved"), size: 5, isExecutable: true)
    try store.insert(movingFrom: FilePath(scratch.path + "/a"), artifact)
    #expect(try scratch.text("a") == nil)
    #expect(try Disk.status(store.path(of: artifact).string)?.permissions == 0o555)
  }

  @Test func `what is not there is an environment diagnostic`() throws {
    #expect {
      try store.read(.empty, limit: 10)
    } throws: {
      guard let diagnostic = $0 as? Diagnostic else { return false }
      return diagnostic.cause == .environment && diagnostic.message.contains(Digest.empty.hex)
    }
  }

  @Test func `a folder that cannot be written is an environment diagnostic with its path`() throws {
    #expect {
      try Store(root: "/proc/slipway")
    } throws: {
      guard let diagnostic = $0 as? Diagnostic else { return false }
      return diagnostic.cause == .environment && diagnostic.message.contains("/proc/slipway")
    }
  }

  @Test func `tasks that insert the same bytes at once agree`() async throws {
    let store = store
    let digests = try await withThrowingTaskGroup(of: Digest.self) { group in
      for _ in 0..<16 { group.addTask { try store.insert(text: String(repeating: "x", count: 300_000)).digest } }
      return try await group.reduce(into: Set<Digest>()) { $0.insert($1) }
    }
    #expect(digests.count == 1)
    #expect(try store.statistics().blobs.count == 1)
    #expect(try store.verify().removed == [])
  }
}
