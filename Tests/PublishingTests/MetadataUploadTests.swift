import Diagnostics
import Digests
import Manifests
import OCI
import TestServers
import Testing

@testable import Publishing

@Suite struct MetadataUploadTests {
  private let repository = "airbyte/source-x"

  @Test func `the metadata is the last file of each folder, and the version comes before the channel`() async throws {
    let store = MemoryMetadataStore()
    let outcome = try await MetadataUpload(to: store).upload(
      try connectorFiles(repository, "1.0.0"), repository: repository, version: "1.0.0")
    let names = ["spec.json", "icon.svg", "doc.md", "dependencies.json", "metadata.yaml"]
    let expected = ["1.0.0", "latest"].flatMap { folder in names.map { "metadata/airbyte/source-x/\(folder)/\($0)" } }
    #expect(outcome.written == expected)
    #expect(store.takeLog().writes == expected)
    #expect(outcome.entry?.version == "1.0.0")
    #expect(outcome.entry?.extras == ["dependencies.json", "doc.md", "icon.svg"])
  }

  @Test(
    arguments: [
      ("1.0.0", "latest"), ("1.0.0-rc.1", "release_candidate"), ("1.0.0-rc1", "release_candidate"),
      ("1.0.0-dev.ab", nil),
      ("1.0.0-rcx", nil), ("1.0.0-alpha.rc", nil), ("1.0.0+rc", "latest"),
    ] as [(String, String?)])
  func `a version moves the channel that it is the newest of`(version: String, channel: String?) async throws {
    let store = MemoryMetadataStore()
    let outcome = try await MetadataUpload(to: store).upload(
      try connectorFiles(repository, version), repository: repository, version: version)
    let folders = Set(store.files.keys.map { $0.names[3] })
    #expect(folders == Set([version, channel].compactMap(\.self)))
    #expect(outcome.channel?.rawValue == channel)
    #expect((outcome.entry == nil) == (channel == nil))
  }

