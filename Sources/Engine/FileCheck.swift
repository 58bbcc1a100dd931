import Caching
import Diagnostics
import Manifests
import SystemPackage

/// One manifest, decoded outside of any workspace: for editors and for the test of decoder against schema.
package struct FileCheck {
  /// The document as decoded, in the YAML 1.2 core schema: dates are strings.
  package let json: String

  /// The file's name decides what it is: `slipway.yaml`, `metadata.yaml`, `targets.yaml`; any other is a kind.
  ///
  /// Throws a `DiagnosticList` with every mistake in it.
  package init(path: String) throws {
    if try Disk.status(path)?.kind == .folder {
      throw Diagnostic.error("`\(path)` is a folder; a file is needed there")
    }
    guard let bytes = try Disk.contents(of: path, limit: 4 << 20) else {
      throw Diagnostic.error("cannot read `\(path)`: it is not there")
    }
    let name = FilePath(path).lastComponent?.string ?? ""
    var diagnostics = DiagnosticList()
    let source = SourceText(file: path, bytes: bytes, role: name == "metadata.yaml" ? .data : .template)
    let document: Node?
    switch name {
    case "slipway.yaml": document = WorkspaceSettings.decode(source, diagnostics: &diagnostics)?.1
    case "metadata.yaml": document = ConnectorMetadata.decode(source, diagnostics: &diagnostics)?.document
    case "targets.yaml": document = TargetsFile.decode(source, diagnostics: &diagnostics)?.document
    default: document = Kind.decode(source, diagnostics: &diagnostics)?.document
    }
    guard let document, !diagnostics.hasErrors else { throw diagnostics }
    json = document.jsonText()
  }
}
