import CAttributes
import Diagnostics
import Digests
import Glibc
import SystemPackage
import Testing

@testable import Caching

@Suite struct DirectoryTests {
  let scratch: Scratch
  let store: Store

  init() throws {
    scratch = try Scratch()
    store = try scratch.store()
  }

  func sample() throws -> Directory {
    Directory([
      .init("b", .file(try store.insert(text: "b"))), .init("a", .symlink("../x")),
      .init("run", .file(try store.insert(text: "run", executable: true))),
      .init("dir", .folder(try store.insert(Directory([])))),
    ])
  }

  @Test func `an encoding has the official field numbers`() throws {
    let directory = Directory([
      .init("f", .file(FileArtifact(digest: .empty, size: 0, isExecutable: true))), .init("s", .symlink("t")),
      .init("d", .folder(DirectoryArtifact(root: .empty, size: 0))),
    ])
    // As protoc writes it: files=1 {name=1 digest=2{hash=1} is_executable=4}, directories=2, symlinks=3 {target=2}.
    let digest = [0x12, 66, 0x0A, 64] + Array(Digest.empty.hex.utf8)
    let file: [UInt8] = [0x0A, 1, 0x66] + digest + [0x20, 1]
    let folder: [UInt8] = [0x0A, 1, 0x64] + digest
    let symlink: [UInt8] = [0x0A, 1, 0x73, 0x12, 1, 0x74]
    #expect(
      directory.encoded == [0x0A, UInt8(file.count)] + file + [0x12, UInt8(folder.count)] + folder
        + [0x1A, UInt8(symlink.count)] + symlink)
    #expect(Directory([]).encoded == [])
  }

  @Test func `decoding is the inverse of encoding`() throws {
    let directory = try sample()
    let decoded = try #require(Directory(decoding: directory.encoded))
    #expect(decoded.encoded == directory.encoded)
    #expect(decoded.entries.map(\.name) == ["a", "b", "dir", "run"])
  }

  @Test func `no damaged byte of an encoding makes another folder's encoding valid by accident`() throws {
    let bytes = try sample().encoded
    for index in bytes.indices {
      for change: UInt8 in [1, 0x80, 0xFF] {
        var damaged = bytes
        damaged[index] ^= change
        if let decoded = Directory(decoding: damaged) { #expect(decoded.encoded == damaged) }
      }
      #expect(Directory(decoding: Array(bytes[..<index])).map { $0.encoded.count == index } ?? true)
    }
  }

  @Test(arguments: ["", ".", "..", "a/b", "a\0b", String(repeating: "x", count: 256)])
  func `a name that no folder can hold is refused`(name: String) {
    #expect(Directory(decoding: Directory([.init(name, .symlink("t"))]).encoded) == nil)
  }

  @Test func `unsorted or repeated names are refused`() {
    let a = Directory([.init("a", .symlink("t"))]).encoded
    let b = Directory([.init("b", .symlink("t"))]).encoded
    #expect(Directory(decoding: a + b) != nil)
    #expect(Directory(decoding: b + a) == nil)
    #expect(Directory(decoding: a + a) == nil)
    let file = Directory([.init("a", .file(FileArtifact(digest: .empty, size: 0, isExecutable: false)))]).encoded
    #expect(Directory(decoding: file + a) == nil)
  }

  @Test func `a capture takes files from the upper folder, and copies what it may not take`() throws {
    let names = ["d/new", "d/run", "d/other", "d/sub/small"]
    for name in names { try scratch.write("up/" + name, name, mode: name == "d/run" ? 0o711 : 0o600) }
    try scratch.write("up/d/big", String(repeating: "x", count: 700_000))
    try scratch.write("up/d/locked", "locked", mode: 0)
    try scratch.write("up/d/known", "known")
    try #require(link(scratch.path + "/up/d/other", scratch.path + "/outside") == 0)
    try #require(symlink("new", scratch.path + "/up/d/link") == 0)
    try #require(setxattr(scratch.path + "/up/d/new", "user.overlay.origin", "x", 1, 0) == 0)
    let expected = try store.capture(directory: scratch.open("up/d"))

    // Into another store, which has nothing but what both know.
    let second = try Store(root: FilePath(scratch.path + "/second"))
    _ = try second.insert(text: "known")
    let upper = try scratch.open("up")
    defer { try? upper.close() }
    let merged = try scratch.open("up/d")
    defer { try? merged.close() }
    #expect(try second.capture(directory: merged, takingFrom: Store.Upper(upper, path: "/d")) == expected)
    // What was taken is gone; what is linked elsewhere, or is in the store already, stays.
    #expect(
      try scratch.listing("up/d").map { $0.prefix { $0 != " " } } == ["known", "link", "other", "sub/"])
    var blobs: [String: Disk.Status] = [:]
    try second.walk(expected) { path, node in
      guard case .file(let file) = node else { return }
      let blob = try second.path(of: file).string
      blobs[path] = try Disk.status(blob)
      #expect(Digest(of: try second.read(file.digest, limit: 1 << 20)) == file.digest)
      #expect(listxattr(blob, nil, 0) == 0, "\(path)")
    }
    #expect(blobs.values.allSatisfy { $0.links == 1 })
    #expect(blobs.filter { $0.value.permissions == 0o555 }.keys.sorted() == ["run"])
    #expect(blobs.filter { $0.value.permissions == 0o444 }.count == 6)
    #expect(try scratch.text("outside") == "d/other")
  }

  @Test func `a file is taken from the upper folder, or copied where the way there has a symlink`() throws {
    try scratch.write("up/a/f", "one")
    try scratch.write("up/b/f", "two")
    try #require(symlink("b", scratch.path + "/up/c") == 0)
    let upper = try scratch.open("up")
    defer { try? upper.close() }
    let one = try store.capture(file: scratch.open("up/a/f"), takingFrom: Store.Upper(upper, path: "/a/f"))
    let two = try store.capture(file: scratch.open("up/b/f"), takingFrom: Store.Upper(upper, path: "/c/f"))
    #expect(try store.read(one.digest, limit: 10) == Array("one".utf8))
    #expect(try store.read(two.digest, limit: 10) == Array("two".utf8))
    #expect(access(scratch.path + "/up/a/f", F_OK) != 0)
    #expect(access(scratch.path + "/up/b/f", F_OK) == 0)
  }

  @Test func `a capture normalises modes, keeps empty folders and links, and makes hard links files`() throws {
    try scratch.write("in/x/data", "data", mode: 0o600)
    try scratch.write("in/x/tool", "tool", mode: 0o4711)
    try Disk.makeFolders(scratch.path + "/in/empty")
    symlink("/etc/passwd", scratch.path + "/in/x/link")
    link(scratch.path + "/in/x/data", scratch.path + "/in/hard")
    let fd = try scratch.open("in")
    defer { try? fd.close() }
    let root = try store.capture(directory: fd)
    let tree = try store.materialize(root)
    #expect(tree.string == store.treePath(root.root))
    try store.export(.directory(root), to: FilePath(scratch.path + "/out"))
    #expect(
      try scratch.listing("out") == [
        "empty/ 755", "hard 644 4", "x/ 755", "x/data 644 4", "x/link -> /etc/passwd", "x/tool 755 4",
      ])
    let prefix = tree.string.dropFirst(scratch.path.utf8.count + 1)
    #expect(
      try scratch.listing(String(prefix)) == [
        "empty/ 755", "hard 444 4", "x/ 755", "x/data 444 4", "x/link -> /etc/passwd", "x/tool 555 4",
      ])
    let again = try scratch.open("out")
    defer { try? again.close() }
    #expect(try store.capture(directory: again) == root)
  }

  @Test func `a FIFO where a file is read is an error, and no wait`() throws {
    let scratch = try Scratch()
    let path = scratch.path + "/pipe"
    #expect(mkfifo(path, 0o644) == 0)
    #expect {
      try Disk.contents(of: path, limit: 10)
    } throws: {
      ($0 as? Diagnostic)?.message == "`\(path)` is a FIFO; a file is needed there"
    }
  }

  @Test func `a FIFO in an output is an error that names it`() throws {
    try Disk.makeFolders(scratch.path + "/in/deep")
    #expect(mkfifo(scratch.path + "/in/deep/pipe", 0o644) == 0)
    let fd = try scratch.open("in")
    defer { try? fd.close() }
    #expect {
      try store.capture(directory: fd, name: "dist")
    } throws: {
      ($0 as? Diagnostic)?.message.contains("`dist/deep/pipe` is a socket, a FIFO or a device") == true
    }
  }

  @Test func `a very deep tree is an error, and can still be removed`() throws {
    let top = try Disk.open(scratch.path, O_RDONLY | O_DIRECTORY)
    var fd = top
    for _ in 0..<600 {
      mkdirat(fd.rawValue, "d", 0o755)
      let next = try Disk.open("d", O_RDONLY | O_DIRECTORY, at: fd.rawValue)
      try fd.close()
      fd = next
    }
    try fd.close()
    let deep = try scratch.open("d")
    defer { try? deep.close() }
    #expect(throws: Diagnostic.self) { try store.capture(directory: deep) }
    try Disk.removeTree(scratch.path + "/d")
    #expect(try Disk.status(scratch.path + "/d") == nil)
  }

  @Test func `in a tree that hides, what comes last counts`() throws {
    let (old, new) = (try store.insert(text: "old"), try store.insert(text: "new"))
    var lower = TreeBuilder(store)
    for path in ["a", "b/c", "b/d", "e/f"] { try lower.add(path, .file(old)) }
    try lower.add("l", .symlink("b"))
    var builder = TreeBuilder(store)
    builder.hides = true
    try builder.add("", .folder(lower.finish()))
    for path in ["a", "b/c", "e", "l/x"] { try builder.add(path, .file(new)) }
    var expected = TreeBuilder(store)
    for path in ["a", "b/c", "e", "l/x"] { try expected.add(path, .file(new)) }
    try expected.add("b/d", .file(old))
    #expect(try builder.finish() == expected.finish())
  }

  @Test func `times in a materialised tree are all the constant`() throws {
    var builder = TreeBuilder(store)
    try builder.add("a/b/file", .file(try store.insert(text: "1")))
    try builder.add("a/link", .symlink("b/file"))
    let tree = try store.materialize(builder.finish()).string
    for name in ["", "/a", "/a/b", "/a/b/file", "/a/link"] {
      var status = stat()
      #expect(lstat(tree + name, &status) == 0)
      #expect(status.st_mtim.tv_sec == 315_532_800, "\(name)")
    }
  }

  @Test func `more links than the file system allows give fresh copies`() throws {
    let file = try store.insert(text: "")
    let path = try store.path(of: file).string
    let folder = try store.makeTemporaryFolder().string
    var made = 0
    while made < 70_000, link(path, folder + "/\(made)") == 0 { made += 1 }
    // Only a file system with a limit can show it: ext4's is 65,000.
    if made == 70_000 { return }
    var builder = TreeBuilder(store)
    for name in ["a", "b", "c"] { try builder.add(name, .file(file)) }
    let tree = try store.materialize(builder.finish()).string
    #expect(try Disk.status(tree + "/c")?.size == 0)
    #expect(try Disk.status(tree + "/c")?.permissions == 0o444)
    #expect(try Disk.status(path)?.links == 4)
  }

  @Test func `trees merge, and equal entries are one`() throws {
    let file = try store.insert(text: "same")
    var left = TreeBuilder(store)
    try left.add("a/one", .file(file))
    var right = TreeBuilder(store)
    try right.add("a/two", .file(file))
    try right.add("a/one", .file(file))
    var both = TreeBuilder(store)
    try both.add("src", .folder(left.finish()))
    try both.add("src", .folder(right.finish()))
    try both.add("src/a/three", .file(file))
    var paths: [String] = []
    try store.walk(both.finish()) { path, _ in paths.append(path) }
    #expect(paths == ["src", "src/a", "src/a/one", "src/a/three", "src/a/two"])
  }

  @Test func `different entries at one path are an error that names it`() throws {
    let a = try store.insert(text: "a")
    let b = try store.insert(text: "b")
    var builder = TreeBuilder(store)
    try builder.add("x/y", .file(a))
    #expect {
      try builder.add("x/y", .file(b))
    } throws: {
      ($0 as? Diagnostic)?.message == "inputs collide at `x/y`: two inputs differ there"
    }
    #expect(throws: Diagnostic.self) { try builder.add("x/y/z", .file(a)) }
    #expect(throws: Diagnostic.self) { try builder.add("x", .file(a)) }
    for path in ["/x", "x//y", "../x", "x/", "."] {
      #expect(throws: Diagnostic.self) { try builder.add(path, .file(a)) }
    }
  }

  @Test func `an export replaces what is there and can be edited without harm to the store`() throws {
    let first = try store.insert(text: "first")
    let target = FilePath(scratch.path + "/out/report")
    try store.export(.file(first), to: target)
    try scratch.write("out/report", "edited")
    #expect(try store.read(first.digest, limit: 5) == Array("first".utf8))
    var builder = TreeBuilder(store)
    try builder.add("inner", .file(first))
    try store.export(.directory(builder.finish()), to: target)
    #expect(try scratch.listing("out") == ["report/ 755", "report/inner 644 5"])
    try store.export(.file(first), to: target)
    #expect(try scratch.listing("out") == ["report 644 5"])
  }
}
