import Diagnostics
import Kinds
import Testing

@testable import Manifests

/// The files that this repository itself writes for Slipway.
struct OwnFilesTests {
  @Test func `the kinds that ship with Slipway decode without a word`() {
    var list = DiagnosticList()
    var names: [String] = []
    for (path, bytes) in BuiltInKinds.files where path.hasSuffix(".yaml") {
      let source = SourceText(file: path, bytes: bytes)
      if path.hasPrefix("templates/") {
        let data = SourceText(file: path, bytes: bytes, role: .data)
        #expect(ConnectorMetadata.decode(data, diagnostics: &list) != nil)
        continue
      }
      if let kind = Kind.decode(source, diagnostics: &list) {
        names.append(kind.name.value)
      }
    }
    #expect(list.diagnostics.isEmpty, "\(list.sorted.map(\.rendered).joined())")
    #expect(names.sorted() == ["manifest-only", "metadata-only", "python"])
  }

  @Test func `the workspace's own files decode without a word`() throws {
    var list = DiagnosticList()
    let settings = try #require(TestFolder.read(TestFolder.root + "/slipway.yaml"))
    #expect(WorkspaceSettings.decode(SourceText(file: "slipway.yaml", bytes: settings), diagnostics: &list) != nil)
    func walk(_ folder: String, depth: Int) {
      for name in TestFolder.names(in: folder) ?? [] where !name.hasPrefix(".") {
        let path = folder + "/" + name
        if name == "targets.yaml", let bytes = TestFolder.read(path) {
          #expect(TargetsFile.decode(SourceText(file: path, bytes: bytes), diagnostics: &list) != nil)
        } else if name == "metadata.yaml", let bytes = TestFolder.read(path) {
          #expect(
            ConnectorMetadata.decode(SourceText(file: path, bytes: bytes, role: .data), diagnostics: &list) != nil)
        } else if depth < 4 {
          walk(path, depth: depth + 1)
        }
      }
    }
    walk(TestFolder.root + "/connectors", depth: 0)
    #expect(list.diagnostics.isEmpty, "\(list.sorted.map(\.rendered).joined())")
  }
}
