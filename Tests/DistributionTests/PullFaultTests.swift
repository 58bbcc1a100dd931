import Caching
import Diagnostics
import Digests
import OCI
import SystemPackage
import TestServers
import Testing

@testable import Distribution

/// A registry behind a proxy that breaks its answers.
@Suite struct PullFaultTests {
  private let fixture: Fixture
  private let registry: ServerProcess
  private let waits = Waits()

  init() throws {
    fixture = try Fixture()
    registry = try fixture.registry()
  }

  /// Pushes an image past the proxy, and gives what asks for it through the proxy.
  private func pushed(_ layers: [Int], faults rules: String, _ adjust: (inout RegistrySettings) -> Void = { _ in })
    async throws -> (image: PushableImage, proxy: FaultyServer, client: RegistryClient, name: Reference, store: Store)
  {
    let image = try fixture.image(layers: layers)
    let direct = RegistryClient(fixture.settings())
    try await direct.push(image, to: try Reference("127.0.0.1:\(registry.port)/a/b"), tag: "1")
    await direct.close()
    let proxy = try fixture.faults(before: registry, rules)
    var settings = fixture.settings(waits)
    adjust(&settings)
    return (
      image, proxy, RegistryClient(settings), try Reference("127.0.0.1:\(proxy.port)/a/b:1"),
      try fixture.anotherStore()
    )
  }

  private func url(_ proxy: FaultyServer, _ rest: String) -> String { "http://127.0.0.1:\(proxy.port)/v2/a/b/\(rest)" }

  // MARK: What passes

  @Test func `a busy registry is waited for as long as it asks`() async throws {
    let (image, proxy, client, name, store) = try await pushed(
      [100],
      faults: """
        [{"path": "manifests", "times": 2, "status": 429, "headers": {"Retry-After": "7"}},
         {"path": "blobs", "times": 1, "status": 503, "headers": {"Retry-After": "Sun, 09 Sep 2001 01:46:43 GMT"}}]
        """)
    let pulled = try await client.pull(name, platform: "linux/amd64", into: store)
    #expect(pulled.manifest == image.manifest.descriptor)
    // The clock of these tests stands at 2001-09-09 01:46:40; half of 250 and of 500 ms comes on top.
    #expect(waits.durations == [.milliseconds(7125), .milliseconds(7250), .milliseconds(3125)])
    #expect(try proxy.requests().count { $0.path.contains("manifests") } == 3)
    await client.close()
  }

