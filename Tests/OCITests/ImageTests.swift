import Caching
import Diagnostics
import Digests
import Glibc
import SystemPackage
import Testing

@testable import OCI

@Suite struct ImageTests {
  let scratch: Scratch
  let store: Store
  let builder: ImageBuilder

  init() throws {
    scratch = try Scratch()
    store = scratch.store
    builder = ImageBuilder(store)
  }

  func layer(_ name: String, _ text: String) throws -> ImageArtifact.Layer {
    try LayerWriter(store).write([.file(store.insert(Array(text.utf8)), at: name)])
  }

  func base() throws -> ImageArtifact {
    var change = ImageChange()
    change.environment = [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8")]
    change.entrypoint = ["/bin/base"]
    change.command = ["--help"]
    change.labels = ["a": "base", "b": "base"]
    change.workingDirectory = "/srv"
    return try builder.build(
      base: nil, platform: "linux/amd64", layers: [(layer("/bin/base", "base"), "rootfs")], change: change)
  }

  func connector() throws -> ImageArtifact {
    var change = ImageChange()
    change.entrypoint = ["python", "/main.py"]
    change.environment = [("AIRBYTE_ENTRYPOINT", "python /main.py"), ("LANG", "C")]
    change.labels = ["io.airbyte.version": "1.2.3", "b": "new"]
    change.user = "airbyte"
    return try builder.build(
      base: base(), platform: "linux/amd64", layers: [(layer("/main.py", "print()"), "slipway //a:image")],
      change: change)
  }

  func settings(_ image: ImageArtifact) throws -> JSON { try #require(builder.document(image.config)["config"]) }

  @Test func `a configuration is canonical and says nothing of time or place`() throws {
    let image = try base()
    let text = String(decoding: try store.read(image.config, limit: 10_000), as: UTF8.self)
    #expect(
      text == #"{"architecture":"amd64","config":{"Cmd":["--help"],"Entrypoint":["/bin/base"],"#
        + #""Env":["PATH=/usr/bin:/bin","LANG=C.UTF-8"],"Labels":{"a":"base","b":"base"},"WorkingDir":"/srv"},"#
        + #""created":"1980-01-01T00:00:00Z","history":[{"created":"1980-01-01T00:00:00Z","created_by":"rootfs"}],"#
        + #""os":"linux","rootfs":{"diff_ids":[""# + image.layers[0].diffID.oci + #""],"type":"layers"}}"#)
  }

  @Test func `a change follows a Dockerfile's rules`() throws {
    let image = try connector()
    let settings = try settings(image)
    #expect(settings["Entrypoint"]?.strings == ["python", "/main.py"])
    #expect(settings["Cmd"] == nil, "ENTRYPOINT drops the base's CMD")
    #expect(
      settings["Env"]?.strings == ["PATH=/usr/bin:/bin", "LANG=C", "AIRBYTE_ENTRYPOINT=python /main.py"])
    #expect(
      settings["Labels"]
        == .object([
          "a": .string("base"), "b": .string("new"), "io.airbyte.version": .string("1.2.3"),
        ]))
    #expect(settings["User"]?.string == "airbyte")
    #expect(settings["WorkingDir"]?.string == "/srv")
    #expect(image.run.entrypoint == ["python", "/main.py"] && image.run.command == [])
    #expect(image.run.workingDirectory == "/srv" && image.run.user == "airbyte")
  }

  @Test func `a command alone keeps the entrypoint, and a relative folder is below the base's`() throws {
    var change = ImageChange()
    change.command = ["spec"]
    change.workingDirectory = "app"
    let settings = try settings(builder.build(base: base(), platform: "linux/amd64", layers: [], change: change))
    #expect(settings["Entrypoint"]?.strings == ["/bin/base"])
    #expect(settings["Cmd"]?.strings == ["spec"])
    #expect(settings["WorkingDir"]?.string == "/srv/app")
  }

  @Test func `what Slipway does not know of a base's configuration is inherited`() throws {
    let base = try base()
    var config = try #require(builder.document(base.config).object)
    var inner = try #require(config["config"]?.object)
    inner["Healthcheck"] = .object(["Test": .strings(["NONE"])])
    config["config"] = .object(inner)
    config["container"] = .string("0123")
    config["history"] = nil
    var foreign = base
    let file = try store.insert(JSON.object(config).encoded)
    (foreign.config, foreign.configSize) = (file.digest, file.size)
    let image = try builder.build(
      base: foreign, platform: "linux/amd64", layers: [(layer("/x", "x"), "x")], change: ImageChange())
    let document = try builder.document(image.config)
    #expect(document["config"]?["Healthcheck"]?["Test"]?.strings == ["NONE"])
    #expect(document["container"] == nil)
    #expect(document["history"]?.array?.count == 2)
  }

