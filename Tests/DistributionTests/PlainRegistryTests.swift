import Caching
import Diagnostics
import Digests
import OCI
import Synchronization
import SystemPackage
import TestServers
import Testing

@testable import Distribution

/// Against docker-registry without TLS or credentials.
@Suite struct PlainRegistryTests {
  private let fixture: Fixture
  private let registry: ServerProcess
  private let client: RegistryClient

  init() throws {
    fixture = try Fixture()
    registry = try fixture.registry()
    var settings = fixture.settings()
    settings.limits.chunk = 64 << 10
    client = RegistryClient(settings)
  }

  private func reference(_ text: String) throws -> Reference { try Reference("127.0.0.1:\(registry.port)/\(text)") }

  @Test func `an image that was pushed is pulled into an empty store with the same digests`() async throws {
    let image = try fixture.image(layers: [10, 200_000, 300_000, 0])
    let name = try reference("airbyte/source-faker:1.0.0")
    #expect(try await client.resolve(name) == nil)
    #expect(try await client.tags(name) == [])
    let pushed = try await client.push(image, to: name)
    #expect(pushed == Array(repeating: .uploaded, count: 5))
    #expect(try await client.resolve(name) == nil, "no tag was asked for")
    #expect(try await client.resolve(name.pinned(to: image.manifest.descriptor.digest)) == image.manifest.descriptor)
    try await client.push(image, to: name, tag: "1.0.0")
    #expect(try await client.resolve(name) == image.manifest.descriptor)

    let store = try fixture.anotherStore()
    let pulled = try await client.pull(name, platform: "linux/amd64", into: store)
    #expect(pulled.manifest == image.manifest.descriptor)
    #expect(pulled.parts.blobs == image.blobs.map(\.descriptor))
    for blob in pulled.parts.blobs { #expect(Digest(of: try store.read(blob.digest, limit: 1 << 20)) == blob.digest) }
    #expect(try store.read(pulled.manifest.digest, limit: 1 << 20) == image.manifest.bytes)
    await client.close()
  }

  @Test func `what is there is not sent again, and what another repository has is mounted`() async throws {
    let image = try fixture.image(layers: [70_000, 100])
    try await client.push(image, to: try reference("base/python"), tag: "1")
    let again = try await client.push(image, to: try reference("base/python"), tag: "1")
    #expect(again == [.present, .present, .present])
    let mounted = try await client.push(
      image, to: try reference("airbyte/x"), tag: "1", mountFrom: { _ in ["no/such", "base/python"] })
    #expect(mounted.dropFirst().allSatisfy { $0 == .uploaded || $0 == .mounted(from: "base/python") })
    let direct = try await client.push(
      image, to: try reference("airbyte/y"), tag: "1", mountFrom: { _ in ["base/python"] })
    #expect(direct.allSatisfy { if case .mounted = $0 { true } else { false } })
    await client.close()
  }

  @Test func `progress ends at the whole, for a push and for a pull`() async throws {
    let image = try fixture.image(layers: [150_000, 1000])
    let total = image.blobs.reduce(0) { $0 + $1.descriptor.size }
    let name = try reference("a/b:1")
    let seen = Mutex<[TransferProgress]>([])
    try await client.push(image, to: name, tag: "1", progress: { progress in seen.withLock { $0.append(progress) } })
    _ = try await client.pull(name, platform: "linux/amd64", into: try fixture.anotherStore()) { progress in
      seen.withLock { $0.append(progress) }
    }
    let all = seen.withLock { $0 }
    #expect(all.count { $0 == TransferProgress(bytesDone: total, bytesTotal: total, blobsDone: 3, blobsTotal: 3) } >= 2)
    #expect(all.allSatisfy { $0.bytesDone >= 0 && $0.bytesDone <= total && $0.bytesTotal == total })
    await client.close()
  }

  @Test func `all pages of the tags are read`() async throws {
    let image = try fixture.image(layers: [10])
    let name = try reference("many/tags")
    try await client.push(image, to: name)
    let tags = (0..<25).map { "t\($0)" }.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    for tag in tags.reversed() {
      try await client.pushManifest(
        image.manifest.bytes, mediaType: MediaType.manifest, to: try name.tagged(tag), byDigest: false)
    }
    // docker-registry 2.8 pages only its catalogue; the paging itself is tested against a server of our own.
    #expect(try await client.tags(name) == tags)
    await client.close()
  }

  @Test func `an index is searched for the platform, and what it offers is said`() async throws {
    let image = try fixture.image(layers: [10])
    let name = try reference("multi/arch:1")
    try await client.push(image, to: name)
    let entry = JSON.object([
      "mediaType": .string(MediaType.manifest), "digest": .string(image.manifest.descriptor.digest.oci),
      "size": .number(image.manifest.descriptor.size),
      "platform": .object(["os": .string("linux"), "architecture": .string("amd64")]),
    ])
    let index = JSON.object([
      "schemaVersion": .number(2), "mediaType": .string(MediaType.index), "manifests": .array([entry]),
    ]).encoded
    try await client.pushManifest(index, mediaType: MediaType.index, to: name, byDigest: false)
    let pulled = try await client.pull(name, platform: "linux/amd64", into: try fixture.anotherStore())
    #expect(pulled.index?.digest == Digest(of: index))
    #expect(pulled.manifest == image.manifest.descriptor)
    let text = await diagnosed {
      _ = try await client.pull(name, platform: "linux/arm64", into: try fixture.anotherStore())
    }
    #expect(
      text == """
        error: cannot pull \(name): it offers no image for linux/arm64
        hint: it offers linux/amd64

        """)
    await client.close()
  }

