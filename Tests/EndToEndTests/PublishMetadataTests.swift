import Glibc
import TestServers
import Testing

/// `slipway publish` with a metadata store.
@Suite struct PublishMetadataTests {
  private let site: PublishProject
  private var store: String { "\(site.project.folder)/metadata" }

  init() throws {
    site = try PublishProject()
    try site.project.write(
      "slipway.yaml",
      "slipway: 1\nname: demo\npublish: {registry: '\(site.server.host)', metadata: 'file://\(store)'}\n")
    mkdir(store, 0o755)
  }

  private func connector(_ version: String, data: [String] = [], text: String = "one") throws {
    try site.connector(
      "source-a", version, text: text,
      data: ["registryOverrides: {oss: {enabled: true}, cloud: {enabled: false}}"] + data,
      test: "echo '{\\\"type\\\":\\\"SPEC\\\",\\\"spec\\\":{\\\"connectionSpecification\\\":{}}}'")
  }

  private func stored(_ path: String) -> String? {
    (try? readBytes("\(store)/\(path)")).map { String(decoding: $0, as: UTF8.self) }
  }

  @Test func `metadata follows the tags, and the lists of connectors name what is published`() throws {
    try connector("1.0.0")
    let first = try site.publish()
    #expect(first.status == 0, "\(first.standardError)")
    let folder = "metadata/airbyte/source-a"
    for name in ["1.0.0", "latest"] {
      #expect(stored("\(folder)/\(name)/spec.json") == "{\"connectionSpecification\":{}}")
      #expect(stored("\(folder)/\(name)/metadata.yaml")?.contains("dockerImageTag: \"1.0.0\"") == true)
    }
    #expect(stored("registries/v0/oss_registry.json")?.contains("\"dockerImageTag\":\"1.0.0\"") == true)
    #expect(stored("registries/v0/cloud_registry.json")?.contains("source-a") == false)

    // Metadata of a published version may change; its image may not.
    try connector("1.0.0", data: ["ab_internal: {ql: 200}"])
    let second = try site.publish()
    #expect(second.status == 0, "\(second.standardError)")
    #expect(second.standardOutput.contains("restored: metadata"), "\(second.standardOutput)")
    #expect(stored("\(folder)/latest/metadata.yaml")?.contains("ql: 200") == true)
    #expect(stored("registries/v0/oss_registry.json")?.contains("\"ql\":200") == true)
    #expect(try site.publish().standardOutput.contains("nothing to do"))

    // A preview stays in its own folder.
    #expect(try site.publish("--prerelease", "c0ffee").status == 0)
    #expect(stored("\(folder)/1.0.0-dev.c0ffee/metadata.yaml")?.contains("1.0.0-dev.c0ffee") == true)
    #expect(stored("\(folder)/latest/metadata.yaml")?.contains("dockerImageTag: \"1.0.0\"\n") == true)
  }

  @Test func `repair brings back what is missing in the store`() throws {
    try connector("1.0.0")
    #expect(try site.publish().status == 0)
    let registry = stored("registries/v0/oss_registry.json")
    _ = try site.run(
      "rm", "-rf", "\(store)/metadata/airbyte/source-a/latest", "\(store)/registries", "\(store)/metadata/index.json")
    let result = try site.publish("--repair")
    #expect(result.status == 0, "\(result.standardError)")
    #expect(result.standardOutput.contains("restored: metadata"), "\(result.standardOutput)")
    #expect(stored("metadata/airbyte/source-a/latest/spec.json") != nil)
    #expect(stored("registries/v0/oss_registry.json") == registry)
  }

  @Test func `a version that has its tags and not its metadata gets it, as its image tells it`() throws {
    try connector("1.0.0")
    try site.project.write("slipway.yaml", "slipway: 1\nname: demo\npublish: {registry: '\(site.server.host)'}\n")
    #expect(try site.publish().status == 0)
    let repair = try site.publish("--metadata-store", "file://\(store)", "--repair")
    #expect(repair.status == 1)
    #expect(repair.standardError.contains("hint: publish it without --repair, which lets the image tell it\n"))
    // Its test changes, and its image does not.
    try site.connector("source-a", "1.0.0", text: "one", test: "false")
    let failed = try site.publish("--metadata-store", "file://\(store)")
    #expect(failed.status == 3, "\(failed.standardError)")
    let reason =
      "the metadata of //connectors/source-a:publish is not published, since //connectors/source-a:spec failed"
    #expect(failed.standardError.contains(reason), "\(failed.standardError)")
    try connector("1.0.0")
    let result = try site.publish("--metadata-store", "file://\(store)")
    #expect(result.status == 0, "\(result.standardError)")
    #expect(result.standardOutput.contains("restored: metadata"), "\(result.standardOutput)")
    #expect(stored("metadata/airbyte/source-a/latest/spec.json") == "{\"connectionSpecification\":{}}")
  }

  @Test func `an image that prints no specification is not pushed`() throws {
    try site.connector("source-a", "1.0.0", text: "one")
    let result = try site.publish()
    #expect(result.status == 1, "\(result.standardError)")
    #expect(result.standardError.contains("holds no specification"))
    #expect(site.tags("airbyte/source-a") == [])
  }

  @Test func `a store that cannot be written is an error before anything is pushed`() throws {
    try connector("1.0.0")
    rmdir(store)
    try site.project.write("occupied", "")
    #expect(symlink(site.project.path("occupied"), store) == 0)
    let result = try site.publish()
    #expect(result.status == 36, "\(result.standardError)")
    #expect(site.server.requests.filter { $0.method != "HEAD" && $0.method != "GET" }.isEmpty)
    unlink(store)
    mkdir(store, 0o755)
    #expect(try site.publish().status == 0)
    #expect(stored("metadata/airbyte/source-a/latest/spec.json") != nil)
  }
}
