import Digests
import Testing

@testable import Publishing

@Suite struct MetadataIndexTests {
  private func change(_ repository: String, _ version: String) throws -> MetadataIndex.Change {
    MetadataIndex.Change(
      repository: repository, channel: .latest,
      entry: MetadataIndex.Entry(version: version, files: try connectorFiles(repository, version)))
  }

  @Test func `an index comes back as it was written`() throws {
    var index = MetadataIndex()
    index.apply([try change("a/source-x", "1.0.0"), try change("a/destination-y", "2.0.0-rc.1")])
    index.registryInputs = index.inputs(publicURL: nil)
    #expect(MetadataIndex(decoding: index.encoded) == index)
    #expect(index.repositories == ["a/destination-y", "a/source-x"])
    #expect(index.inputs(publicURL: nil) == index.registryInputs)
    #expect(index.inputs(publicURL: "https://a") != index.registryInputs)
    index.apply([MetadataIndex.Change(repository: "a/source-x", channel: .latest, entry: nil)])
    #expect(index.repositories == ["a/destination-y"])
    #expect(index.inputs(publicURL: nil) != index.registryInputs)
  }

  @Test(arguments: [
    "", "[]", "{}", "{\"version\":2,\"connectors\":{}}", "{\"version\":1,\"connectors\":[]}",
    "{\"version\":1,\"connectors\":{\"a\":1}}", "{\"version\":1,\"connectors\":{\"../a\":{}}}",
    "{\"version\":1,\"connectors\":{\"a\":{\"latest\":{\"version\":\"1\"}}}}",
    "{\"version\":1,\"connectors\":{\"a\":{\"latest\":{\"version\":\"1\",\"files\":\"sha256:0\",\"extras\":[]}}}}",
  ])
  func `what is no index is not taken for one`(text: String) {
    #expect(MetadataIndex(decoding: Array(text.utf8)) == nil)
  }

  @Test func `another writer's entries stay, and a lost update is made again`() async throws {
    let store = MemoryMetadataStore()
    try await MetadataIndex.update(store, [try change("a/source-x", "1.0.0")])
    try await MetadataIndex.update(store, [try change("a/source-y", "1.0.0")])
    let index = try await MetadataIndex.read(from: store)
    #expect(index.repositories == ["a/source-x", "a/source-y"])
    _ = store.takeLog()
    try await MetadataIndex.update(store, [try change("a/source-x", "1.0.0")])
    #expect(store.takeLog().writes == [])
  }
}
