import Diagnostics
import Digests
import Files
import Graph
import Manifests

@testable import Planning

/// Packages given as texts: what the planner needs of a workspace, without a disk.
final class InMemoryPackages: PackageSource {
  let settings: WorkspaceSettings
  var platform = "linux/amd64"
  private let packages: [WorkspacePath: (targets: String, files: [String])]

  init(settings: String = "slipway: 1\nname: test\n", _ packages: [String: (targets: String, files: [String])]) {
    var diagnostics = DiagnosticList()
    let decoded = WorkspaceSettings.decode(
      SourceText(file: "slipway.yaml", text: settings), diagnostics: &diagnostics)
    self.settings = decoded?.0 ?? WorkspaceSettings()
    self.packages = Dictionary(
      uniqueKeysWithValues: packages.map { (WorkspacePath(unchecked: $0.key), $0.value) })
  }

  func packages(at paths: [WorkspacePath], diagnostics: inout DiagnosticList) -> [LoadedPackage?] {
    paths.map { package(at: $0, diagnostics: &diagnostics) }
  }

  private func package(at path: WorkspacePath, diagnostics: inout DiagnosticList) -> LoadedPackage? {
    guard let package = packages[path] else { return nil }
    let files = (package.files + ["targets.yaml"]).sorted()
    let declaration = loadPackage(
      path: path, metadata: nil, targets: SourceText(file: "\(path)/targets.yaml", text: package.targets),
      files: files, context: LoadingContext(settings: settings, kinds: [], platform: platform),
      diagnostics: &diagnostics)
    return declaration.map { LoadedPackage(declaration: $0, files: files) }
  }

  /// The plan from these roots, and every diagnostic as text.
  func plan(_ roots: String...) -> (plan: Plan, diagnostics: String) {
    var diagnostics = DiagnosticList()
    let plan = Plan(
      roots: roots.map { WorkspacePath(unchecked: $0) }, source: self, settings: settings, diagnostics: &diagnostics)
    return (plan, diagnostics.sorted.map(\.rendered).joined())
  }
}

func label(_ package: String, _ name: String) -> Label {
  Label(package: WorkspacePath(unchecked: package), name: name)
}
