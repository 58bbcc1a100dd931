import Glibc
import TestServers
import Testing

/// What is attached to a published image about how it came to be.
@Suite struct PublishProvenanceTests {
  private let site: PublishProject
  private var project: Project { site.project }

  init() throws {
    site = try PublishProject()
    try site.connector("source-a", "1.0.0", text: "one")
    try site.connector("source-b", "1.0.0", text: "two")
    for arguments in [
      ["init", "-q"], ["config", "user.name", "t"], ["config", "user.email", "t@example.org"],
      ["config", "commit.gpgsign", "false"], ["remote", "add", "fork", "https://fork.example/a.git"],
      ["remote", "add", "origin", "https://ann:secret@git.example/airbyte/connectors.git"],
    ] { try git(arguments) }
    try commit()
  }

  @discardableResult
  private func git(_ arguments: [String]) throws -> String {
    String(try site.run(["git", "-C", project.root] + arguments).filter { $0 != "\n" })
  }

  private func commit() throws {
    try git(["add", "-A"])
    try git(["commit", "-q", "-m", "next"])
  }

  /// The statements attached to what a tag of `airbyte/NAME` names, and that image's digest.
  private func statements(_ name: String, _ tag: String) throws -> (texts: [String], image: String) {
    let image = String(try site.digest("airbyte/\(name):\(tag)").filter { $0 != "\n" })
    let list = image.replacing(":", with: "-")
    let repository = "docker://\(site.server.host)/airbyte/\(name)"
    func raw(_ reference: String) throws -> String {
      try site.run(["skopeo", "inspect", "--tls-verify=false", "--raw", repository + reference])
    }
    let texts = try Self.digests(try raw(":" + list)).compactMap { digest -> String? in
      let manifest = try raw("@" + digest)
      guard manifest.contains("\"artifactType\":\"application/vnd.in-toto+json\""),
        let layers = manifest.split(
          separator: "\"layers\""
        ).last
      else { return nil }
      let blob = try #require(Self.digests(String(layers.prefix { $0 != "]" })).first)
      let hex = blob.dropFirst(7)
      return String(
        decoding: try readBytes(
          "\(site.server.folder)/data/docker/registry/v2/blobs/sha256/\(hex.prefix(2))/\(hex)/data"), as: UTF8.self)
    }
    return (texts, image)
  }

  private static func digests(_ text: String) -> [String] {
    text.split(separator: "\"").filter { $0.hasPrefix("sha256:") }.map(String.init)
  }

  @Test func `provenance names the commit and the base, and the same image from another commit pushes nothing`() throws
  {
    let first = try site.publish()
    #expect(first.status == 0, "\(first.standardError)")
    let head = try git(["rev-parse", "HEAD"])
    let (texts, image) = try statements("source-a", "1.0.0")
    #expect(texts.count == 1)
    let text = try #require(texts.first)
    #expect(
      text.contains(
        "{\"digest\":{\"gitCommit\":\"\(head)\"},\"uri\":\"git+https://git.example/airbyte/connectors.git\"}"),
      "\(text)")
    #expect(text.contains("\"uri\":\"urn:slipway:target://base:image\""))
    #expect(text.contains(String(image.dropFirst(7))) && !text.contains("secret"))

    try project.write("README.md", "unrelated")
    try commit()
    let before = site.server.requests.filter { $0.method != "GET" && $0.method != "HEAD" }.count
    #expect(try site.publish().standardOutput.contains("identical"))
    try project.write(".slipway/publish/journal", "")
    #expect(try site.publish().standardOutput.contains("identical"))
    #expect(site.server.requests.filter { $0.method != "GET" && $0.method != "HEAD" }.count == before)
    #expect(try statements("source-a", "1.0.0").texts == texts)
  }

  @Test func `of a tree with changes it says which of the image's are changed, and of others' nothing`() throws {
    try site.connector("source-a", "1.1.0", text: "changed")
    try project.write("connectors/source-a/new", "untracked")
    try project.write("connectors/source-b/private-note", "untracked")
    project.remove("connectors/source-b/text")
    let result = try site.publish("//connectors/source-a")
    #expect(result.status == 0, "\(result.standardError)")
    let text = try #require(try statements("source-a", "1.1.0").texts.first)
    #expect(
      text.contains(
        "\"annotations\":{\"changed\":[\"connectors/source-a/metadata.yaml\",\"connectors/source-a/new\","
          + "\"connectors/source-a/text\"],\"changedCount\":3}"), "\(text)")
    #expect(!text.contains("private-note") && !text.contains("source-b"))
  }

  @Test func `a base from a registry is named by its digest`() throws {
    #expect(try site.publish("//connectors/source-a").status == 0)
    let base = String(try site.digest("airbyte/source-a:1.0.0").filter { $0 != "\n" })
    try site.connector(
      "source-b", "1.0.0", text: "two", base: "'\(site.server.host)/airbyte/source-a:1.0.0@\(base)'")
    let result = try site.publish("//connectors/source-b")
    #expect(result.status == 0, "\(result.standardError)")
    let text = try #require(try statements("source-b", "1.0.0").texts.first)
    let hex = base.dropFirst(7)
    #expect(
      text.contains(
        "{\"digest\":{\"sha256\":\"\(hex)\"},\"uri\":\"docker://\(site.server.host)/airbyte/source-a:1.0.0\"}"),
      "\(text)")
  }
}
