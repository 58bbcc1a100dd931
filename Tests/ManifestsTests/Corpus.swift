import Diagnostics
import Testing

@testable import Manifests

/// One file of `Corpus/`.
struct CorpusFile {
  /// What the corpus says of its files.
  enum Group: String, CaseIterable {
    /// Decoder and schema take them.
    case valid
    /// Both refuse them, for their structure.
    case invalid
    /// Only the decoder refuses them: a reference or a glob has a mistake inside its text.
    case beyond
    /// They are no YAML that is accepted, so that no schema ever sees them.
    case yaml
  }

  enum Schema: String, CaseIterable { case slipway, targets, kind, metadata }

  var group: Group
  var schema: Schema
  var name: String
  var source: SourceText

  var path: String { "\(TestFolder.corpus)/\(group.rawValue)/\(schema.rawValue)/\(name)" }

  static func all(_ groups: [Group] = Group.allCases) throws -> [CorpusFile] {
    var files: [CorpusFile] = []
    for group in groups {
      for schema in Schema.allCases {
        let names = TestFolder.names(in: "\(TestFolder.corpus)/\(group.rawValue)/\(schema.rawValue)") ?? []
        for name in names where name.hasSuffix(".yaml") {
          var file = CorpusFile(
            group: group, schema: schema, name: name, source: SourceText(file: name, bytes: []))
          let bytes = try #require(TestFolder.read(file.path))
          file.source = SourceText(file: name, bytes: bytes, role: schema == .metadata ? .data : .template)
          files.append(file)
        }
      }
    }
    return files
  }

  /// All that the decoder says of it; whether it takes it.
  func decode() -> (diagnostics: [Diagnostic], isAccepted: Bool) { Self.decode(source, schema) }

  static func decode(_ source: SourceText, _ schema: Schema) -> (diagnostics: [Diagnostic], isAccepted: Bool) {
    var list = DiagnosticList()
    let isAccepted =
      switch schema {
      case .slipway: WorkspaceSettings.decode(source, diagnostics: &list) != nil
      case .targets: TargetsFile.decode(source, diagnostics: &list) != nil
      case .kind: Kind.decode(source, diagnostics: &list) != nil
      case .metadata: ConnectorMetadata.decode(source, diagnostics: &list) != nil
      }
    return (list.sorted, isAccepted)
  }
}
