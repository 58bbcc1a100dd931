import Diagnostics
import Files
import Glibc
import Graph
import Manifests
import Planning

extension Session {
  /// What `bump` changed.
  package struct Bumped: Sendable {
    package var package: WorkspacePath
    package var old: String
    package var new: String
    /// Paths in the workspace.
    package var files: [String]
  }

  /// Raises the versions of connectors, in their metadata, their `pyproject.toml` and their changelog; nothing else in
  /// those files changes.
  ///
  /// The changelog is `CHANGELOG.md` in the connector's folder, or the page `docs/integrations/sources/NAME.md`
  /// (`destinations`) of the workspace, where there is one.
  package func bump(_ patterns: [String], by bump: VersionBump, message: String) throws -> [Bumped] {
    let set = try parse(patterns)
    try workspace.tree.refresh(.all)
    var diagnostics = DiagnosticList()
    var changes: [(path: WorkspacePath, bytes: [UInt8])] = []
    var result: [Bumped] = []
    for package in set.packages(among: workspace.tree.packages) {
      guard workspace.tree.mode(of: package.appending("metadata.yaml")) != nil else { continue }
      do {
        let (bumped, files) = try bumped(package, by: bump, message: message)
        result.append(bumped)
        changes += files
      } catch let error as Diagnostic { diagnostics.diagnostics.append(error) }
    }
    if diagnostics.hasErrors { throw diagnostics }
    guard !result.isEmpty else {
      throw Diagnostic.error(
        "no connector among `\(patterns.joined(separator: " "))`",
        hints: ["a connector is a folder with a metadata.yaml"])
    }
    for (path, bytes) in changes { try workspace.replace(path.string, with: bytes) }
    return result
  }

  private func bumped(_ package: WorkspacePath, by bump: VersionBump, message: String) throws -> (
    Bumped, [(path: WorkspacePath, bytes: [UInt8])]
  ) {
    let path = package.appending("metadata.yaml")
    let source = SourceText(
      file: path.string, bytes: try workspace.tree.read(path, limit: YAMLParser.Limit.file), role: .data)
    let document = try YAMLParser.parse(source)
    guard let scalar = document["data"]?["dockerImageTag"], let text = scalar.scalar?.text else {
      throw Diagnostic.error("`\(path)` has no `data.dockerImageTag` to raise", at: document.span)
    }
    guard let old = SemanticVersion(text) else {
      throw Diagnostic.error("`dockerImageTag` is not a semantic version: `\(text)`", at: scalar.span)
    }
    let new = bump.applied(to: old)
    guard old < new else {
      throw Diagnostic.error("`\(new)` is not above the version that \(package.name) has, `\(old)`", at: scalar.span)
    }
    guard let edit = source.edit(of: scalar, to: "\(new)") else {
      throw Diagnostic.error("cannot change this version in place", at: scalar.span, hints: ["write \(new) there"])
    }
    var files = [(path: path, bytes: source.applying([edit]))]
    let project = package.appending("pyproject.toml")
    if let known = try self.text(project), let raised = PythonProject.raising(known, from: text, to: "\(new)") {
      files.append((project, Array(raised.utf8)))
    }
    for page in [package.appending("CHANGELOG.md"), package.documentationPage].compactMap(\.self) {
      guard let known = try self.text(page),
        let raised = Changelog.adding("\(new)", date: Self.today(), message: message, to: known)
      else { continue }
      files.append((page, Array(raised.utf8)))
      break
    }
    let bumped = Bumped(package: package, old: text, new: "\(new)", files: files.map(\.path.string))
    return (bumped, files)
  }

  private func text(_ path: WorkspacePath) throws -> String? {
    guard workspace.tree.mode(of: path) == .regular else { return nil }
    return String(validating: try workspace.tree.read(path, limit: 16 << 20), as: UTF8.self)
  }

  private static func today() -> String {
    var now = time(nil)
    var parts = tm()
    gmtime_r(&now, &parts)
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
  }
}
