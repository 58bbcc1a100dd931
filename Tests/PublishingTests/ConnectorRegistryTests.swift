import Diagnostics
import Manifests
import OCI
import SystemPackage
import TestServers
import Testing

@testable import Publishing

@Suite struct ConnectorRegistryTests {
  private func version(
    _ repository: String, _ version: String, spec: String = "{\"connectionSpecification\":{}}",
    overrides: String = "{oss: {enabled: true}, cloud: {enabled: true}}", more: String = "", icon: Bool = false,
    cdk: String? = nil
  ) throws -> PublishedConnector.Version {
    let node = try connectorMetadata(repository, version, overrides: overrides, more: more)
    let data = try #require(node["data"].flatMap { JSON(decoding: Array($0.jsonText().utf8)) })
    return PublishedConnector.Version(
      data: data, spec: try #require(JSON(decoding: Array(spec.utf8))), hasIcon: icon, cdkVersion: cdk)
  }

  private func connector(_ version: PublishedConnector.Version, candidate: PublishedConnector.Version? = nil)
    throws -> PublishedConnector
  {
    PublishedConnector(
      repository: try #require(version.data["dockerRepository"]?.string), latest: version, candidate: candidate)
  }

  private func entries(_ registry: ConnectorRegistry, _ name: ConnectorRegistry.Name) throws -> [JSON] {
    let json = try #require(JSON(decoding: registry.document(name).bytes))
    return (json["sources"]?.array ?? []) + (json["destinations"]?.array ?? [])
  }

  private func only(_ connector: PublishedConnector, _ name: ConnectorRegistry.Name, publicURL: String? = nil) throws
    -> JSON
  {
    let registry = ConnectorRegistry([connector], publicURL: publicURL)
    let all = try entries(registry, name)
    #expect(all.count == 1)
    return try #require(all.first)
  }

  @Test func `a source becomes an entry as Airbyte's registry has it`() throws {
    let more = """
      icon: x.svg
      tags: [cdk:low-code, language:python]
      allowedHosts: {hosts: [a.example]}
      ab_internal: {ql: 400}
      """
    let entry = try only(
      connector(version("airbyte/source-x", "1.0.0", more: more, icon: true, cdk: "7.39.1")), .oss,
      publicURL: "https://files.example")
    let expected = """
      {"ab_internal":{"ql":400,"sl":100},"allowedHosts":{"hosts":["a.example"]},"custom":false,
      "dockerImageTag":"1.0.0","dockerRepository":"airbyte/source-x",
      "documentationUrl":"https://docs.example.com/airbyte/source-x",
      "generated":{"source_file_info":{"metadata_file_path":"metadata/airbyte/source-x/latest/metadata.yaml"}},
      "githubIssueLabel":"x","icon":"x.svg",
      "iconUrl":"https://files.example/metadata/airbyte/source-x/latest/icon.svg","language":"python","license":"MIT",
      "name":"source-x","packageInfo":{"cdk_version":"python:7.39.1"},"public":true,"releaseStage":"alpha",
      "sourceDefinitionId":"\(definitionID("airbyte/source-x"))","sourceType":"api",
      "spec":{"connectionSpecification":{}},"supportLevel":"community","tags":["cdk:low-code","language:python"],
      "tombstone":false}
      """
    #expect(String(decoding: entry.encoded, as: UTF8.self) == expected.split(separator: "\n").joined())
  }

  @Test func `sources and destinations are apart, each in the order of their repositories`() throws {
    let names = [
      "airbyte/source-b", "airbyte/destination-b", "airbyte/source-a", "zeta/destination-a", "airbyte/source-C",
    ]
    let connectors = try names.map { try connector(version($0, "1.0.0")) }
    let registry = ConnectorRegistry(connectors)
    let (bytes, problems) = registry.document(.cloud)
    #expect(problems == [])
    let json = try #require(JSON(decoding: bytes))
    func repositories(_ list: String) -> [String]? { json[list]?.array?.compactMap { $0["dockerRepository"]?.string } }
    #expect(repositories("sources") == ["airbyte/source-C", "airbyte/source-a", "airbyte/source-b"])
    #expect(repositories("destinations") == ["airbyte/destination-b", "zeta/destination-a"])
    #expect(json["destinations"]?.array?.first?["destinationDefinitionId"] != nil)
    #expect(ConnectorRegistry(connectors.reversed()).document(.cloud).bytes == bytes)
  }

  @Test(arguments: [
    ("{oss: {enabled: true}, cloud: {enabled: false}}", true, false), ("{oss: {enabled: true}}", true, false),
    ("{cloud: {enabled: true}}", false, true), ("{}", false, false), ("null", false, false),
    ("{oss: null, cloud: {enabled: true}}", false, true), ("{oss: {name: a}, cloud: {enabled: 'true'}}", false, false),
  ])
  func `a connector is where it is enabled`(overrides: String, oss: Bool, cloud: Bool) throws {
    let registry = ConnectorRegistry([try connector(version("airbyte/source-x", "1.0.0", overrides: overrides))])
    #expect(try entries(registry, .oss).isEmpty != oss)
    #expect(try entries(registry, .cloud).isEmpty != cloud)
    #expect(ConnectorRegistry.Name.allCases.allSatisfy { registry.document($0).problems == [] })
  }

  @Test func `an override replaces a field in its registry only, and null replaces nothing`() throws {
    let overrides =
      "{oss: {enabled: true}, cloud: {enabled: true, name: Other, license: null, allowedHosts: {hosts: [], x: null}}}"
    let connector = try connector(
      version("airbyte/source-x", "1.0.0", overrides: overrides, more: "allowedHosts: {hosts: [a]}\npublic: false"))
    let (oss, cloud) = (try only(connector, .oss), try only(connector, .cloud))
    #expect(oss["name"] == .string("source-x") && cloud["name"] == .string("Other"))
    #expect(cloud["license"] == .string("MIT"))
    #expect(oss["allowedHosts"]?["hosts"] == .strings(["a"]) && cloud["allowedHosts"] == .object(["hosts": .array([])]))
    #expect(oss["public"] == .bool(false))
    #expect(oss["registryOverrides"] == nil && oss["connectorType"] == nil && oss["connectorSubtype"] == nil)
  }

  @Test func `an image that an override names brings its own specification, or the entry is missing`() throws {
    let overrides = "{oss: {enabled: true}, cloud: {enabled: true, dockerRepository: airbyte/source-x-strict}}"
    let connector = try connector(version("airbyte/source-x", "1.0.0", overrides: overrides))
    let strict = ConnectorRegistry.ImageName(repository: "airbyte/source-x-strict", tag: "1.0.0")
    #expect(ConnectorRegistry.overriddenImages([connector]) == [strict])
    let spec = JSON.object(["connectionSpecification": .object(["strict": .bool(true)])])
    let entry = try #require(try entries(ConnectorRegistry([connector], specs: [strict: spec]), .cloud).first)
    #expect(entry["spec"] == spec)
    #expect(entry["dockerRepository"] == .string("airbyte/source-x-strict"))
    let (bytes, problems) = ConnectorRegistry([connector]).document(.cloud)
    #expect(String(decoding: bytes, as: UTF8.self) == "{\"destinations\":[],\"sources\":[]}\n")
    #expect(
      problems.map(\.message) == [
        "airbyte/source-x is not in registries/v0/cloud_registry.json: its entry there names "
          + "airbyte/source-x-strict:1.0.0, which is not published"
      ])
    #expect(try entries(ConnectorRegistry([connector]), .oss).count == 1)
  }

  @Test func `breaking changes get the addresses of their guides`() throws {
    let more = """
      releases:
        breakingChanges:
          2.0.0: {message: a, upgradeDeadline: 2024-01-01}
          3.0.0: {message: b, upgradeDeadline: 2024-02-01, migrationDocumentationUrl: "https://other.example"}
        rolloutConfiguration: {enableProgressiveRollout: false}
        unsafeDowngrades: {}
      """
    let entry = try only(connector(version("airbyte/source-x", "3.0.0", more: more)), .oss)
    let guide = "https://docs.example.com/airbyte/source-x-migrations"
    let expected = """
      {"breakingChanges":{"2.0.0":{"message":"a","migrationDocumentationUrl":"\(guide)#2.0.0",\
      "upgradeDeadline":"2024-01-01"},"3.0.0":{"message":"b","migrationDocumentationUrl":"https://other.example",\
      "upgradeDeadline":"2024-02-01"}},"migrationDocumentationUrl":"\(guide)",\
      "rolloutConfiguration":{"enableProgressiveRollout":false}}
      """
    #expect(entry["releases"].map { String(decoding: $0.encoded, as: UTF8.self) } == expected)
  }

  @Test(arguments: [
    ("1.1.0-rc.1", "true", true), ("1.1.0-rc.1", "false", false), ("1.0.0-rc.9", "true", false),
    ("0.9.0-rc.1", "true", false),
  ])
  func `a candidate is listed if it is newer and rolled out progressively`(tag: String, rollout: String, listed: Bool)
    throws
  {
    let candidate = try version(
      "airbyte/source-x", tag, overrides: "{oss: {enabled: true, dockerImageTag: 1.0.0}}",
      more: "releases: {rolloutConfiguration: {enableProgressiveRollout: \(rollout)}}", icon: true)
    let entry = try only(
      connector(version("airbyte/source-x", "1.0.0"), candidate: candidate), .oss, publicURL: "https://files.example")
    let inner = entry["releases"]?["releaseCandidates"]?[tag]
    #expect((inner != nil) == listed)
    guard listed else { return }
    // A release that is pinned for everybody else does not hide what is being tried.
    #expect(inner?["dockerImageTag"] == .string(tag))
    #expect(inner?["iconUrl"] == .string("https://files.example/metadata/airbyte/source-x/release_candidate/icon.svg"))
    #expect(entry["dockerImageTag"] == .string("1.0.0"))
    let disabled = try only(connector(version("airbyte/source-x", "1.0.0"), candidate: candidate), .cloud)
    #expect(disabled["releases"] == nil)
  }

  @Test(arguments: ["name", "definitionId", "connectorType", "documentationUrl", "dockerImageTag"])
  func `metadata without a needed field costs its own entry only`(field: String) throws {
    var broken = try version("airbyte/source-x", "1.0.0")
    var members = try #require(broken.data.object)
    members[field] = nil
    broken.data = .object(members)
    let registry = ConnectorRegistry([
      PublishedConnector(repository: "airbyte/source-x", latest: broken),
      try connector(version("airbyte/source-y", "1.0.0")),
    ])
    #expect(try entries(registry, .oss).map { $0["dockerRepository"] } == [.string("airbyte/source-y")])
    let problems = registry.document(.oss).problems
    #expect(problems.count == 1 && problems[0].severity == .warning && problems[0].message.contains(field))
  }

  @Test func `of two connectors with one identifier the second is left out, and said`() throws {
    var other = try version("airbyte/source-y", "1.0.0")
    var members = try #require(other.data.object)
    members["definitionId"] = .string(definitionID("airbyte/source-x").uppercased())
    other.data = .object(members)
    let registry = ConnectorRegistry([try connector(other), try connector(version("airbyte/source-x", "1.0.0"))])
    #expect(try entries(registry, .oss).map { $0["dockerRepository"] } == [.string("airbyte/source-x")])
    #expect(
      registry.document(.oss).problems.map(\.message) == [
        "airbyte/source-y is not in registries/v0/oss_registry.json: its `definitionId` is that of airbyte/source-x"
      ])
  }

