import Caching
import Diagnostics
import Digests
import OCI
import SystemPackage
import TestServers
import Testing

@testable import Distribution

/// Uploads whose connections break.
@Suite struct PushFaultTests {
  private static let chunk = 100_000

  private let fixture: Fixture
  private let waits = Waits()

  init() throws { fixture = try Fixture() }

  private func client() -> RegistryClient {
    var settings = fixture.settings(waits)
    settings.limits.chunk = Self.chunk
    return RegistryClient(settings)
  }

  private func blob(_ size: Int) throws -> (Descriptor, FilePath) {
    let image = try fixture.image(layers: [size])
    return image.blobs[1]
  }

  private func verified(_ descriptor: Descriptor, at registry: ServerProcess) async throws -> Bool {
    let direct = RegistryClient(fixture.settings())
    let name = try Reference("127.0.0.1:\(registry.port)/a/b")
    let artifact = try await direct.pullBlob(descriptor, of: name, into: try fixture.anotherStore())
    await direct.close()
    return artifact.digest == descriptor.digest
  }

  /// Between two chunks, or behind a proxy that passes whole requests on, as many do.
  @Test func `an upload that breaks goes on at the chunk that broke`() async throws {
    let registry = try fixture.registry()
    let proxy = try fixture.faults(before: registry, #"[{"method": "PATCH", "skip": 3, "times": 2, "swallow": 40000}]"#)
    let (descriptor, path) = try blob(450_000)
    let client = client()
    let name = try Reference("127.0.0.1:\(proxy.port)/a/b")
    #expect(try await client.pushBlob(descriptor, from: path, to: name) == .uploaded)
    #expect(try await verified(descriptor, at: registry))
    let patches = try proxy.requests().filter { $0.method == "PATCH" }
    #expect(
      patches.map(\.range) == [
        "0-99999", "100000-199999", "200000-299999", "300000-399999", "300000-399999", "300000-399999", "400000-449999",
      ])
    #expect(patches.reduce(0) { $0 + $1.received } == 450_000 + 2 * 40_000, "only what broke was sent twice")
    await client.close()
  }

  @Test func `a server that keeps what a broken request brought gets only the rest`() async throws {
    let proxy = try fixture.faults(
      """
      [{"method": "HEAD", "path": "blobs/sha256", "times": 0, "status": 404},
       {"method": "PATCH", "skip": 1, "times": 1, "swallow": 40000},
       {"path": "blobs/uploads", "times": 0, "resume": true}]
      """)
    let (descriptor, path) = try blob(450_000)
    let client = client()
    let name = try Reference("127.0.0.1:\(proxy.port)/a/b")
    #expect(try await client.pushBlob(descriptor, from: path, to: name) == .uploaded)
    let patches = try proxy.requests().filter { $0.method == "PATCH" }
    #expect(patches.map(\.range).prefix(3) == ["0-99999", "100000-199999", "140000-239999"])
    #expect(patches.reduce(0) { $0 + $1.received } == 450_000, "no byte was sent twice")
    await client.close()
  }

