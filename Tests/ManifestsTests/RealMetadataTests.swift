import Diagnostics
import Testing

@testable import Manifests

/// Metadata files of Airbyte's repository, where a checkout has them beside it.
private enum RealMetadata {
  static let folder = TestFolder.root + "/../shared/data/airbyte/metadata"
  static var isPresent: Bool { TestFolder.names(in: folder) != nil }
}

struct RealMetadataTests {
  @Test(.enabled(if: RealMetadata.isPresent, "the real metadata files are not beside this checkout"))
  func `every real metadata file loads without an error`() throws {
    let names = try #require(TestFolder.names(in: RealMetadata.folder))
    #expect(names.count > 300)
    var warned: [String] = []
    var list = DiagnosticList()
    for name in names {
      let path = "\(RealMetadata.folder)/\(name)/metadata.yaml"
      let bytes = try #require(TestFolder.read(path))
      let before = list.diagnostics.count
      let metadata = ConnectorMetadata.decode(
        SourceText(file: name, bytes: bytes, role: .data), diagnostics: &list)
      #expect(metadata != nil, "\(name)")
      #expect(metadata?.version != nil, "\(name)")
      #expect(metadata?.repository != nil, "\(name)")
      if list.diagnostics.count > before { warned.append(name) }
    }
    #expect(!list.hasErrors, "\(list.sorted.map(\.rendered).joined())")
    #expect(warned == ["destination-motherduck", "source-deputy"])
  }
}