  // MARK: In a store

  @Test func `publishing brings both documents up to date, and a second time reads the index alone`() async throws {
    let store = MemoryMetadataStore(lists: false)
    let update = ConnectorRegistryUpdate(store)
    var changes: [MetadataIndex.Change] = []
    for (repository, version) in [
      ("airbyte/source-x", "1.0.0"), ("airbyte/source-x", "1.1.0-rc.1"), ("airbyte/destination-y", "0.1.0"),
    ] {
      let outcome = try await MetadataUpload(to: store).upload(
        try connectorFiles(
          repository, version, more: "releases: {rolloutConfiguration: {enableProgressiveRollout: true}}"),
        repository: repository, version: version)
      let channel = try #require(outcome.channel)
      changes.append(MetadataIndex.Change(repository: repository, channel: channel, entry: outcome.entry))
    }
    let outcome = try await update.update(changes)
    #expect(outcome.problems == [] && outcome.connectors == 2)
    #expect(outcome.written == ["registries/v0/oss_registry.json", "registries/v0/cloud_registry.json"])
    let json = try #require(store.text("registries/v0/oss_registry.json").flatMap { JSON(decoding: Array($0.utf8)) })
    let source = json["sources"]?.array?.first
    #expect(source?["releases"]?["releaseCandidates"]?["1.1.0-rc.1"] != nil)
    #expect(source?["packageInfo"]?["cdk_version"] == .string("python:7.39.1"))
    #expect(source?["iconUrl"] == .string("memory://store/metadata/airbyte/source-x/latest/icon.svg"))
    _ = store.takeLog()
    #expect(try await update.update(changes) == ConnectorRegistryUpdate.Outcome())
    let log = store.takeLog()
    #expect(log.reads == ["metadata/index.json"] && log.writes == [])
  }

