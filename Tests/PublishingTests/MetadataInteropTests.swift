import Caching
import Diagnostics
import Manifests
import SystemPackage
import TestServers
import Testing

@testable import Publishing

/// What is written, read by others.
@Suite struct MetadataInteropTests {
  /// Texts that one reader or another takes for something else, alone and in pairs of characters.
  private static let texts: [String] = {
    let words = [
      "yes", "No", "ON", "off", "y", "N", "true", "False", "null", "Null", "~", "", " ", "1", "1.0", "1e3", "1_000",
      "0x1f",
      "0o17", "017", "1:30", "190:20:30.15", ".5", "-.inf", ".NaN", "+1", "2024-01-31", "2024-01-31T10:00:00Z",
      "2001-12-14 21:59:43.10 -5", "=", "<<", "-", "- a", "? a", ": a", "a: b", "a :b", "a #b", "#a", "&a", "*a", "!a",
      "!!str a", "|", ">", "%YAML 1.2", "---", "...", "@a", "`a", "{a", "[a", "a]", "a, b", "'a'", "\"a\"", "a\\b",
      "a\nb", "a\n", "\na", "a\r\nb", "\ta", "a\t", " a", "a ", "a:", "é", "日本語", "🚀", "\u{85}", "\u{2028}",
      "\u{feff}a",
      "\u{0}", "\u{7f}", "\u{9f}", "\u{fffe}", "\u{e000}", "a b c", "http://a.b/c?d=e&f#g", "1.2.3", "1.2.3-rc.1",
      "e3", "E+1", "inf", "nan", "NaN", "Infinity", "0", "-0", "1__0", "0b101", "12e03", "a\u{301}",
    ]
    let characters = "a1-:#'\" .,[{&*!|>%@`?~=<\\\n\t\u{0}\u{7f}é"
    return words + characters.flatMap { first in characters.map { String(first) + String($0) } }
  }()

  @Test func `PyYAML reads every text, number and collection as it was`() throws {
    let scratch = try MetadataScratch()
    let place = try YAMLParser.parse(SourceText(file: "x", text: "a", role: .data)).place
    func string(_ text: String) -> Node { Node(string: text, at: place) }
    func plain(_ text: String) -> Node { Node(.scalar(.init(text: text, isPlain: true)), at: place) }
    func pair(_ name: String, _ value: Node) -> Node.Pair { .init(name: name, keyPlace: place, value: value) }
    let numbers = [
      "1", "-7", "0x1F", "010", "1.5", "1e30", "-2.5E-7", "1e-7", "123456789012345678901234567890", "1e16",
    ]
    let list = Node(.sequence([]), at: place)
    let document = Node(
      .mapping([
        pair("texts", Node(.sequence(Self.texts.map(string)), at: place)),
        pair("keys", Node(.mapping(Self.texts.map { pair($0, string($0)) }), at: place)),
        pair("numbers", Node(.sequence(numbers.map(plain)), at: place)),
        pair("words", Node(.sequence(["true", "False", "~", "null", ""].map(plain)), at: place)),
        pair(
          "nested",
          Node(
            .sequence([
              list, Node(.mapping([]), at: place),
              Node(.sequence([list, Node(.sequence([plain("1")]), at: place)]), at: place),
              Node(
                .mapping([pair("a", Node(.sequence([Node(.mapping([pair("b", list)]), at: place)]), at: place))]),
                at: place),
            ]), at: place)),
      ]), at: place)
    try ServerProcess.write(String(decoding: document.canonicalYAML, as: UTF8.self), to: "\(scratch.folder)/a.yaml")
    try ServerProcess.write(document.jsonText(), to: "\(scratch.folder)/a.json")
    try ServerProcess.write(
      """
      import json, sys, yaml
      with open(sys.argv[1], newline="", encoding="utf-8") as a, open(sys.argv[2], encoding="utf-8") as b:
          found, wanted = yaml.safe_load(a), json.load(b)
      for name in wanted:
          same = found[name] == wanted[name]
          types = [[type(x) for x in lists[name]] for lists in (found, wanted)]
          if not same or types[0] != types[1]:
              print(name, found[name], wanted[name])
      print("compared")
      """, to: "\(scratch.folder)/compare.py")
    let (status, output) = try MetadataServer.run(
      ["python3", "\(scratch.folder)/compare.py", "\(scratch.folder)/a.yaml", "\(scratch.folder)/a.json"],
      in: scratch.folder)
    #expect(status == 0 && output == "compared\n", "it needs python3 and its package yaml: \(output.prefix(2000))")
  }

  @Test func `a reader finds one whole file or the other while a writer changes it, in a folder and on the web`()
    async throws
  {
    let scratch = try MetadataScratch()
    let server = try MetadataServer.nginx(in: scratch.folder)
    let web = try openMetadataStore("http://127.0.0.1:\(server.port)", settings: .init(), environment: [:])
    let contents = [UInt8(1), 2].map { [UInt8](repeating: $0, count: 300_000 + Int($0)) }
    let path = try MetadataPath("metadata/a/b")
    for store in [scratch.store, web] as [any MetadataStore] {
      try await store.write(contents[0], to: path, contentType: "a/b")
      let reads = try await withThrowingTaskGroup(of: Int.self) { group in
        group.addTask {
          for number in 1...40 { try await store.write(contents[number % 2], to: path, contentType: "a/b") }
          return 0
        }
        for _ in 0..<3 {
          group.addTask {
            for _ in 0..<40 where !contents.contains(try await store.read(path, limit: 1 << 20) ?? []) {
              throw Diagnostic.error("\(store.url) gave a torn file")
            }
            return 40
          }
        }
        return try await group.reduce(0, +)
      }
      #expect(reads == 120)
    }
    await web.close()
  }

  @Test func `writers at once lose nothing that a second run does not bring back`() async throws {
    let scratch = try MetadataScratch()
    let store = scratch.store
    let names = (0..<6).map { "a/source-\($0)" }
    func publish(_ name: String) async throws {
      let index = try await MetadataIndex.read(from: store)
      let outcome = try await MetadataUpload(to: store).upload(
        try connectorFiles(name, "1.0.0"), repository: name, version: "1.0.0", known: index.connectors[name])
      let entry = try #require(outcome.entry)
      _ = try await ConnectorRegistryUpdate(store).update([
        MetadataIndex.Change(repository: name, channel: .latest, entry: entry)
      ])
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for name in names { group.addTask { try await publish(name) } }
      try await group.waitForAll()
    }
    for name in names { try await publish(name) }
    let alone = MemoryMetadataStore()
    for name in names {
      let outcome = try await MetadataUpload(to: alone).upload(
        try connectorFiles(name, "1.0.0"), repository: name, version: "1.0.0")
      _ = try await ConnectorRegistryUpdate(alone).update([
        MetadataIndex.Change(repository: name, channel: .latest, entry: outcome.entry)
      ])
    }
    let expected = try #require(alone.text("registries/v0/oss_registry.json")).replacing("memory://store/", with: "")
    // A folder has no address for icons, unless it is told one.
    let found = try #require(try scratch.tree()["registries/v0/oss_registry.json"])
    #expect(withoutIcons(expected) == withoutIcons(String(decoding: found, as: UTF8.self)))
    #expect(try await MetadataIndex.read(from: store).repositories == names)
  }

  private func withoutIcons(_ text: String) -> [Substring] {
    text.split(separator: ",").filter { !$0.contains("\"iconUrl\":") }
  }
}
