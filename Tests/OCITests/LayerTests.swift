import CArchive
import Caching
import Diagnostics
import Digests
import Glibc
import SystemPackage
import Testing

@testable import OCI

@Suite struct LayerTests {
  let scratch: Scratch
  let store: Store

  init() throws {
    scratch = try Scratch()
    store = scratch.store
  }

  static let long = String(repeating: "long-folder-name/", count: 20) + "file-with-a-name.txt"

  func items(_ store: Store) throws -> [LayerItem] {
    var builder = TreeBuilder(store)
    try builder.add("main.py", .file(store.insert(Array("print()\n".utf8))))
    try builder.add("bin/tool", .file(store.insert(Array("#!/bin/sh\n".utf8), executable: true)))
    try builder.add("bin/link", .symlink("tool"))
    try builder.add("ünï/naïve ☃.txt", .file(store.insert(Array("é".utf8))))
    try builder.add(Self.long, .file(store.insert(Array("deep".utf8))))
    try builder.add("target", .symlink(String(repeating: "x", count: 200) + "é"))
    try builder.addFolder("empty")
    return [
      .directory(try builder.finish(), at: "/airbyte/integration_code"),
      .file(try store.insert([UInt8](repeating: 7, count: 10_000)), at: "/etc/data.bin"),
    ]
  }

  @Test func `equal items give equal bytes, whatever their order, the store, the mask and the locale`() throws {
    let first = try LayerWriter(store).write(items(store))
    let other = try Scratch()
    let mask = umask(0o077)
    defer { umask(mask) }
    let second = try LayerWriter(other.store).write(items(other.store).reversed())
    #expect(first == second)
  }

  @Test func `GNU tar and bsdtar list the same entries, in order, with normalised attributes`() throws {
    let tar = try scratch.tar(LayerWriter(store).write(items(store)), as: "layer.tar")
    let gnu = try Tool.run(["tar", "--quoting-style=literal", "--numeric-owner", "--full-time", "-tvf", tar])
    let code = "airbyte/integration_code/"
    var folders: [String] = []
    for component in Self.long.split(separator: "/").dropLast() {
      folders.append((folders.last ?? code) + component + "/")
    }
    let expected =
      [
        ("drwxr-xr-x", "airbyte/"), ("drwxr-xr-x", code), ("drwxr-xr-x", code + "bin/"),
        ("lrwxrwxrwx", code + "bin/link -> tool"), ("-rwxr-xr-x", code + "bin/tool"), ("drwxr-xr-x", code + "empty/"),
      ] + folders.map { ("drwxr-xr-x", $0) } + [
        ("-rw-r--r--", code + Self.long), ("-rw-r--r--", code + "main.py"),
        ("lrwxrwxrwx", code + "target -> " + String(repeating: "x", count: 200) + "é"), ("drwxr-xr-x", code + "ünï/"),
        ("-rw-r--r--", code + "ünï/naïve ☃.txt"), ("drwxr-xr-x", "etc/"), ("-rw-r--r--", "etc/data.bin"),
      ]
    let lines = gnu.split(separator: "\n")
    #expect(lines.count == expected.count)
    for (line, (mode, name)) in zip(lines, expected) {
      #expect(line.hasPrefix(mode + " 0/0 "), "\(line)")
      #expect(line.hasSuffix(" 1980-01-01 00:00:00 " + name), "\(line)")
    }
    let bsd = try Tool.run(["bsdtar", "-tf", tar]).split(separator: "\n")
    #expect(bsd.map(String.init) == expected.map { String($0.1.split(separator: " -> ")[0]) })
  }