  @Test func `a download goes on where the connection broke`() async throws {
    let (image, proxy, client, name, store) = try await pushed(
      [1_000_000], faults: #"[{"method": "GET", "path": "blobs", "times": 2, "cut": 300000}]"#)
    let layer = image.blobs[1].descriptor
    let artifact = try await client.pullBlob(layer, of: name, into: store)
    #expect(artifact.digest == layer.digest)
    let ranges = try proxy.requests().filter { $0.path.contains("blobs") }.map(\.range)
    #expect(ranges.count == 3)
    #expect(ranges[0] == "")
    // What was under way when the connection broke may be lost, nothing else.
    let starts = ranges.dropFirst().compactMap { Int($0.dropFirst(6).prefix { $0 != "-" }) }
    #expect(starts.count == 2 && starts[0] > 0 && starts[0] <= 300_000 && starts[1] > starts[0], "\(ranges)")
    #expect(ranges.dropFirst().allSatisfy { $0.hasSuffix("-999999") })
    await client.close()
  }

  @Test func `a server that gives no parts is asked for the whole again`() async throws {
    let (image, _, client, name, store) = try await pushed(
      [400_000],
      faults: """
        [{"method": "GET", "path": "blobs", "times": 1, "cut": 100000},
         {"method": "GET", "path": "blobs", "times": 1, "status": 416},
         {"method": "GET", "path": "blobs", "times": 1, "cut": 100000}]
        """)
    let layer = image.blobs[1].descriptor
    #expect(try await client.pullBlob(layer, of: name, into: store).digest == layer.digest)
    await client.close()
  }

  @Test func `a flipped byte is noticed, and the blob asked for again`() async throws {
    let (image, proxy, client, name, store) = try await pushed(
      [100_000], faults: #"[{"method": "GET", "path": "blobs", "times": 1, "flip": 50000}]"#)
    let layer = image.blobs[1].descriptor
    #expect(try await client.pullBlob(layer, of: name, into: store).digest == layer.digest)
    #expect(try proxy.requests().count { $0.path.contains("blobs") } == 2)
    await client.close()
  }

  // MARK: What does not

  @Test func `a registry that stays broken is given up, with its answer and the count`() async throws {
    let (_, proxy, client, name, _) = try await pushed(
      [10],
      faults:
        #"[{"path": "manifests", "times": 0, "status": 500, "headers": {"Content-Type": "text/plain"}, "body": "disk full"}]"#
    )
    let text = await diagnosed { _ = try await client.manifest(name) }
    #expect(
      text == "error: cannot pull \(name): GET \(url(proxy, "manifests/1")): "
        + "500 INTERNAL_SERVER_ERROR: disk full (6 attempts)\n")
    #expect(waits.durations.count == 5)
    await client.close()
  }

  @Test func `a wait that is too long is not waited for`() async throws {
    let (_, proxy, client, name, _) = try await pushed(
      [10],
      faults: """
        [{"path": "manifests", "times": 0, "status": 429, "headers": {"Retry-After": "3600"},
          "body": "{\\"errors\\": [{\\"code\\": \\"TOOMANYREQUESTS\\", \\"message\\": \\"you have reached your limit\\"}]}"}]
        """)
    let text = await diagnosed { _ = try await client.manifest(name) }
    #expect(
      text == """
        error: cannot pull \(name): GET \(url(proxy, "manifests/1")): 429 TOOMANYREQUESTS: you have reached your limit
        hint: the registry asks to wait 3600 s
        hint: pull with credentials, or through a mirror (`registries:` in slipway.yaml)

        """)
    #expect(waits.durations.isEmpty)
    await client.close()
  }