  @Test func `the same files again are neither written nor, with the index, asked for`() async throws {
    let store = MemoryMetadataStore()
    let upload = MetadataUpload(to: store)
    let files = try connectorFiles(repository, "1.0.0")
    let first = try await upload.upload(files, repository: repository, version: "1.0.0")
    _ = store.takeLog()
    let again = try await upload.upload(files, repository: repository, version: "1.0.0")
    #expect(again.written == [] && again.entry == first.entry)
    #expect(store.takeLog().writes == [])
    var known = MetadataIndex.Connector()
    known.entries[.latest] = first.entry
    let third = try await upload.upload(files, repository: repository, version: "1.0.0", known: known)
    #expect(third == again)
    #expect(store.takeLog().reads == [])
    let changed = try connectorFiles(repository, "1.0.0", more: "supportLevel: certified")
    let fourth = try await upload.upload(changed, repository: repository, version: "1.0.0", known: known)
    #expect(
      fourth.written == [
        "metadata/airbyte/source-x/1.0.0/metadata.yaml", "metadata/airbyte/source-x/latest/metadata.yaml",
      ])
  }

  @Test func `an older version gets its folder, and leaves the channel alone`() async throws {
    let store = MemoryMetadataStore()
    let upload = MetadataUpload(to: store)
    _ = try await upload.upload(try connectorFiles(repository, "1.10.0"), repository: repository, version: "1.10.0")
    let outcome = try await upload.upload(
      try connectorFiles(repository, "1.9.0"), repository: repository, version: "1.9.0")
    #expect(outcome.newer == "1.10.0" && outcome.entry == nil)
    #expect(store.text("metadata/airbyte/source-x/latest/metadata.yaml")?.contains("1.10.0") == true)
    #expect(store.text("metadata/airbyte/source-x/1.9.0/metadata.yaml")?.contains("1.9.0") == true)
  }

  @Test func `a file that the new version does not have leaves the channel`() async throws {
    let store = MemoryMetadataStore()
    let upload = MetadataUpload(to: store)
    _ = try await upload.upload(try connectorFiles(repository, "1.0.0"), repository: repository, version: "1.0.0")
    let outcome = try await upload.upload(
      try connectorFiles(repository, "1.0.1", icon: nil), repository: repository, version: "1.0.1")
    #expect(outcome.removed == ["metadata/airbyte/source-x/latest/icon.svg"])
    #expect(store.text("metadata/airbyte/source-x/latest/icon.svg") == nil)
    #expect(store.text("metadata/airbyte/source-x/1.0.0/icon.svg") != nil)
  }

  /// Every reader, at every instant, finds a channel's version whole; and the next run ends as an undisturbed one does.
  @Test func `killed at every write, the store is sound, and the next run completes it`() async throws {
    func publish(_ store: MemoryMetadataStore, _ version: String) async throws {
      let files = try connectorFiles(repository, version, icon: version == "1.0.0" ? "<svg/>" : nil)
      let index = try await MetadataIndex.read(from: store)
      let outcome = try await MetadataUpload(to: store).upload(
        files, repository: repository, version: version, known: index.connectors[repository])
      let changes = [outcome.entry].compactMap(\.self).map {
        MetadataIndex.Change(repository: repository, channel: .latest, entry: $0)
      }
      let update = try await ConnectorRegistryUpdate(store, publicURL: "https://x.example").update(changes)
      #expect(update.problems == [])
    }
    let undisturbed = MemoryMetadataStore()
    for version in ["1.0.0", "1.1.0"] { try await publish(undisturbed, version) }
    var deaths = 0
    while true {
      let store = MemoryMetadataStore()
      try await publish(store, "1.0.0")
      store.dies(after: deaths)
      do {
        try await publish(store, "1.1.0")
        break
      } catch is MemoryMetadataStore.Killed {
        deaths += 1
        let latest = store.text("metadata/airbyte/source-x/latest/metadata.yaml") ?? ""
        let version = MetadataUpload.version(Array(latest.utf8)) ?? ""
        let files = try await MetadataUpload(to: store).files(of: repository, version)
        #expect(files == (try connectorFiles(repository, version, icon: version == "1.0.0" ? "<svg/>" : nil)))
        #expect(store.text("registries/v0/oss_registry.json").flatMap { JSON(decoding: Array($0.utf8)) } != nil)
        store.dies(after: nil)
        try await publish(store, "1.1.0")
        #expect(store.files == undisturbed.files)
      }
    }
    // Four files of the version, two of them in its channel, an icon that goes, the index, two registries, the index.
    #expect(deaths == 11)
  }

  @Test(arguments: [
    ("{}", "has no `connectionSpecification`"), ("[]", "is not a JSON object"), ("{", "is not a JSON object"),
    ("{\"type\":\"SPEC\"}", "has no `connectionSpecification`"), ("", "is not a JSON object"),
    ("{\"type\":\"LOG\",\"spec\":{\"connectionSpecification\":{}}}", "has no `connectionSpecification`"),
  ])
  func `what is no specification is refused`(spec: String, message: String) async {
    let text = await diagnosed { _ = try connectorFiles(repository, "1.0.0", spec: spec) }
    #expect(text?.contains(message) == true, "\(text ?? "nothing")")
  }

  @Test func `a specification is taken out of its message, and written in one way`() throws {
    let expected = Array("{\"a\":1.50,\"connectionSpecification\":{\"b\":[]}}".utf8)
    for spec in [
      "{ \"connectionSpecification\": {\"b\": [ ]}, \"a\": 1.50 }",
      "{\"type\":\"SPEC\",\"spec\":{\"a\":1.50,\"connectionSpecification\":{\"b\":[]}}}",
    ] {
      #expect(try connectorFiles(repository, "1.0.0", spec: spec).contents["spec.json"] == expected)
    }
  }

  @Test(arguments: ["not-a-version", "1.0", "1.0.0/../x", ""])
  func `a version that is none goes nowhere`(version: String) async throws {
    let store = MemoryMetadataStore()
    let files = try connectorFiles(repository, "1.0.0")
    #expect(
      await diagnosed {
        _ = try await MetadataUpload(to: store).upload(files, repository: repository, version: version)
      } != nil)
    #expect(store.files.isEmpty)
  }
}