  @Test func `the same image built in another store has the same digests`() throws {
    let other = try ImageTests()
    #expect(try connector() == other.connector())
  }

  @Test func `a base for another platform is refused`() throws {
    #expect(throws: Diagnostic.self) {
      try builder.build(base: base(), platform: "linux/arm64", layers: [], change: ImageChange())
    }
  }

  @Test(arguments: [false, true]) func `skopeo reads a layout and agrees on every digest`(linking: Bool) throws {
    let image = try connector()
    try ImageLayout(store).write([(image, "1.2.3")], to: FilePath(scratch.path + "/img"), linking: linking)
    let reference = "oci:" + scratch.path + "/img:1.2.3"
    let inspected = try #require(JSON(decoding: Array(Tool.run(["skopeo", "inspect", reference]).utf8)))
    #expect(inspected["Digest"]?.string == image.manifest.oci)
    #expect(inspected["Layers"]?.strings == image.layers.map(\.digest.oci))
    #expect(inspected["Labels"]?["io.airbyte.version"]?.string == "1.2.3")
    #expect(inspected["Os"]?.string == "linux" && inspected["Architecture"]?.string == "amd64")
    let config = try Tool.run(["skopeo", "inspect", "--config", "--raw", reference])
    #expect(Digest(of: config) == image.config)
    try Tool.run(["skopeo", "copy", "-q", "--preserve-digests", reference, "oci:" + scratch.path + "/copy:x"])
  }

  @Test func `umoci unpacks the same files, whiteouts applied`() throws {
    let text = try store.insert(Array("text".utf8))
    let tool = try store.insert(Array("#!/bin/sh\n".utf8), executable: true)
    let lower = try LayerWriter(store).write([
      .file(text, at: "/etc/old"), .file(text, at: "/etc/kept"), .file(text, at: "/opt/hidden"),
      .file(text, at: "/usr/naïve ☃"), .symlink("kept", at: "/etc/link"),
    ])
    let upper = try LayerWriter(store).write([
      .whiteout("/etc/old"), .opaque("/opt"), .file(tool, at: "/opt/tool"), .folder(at: "/empty"),
    ])
    let image = try builder.build(
      base: nil, platform: "linux/amd64", layers: [(lower, "lower"), (upper, "upper")], change: ImageChange())
    try ImageLayout(store).write([(image, "t")], to: FilePath(scratch.path + "/img"))
    try Tool.run(["umoci", "unpack", "--rootless", "--image", scratch.path + "/img:t", scratch.path + "/bundle"])
    #expect(
      try scratch.listing("bundle/rootfs") == [
        "empty/ 755", "etc/ 755", "etc/kept 644 4", "etc/link -> kept", "opt/ 755", "opt/tool 755 10", "usr/ 755",
        "usr/naïve ☃ 644 4",
      ])
    // The tree that an engine is given has them, too.
    let unpacker = LayerUnpacker(store)
    let folders = [try unpacker.unpackNow(upper).string, try unpacker.unpackNow(lower).string]
    let bundle = try Disk.open(scratch.path + "/bundle/rootfs", O_RDONLY | O_DIRECTORY)
    defer { try? bundle.close() }
    #expect(try ImageTree.insert(layers: folders, into: store) == store.capture(directory: bundle))
  }

  @Test func `a tree of layers goes by the upper one where kinds differ, and by both marks of a whiteout`() throws {
    func layer(_ items: [LayerItem]) throws -> String {
      try LayerUnpacker(store).unpackNow(LayerWriter(store).write(items)).string
    }
    let file = try store.insert(Array("f".utf8))
    let lower = try layer([
      .file(file, at: "/a"), .file(file, at: "/b/c"), .symlink("a", at: "/l"), .file(file, at: "/gone/x"),
    ])
    let upper = try layer([.file(file, at: "/a/in"), .file(file, at: "/b"), .file(file, at: "/l"), .whiteout("/gone")])
    var expected = TreeBuilder(store)
    for path in ["a/in", "b", "l"] { try expected.add(path, .file(file)) }
    #expect(try ImageTree.insert(layers: [upper, lower], into: store) == expected.finish())
  }

  @Test func `a layout is read back as it was written, into another store`() throws {
    let image = try connector()
    let path = FilePath(scratch.path + "/img")
    try ImageLayout(store).write([(image, "a"), (base(), nil)], to: path)
    let other = try Scratch()
    let read = try ImageLayout(other.store).read(path)
    #expect(read.map(\.image) == [image, try base()])
    #expect(read.map(\.name) == ["a", nil])
    #expect(other.store.firstMissing(of: .image(image)) == nil)
    #expect(try LayerUnpacker(other.store).unpackNow(image.layers[1]).string.hasPrefix(other.path))
  }

  @Test func `an image of skopeo's making is read, whatever its history`() throws {
    let image = try connector()
    try ImageLayout(store).write([(image, "a")], to: FilePath(scratch.path + "/img"))
    try Tool.run([
      "skopeo", "copy", "-q", "--dest-compress-format", "zstd", "--dest-compress", "oci:\(scratch.path)/img:a",
      "oci:\(scratch.path)/foreign:b",
    ])
    let foreign = try #require(try ImageLayout(store).read(FilePath(scratch.path + "/foreign")).first).image
    #expect(foreign.layers.map(\.diffID) == image.layers.map(\.diffID))
    let built = try builder.build(
      base: foreign, platform: "linux/amd64", layers: [(layer("/x", "x"), "x")], change: ImageChange())
    // The base's layers keep the media type of their compression; ours is gzip.
    let types = try builder.document(built.manifest)["layers"]?.array?.map { $0["mediaType"]?.string }
    let zstd = "application/vnd.oci.image.layer.v1.tar+zstd"
    #expect(types == [zstd, zstd, MediaType.layerGzip])
    let folders = try built.layers.map { try LayerUnpacker(store).unpackNow($0).string }
    #expect(
      try folders.flatMap { try scratch.listing($0, modes: false) } == ["bin/", "bin/base 4", "main.py 7", "x 1"])
    try ImageLayout(store).write([(built, "t")], to: FilePath(scratch.path + "/built"))
    try Tool.run(["skopeo", "copy", "-q", "oci:\(scratch.path)/built:t", "dir:\(scratch.path)/checked"])
  }

  @Test func `a damaged blob of a layout is refused by name`() throws {
    let image = try connector()
    try ImageLayout(store).write([(image, nil)], to: FilePath(scratch.path + "/img"))
    let name = "img/blobs/sha256/" + image.layers[0].digest.hex
    var bytes = try #require(try Disk.contents(of: scratch.path + "/" + name, limit: 1 << 20))
    bytes[bytes.count / 2] ^= 1
    try scratch.write(name, bytes)
    let other = try Scratch()
    #expect {
      try ImageLayout(other.store).read(FilePath(scratch.path + "/img"))
    } throws: { ($0 as? Diagnostic)?.message.contains(image.layers[0].digest.hex) == true }
  }

  @Test(arguments: [
    ("index.json", ""), ("index.json", "{}"), ("index.json", #"{"manifests":[{"digest":"sha256:zz","size":1}]}"#),
    ("index.json", #"{"manifests":[{"digest":"sha256:../../x","size":-1}]}"#), ("oci-layout", "{}"),
    ("oci-layout", "["),
  ])
  func `a malformed layout is a diagnostic`(name: String, text: String) throws {
    try ImageLayout(store).write([(base(), nil)], to: FilePath(scratch.path + "/img"))
    try scratch.write("img/" + name, Array(text.utf8))
    #expect(throws: Diagnostic.self) { try ImageLayout(store).read(FilePath(scratch.path + "/img")) }
    #expect(throws: Diagnostic.self) { try ImageLayout(store).read(FilePath(scratch.path + "/none")) }
  }

  @Test func `an index lists platforms in byte order`() throws {
    let amd = try builder.build(base: nil, platform: "linux/amd64", layers: [], change: ImageChange())
    let arm = try builder.build(base: nil, platform: "linux/arm64", layers: [], change: ImageChange())
    let index = try builder.index([arm, amd])
    #expect(try builder.index([amd, arm]) == index)
    #expect(
      try builder.document(index.digest)["manifests"]?.array?.map { $0["platform"]?["architecture"]?.string } == [
        "amd64", "arm64",
      ])
  }
}
