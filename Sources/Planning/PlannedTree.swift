import Diagnostics
import Digests
import Files
import Graph
import Manifests

/// The targets of a source tree and their planned keys, kept up as its packages change: what did not change is not planned
/// again.
package struct PlannedTree: Sendable {
  /// What a change of packages did to targets.
  package struct Difference: Sendable {
    /// New, or with another key than before.
    package var affected: Set<Label> = []
    package var removed: Set<Label> = []

    package init() {}
  }

  package private(set) var targets: [Label: Target] = [:]
  package private(set) var edges: [Label: [GraphEdge]] = [:]
  package private(set) var keys: [Label: Fingerprint] = [:]
  private var own: [Label: PlannedKeys.Own] = [:]
  private var dependents: [Label: Set<Label>] = [:]
  private var packages: [WorkspacePath: LoadedPackage] = [:]
  /// Of each package.
  private var labels: [WorkspacePath: [Label]] = [:]
  /// The packages whose declarations name one.
  private var namers: [WorkspacePath: Set<WorkspacePath>] = [:]

  private let settings: WorkspaceSettings
  private let platform: String
  private let bundled: @Sendable (String) -> [UInt8]?

  /// - Parameter bundled: The bytes of a file that ships with Slipway.
  package init(
    settings: WorkspaceSettings, platform: String, bundled: @escaping @Sendable (String) -> [UInt8]?
  ) {
    self.settings = settings
    self.platform = platform
    self.bundled = bundled
  }

  /// Reads packages again, and what they are.
  ///
  /// - Parameters:
  ///   - changed: The packages of which a file that a target reads, or a manifest, may be another one.
  ///   - content: Of a source file: its mode class and content.
  package mutating func update(
    _ changed: Set<WorkspacePath>, from source: some PackageSource, content: (WorkspacePath) -> Fingerprint?,
    diagnostics: inout DiagnosticList
  ) -> Difference {
    var pending = changed.sorted()
    var resolving = changed
    while !pending.isEmpty {
      var missing: Set<WorkspacePath> = []
      for (path, package) in zip(pending, source.packages(at: pending, diagnostics: &diagnostics)) {
        // Who names a package with other targets may mean others of them.
        if Interface(packages[path]) != Interface(package) { resolving.formUnion(namers[path] ?? []) }
        name(path, packages[path], present: false)
        packages[path] = package
        for named in name(path, package, present: true) where packages[named] == nil { missing.insert(named) }
        resolving.insert(path)
      }
      // A package that is none is asked for once by each update that names it.
      pending = missing.subtracting(changed).filter { !resolving.contains($0) }.sorted()
      resolving.formUnion(pending)
    }
    return resolve(resolving, content: content, &diagnostics)
  }

  @discardableResult
  private mutating func name(_ path: WorkspacePath, _ package: LoadedPackage?, present: Bool) -> Set<WorkspacePath> {
    let named = Set(package?.declaration.packages(namedFrom: path, settings: settings) ?? [])
    for other in named {
      if present { namers[other, default: []].insert(path) } else { namers[other]?.remove(path) }
    }
    return named
  }

  private mutating func resolve(
    _ resolving: Set<WorkspacePath>, content: (WorkspacePath) -> Fingerprint?, _ diagnostics: inout DiagnosticList
  ) -> Difference {
    let resolved = ResolvedTargets(of: resolving.sorted(), among: packages, settings: settings)
    diagnostics.diagnostics += resolved.diagnostics.diagnostics
    var result = Difference()
    var dirty: [Label] = []
    for package in resolving {
      for label in labels[package] ?? [] where resolved.targets[label] == nil {
        forget(label)
        result.removed.insert(label)
        dirty.append(label)
      }
      labels[package] = nil
    }
    for (label, target) in resolved.targets {
      labels[label.package, default: []].append(label)
      let own = PlannedKeys.Own(target, content: content, bundled: bundled)
      let next = resolved.edges[label] ?? []
      let isSame = self.own[label] == own && (edges[label] ?? []).elementsEqual(next, by: GraphEdge.isSame)
      for edge in edges[label] ?? [] { dependents[edge.target]?.remove(label) }
      for edge in next { dependents[edge.target, default: []].insert(label) }
      (targets[label], edges[label], self.own[label]) = (target, next, own)
      if !isSame || keys[label] == nil { dirty.append(label) }
    }
    return rekey(dirty, result)
  }

  private mutating func forget(_ label: Label) {
    for edge in edges[label] ?? [] { dependents[edge.target]?.remove(label) }
    (targets[label], edges[label], own[label], keys[label]) = (nil, nil, nil, nil)
  }

  /// Computes the keys of targets and of all that depends on them.
  private mutating func rekey(_ dirty: [Label], _ difference: Difference) -> Difference {
    var result = difference
    var reached: [Label: Fingerprint?] = [:]
    var pending = dirty
    while let label = pending.popLast() {
      guard reached.updateValue(keys[label], forKey: label) == nil else { continue }
      pending += dependents[label] ?? []
    }
    for label in reached.keys { keys[label] = nil }
    for (label, before) in reached where targets[label] != nil {
      let key = key(of: label, among: reached)
      if before != key { result.affected.insert(label) }
    }
    return result
  }

  private mutating func key(of label: Label, among reached: [Label: Fingerprint?]) -> Fingerprint? {
    if let key = keys[label] { return key }
    guard reached[label] != nil, let own = own[label], let edges = edges[label] else { return nil }
    // A cycle, which is a mistake, ends here.
    keys[label] = Fingerprint(high: 0, low: 0)
    var known: [Label: Fingerprint] = [:]
    for edge in edges where edge.role != .needs && edge.role != .when {
      known[edge.target] = key(of: edge.target, among: reached)
    }
    let key = PlannedKeys.key(of: label, own, edges, platform: platform) { known[$0] }
    keys[label] = key
    return key
  }
}

extension GraphEdge {
  fileprivate static func isSame(_ a: GraphEdge, _ b: GraphEdge) -> Bool {
    a.target == b.target && a.role == b.role && a.output == b.output
  }
}

/// What others see of a package.
package struct Interface: Equatable {
  package var defaultTarget: String?
  package var targets: [String]

  package init(_ package: LoadedPackage?) {
    defaultTarget = package?.declaration.defaultTarget
    targets = package?.declaration.targets.map(\.name.value) ?? []
  }
}
