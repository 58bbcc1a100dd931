import Glibc
import TestServers
import Testing

/// Publishes of two checkouts at once, to one registry and one metadata store.
@Suite struct PublishRaceTests {
  private let here: PublishProject
  private let there: PublishProject
  private let store: String

  init() throws {
    here = try PublishProject()
    there = try PublishProject(sharing: here.server)
    store = "\(here.project.folder)/metadata"
    mkdir(store, 0o755)
    for site in [here, there] {
      try site.project.write(
        "slipway.yaml",
        "slipway: 1\nname: demo\npublish: {registry: '\(here.server.host)', metadata: 'file://\(store)'}\n")
    }
  }

  private func both(_ arguments: String...) throws -> [HostProcess.Finished] {
    let running = try [here, there].map { try $0.project.start(["publish"] + arguments) }
    return try running.map { try $0.finish() }
  }

  private func stored(_ path: String) -> String {
    (try? readBytes("\(store)/\(path)")).map { String(decoding: $0, as: UTF8.self) } ?? ""
  }

  @Test func `different connectors: all are published, and listed`() throws {
    for number in 0..<3 {
      try here.specified("source-a\(number)", "1.0.0", text: "a\(number)")
      try there.specified("source-b\(number)", "1.0.0", text: "b\(number)")
    }
    let results = try both()
    #expect(results.map(\.status) == [0, 0], "\(results.map(\.standardError))")
    for number in 0..<3 {
      for name in ["source-a\(number)", "source-b\(number)"] {
        #expect(here.tags("airbyte/\(name)") == ["1.0.0", "latest"])
        for list in ["oss", "cloud"] {
          #expect(
            stored("registries/v0/\(list)_registry.json").contains("\"dockerRepository\":\"airbyte/\(name)\""),
            "\(name), \(list)")
        }
      }
    }
    #expect(try both().allSatisfy { $0.standardError.hasSuffix("3 connectors: 3 identical\n") })
  }

  @Test func `the same connectors: both end well, with the same receipts`() throws {
    for site in [here, there] {
      for name in ["source-a", "source-b"] { try site.specified(name, "1.0.0", text: name) }
    }
    let results = try both()
    #expect(results.map(\.status) == [0, 0], "\(results.map(\.standardError))")
    for name in ["source-a", "source-b"] {
      #expect(here.tags("airbyte/\(name)") == ["1.0.0", "latest"])
      #expect(here.link("airbyte/\(name)", "latest") == here.link("airbyte/\(name)", "1.0.0"))
      let path = ".slipway/publish/receipts/airbyte/\(name)/1.0.0.json"
      #expect(try here.project.read(path) == there.project.read(path))
      #expect(stored("metadata/airbyte/\(name)/latest/metadata.yaml").contains("dockerImageTag: \"1.0.0\"\n"))
    }
  }

  @Test func `one version with two images: one wins, and metadata and latest are the winner's`() throws {
    for version in ["1.0.0", "1.1.0", "1.2.0", "1.3.0"] {
      for (site, name) in [(here, "here"), (there, "there")] {
        try site.specified("source-a", version, text: name + version, data: ["supportUrl: https://\(name).example"])
        try site.project.build("//...")
      }
      let results = try both()
      let link = try #require(here.link("airbyte/source-a", version))
      #expect(here.link("airbyte/source-a", "latest") == link)
      let winner = try [here, there].firstIndex { site in
        let path = ".slipway/publish/receipts/airbyte/source-a/\(version).json"
        return site.project.exists(path) ? try site.project.read(path).contains(link) : false
      }
      let index = try #require(winner, "\(results.map(\.standardError))")
      #expect(results[index].status == 0, "\(results[index].standardError)")
      for folder in [version, "latest"] {
        let metadata = stored("metadata/airbyte/source-a/\(folder)/metadata.yaml")
        #expect(metadata.contains("https://\(["here", "there"][index]).example"), "\(metadata)")
      }
      // Whoever lost is told so, then or with the next run, and nothing moves any more.
      let again = try both()
      #expect(again[index].status == 0 && again[index].standardOutput.contains("identical"))
      #expect(again[1 - index].status == 1, "\(again[1 - index].standardOutput)")
      #expect(again[1 - index].standardError.contains("bump"), "\(again[1 - index].standardError)")
      #expect(here.link("airbyte/source-a", version) == link)
    }
  }
}
