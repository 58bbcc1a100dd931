import Caching
import Diagnostics
import Glibc
import Manifests
import OCI
import SystemPackage
import TestServers
import Testing

@testable import Publishing

/// What is written against the schemas that say what it is.
@Suite struct ConnectorRegistrySchemaTests {
  private static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")

  /// A folder of `NAME/metadata.yaml`, such as Airbyte's `connectors`, that a developer names.
  private static let corpus = getenv("SLIPWAY_METADATA_CORPUS").map { String(cString: $0) }

  /// What the schemas say of each document; `valid`, or what is wrong.
  private func judge(_ documents: [(schema: String, bytes: [UInt8])], in folder: FilePath) throws -> [String] {
    let (input, output) = (folder.string + "/documents", folder.string + "/verdicts")
    try ServerProcess.write(
      documents.map {
        let line = String(decoding: $0.bytes, as: UTF8.self).filter { $0 != "\n" }
        return "{\"schema\":\"\($0.schema)\",\"document\":\(line)}\n"
      }
      .joined(), to: input)
    let judge = Self.root + "/Tests/ManifestsTests/judge.py"
    let (status, printed) = try MetadataServer.run(
      ["python3", judge, Self.root + "/schemas", input, output], in: folder)
    try #require(status == 0, "judge.py failed; it needs python3 and its package jsonschema: \(printed)")
    let verdicts = try #require(try Disk.contents(of: output, limit: 1 << 20))
    return String(decoding: verdicts, as: UTF8.self).split(separator: "\n").map(String.init)
  }

  @Test func `index and registries are what their schemas allow, and a spoiled one is not`() async throws {
    let scratch = try MetadataScratch()
    let store = MemoryMetadataStore()
    let more = """
      icon: x.svg
      releaseDate: 2024-01-31
      releases:
        breakingChanges: {1.0.0: {message: a, upgradeDeadline: 2024-01-01}}
        rolloutConfiguration: {enableProgressiveRollout: true}
      """
    for (repository, version) in [
      ("a/source-x", "1.0.0"), ("a/source-x", "1.1.0-rc.1"), ("a/destination-y", "0.1.0"), ("b/destination-z", "1.0.0"),
    ] {
      let outcome = try await MetadataUpload(to: store).upload(
        try connectorFiles(repository, version, more: more), repository: repository, version: version)
      let channel = try #require(outcome.channel)
      let update = try await ConnectorRegistryUpdate(store, publicURL: "https://files.example").update([
        MetadataIndex.Change(repository: repository, channel: channel, entry: outcome.entry)
      ])
      #expect(update.problems == [])
    }
    let index = Array(try #require(store.text("metadata/index.json")).utf8)
    let registries = try ["oss", "cloud"].map {
      Array(try #require(store.text("registries/v0/\($0)_registry.json")).utf8)
    }
    func spoiled(_ field: String) -> [UInt8] {
      Array(String(decoding: registries[0], as: UTF8.self).replacing("\"\(field)\":", with: "\"\(field)s\":").utf8)
    }
    let fields = [
      "name", "spec", "tombstone", "ab_internal", "sourceDefinitionId", "upgradeDeadline", "releaseCandidates",
    ]
    let verdicts = try judge(
      [("metadata-index", index)] + registries.map { ("connector-registry", $0) }
        + fields.map { ("connector-registry", spoiled($0)) }
        + [("metadata-index", Array(String(decoding: index, as: UTF8.self).replacing("sha256:", with: "").utf8))],
      in: scratch.folder)
    #expect(verdicts.prefix(3) == ["valid", "valid", "valid"])
    #expect(verdicts.count == fields.count + 4)
    for (field, verdict) in zip(fields + ["digest"], verdicts.dropFirst(3)) { #expect(verdict != "valid", "\(field)") }
  }

  @Test(.enabled(if: corpus != nil, "set SLIPWAY_METADATA_CORPUS to a folder of connectors' metadata"))
  func `real metadata keeps its values and makes registries that the schema allows`() async throws {
    let corpus = try #require(Self.corpus)
    let scratch = try MetadataScratch()
    var connectors: [PublishedConnector] = []
    for name in try Disk.names(inFolder: corpus) {
      guard let bytes = try Disk.contents(of: "\(corpus)/\(name)/metadata.yaml", limit: 1 << 22) else { continue }
      let node = try YAMLParser.parse(SourceText(file: name, bytes: bytes, role: .data))
      let again = try YAMLParser.parse(SourceText(file: name, bytes: node.canonicalYAML, role: .data))
      #expect(again.jsonText() == node.jsonText(sortedKeys: true), "\(name)")
      #expect(again.canonicalYAML == node.canonicalYAML, "\(name)")
      let data = try #require(node["data"].flatMap { JSON(decoding: Array($0.jsonText().utf8)) })
      connectors.append(
        PublishedConnector(
          repository: try #require(data["dockerRepository"]?.string),
          latest: PublishedConnector.Version(
            data: data, spec: .object(["connectionSpecification": .object([:])]), hasIcon: true)))
    }
    var specs: [ConnectorRegistry.ImageName: JSON] = [:]
    for image in ConnectorRegistry.overriddenImages(connectors) {
      specs[image] = .object(["connectionSpecification": .object([:])])
    }
    let registry = ConnectorRegistry(connectors, specs: specs, publicURL: "https://files.example")
    let documents = ConnectorRegistry.Name.allCases.map { registry.document($0) }
    #expect(documents.flatMap(\.problems) == [])
    #expect(connectors.count > 0)
    let verdicts = try judge(documents.map { ("connector-registry", $0.bytes) }, in: scratch.folder)
    #expect(verdicts == ["valid", "valid"])
  }
}