  @Test func `the diffID is the digest of the tar that gzip gives back, however many members it has`() throws {
    // Bytes that hardly compress, in more than two pieces and a part.
    var state: UInt64 = 1
    var content: [UInt8] = []
    for _ in 0..<1_300_000 {
      state = state &* 6_364_136_223_846_793_005 &+ 1
      withUnsafeBytes(of: state) { content += $0 }
    }
    let layer = try LayerWriter(store).write([.file(store.insert(content), at: "/noise")])
    let tar = try scratch.tar(layer, as: "layer.tar")
    #expect(try Tool.run(["sha256sum", tar]).hasPrefix(layer.diffID.hex))
    let blob = try store.path(of: layer.digest, executable: false).string
    let header = try #require(try Disk.contents(of: blob, limit: 1 << 30)).prefix(8)
    #expect(header.elementsEqual([0x1F, 0x8B, 8, 0, 0, 0, 0, 0]), "no name, no time")
    let folder = try LayerUnpacker(store).unpackNow(layer)
    #expect(try Disk.contents(of: folder.string + "/noise", limit: 1 << 30) == content)
  }

  @Test func `an empty layer is a sound tar`() throws {
    let layer = try LayerWriter(store).write([])
    #expect(try Tool.run(["tar", "-tf", scratch.tar(layer, as: "empty.tar")]) == "")
    #expect(try scratch.listing(LayerUnpacker(store).unpackNow(layer).string) == [])
  }

  @Test func `unpacking gives back what was written`() throws {
    let folder = try LayerUnpacker(store).unpackNow(LayerWriter(store).write(items(store)))
    var builder = TreeBuilder(store)
    for item in try items(store) {
      switch item {
      case .directory(let directory, let path): try builder.add(String(path.dropFirst()), .folder(directory))
      case .file(let file, let path): try builder.add(String(path.dropFirst()), .file(file))
      default: Issue.record("no such item here")
      }
    }
    let fd = try Disk.open(folder.string, O_RDONLY | O_DIRECTORY)
    defer { try? fd.close() }
    #expect(try store.capture(directory: fd) == builder.finish())
    var status = stat()
    #expect(lstat(folder.string + "/airbyte/integration_code/bin", &status) == 0)
    #expect(status.st_mtim.tv_sec == 315_532_800)
  }

  @Test func `owners are those given`() throws {
    let layer = try LayerWriter(store, user: 1000, group: 1001).write([.file(store.insert([]), at: "/a")])
    #expect(try Tool.run(["tar", "--numeric-owner", "-tvf", scratch.tar(layer, as: "o.tar")]).contains(" 1000/1001 "))
  }

  func isOpaque(_ path: String) -> Bool {
    var value: UInt8 = 0
    return getxattr(path, "user.overlay.opaque", &value, 1) == 1 && value == UInt8(ascii: "y")
  }