  /// docker-registry 2.8 forgets an upload whose request broke midway.
  @Test func `an upload that the registry gave up is begun anew`() async throws {
    let registry = try fixture.registry()
    let proxy = try fixture.faults(before: registry, #"[{"method": "PATCH", "skip": 1, "times": 1, "leak": 40000}]"#)
    let (descriptor, path) = try blob(250_000)
    let client = client()
    let name = try Reference("127.0.0.1:\(proxy.port)/a/b")
    #expect(try await client.pushBlob(descriptor, from: path, to: name) == .uploaded)
    #expect(try await verified(descriptor, at: registry))
    #expect(try proxy.requests().count { $0.method == "POST" } == 2)
    await client.close()
  }

  @Test func `a small blob whose upload breaks is sent in a new one`() async throws {
    let registry = try fixture.registry()
    let proxy = try fixture.faults(
      before: registry, #"[{"method": "PUT", "path": "blobs", "times": 2, "swallow": 5000}]"#)
    let (descriptor, path) = try blob(50_000)
    let client = client()
    #expect(
      try await client.pushBlob(descriptor, from: path, to: try Reference("127.0.0.1:\(proxy.port)/a/b")) == .uploaded)
    #expect(try await verified(descriptor, at: registry))
    await client.close()
  }

  @Test(arguments: [50_000, 250_000])
  func `an upload whose last answer was lost is found to be there`(size: Int) async throws {
    let registry = try fixture.registry()
    let proxy = try fixture.faults(
      before: registry, #"[{"method": "PUT", "path": "blobs", "times": 1, "set": {"Content-Length": "99"}, "cut": 0}]"#)
    let (descriptor, path) = try blob(size)
    let client = client()
    #expect(
      try await client.pushBlob(descriptor, from: path, to: try Reference("127.0.0.1:\(proxy.port)/a/b")) == .uploaded)
    #expect(try await verified(descriptor, at: registry))
    #expect(try proxy.requests().count { $0.method == "PUT" } <= 2)
    await client.close()
  }

  @Test func `a registry that fails for good is given up, and nothing is tagged`() async throws {
    let registry = try fixture.registry()
    let proxy = try fixture.faults(before: registry, #"[{"method": "PATCH", "times": 0, "status": 503}]"#)
    let image = try fixture.image(layers: [100, 250_000])
    let client = client()
    let name = try Reference("127.0.0.1:\(proxy.port)/a/b")
    let text = await diagnosed { try await client.push(image, to: name, tag: "1") }
    #expect(text?.contains("cannot push \(name): PATCH http://127.0.0.1:\(proxy.port)/v2/a/b/blobs/uploads/") == true)
    #expect(text?.contains(": 503 UNAVAILABLE (6 attempts)") == true)
    #expect(text?.contains("_state") == false, "an upload's address is a secret")
    #expect(try await client.tags(name) == [])
    #expect(try proxy.requests().allSatisfy { !$0.path.contains("manifests") })
    await client.close()
  }

  @Test(arguments: [416, 405, 404])
  func `a registry that takes no chunks gets the whole`(status: Int) async throws {
    let registry = try fixture.registry()
    let proxy = try fixture.faults(before: registry, #"[{"method": "PATCH", "times": 0, "status": \#(status)}]"#)
    let (descriptor, path) = try blob(250_000)
    let client = client()
    let name = try Reference("127.0.0.1:\(proxy.port)/a/b")
    #expect(try await client.pushBlob(descriptor, from: path, to: name) == .uploaded)
    #expect(try await verified(descriptor, at: registry))
    #expect(try proxy.requests().filter { $0.method == "PUT" }.map(\.received) == [250_000])
    await client.close()
  }

  @Test func `a registry that keeps nothing of what it is sent is given up`() async throws {
    let registry = try fixture.registry()
    let proxy = try fixture.faults(before: registry, #"[{"method": "PATCH", "times": 0, "set": {"Range": "0-0"}}]"#)
    let (descriptor, path) = try blob(250_000)
    let client = client()
    let text = await diagnosed {
      try await client.pushBlob(descriptor, from: path, to: try Reference("127.0.0.1:\(proxy.port)/a/b"))
    }
    #expect(text?.contains("the registry has 0 bytes, not the 100000 that it was sent") == true)
    await client.close()
  }

  @Test func `bytes that are not the digest's are not sent again and again`() async throws {
    let registry = try fixture.registry()
    let proxy = try fixture.faults(before: registry, "[]")
    let (descriptor, path) = try blob(250_000)
    let lying = Descriptor(mediaType: descriptor.mediaType, digest: Digest(of: "other"), size: descriptor.size)
    let client = client()
    let text = await diagnosed {
      try await client.pushBlob(lying, from: path, to: try Reference("127.0.0.1:\(proxy.port)/a/b"))
    }
    #expect(text?.contains("400 DIGEST_INVALID") == true)
    #expect(try proxy.requests().filter { $0.method == "PATCH" }.reduce(0) { $0 + $1.received } == 250_000)
    await client.close()
  }

  @Test func `a server that dies midway is asked a bounded number of times`() async throws {
    let proxy = try fixture.faults(
      """
      [{"method": "HEAD", "path": "blobs/sha256", "times": 0, "status": 404},
       {"method": "PATCH|GET", "path": "kept", "skip": 1, "times": 0, "status": 502},
       {"path": "blobs/uploads", "times": 0, "resume": true}]
      """)
    let (descriptor, path) = try blob(250_000)
    let client = client()
    let text = await diagnosed {
      try await client.pushBlob(descriptor, from: path, to: try Reference("127.0.0.1:\(proxy.port)/a/b"))
    }
    #expect(text?.contains("502 BAD_GATEWAY (6 attempts)") == true)
    #expect(try proxy.requests().count { $0.path.contains("kept") } == 1 + 1 + 6, "not attempts times attempts")
    await client.close()
  }

  @Test func `blobs come before the manifest, and the tag is last`() async throws {
    let registry = try fixture.registry()
    let proxy = try fixture.faults(before: registry, "[]")
    let image = try fixture.image(layers: [10, 20, 250_000])
    let client = client()
    try await client.push(image, to: try Reference("127.0.0.1:\(proxy.port)/a/b"), tag: "1.0")
    let puts = try proxy.requests().filter { $0.method == "PUT" }.map { $0.path.prefix { $0 != "?" } }
    #expect(puts.dropLast(2).allSatisfy { $0.contains("/blobs/") })
    #expect(puts.suffix(2) == ["/v2/a/b/manifests/\(image.manifest.descriptor.digest.oci)", "/v2/a/b/manifests/1.0"])
    await client.close()
  }

  @Test func `a registry that says that it took other bytes is not believed`() async throws {
    let registry = try fixture.registry()
    let other = Digest(of: "other").oci
    let proxy = try fixture.faults(
      before: registry,
      #"[{"method": "PUT", "path": "manifests", "times": 0, "set": {"Docker-Content-Digest": "\#(other)"}}]"#)
    let image = try fixture.image(layers: [10])
    let client = client()
    let text = await diagnosed {
      try await client.push(image, to: try Reference("127.0.0.1:\(proxy.port)/a/b"), tag: "1")
    }
    #expect(text?.contains("the registry took other bytes: it says \(other)") == true)
    await client.close()
  }

  @Test func `a file that shrinks while it is sent is said so`() async throws {
    let file = fixture.folder.appending("shrinking")
    try ServerProcess.write(String(repeating: "x", count: 1000), to: file.string)
    let open = try OpenFile(file)
    try ServerProcess.write("x", to: file.string)
    let piece = FilePiece(file: open, offset: 0, length: 1000)
    let text = await diagnosed { for try await _ in piece {} }
    #expect(text == "error: `\(file)` became shorter while it was read\n")
  }

  /// As docker-registry leaves it for a moment whenever somebody pushes the same manifest, for it writes in place.
  @Test func `a manifest that somebody else is pushing at that moment is named again a little later`() async throws {
    let registry = try fixture.registry()
    let name = try Reference("127.0.0.1:\(registry.port)/a/b")
    let image = try fixture.image(layers: [100])
    try await fixture.client(fixture.settings()).push(image, to: name)
    let digest = image.manifest.descriptor.digest
    let link = registry.folder.appending(
      "data/docker/registry/v2/repositories/a/b/_manifests/revisions/sha256/\(digest.hex)/link")
    @Sendable func write(_ text: String) throws {
      let file = try FileDescriptor.open(link, .writeOnly, options: .truncate)
      try file.closeAfter { _ = try file.writeAll(text.utf8) }
    }
    try write("")
    var settings = fixture.settings()
    let isWaiting = Waits()
    settings.time.sleep = { duration in
      isWaiting.note(duration)
      if isWaiting.durations.count == 2 { try write(digest.oci) }
    }
    let client = RegistryClient(settings)
    let index = JSON.object([
      "schemaVersion": .number(2), "mediaType": .string(MediaType.index),
      "manifests": .array([
        .object([
          "mediaType": .string(MediaType.manifest), "digest": .string(digest.oci),
          "size": .number(image.manifest.descriptor.size),
        ])
      ]),
    ]).encoded
    try await client.pushManifest(index, mediaType: MediaType.index, to: try name.tagged("all"), byDigest: false)
    #expect(isWaiting.durations.count == 2)
    // A registry that stays so is an error, not a loop.
    try write("")
    await #expect(throws: Diagnostic.self) {
      try await fixture.client(fixture.settings())
        .pushManifest(index, mediaType: MediaType.index, to: try name.tagged("all"), byDigest: false)
    }
    await client.close()
  }
}
