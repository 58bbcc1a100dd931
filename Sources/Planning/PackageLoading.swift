import Diagnostics
import Files
import Graph
import Manifests

/// Where the planner reads packages from; a package is loaded at most once.
package protocol PackageSource {
  /// The decoded packages; `nil` where the folder is none or its manifests are broken (said in `diagnostics`).
  func packages(at paths: [WorkspacePath], diagnostics: inout DiagnosticList) -> [LoadedPackage?]
}

/// A package and the list of its source files, relative to it, bytewise.
package struct LoadedPackage: Sendable {
  package var declaration: PackageDeclaration
  package var files: [String]
  /// Whether `${platform}` may stand in what it was read from.
  package var dependsOnPlatform: Bool

  package init(declaration: PackageDeclaration, files: [String], dependsOnPlatform: Bool = false) {
    self.declaration = declaration
    self.files = files
    self.dependsOnPlatform = dependsOnPlatform
  }
}

/// The targets of some packages and of all that they depend on.
package struct Plan: Sendable {
  package internal(set) var targets: [Label: Target] = [:]
  package internal(set) var packages: [WorkspacePath: LoadedPackage] = [:]
  /// Pulls of images that manifests name in place of a target; they belong to no package.
  package internal(set) var pulls: Set<Label> = []
  package internal(set) var graph: TargetGraph
  /// What a build says once, although it is no mistake.
  package private(set) var warnings: [Diagnostic] = []

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
    while !pending.isEmpty {
      let found = Array(zip(pending, source.packages(at: pending, diagnostics: &diagnostics)))
      let named = mapInParallel(found, chunk: 16) { path, package in
        package?.declaration.packages(namedFrom: path, settings: settings) ?? []
      }
      for (path, package) in found { loaded[path] = package }
      pending = []
      for path in named.joined() where seen.insert(path).inserted { pending.append(path) }
    }
    let known = loaded
    let resolved = mapInParallel(loaded.keys.sorted(), chunk: 16) { path in
      Resolved(path, among: known, settings: settings)
    }
    var pulled: [Label: Located<String>] = [:]
    for found in resolved {
      diagnostics.diagnostics += found.diagnostics.diagnostics
      pulled.merge(found.pulls) { first, _ in first }
    }
    let pulls = pulled.sorted { $0.key < $1.key }.map { label, text in
      var declaration = TargetDeclaration(name: Located(label.name, at: text.place), rule: .pull)
      declaration.image = text
      return Target(label: label, kind: nil, declaration: declaration)
    }
    let nodes = resolved.flatMap(\.nodes) + pulls.map { $0.graphNode(edges: []) }
    // Thousands of nodes, and as many targets below: one processor for each.
    let joined = Background {
      var diagnostics = DiagnosticList()
      let graph = TargetGraph(nodes, diagnostics: &diagnostics)
      return (graph, diagnostics)
    }
    targets.reserveCapacity(nodes.count)
    for found in resolved { for target in found.targets { targets[target.label] = target } }
    for target in pulls { targets[target.label] = target }
    self.pulls = Set(pulls.map(\.label))
    packages = loaded
    warnings = BaseVersions.warnings(loaded, settings)
    let (graph, mistakes) = joined.take()
    self.graph = graph
    diagnostics.diagnostics += mistakes.diagnostics
  }
}

/// What one package's declarations resolve to.
private struct Resolved: Sendable {
  var targets: [Target] = []
  var nodes: [GraphNode] = []
  var pulls: [Label: Located<String>] = [:]
  var diagnostics = DiagnosticList()

  init(_ path: WorkspacePath, among loaded: [WorkspacePath: LoadedPackage], settings: WorkspaceSettings) {
    for declaration in loaded[path]?.declaration.targets ?? [] {
      var resolver = TargetResolver(
        package: path, loaded: loaded, settings: settings, declaration: declaration, diagnostics: diagnostics)
      let target = resolver.resolve()
      diagnostics = resolver.diagnostics
      targets.append(target)
      nodes.append(target.graphNode(edges: resolver.edges))
      pulls.merge(resolver.pulls) { first, _ in first }
    }
  }
}

/// Targets of some packages, with what each depends on, in no graph.
package struct ResolvedTargets: Sendable {
  package private(set) var targets: [Label: Target] = [:]
  package private(set) var edges: [Label: [GraphEdge]] = [:]
  package private(set) var diagnostics = DiagnosticList()

  /// - Parameter loaded: Them, and every package that they name.
  package init(
    of packages: [WorkspacePath], among loaded: [WorkspacePath: LoadedPackage], settings: WorkspaceSettings
  ) {
    let resolved = mapInParallel(packages.sorted(), chunk: 16) { Resolved($0, among: loaded, settings: settings) }
    for found in resolved {
      diagnostics.diagnostics += found.diagnostics.diagnostics
      for (target, node) in zip(found.targets, found.nodes) {
        targets[target.label] = target
        edges[target.label] = node.dependencies
      }
    }
  }
}

extension PackageDeclaration {
  /// The packages of all labels in it; one may come more than once.
  package func packages(namedFrom path: WorkspacePath, settings: WorkspaceSettings) -> [WorkspacePath] {
    targets.flatMap { target in
      target.labelTexts(settings: settings).compactMap { text, _ in
        (try? LabelReference.parse(text, relativeTo: path))?.package
      }
    }
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