  @Test func `documents of a run that was killed before its second look are written again by the next`() async throws {
    let folder = try Folder()
    func journal() throws -> PublishJournal { try PublishJournal(path: FilePath(folder.path + "/journal")) }
    let store = MemoryMetadataStore(lists: false)
    func change(_ repository: String) async throws -> MetadataIndex.Change {
      let outcome = try await MetadataUpload(to: store).upload(
        try connectorFiles(repository, "1.0.0"), repository: repository, version: "1.0.0")
      return MetadataIndex.Change(
        repository: repository, channel: try #require(outcome.channel), entry: outcome.entry)
    }
    let first = try await change("airbyte/source-x")
    // The index and both documents.
    store.dies(after: 3)
    await #expect(throws: MemoryMetadataStore.Killed.self) {
      _ = try await ConnectorRegistryUpdate(store, journal: journal()).update([first])
    }
    store.dies(after: nil)
    let stale = try ConnectorRegistry.Name.allCases.map { ($0.path, try #require(store.text($0.path))) }
    // Another workspace's publish, whose documents were overtaken by those of the killed one.
    _ = try await ConnectorRegistryUpdate(store).update([try await change("airbyte/source-y")])
    let right = ConnectorRegistry.Name.allCases.map { store.text($0.path) }
    for (path, text) in stale { try store.set(path, text) }
    let names = ConnectorRegistry.Name.allCases.map(\.path)
    #expect(try await ConnectorRegistryUpdate(store).update([first]).written == [], "nobody else can know")
    #expect(try await ConnectorRegistryUpdate(store, journal: journal()).update([first]).written == names)
    #expect(ConnectorRegistry.Name.allCases.map { store.text($0.path) } == right)
    _ = store.takeLog()
    _ = try await ConnectorRegistryUpdate(store, journal: journal()).update([first])
    #expect(store.takeLog().reads == ["metadata/index.json"])
  }

  @Test func `a release takes its candidate away`() async throws {
    let store = MemoryMetadataStore()
    let update = ConnectorRegistryUpdate(store)
    for version in ["1.0.0", "1.1.0-rc.1", "1.1.0"] {
      let outcome = try await MetadataUpload(to: store).upload(
        try connectorFiles("a/source-x", version), repository: "a/source-x", version: version)
      let channel = try #require(outcome.channel)
      _ = try await update.update([
        MetadataIndex.Change(repository: "a/source-x", channel: channel, entry: outcome.entry)
      ])
    }
    #expect(store.files.keys.filter { $0.names.contains("release_candidate") } == [])
    #expect(store.text("metadata/a/source-x/1.1.0-rc.1/metadata.yaml") != nil)
    let index = try await MetadataIndex.read(from: store)
    #expect(index.connectors["a/source-x"]?.entries.keys.map(\.rawValue) == ["latest"])
  }

  @Test func `a repair that cannot read the index forgets nobody`() async throws {
    let store = MemoryMetadataStore(lists: false)
    let update = ConnectorRegistryUpdate(store)
    for repository in ["a/source-x", "b/source-of-others"] {
      let outcome = try await MetadataUpload(to: store).upload(
        try connectorFiles(repository, "1.0.0"), repository: repository, version: "1.0.0")
      if let entry = outcome.entry, let channel = outcome.channel {
        _ = try await update.update([MetadataIndex.Change(repository: repository, channel: channel, entry: entry)])
      }
    }
    let before = store.files
    store.refuses("metadata/index.json")
    await #expect(throws: MemoryMetadataStore.Killed.self) { _ = try await update.repair(repositories: ["a/source-x"]) }
    store.refuses(nil)
    #expect(store.files == before)
  }

  @Test(arguments: [true, false])
  func `a repair finds what the index has lost`(lists: Bool) async throws {
    let store = MemoryMetadataStore(lists: lists)
    let update = ConnectorRegistryUpdate(store)
    var changes: [MetadataIndex.Change] = []
    for repository in ["a/source-x", "a/source-y"] {
      let outcome = try await MetadataUpload(to: store).upload(
        try connectorFiles(repository, "1.0.0"), repository: repository, version: "1.0.0")
      changes.append(MetadataIndex.Change(repository: repository, channel: .latest, entry: outcome.entry))
    }
    _ = try await update.update(changes)
    let whole = store.files
    try store.set("metadata/index.json", "{\"version\":1,\"connectors\":{}}")
    try store.set("registries/v0/oss_registry.json", "damaged")
    let outcome = try await update.repair(repositories: ["a/source-x", "a/source-y", "a/source-never"])
    #expect(outcome.problems == [])
    #expect(outcome.written == ["metadata/index.json", "registries/v0/oss_registry.json"])
    #expect(store.files == whole)
    try store.set("metadata/index.json", "<html>")
    #expect(await diagnosed { _ = try await update.update(changes) }?.contains("is not an index of metadata") == true)
    _ = try await update.repair(repositories: ["a/source-x", "a/source-y"])
    #expect(store.files == whole)
  }

  @Test func `a connector whose files are damaged costs its own entry, and is tried again`() async throws {
    let store = MemoryMetadataStore()
    let update = ConnectorRegistryUpdate(store)
    var changes: [MetadataIndex.Change] = []
    for repository in ["a/source-x", "a/source-y"] {
      let outcome = try await MetadataUpload(to: store).upload(
        try connectorFiles(repository, "1.0.0"), repository: repository, version: "1.0.0")
      changes.append(MetadataIndex.Change(repository: repository, channel: .latest, entry: outcome.entry))
    }
    let path = "metadata/a/source-x/1.0.0/metadata.yaml"
    let good = try #require(store.text(path))
    try store.set(path, "data: [")
    let outcome = try await update.update(changes)
    #expect(outcome.problems.count == 1 && outcome.connectors == 1)
    try store.set(path, good)
    let again = try await update.update([])
    #expect(again.problems == [] && again.connectors == 2 && again.written.count == 2)
  }
}
