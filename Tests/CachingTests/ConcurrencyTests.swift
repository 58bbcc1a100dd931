import Digests
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import Caching

/// Writers that meet, each with a store value of its own, as processes have.
@Suite struct ConcurrencyTests {
  /// What one task tells another.
  final class End: Sendable {
    let isReached = Atomic<Bool>(false)
  }

  let scratch: Scratch

  init() throws { scratch = try Scratch() }

  @Test func `trees are materialised while others write the same blobs over and over`() async throws {
    let path = scratch.path + "/store"
    let store = try scratch.store()
    var roots: [DirectoryArtifact] = []
    for number in 0..<4 {
      var builder = TreeBuilder(store)
      for name in 0..<12 {
        try builder.add(
          "d\(name % 3)/f\(name)", .file(try store.insert(text: "shared \(name)", executable: name % 2 == 0)))
      }
      try builder.add("own", .file(try store.insert(text: "own \(number)")))
      roots.append(try builder.finish())
    }
    let all = roots
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<2 {
        group.addTask {
          // What two writers do that both found no blob: each renames its copy over the other's.
          let store = try Store(root: FilePath(path))
          for round in 0..<1200 {
            let text = "shared \(round % 12)"
            let executable = round % 2 == 0
            let copy = try store.temporaryPath()
            let fd = try Disk.open(copy, O_WRONLY | O_CREAT | O_EXCL)
            defer { try? fd.close() }
            try Array(text.utf8).withUnsafeBytes { try Disk.write(fd, $0, path: copy) }
            fchmod(fd.rawValue, executable ? 0o555 : 0o444)
            try store.move(copy, to: store.blobPath(Digest(of: text), executable: executable))
          }
        }
      }
      for _ in 0..<3 {
        group.addTask {
          let store = try Store(root: FilePath(path))
          for root in all { _ = try store.materialize(root) }
        }
      }
      try await group.waitForAll()
    }
    for (number, root) in all.enumerated() {
      let tree = store.treePath(root.root)
      #expect(try Disk.contents(of: tree + "/own", limit: 10) == Array("own \(number)".utf8))
      for name in 0..<12 {
        let file = "\(tree)/d\(name % 3)/f\(name)"
        #expect(try Disk.contents(of: file, limit: 20) == Array("shared \(name)".utf8))
        #expect(try Disk.status(file)?.permissions == (name % 2 == 0 ? 0o555 : 0o444))
      }
    }
    #expect(try store.verify().removed == [])
  }

  @Test func `a blob that others replace all the time can be linked all the time`() async throws {
    let path = scratch.path + "/store"
    let store = try scratch.store()
    let file = try store.insert(text: "")
    let place = try store.path(of: file).string
    var roots: [DirectoryArtifact] = []
    for number in 0..<4 {
      var builder = TreeBuilder(store)
      for name in 0..<1000 { try builder.add("\(number).\(name)", .file(file)) }
      roots.append(try builder.finish())
    }
    let all = roots
    // The kernel links no inode whose last name another thread is just taking: only many tries hit that instant.
    let end = End()
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        let store = try Store(root: FilePath(path))
        // Bounded: with every thread taken by other tests, the reader may start only once this has ended.
        for _ in 0..<4000 where !end.isReached.load(ordering: .relaxed) {
          let copy = try store.temporaryPath()
          try Disk.open(copy, O_WRONLY | O_CREAT | O_EXCL, mode: 0o444).close()
          try Disk.rename(copy, place)
        }
      }
      group.addTask {
        defer { end.isReached.store(true, ordering: .relaxed) }
        for root in all { _ = try store.materialize(root) }
      }
      try await group.waitForAll()
    }
    for root in all { #expect(try Disk.names(inFolder: store.treePath(root.root)).count == 1000) }
  }

  @Test func `a tree whose blob is missing is an error that leaves nothing behind`() throws {
    let store = try scratch.store()
    let file = try store.insert(text: "x")
    var builder = TreeBuilder(store)
    try builder.add("a/x", .file(file))
    let root = try builder.finish()
    unlink(store.blobPath(file.digest, executable: false))
    #expect(throws: (any Error).self) { try store.materialize(root) }
    #expect(try Disk.status(store.treePath(root.root)) == nil)
    let session = try #require(try Disk.names(inFolder: scratch.path + "/store/tmp").first)
    #expect(try Disk.names(inFolder: scratch.path + "/store/tmp/" + session) == [])
    _ = try store.insert(text: "x")
    _ = try store.materialize(root)
  }

  @Test func `one root read as a directory that lies about its depth ends in an error`() throws {
    let store = try scratch.store()
    var inner = try store.insert(Directory([]))
    for _ in 0..<300 { inner = try store.insert(Directory([.init("d", .folder(inner))])) }
    let root = inner
    #expect(throws: (any Error).self) { try store.materialize(root) }
    #expect(throws: (any Error).self) { try store.walk(root) { _, _ in } }
  }

  @Test func `stores of one process have temporary folders of their own, gone with them`() throws {
    let first = try scratch.store()
    let path = try first.temporaryPath()
    do {
      let second = try scratch.store()
      #expect(try second.temporaryPath() != path)
      #expect(try Disk.names(inFolder: scratch.path + "/store/tmp").count == 2)
    }
    #expect(try Disk.names(inFolder: scratch.path + "/store/tmp").count == 1)
  }
}