  @Test func `an image for another platform is refused`() async throws {
    let name = try reference("one/arch:1")
    try await client.push(try fixture.image(layers: [10]), to: name, tag: "1")
    let text = await diagnosed { _ = try await client.pull(name, platform: "linux/arm64", into: fixture.store) }
    #expect(text == "error: cannot pull \(name): the image is for linux/amd64, not for linux/arm64\n")
    await client.close()
  }

  @Test func `what is not there is said with its request`() async throws {
    let name = try reference("no/such:1")
    let text = await diagnosed { _ = try await client.manifest(name) }
    #expect(
      text == """
        error: cannot pull \(name): GET /v2/no/such/manifests/1: 404 NOT_FOUND
        hint: check the name and the tag; a private repository may hide itself

        """)
    await client.close()
  }

  @Test func `a manifest whose blobs are missing is refused with the registry's words`() async throws {
    let image = try fixture.image(layers: [10])
    let name = try reference("half/image")
    let text = await diagnosed {
      try await client.pushManifest(
        image.manifest.bytes, mediaType: MediaType.manifest, to: try name.tagged("1"), byDigest: false)
    }
    #expect(
      text?.contains("cannot push \(name):1: PUT http://127.0.0.1:\(registry.port)/v2/half/image/manifests/1: ") == true
    )
    #expect(text?.contains("400 MANIFEST_BLOB_UNKNOWN: blob unknown to registry") == true)
    #expect(try await client.tags(name) == [])
    await client.close()
  }

  @Test func `a file that does not have its descriptor's bytes is never in the repository`() async throws {
    let image = try fixture.image(layers: [100, 100_000])
    for (descriptor, _) in image.blobs {
      let lying = Descriptor(mediaType: descriptor.mediaType, digest: Digest(of: "other"), size: descriptor.size)
      let path = try fixture.store.path(of: descriptor.digest, executable: false)
      let text = await diagnosed { try await client.pushBlob(lying, from: path, to: try reference("a/b")) }
      #expect(text?.contains("DIGEST_INVALID") == true, "\(text ?? "pushed")")
      #expect(try await !client.hasBlob(lying, in: try reference("a/b")))
      let short = Descriptor(mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size + 1)
      let shorter = await diagnosed { try await client.pushBlob(short, from: path, to: try reference("a/b")) }
      #expect(shorter?.contains("but its descriptor says \(descriptor.size + 1)") == true)
    }
    await client.close()
  }

  @Test func `nothing that listens is said so`() async throws {
    let port = try ServerProcess.freePort()
    let name = try Reference("127.0.0.1:\(port)/a/b:1")
    let text = await diagnosed { _ = try await client.resolve(name) }
    #expect(
      text == """
        error: cannot pull \(name): HEAD http://127.0.0.1:\(port)/v2/a/b/manifests/1: connection refused (6 attempts)
        hint: is a registry running at 127.0.0.1:\(port)?

        """)
    await client.close()
  }

  @Test func `a closed client is never opened again`() async throws {
    await client.close()
    let name = try reference("a/b:1")
    #expect(await diagnosed { _ = try await client.resolve(name) }?.contains("the registry client is closed") == true)
  }

  // MARK: Several at once

  @Test func `a layer that many images share is sent once, and mounted by the others`() async throws {
    let spy = try fixture.faults(before: registry, "[]")
    let image = try fixture.image(layers: [150_000])
    let client = client
    let results = try await withThrowingTaskGroup(of: [BlobPush].self) { group in
      for number in 0..<6 {
        let name = try Reference("127.0.0.1:\(spy.port)/shared/c\(number)")
        group.addTask { try await client.push(image, to: name, tag: "1") }
      }
      return try await group.reduce(into: []) { $0.append($1[1]) }
    }
    #expect(results.count { $0 == .uploaded } == 1)
    #expect(results.count { if case .mounted = $0 { true } else { false } } == 5)
    #expect(try spy.requests().filter { $0.method == "PATCH" }.reduce(0) { $0 + $1.received } == 150_000)
    await client.close()
  }

  @Test func `a layer that many images share is fetched once`() async throws {
    let image = try fixture.image(layers: [150_000])
    try await client.push(image, to: try reference("a/b"), tag: "1")
    let spy = try fixture.faults(before: registry, "[]")
    let name = try Reference("127.0.0.1:\(spy.port)/a/b:1")
    let store = try fixture.anotherStore()
    let client = client
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<5 { group.addTask { _ = try await client.pull(name, platform: "linux/amd64", into: store) } }
      try await group.waitForAll()
    }
    #expect(try spy.requests().count { $0.path.contains("blobs") } == 2)
    await client.close()
  }

  // MARK: Referrers

  /// docker-registry 2.8 knows no referrers, so they go to the tag.
  @Test func `what is attached to an image is listed under the tag of its digest`() async throws {
    let image = try fixture.image(layers: [10])
    let name = try reference("with/sbom")
    try await client.push(image, to: name, tag: "1")
    let subject = image.manifest.descriptor
    #expect(try await client.referrers(of: subject.digest, in: name) == [])
    var expected: [Referrer] = []
    for (type, text) in [("application/spdx+json", "{}"), ("application/vnd.in-toto+json", "[]")] {
      let blob = try fixture.store.insert(Array(text.utf8))
      let descriptor = Descriptor(mediaType: type, digest: blob.digest, size: blob.size)
      try await client.pushBlob(descriptor, from: try fixture.store.path(of: blob), to: name)
      let manifest = try #require(JSON(decoding: Fixture.manifest(descriptor, [descriptor])))
      var members = try #require(manifest.object)
      members["artifactType"] = .string(type)
      members["annotations"] = .object(["made.by": .string("tests")])
      members["subject"] = .object([
        "mediaType": .string(subject.mediaType), "digest": .string(subject.digest.oci), "size": .number(subject.size),
      ])
      let bytes = JSON.object(members).encoded
      for _ in 0..<2 {
        let pushed = try await client.pushReferrer(bytes, mediaType: MediaType.manifest, to: name)
        #expect(pushed.digest == Digest(of: bytes))
      }
      expected.append(
        Referrer(
          descriptor: Descriptor(mediaType: MediaType.manifest, digest: Digest(of: bytes), size: bytes.count),
          artifactType: type, annotations: ["made.by": "tests"]))
    }
    #expect(try await client.referrers(of: subject.digest, in: name) == expected)
    #expect(try await client.tags(name) == ["1", "sha256-" + subject.digest.hex])
    await client.close()
  }

  @Test func `a registry that lists referrers itself is asked`() async throws {
    let digest = Digest(of: "subject")
    let entry = Digest(of: "entry").oci
    let proxy = try fixture.faults(
      """
      [{"path": "referrers", "times": 0, "status": 200, "headers": {"Content-Type": "\(MediaType.index)"},
        "body": "{\\"manifests\\": [{\\"digest\\": \\"\(entry)\\", \\"size\\": 3, \\"artifactType\\": \\"x/y\\"}]}"}]
      """)
    let found = try await client.referrers(of: digest, in: try Reference("127.0.0.1:\(proxy.port)/a/b"))
    #expect(found.map(\.artifactType) == ["x/y"])
    #expect(try proxy.requests().last?.path == "/v2/a/b/referrers/\(digest.oci)")
    await client.close()
  }

  // MARK: Interop

  @Test func `skopeo copies what was pushed, digest kept`() async throws {
    let layer = try realLayer()
    let name = try reference("interop/ours:1")
    try await client.push(layer, to: name, tag: "1")
    let layout = fixture.folder.string + "/layout"
    try ServerProcess.run(
      ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "docker://\(name)", "oci:\(layout):1"],
      folder: fixture.folder)
    let read = try ImageLayout(try fixture.anotherStore()).read(FilePath(layout))
    #expect(read.first?.image.manifest == layer.manifest.descriptor.digest)
    await client.close()
  }

  @Test(arguments: ["oci", "v2s2"])
  func `what skopeo pushed is pulled`(format: String) async throws {
    let image = try realLayer()
    let name = try reference("interop/theirs:1")
    let layout = fixture.folder.appending("ours")
    let artifact = try artifact(image)
    try ImageLayout(fixture.store).write([(artifact, "1")], to: layout)
    try ServerProcess.run(
      [
        "skopeo", "--insecure-policy", "copy", "--format", format, "--dest-tls-verify=false", "oci:\(layout):1",
        "docker://\(name)",
      ], folder: fixture.folder)
    let store = try fixture.anotherStore()
    let pulled = try await client.pull(name, platform: "linux/amd64", into: store)
    #expect(pulled.manifest.mediaType == (format == "oci" ? MediaType.manifest : MediaType.dockerManifest))
    #expect(pulled.parts.layers.map(\.digest) == artifact.layers.map(\.digest))
    await client.close()
  }

  /// An image with a real gzip layer, which skopeo looks into.
  private func realLayer() throws -> PushableImage {
    let writer = try fixture.makeFolder("tree")
    try ServerProcess.write("hello\n", to: writer.string + "/file")
    let tar = fixture.folder.string + "/layer.tar"
    try ServerProcess.run(
      ["tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-cf", tar, "-C", writer.string, "file"],
      folder: fixture.folder)
    let diffID = Digest(of: try #require(try Disk.contents(of: tar, limit: 1 << 20)))
    try ServerProcess.run(["gzip", "-n", tar], folder: fixture.folder)
    let layer = try fixture.store.insert(try #require(try Disk.contents(of: tar + ".gz", limit: 1 << 20)))
    let config = try fixture.store.insert(
      JSON.object([
        "architecture": .string("amd64"), "os": .string("linux"), "config": .object([:]),
        "rootfs": .object(["type": .string("layers"), "diff_ids": .strings([diffID.oci])]),
      ]).encoded)
    let manifest = try fixture.store.insert(
      Fixture.manifest(
        Descriptor(mediaType: MediaType.config, digest: config.digest, size: config.size),
        [Descriptor(mediaType: MediaType.layerGzip, digest: layer.digest, size: layer.size)]))
    return try PushableImage(manifest: manifest.digest, in: fixture.store)
  }

  private func artifact(_ image: PushableImage) throws -> ImageArtifact {
    let parts = try #require(ImageParts(image.manifest.json))
    let config = try #require(JSON(decoding: try fixture.store.read(parts.config.digest, limit: 1 << 20)))
    let diffIDs = config["rootfs"]?["diff_ids"]?.strings?.compactMap { Digest(oci: $0) } ?? []
    return ImageArtifact(
      platform: "linux/amd64",
      layers: zip(diffIDs, parts.layers).map {
        ImageArtifact.Layer(diffID: $0, digest: $1.digest, size: $1.size)
      },
      config: parts.config.digest, configSize: parts.config.size, manifest: image.manifest.descriptor.digest,
      manifestSize: image.manifest.descriptor.size, run: .init())
  }
}
