import Caching
import Diagnostics
import Glibc
import SystemPackage
import Testing

@testable import Engine

@Suite struct ScaffoldTests {
  /// A folder that is removed at the end.
  private func withFolder(_ body: (FilePath) throws -> Void) throws {
    let folder = FilePath("/tmp/slipway-init-\(getpid())-\(Int.random(in: 0..<Int.max))")
    try Disk.makeFolders(folder.string)
    defer { try? Disk.removeTree(folder.string) }
    try body(folder)
  }

  @Test func `the template's names become the connector's, in paths too`() throws {
    try withFolder { folder in
      let made = try Scaffold.connector("source-us-weather", root: folder)
      #expect(made.contains("connectors/source-us-weather/source_us_weather/source.py"))
      for path in made {
        let text = String(
          decoding: try Disk.contents(of: folder.appending(path).string, limit: 1 << 20) ?? [], as: UTF8.self)
        for rest in ["source-example", "source_example", "00000000-0000"] {
          #expect(!text.contains(rest) && !path.contains(rest), "\(path) still says \(rest)")
        }
      }
      let metadata = try FileCheck(path: folder.appending("connectors/source-us-weather/metadata.yaml").string).json
      #expect(metadata.contains(#""dockerRepository":"airbyte/source-us-weather""#))
    }
  }

  @Test(arguments: ["", "source", "source-", "Source-x", "source-a/b", "../x", "source x", "1-source", "destination-x"])
  func `a name that Airbyte would not take is refused, with a better one`(name: String) throws {
    try withFolder { folder in
      let error = #expect(throws: Diagnostic.self) { try Scaffold.connector(name, root: folder) }
      #expect(error?.hints.isEmpty == false)
      let names = try Disk.names(inFolder: folder.string)
      #expect(names == [])
    }
  }

  @Test func `nothing is overwritten, and nothing else is written then`() throws {
    try withFolder { folder in
      _ = try Scaffold.connector("source-x", root: folder)
      let kept = folder.appending("connectors/source-x/main.py").string
      for name in try Disk.names(inFolder: folder.appending("connectors/source-x").string) where name != "main.py" {
        try Disk.removeTree(folder.appending("connectors/source-x/\(name)").string)
      }
      #expect(throws: Diagnostic.self) { try Scaffold.connector("source-x", root: folder) }
      let names = try Disk.names(inFolder: folder.appending("connectors/source-x").string)
      #expect(names == ["main.py"])
      #expect(access(kept, F_OK) == 0)
    }
  }

  @Test func `a new workspace's files are sound`() throws {
    try withFolder { folder in
      let made = try Scaffold.workspace(in: folder)
      #expect(made == ["connectors/bases/python/targets.yaml", "slipway.yaml"])
      for path in made { _ = try FileCheck(path: folder.appending(path).string) }
    }
  }
}

@Suite struct ByteTextTests {
  @Test(arguments: [
    (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_048_575, "1023.9 KiB"), (1_288_490_189, "1.2 GiB"),
    (1 << 40, "1.0 TiB"), (Int.max, "8388607.9 TiB"),
  ])
  func `a size is shown in the largest unit that it fills`(bytes: Int, text: String) {
    #expect(ByteText.short(bytes) == text)
  }

  @Test func `sizes and ages are read as people write them`() {
    #expect(ByteText.bytes("10GiB") == 10 << 30)
    #expect(ByteText.bytes("500 MiB") == 500 << 20)
    #expect(ByteText.seconds("30d") == 2_592_000)
  }

  @Test(arguments: ["", "GiB", "-1GiB", "1.5GiB", "1EiB", "99999999999TiB", "1gib"])
  func `anything else is no size`(text: String) {
    #expect(ByteText.bytes(text) == nil)
  }
}

@Suite struct FileCheckTests {
  private func check(_ text: String, named name: String) throws -> String {
    let folder = "/tmp/slipway-check-\(getpid())-\(Int.random(in: 0..<Int.max))"
    try Disk.makeFolders(folder)
    defer { try? Disk.removeTree(folder) }
    let path = "\(folder)/\(name)"
    let file = try Disk.open(path, O_WRONLY | O_CREAT)
    try file.closeAfter { _ = try file.writeAll(text.utf8) }
    return try FileCheck(path: path).json
  }

  @Test func `a manifest is printed as YAML's core schema reads it`() throws {
    #expect(try check("slipway: 1\nname: abc\n", named: "slipway.yaml") == #"{"slipway":1,"name":"abc"}"#)
    #expect(
      try check("targets: {a: {rule: files, srcs: [b]}}\n", named: "targets.yaml")
        == #"{"targets":{"a":{"rule":"files","srcs":["b"]}}}"#)
  }

  @Test func `the mistakes of a manifest are told instead, with their lines`() {
    let error = #expect(throws: DiagnosticList.self) { try check("slipway: 1\nnmae: abc\n", named: "slipway.yaml") }
    #expect(error?.sorted.first?.span?.line == 2)
  }

  @Test func `a folder in place of a file is told`() {
    let error = #expect(throws: Diagnostic.self) { try FileCheck(path: "/tmp") }
    #expect(error?.message == "`/tmp` is a folder; a file is needed there")
  }
}
