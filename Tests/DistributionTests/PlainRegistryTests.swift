import Caching
import Diagnostics
import Digests
import OCI
import SystemPackage
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
    let image = try fixture.image(layers: [10, 200_000, 300_000])
    let name = try reference("airbyte/source-faker:1.0.0")
    #expect(try await client.resolve(name) == nil)
    let pushed = try await client.push(image, to: name, tag: "1.0.0")
    #expect(pushed == [.uploaded, .uploaded, .uploaded, .uploaded])
    #expect(try await client.resolve(name) == image.manifest.descriptor)
    let store = try fixture.anotherStore()
    let pulled = try await client.pull(name, platform: "linux/amd64", into: store)
    #expect(pulled.manifest == image.manifest.descriptor)
    #expect(pulled.parts.blobs == image.blobs.map(\.descriptor))
    for blob in pulled.parts.blobs { #expect(Digest(of: try store.read(blob.digest, limit: 1 << 20)) == blob.digest) }
    await client.close()
  }
}
