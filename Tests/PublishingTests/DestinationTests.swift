import Diagnostics
import Testing

@testable import Publishing

@Suite struct DestinationTests {
  @Test(
    arguments: [
      (nil, "airbyte/source-a", "docker.io/airbyte/source-a:1.0.0"),
      (nil, "ghcr.io/acme/source-a", "ghcr.io/acme/source-a:1.0.0"),
      ("localhost:5000", "airbyte/source-a", "localhost:5000/airbyte/source-a:1.0.0"),
      ("ghcr.io/acme/mirror", "airbyte/source-a", "ghcr.io/acme/mirror/airbyte/source-a:1.0.0"),
      ("ghcr.io/acme/", "docker.io/airbyte/source-a", "ghcr.io/acme/airbyte/source-a:1.0.0"),
      ("localhost", "ghcr.io/acme/source-a", "localhost/acme/source-a:1.0.0"),
      ("localhost:5000", "debian", "localhost:5000/debian:1.0.0"),
      ("127.0.0.1:80/p", "debian", "127.0.0.1:80/p/debian:1.0.0"),
      ("docker.io/acme", "airbyte/source-a", "docker.io/acme/airbyte/source-a:1.0.0"),
    ] as [(String?, String, String)])
  func `a repository goes where its name says, or below the registry`(
    registry: String?, repository: String, expected: String
  ) throws {
    let destination = try registry.map { try PublishDestination($0) } ?? .asNamed
    #expect(try destination.reference(repository, tag: "1.0.0").description == expected)
  }

  @Test(arguments: [
    "", "acme", "acme/connectors", "https://ghcr.io", "ghcr.io/Acme", "user@ghcr.io", "ghcr.io/a b", "ghcr.io//x",
    "host:99999", "/x", "ghcr.io/x:tag",
  ])
  func `what is no registry is refused`(text: String) throws {
    #expect(throws: Diagnostic.self) { try PublishDestination(text) }
  }
}