  @Test func `whiteouts become overlayfs's marks`() throws {
    let file = try store.insert(Array("x".utf8))
    let layer = try LayerWriter(store).write([
      .whiteout("/usr/lib/old"), .opaque("/etc"), .file(file, at: "/etc/new"), .file(file, at: "/usr/kept"),
    ])
    #expect(
      try Tool.run(["tar", "-tf", scratch.tar(layer, as: "w.tar")]).split(separator: "\n") == [
        "etc/", "etc/.wh..wh..opq", "etc/new", "usr/", "usr/kept", "usr/lib/", "usr/lib/.wh.old",
      ])
    let folder = try LayerUnpacker(store).unpackNow(layer).string
    #expect(
      try scratch.listing(folder, modes: false) == [
        "etc/", "etc/new 1", "usr/", "usr/kept 1", "usr/lib/", "usr/lib/old node",
      ])
    var status = stat()
    #expect(lstat(folder + "/usr/lib/old", &status) == 0)
    #expect(status.st_mode & S_IFMT == S_IFCHR && status.st_rdev == 0)
    #expect(isOpaque(folder + "/etc"))
  }

  @Test func `a whiteout and a folder of one name make an opaque folder, in either order`() throws {
    for whiteoutFirst in [true, false] {
      var tar = TarMaker()
      if whiteoutFirst { tar.add(".wh.d", .file) }
      tar.add("d/", .folder, mode: 0o755)
      if !whiteoutFirst { tar.add(".wh.d", .file) }
      tar.add("d/x", .file, whiteoutFirst ? "1" : "22")
      let folder = try LayerUnpacker(store).unpackNow(scratch.layer(tar.end())).string
      #expect(try scratch.listing(folder, modes: false).map { $0.prefix(3) } == ["d/", "d/x"])
      #expect(isOpaque(folder + "/d"))
    }
  }

  @Test func `an input with a whiteout's name is refused`() throws {
    #expect {
      try LayerWriter(store).write([.file(store.insert([]), at: "/a/.wh.b")])
    } throws: { ($0 as? Diagnostic)?.message.contains("`/a/.wh.b` cannot be in a layer") == true }
  }

  @Test(arguments: ["/../a", "/a/../b", "/a//b", "", "/"]) func `a destination outside the image is refused`(
    path: String
  )
    throws
  {
    #expect(throws: Diagnostic.self) { try LayerWriter(store).write([.file(store.insert([]), at: path)]) }
  }

  @Test func `hard links inside a layer stay links, and later entries win`() throws {
    var tar = TarMaker()
    tar.add("./a", .file, "first")
    tar.add("./b", .hardLink, link: "./a")
    tar.add("./b", .hardLink, link: "./b")
    tar.add("./c", .symlink, link: "a")
    tar.add("./c", .file, "second")
    let folder = try LayerUnpacker(store).unpackNow(scratch.layer(tar.end())).string
    #expect(try scratch.listing(folder, modes: false) == ["a 5", "b 5", "c 6"])
    #expect(try Disk.status(folder + "/a")?.links == 2)
  }

  @Test func `a sparse file is unpacked with its holes`() throws {
    try Tool.run([
      "/bin/sh", "-c",
      "cd \"$1\" && mkdir s && truncate -s 5M s/hole && echo end >> s/hole && truncate -s 9M s/hole && tar --sparse -cf s.tar -C s hole",
      "sh", scratch.path,
    ])
    let layer = try LayerImporter(store).importTar(FilePath(scratch.path + "/s.tar"))
    let folder = try LayerUnpacker(store).unpackNow(layer).string
    try Tool.run(["cmp", folder + "/hole", scratch.path + "/s/hole"])
  }

  @Test(arguments: ["cat", "gzip -9", "zstd -q"]) func `an imported tar keeps its bytes, however compressed`(
    filter: String
  )
    throws
  {
    try Tool.run([
      "/bin/sh", "-c",
      "cd \"$1\" && mkdir s && seq 100000 > s/numbers && ln s/numbers s/again && ln -s numbers s/link "
        + "&& tar --format=gnu -cf s.tar s && \(filter) < s.tar > s.any", "sh", scratch.path,
    ])
    let layer = try LayerImporter(store).importTar(FilePath(scratch.path + "/s.any"))
    #expect(try Tool.run(["sha256sum", scratch.path + "/s.tar"]).hasPrefix(layer.diffID.hex))
    #expect(try LayerImporter(store).importTar(FilePath(scratch.path + "/s.tar")) == layer)
    let folder = try LayerUnpacker(store).unpackNow(layer).string
    try Tool.run(["diff", "-r", folder + "/s", scratch.path + "/s"])
  }

  @Test func `tasks that unpack one layer at once share one folder`() async throws {
    let layer = try LayerWriter(store).write(items(store))
    let unpacker = LayerUnpacker(store)
    let folders = try await withThrowingTaskGroup(of: FilePath.self) { group in
      for _ in 0..<8 { group.addTask { try await unpacker.unpack(layer) } }
      return try await group.reduce(into: Set<FilePath>()) { $0.insert($1) }
    }
    #expect(folders == [store.layerPath(layer.diffID)])
  }
}
