import Diagnostics
import Files
import Graph
import Manifests

/// Where the planner reads packages from; a package is loaded at most once.
package protocol PackageSource {
  /// The decoded package, or `nil` when the folder is none or its manifests are broken (said in `diagnostics`).
  func package(at path: WorkspacePath, diagnostics: inout DiagnosticList) -> LoadedPackage?
}

/// A package and the list of its source files, relative to it, bytewise.
package struct LoadedPackage: Sendable {
  package var declaration: PackageDeclaration
  package var files: [String]

  package init(declaration: PackageDeclaration, files: [String]) {
    self.declaration = declaration
    self.files = files
  }
}

/// The targets of some packages and of all that they depend on.
package struct Plan: Sendable {
  package private(set) var targets: [Label: Target] = [:]
  package private(set) var packages: [WorkspacePath: LoadedPackage] = [:]
  package private(set) var graph: TargetGraph

  /// Loads `roots` and every package that they name, resolves labels and globs, and checks the graph.
  ///
  /// All mistakes are collected in `diagnostics`; what is broken is left out.
  package init(
    roots: [WorkspacePath], source: some PackageSource, settings: WorkspaceSettings,
    diagnostics: inout DiagnosticList
  ) {
    var pending = roots
    var seen = Set(roots)
    var loaded: [WorkspacePath: LoadedPackage] = [:]
    var order: [WorkspacePath] = []
    while let path = pending.popLast() {
      guard let package = source.package(at: path, diagnostics: &diagnostics) else { continue }
      loaded[path] = package
      order.append(path)
      for target in package.declaration.targets {
        for (text, _) in target.labelTexts(settings: settings) {
          guard let reference = try? LabelReference.parse(text, relativeTo: path) else { continue }
          if seen.insert(reference.package).inserted { pending.append(reference.package) }
        }
      }
    }
    order.sort()
    var nodes: [GraphNode] = []
    for path in order {
      guard let package = loaded[path] else { continue }
      for declaration in package.declaration.targets {
        var resolver = TargetResolver(
          package: path, loaded: loaded, settings: settings, declaration: declaration, diagnostics: diagnostics)
        let target = resolver.resolve()
        diagnostics = resolver.diagnostics
        targets[target.label] = target
        nodes.append(target.graphNode(edges: resolver.edges))
      }
    }
    packages = loaded
    graph = TargetGraph(nodes, diagnostics: &diagnostics)
  }
}

extension TargetDeclaration {
  /// Every text in it that names a target, with its place.
  func labelTexts(settings: WorkspaceSettings) -> [(text: String, place: Place)] {
    var texts: [(String, Place)] = []
    func add(_ located: Located<String>?) {
      if let located { texts.append((located.value, located.place)) }
    }
    for image in [image, base] {
      guard let image else { continue }
      if image.value.isLabelText {
        add(image)
      } else if let replacement = settings.replacement(forImage: image.value) {
        texts.append((replacement.value, image.place))
      }
    }
    add(plan)
    for input in sources + inputs {
      if case .label(let label) = input.source.value { texts.append((label, input.source.place)) }
    }
    for layer in layers { add(layer.from) }
    for test in tests { add(test.label) }
    for need in needs { add(need) }
    switch when?.value {
    case .affected(let label), .failed(let label): if let when { texts.append((label, when.place)) }
    case nil: break
    }
    return texts
  }
}

extension String {
  var isLabelText: Bool { hasPrefix(":") || hasPrefix("//") }
}

extension WorkspaceSettings {
  /// The label that stands in for a registry's image, whatever its tag or digest.
  func replacement(forImage text: String) -> Located<String>? {
    ImageReference(text).flatMap { replacement(for: $0) }
  }
}