  @Test(arguments: [401, 403, 404, 400])
  func `a plain refusal is not asked again`(status: Int) async throws {
    let (_, proxy, client, name, _) = try await pushed(
      [10], faults: #"[{"path": "manifests", "times": 0, "status": \#(status)}]"#)
    let text = await diagnosed { _ = try await client.manifest(name) }
    #expect(text?.contains(": \(status) ") == true)
    #expect(try proxy.requests().count { $0.path.contains("manifests") } == 1)
    await client.close()
  }

  @Test func `an HTML page is named by its type and never printed`() async throws {
    for (rule, expected) in [
      (
        #""status": 502, "headers": {"Content-Type": "text/html; charset=x"}"#,
        "502 BAD_GATEWAY: the answer is `text/html`, not one of a registry (6 attempts)"
      ),
      (#""status": 200, "headers": {"Content-Type": "text/html"}"#, "the answer is `text/html`, not a manifest"),
    ] {
      let (_, proxy, client, name, _) = try await pushed(
        [10], faults: #"[{"path": "manifests", "times": 0, "body": "<html><b>login</b>", \#(rule)}]"#)
      let text = await diagnosed { _ = try await client.manifest(name) }
      #expect(text == "error: cannot pull \(name): GET \(url(proxy, "manifests/1")): \(expected)\n")
      await client.close()
    }
  }

  @Test func `a manifest that is not what its digest says is refused`() async throws {
    let (image, _, client, name, store) = try await pushed(
      [10], faults: #"[{"path": "manifests", "times": 0, "flip": 30}]"#)
    let pinned = name.pinned(to: image.manifest.descriptor.digest)
    let text = await diagnosed { _ = try await client.pull(pinned, platform: "linux/amd64", into: store) }
    #expect(text?.contains("the manifest has the digest sha256:") == true)
    #expect(text?.contains("not the one asked for (6 attempts)") == true)
    let tagged = await diagnosed { _ = try await client.manifest(name) }
    #expect(tagged?.contains("but its header says \(image.manifest.descriptor.digest.oci)") == true)
    await client.close()
  }

  @Test func `a header with another digest is refused for a tag`() async throws {
    let other = Digest(of: "other").oci
    let (_, _, client, name, _) = try await pushed(
      [10],
      faults: #"[{"method": "GET", "path": "manifests", "times": 0, "set": {"Docker-Content-Digest": "\#(other)"}}]"#)
    #expect(await diagnosed { _ = try await client.manifest(name) }?.contains("but its header says \(other)") == true)
    await client.close()
  }

  @Test func `a server that names no digest in its header is read in full`() async throws {
    let (image, proxy, client, name, _) = try await pushed(
      [10], faults: #"[{"method": "HEAD", "path": "manifests", "times": 0, "set": {"Docker-Content-Digest": null}}]"#)
    #expect(try await client.resolve(name) == image.manifest.descriptor)
    #expect(try proxy.requests().map(\.method).suffix(2) == ["HEAD", "GET"])
    await client.close()
  }

  @Test func `a layer that is larger or smaller than it should be is refused at once`() async throws {
    let (image, proxy, client, name, store) = try await pushed([100_000], faults: "[]")
    let layer = image.blobs[1].descriptor
    for size in [99_999, 100_001] {
      let lying = Descriptor(mediaType: layer.mediaType, digest: layer.digest, size: size)
      let text = await diagnosed { try await client.pullBlob(lying, of: name, into: store) }
      #expect(
        text == "error: cannot pull \(name): GET \(url(proxy, "blobs/" + layer.digest.oci)): "
          + "the blob has 100000 bytes, but its descriptor says \(size)\n")
    }
    #expect(!store.contains(layer.digest, size: 100_000))
    #expect(waits.durations.isEmpty)
    await client.close()
  }

  @Test func `a layer without a length is cut off at its descriptor's size`() async throws {
    let proxy = try fixture.faults(
      #"[{"path": "blobs", "times": 0, "status": 200, "body": "\#(String(repeating: "x", count: 5000))", "chunked": true}]"#
    )
    let client = RegistryClient(fixture.settings())
    let name = try Reference("127.0.0.1:\(proxy.port)/a/b:1")
    let lying = Descriptor(mediaType: MediaType.layerGzip, digest: Digest(of: "x"), size: 10)
    let text = await diagnosed { try await client.pullBlob(lying, of: name, into: fixture.store) }
    #expect(text?.contains("the blob has more than the 10 bytes that its descriptor says") == true)
    await client.close()
  }

  @Test func `a blob in an encoding is refused, since its digest is of other bytes`() async throws {
    let (image, _, client, name, store) = try await pushed(
      [1000], faults: #"[{"path": "blobs", "times": 0, "set": {"Content-Encoding": "gzip"}}]"#)
    let text = await diagnosed { try await client.pullBlob(image.blobs[1].descriptor, of: name, into: store) }
    #expect(text?.contains("the blob is sent in the encoding `gzip`, which was not asked for") == true)
    await client.close()
  }

  @Test(arguments: [false, true])
  func `a manifest beyond the limit is not read`(chunked: Bool) async throws {
    let rules = #"[{"path": "manifests", "times": 0, "chunked": \#(chunked)}]"#
    let (_, _, client, name, _) = try await pushed([10], faults: rules) { $0.limits.manifest = 100 }
    let text = await diagnosed { _ = try await client.manifest(name) }
    #expect(text?.contains("the answer has more than the 100 bytes allowed") == true)
    await client.close()
  }

  @Test(arguments: [
    (#"{"schemaVersion": 1}"#, "the manifest is not of schema version 2"), ("[]", "is not the JSON of a manifest"),
    (#"{"schemaVersion": 2, "mediaType": "\#(MediaType.index)", "manifests": []}"#, "calls itself"),
    (#"{"schemaVersion": 2}"#, "lists no layers"),
    (#"{"schemaVersion": 2, "layers": [], "manifests": []}"#, "lists no layers"),
  ])
  func `a document that is no manifest is refused`(body: String, reason: String) async throws {
    let text = JSON.string(body).encoded
    let proxy = try fixture.faults(
      """
      [{"path": "manifests", "status": 200, "headers": {"Content-Type": "\(MediaType.manifest)"},
        "body": \(String(decoding: text, as: UTF8.self))}]
      """)
    let client = RegistryClient(fixture.settings())
    let name = try Reference("127.0.0.1:\(proxy.port)/a/b:1")
    #expect(await diagnosed { _ = try await client.manifest(name) }?.contains(reason) == true)
    await client.close()
  }

  @Test func `a store that cannot be written is the disk's error, and is not asked for twice`() async throws {
    let (image, proxy, client, name, store) = try await pushed([1000], faults: "[]")
    let folder = store.root.string + "/tmp"
    try Disk.removeTree(folder)
    try ServerProcess.write("", to: folder)
    let text = await diagnosed { try await client.pullBlob(image.blobs[1].descriptor, of: name, into: store) }
    #expect(text?.hasPrefix("error: cannot make the folder `\(folder)/") == true)
    #expect(try proxy.requests().count { $0.path.contains("blobs") } <= 1)
    await client.close()
  }

  // MARK: Time

  @Test func `a server that hangs is given up after the idle limit`() async throws {
    let (_, proxy, client, name, _) = try await pushed(
      [10], faults: #"[{"path": "manifests", "times": 0, "hang": 30}]"#
    ) {
      $0.limits.idle = .milliseconds(200)
      $0.retry.attempts = 2
    }
    let start = ContinuousClock.now
    let text = await diagnosed { _ = try await client.manifest(name) }
    #expect(
      text
        == "error: cannot pull \(name): GET \(url(proxy, "manifests/1")): no answer within the time limit (2 attempts)\n"
    )
    #expect(ContinuousClock.now - start < .seconds(20))
    await client.close()
  }

  @Test func `a server that drips is given up once the whole time is over`() async throws {
    let (image, _, client, name, store) = try await pushed(
      [200_000], faults: #"[{"method": "GET", "path": "blobs", "times": 0, "drip": 100}]"#
    ) {
      $0.limits.request = .milliseconds(500)
      $0.limits.minimumRate = 1 << 30
      $0.retry.attempts = 1
    }
    let text = await diagnosed { try await client.pullBlob(image.blobs[1].descriptor, of: name, into: store) }
    #expect(text?.contains("no answer within the time limit") == true)
    await client.close()
  }

  @Test func `who waits for others' transfers does not run out of time`() async throws {
    let sizes = (1...8).map { 2000 + $0 }
    let (image, _, client, name, store) = try await pushed(
      sizes, faults: #"[{"method": "GET", "path": "blobs", "times": 0, "drip": 400}]"#
    ) {
      $0.limits.connections = 2
      $0.limits.transfers = 20
      $0.limits.connect = .milliseconds(250)
    }
    let pulled = try await client.pull(name, platform: "linux/amd64", into: store)
    #expect(pulled.parts.layers.map(\.digest) == image.blobs.dropFirst().map(\.descriptor.digest))
    #expect(waits.durations.isEmpty)
    await client.close()
  }

  @Test func `a cancelled pull ends, and leaves nothing`() async throws {
    let (image, _, client, name, store) = try await pushed(
      [500_000], faults: #"[{"method": "GET", "path": "blobs", "times": 0, "drip": 100}]"#)
    let task = Task { try await client.pullBlob(image.blobs[1].descriptor, of: name, into: store) }
    try await Task.sleep(for: .milliseconds(300))
    task.cancel()
    let result = await task.result
    #expect(throws: (any Error).self) { try result.get() }
    #expect(!store.contains(image.blobs[1].descriptor.digest, size: 500_000))
    await client.close()
  }
}
