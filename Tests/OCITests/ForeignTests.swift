import Caching
import Diagnostics
import Digests
import Glibc
import SystemPackage
import Testing

@testable import OCI

/// What other tools make, and what nobody should.
@Suite struct ForeignTests {
  let scratch: Scratch

  init() throws { scratch = try Scratch() }

  /// A listing with modification times.
  func timedListing(_ folder: String) throws -> [String] {
    let top = folder.hasPrefix("/") ? folder : scratch.path + "/" + folder
    return try scratch.listing(folder).map { line in
      let name = line.split(separator: " ").first.map { $0.hasSuffix("/") ? $0.dropLast() : $0 } ?? ""
      var status = stat()
      #expect(lstat(top + "/" + name, &status) == 0, "\(line)")
      return "\(line) @\(status.st_mtim.tv_sec)"
    }
  }

  @Test(arguments: [["tar", "--format=gnu"], ["tar", "--format=posix"], ["bsdtar", "--format=ustar"]])
  func `a tar of another tool's making comes out as it went in, with its times`(tool: [String]) throws {
    let long = String(repeating: "l", count: 90)
    let top = scratch.path + "/in/"
    for folder in ["a", "empty", "\(long)/\(long)"] { try Disk.makeFolders(top + folder) }
    try scratch.write("in/a/file", Array("content".utf8))
    try scratch.write("in/a/tool", Array("#!/bin/sh\n".utf8))
    try scratch.write("in/\(long)/\(long)/ü", Array("a long name, not in ASCII".utf8))
    chmod(top + "a/tool", 0o4755)
    symlink("../a/file", top + "a/link")
    symlink("/etc/passwd", top + "absolute")
    link(top + "a/file", top + "hard")
    var times = [timespec(tv_sec: 1_234_567_890, tv_nsec: 0), timespec(tv_sec: 1_234_567_890, tv_nsec: 0)]
    for name in ["a/file", "a/tool", "a/link", "a", "empty"] {
      #expect(utimensat(AT_FDCWD, top + name, &times, AT_SYMLINK_NOFOLLOW) == 0)
    }
    let file = scratch.path + "/made.tar"
    try Tool.run([tool[0], tool[1], "-C", top, "-cf", file, "."])
    let layer = try LayerImporter(scratch.store).importTar(FilePath(file))
    let place = try LayerUnpacker(scratch.store).unpackNow(layer).string
    // Set-id bits go.
    chmod(top + "a/tool", 0o755)
    #expect(try timedListing(place) == timedListing("in"))
    #expect(try Disk.status(place + "/hard")?.links == 2)
  }

  @Test func `skopeo copies an image without another digest`() throws {
    let layer = try LayerWriter(scratch.store).write([
      .file(try scratch.store.insert(Array("x".utf8)), at: "/x"), .whiteout("/y"), .opaque("/z"),
    ])
    let image = try ImageBuilder(scratch.store).build(
      base: nil, platform: "linux/amd64", layers: [(layer, "test")], change: ImageChange())
    let path = scratch.path + "/layout"
    try ImageLayout(scratch.store).write([(image, "latest")], to: FilePath(path))
    try Tool.run(["skopeo", "--insecure-policy", "copy", "-q", "oci:\(path):latest", "oci:\(path)2:latest"])
    let other = try Scratch()
    let read = try ImageLayout(other.store).read(FilePath(path + "2"))
    #expect(read.map(\.image) == [image])
    #expect(try other.store.verify().removed == [])
  }

  @Test(arguments: [
    "", "[]", "{}", #"{"manifests":{}}"#, #"{"manifests":[{}]}"#, #"{"manifests":[{"digest":"sha256:00","size":1}]}"#,
    #"{"manifests":[{"digest":"sha256:../../../../etc/passwd","size":1}]}"#,
    #"{"manifests":[{"digest":"sha512:00","size":1}]}"#,
  ])
  func `an index that is malformed is refused`(index: String) throws {
    let folder = scratch.path + "/layout"
    try Disk.makeFolders(folder)
    try scratch.write("layout/index.json", Array(index.utf8))
    try scratch.write("layout/oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8))
    #expect(throws: Diagnostic.self) { try ImageLayout(scratch.store).read(FilePath(folder)) }
  }

  @Test func `indices within indices end`() throws {
    var inner = try scratch.store.insert(Array(#"{"manifests":[]}"#.utf8))
    for _ in 0..<16 {
      let entry =
        #"{"mediaType":"\#(MediaType.index)","digest":"\#(inner.digest.oci)","size":\#(inner.size)}"#
      inner = try scratch.store.insert(Array(#"{"manifests":[\#(entry)]}"#.utf8))
    }
    try Disk.makeFolders(scratch.path + "/layout")
    try scratch.write("layout/index.json", try scratch.store.read(inner.digest, limit: 1 << 20))
    try scratch.write("layout/oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8))
    #expect(throws: Diagnostic.self) { try ImageLayout(scratch.store).read(FilePath(scratch.path + "/layout")) }
  }
}
