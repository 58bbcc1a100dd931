import Diagnostics
import Digests
import Events
import Files
import Graph
import Manifests
import Planning
import SystemPackage

/// What differs between two source trees, by planned keys.
package struct Affected: Sendable {
  /// The commit that is compared with, as digits.
  package var base: String
  /// The commit that is looked at; `nil` for the working tree.
  package var head: String?
  /// Targets that are new or come from something else than before, in order.
  package var labels: [Label] = []
  /// Those outside of what was asked about, too.
  package var all: Set<Label> = []
  /// Targets that are gone, in order.
  package var removed: [Label] = []
  /// Of each of `labels`: its rule and what made it differ.
  package var reasons: [Label: Reason] = [:]
  /// What could not be read of the base, whose targets then count as new.
  package var warnings: [Diagnostic] = []

  package struct Reason: Sendable {
    package var rule: Rule
    package var cause: Cause
  }

  package enum Cause: Hashable, Sendable {
    case new
    /// Its own declaration, by the names of attributes.
    case attributes([String])
    /// Files that it reads itself.
    case files([WorkspacePath])
    /// Something that it depends on.
    case dependency(Label)
    /// A label or an image in it means another target than before.
    case reference
  }

  /// The chain from a changed thing to a target: the cause, and the targets on the way, the last one the target itself.
  package func chain(to label: Label) -> (cause: Cause, labels: [Label]) {
    var labels = [label]
    var seen: Set<Label> = [label]
    while case .dependency(let next)? = labels.last.flatMap({ reasons[$0]?.cause }), seen.insert(next).inserted {
      labels.append(next)
    }
    return (labels.last.flatMap { reasons[$0]?.cause } ?? .reference, labels.reversed())
  }
}

/// A source tree with its workspace's files and all of its targets.
struct PlannedTree {
  var tree: GitTree
  var plan: Plan
  var keys: PlannedKeys
  var diagnostics: DiagnosticList

  /// - Throws: A `DiagnosticList` for mistakes in `slipway.yaml` or a kind.
  init(_ tree: GitTree, _ packages: PackageMemo) throws {
    self.tree = tree
    let definition = try WorkspaceDefinition(
      read: { path in
        guard let path = WorkspacePath(path), tree.mode(of: path) != nil else {
          throw Diagnostic.error("cannot read `\(path)`: it is not there")
        }
        return try tree.read(path, limit: WorkspaceDefinition.manifestLimit)
      }, names: { tree.names(inFolder: $0) })
    var diagnostics = DiagnosticList()
    plan = Plan(
      roots: tree.packages, source: TreePackages(tree: tree, definition: definition, memo: packages),
      settings: definition.settings, diagnostics: &diagnostics)
    self.diagnostics = diagnostics
    keys = PlannedKeys(
      plan, platform: Workspace.platform, content: { tree.content(of: $0) }, bundled: Workspace.bundled)
  }
}

/// The packages of a source tree.
private struct TreePackages: PackageSource {
  let tree: GitTree
  let definition: WorkspaceDefinition
  let memo: PackageMemo
  private let definitionPrint: Fingerprint

  init(tree: GitTree, definition: WorkspaceDefinition, memo: PackageMemo) {
    self.tree = tree
    self.definition = definition
    self.memo = memo
    let hasher = FingerprintHasher()
    for source in definition.sources {
      hasher.update(source.file)
      source.bytes.withUnsafeBytes { withUnsafeBytes(of: Fingerprint(of: $0)) { hasher.update($0) } }
    }
    definitionPrint = hasher.finish()
  }

  func packages(at paths: [WorkspacePath], diagnostics: inout DiagnosticList) -> [LoadedPackage?] {
    let (tree, definition) = (tree, definition)
    let keys = paths.map { path in
      let hasher = FingerprintHasher()
      withUnsafeBytes(of: definitionPrint) { hasher.update($0) }
      withUnsafeBytes(of: tree.outline(of: path, reading: WorkspaceDefinition.manifests)) { hasher.update($0) }
      return hasher.finish()
    }
    let missing = zip(paths, keys).filter { memo.known[$0.1] == nil }
    do {
      try tree.prefetch(
        missing.flatMap { path, _ in WorkspaceDefinition.manifests.sorted().map { path.appending($0) } })
    } catch { diagnostics.diagnostics.append((error as? Diagnostic) ?? .error("\(error)", cause: .environment)) }
    let found = mapInParallel(missing, chunk: 8) { path, _ in
      var mistakes = DiagnosticList()
      let package = definition.load(path, in: tree, platform: Workspace.platform, &mistakes)
      return PackageMemo.Entry(package: package, mistakes: mistakes.diagnostics)
    }
    for ((_, key), entry) in zip(missing, found) { memo.known[key] = entry }
    return keys.map { key in
      guard let entry = memo.known[key] else { return nil }
      diagnostics.diagnostics += entry.mistakes
      return entry.package
    }
  }
}

/// Packages that were read, by all that they were read from: what two trees have in common is read once.
final class PackageMemo {
  struct Entry: Sendable {
    var package: LoadedPackage?
    var mistakes: [Diagnostic]
  }

  var known: [Fingerprint: Entry] = [:]
}

extension Session {
  /// Compares the working tree, or the commit `until`, with where it and the commit `since` come from.
  ///
  /// - Parameter exactBase: Compares with `since` itself.
  /// - Throws: A diagnostic for commits that git does not know, and a `DiagnosticList` for mistakes in the newer tree.
  package func affected(since: String, until: String? = nil, exactBase: Bool = false, among patterns: [String] = [])
    throws -> Affected
  {
    let patterns = patterns.isEmpty ? nil : try parse(patterns)
    guard let history = GitHistory(of: workspace.root) else {
      throw Diagnostic.error(
        "`\(workspace.root)` lies in no git work tree, so there is nothing to compare with",
        hints: ["build all of it: slipway build //..."])
    }
    let memo = PackageMemo()
    let head = try until.map { try history.commit($0) }
    let other = try history.commit(since)
    let base = exactBase ? other : try history.mergeBase(other, head ?? history.commit("HEAD"))
    let newer: PlannedTree
    do {
      newer = try PlannedTree(
        head.map { try history.tree(of: $0, ignore: WorkspaceDefinition.ignored) }
          ?? history.workingTree(reader: workspace.tree.reader, ignore: WorkspaceDefinition.ignored), memo)
    }
    if newer.diagnostics.hasErrors { throw newer.diagnostics }
    let older = try olderTree(base, history, memo)
    var result = Affected(base: base, head: head)
    if let tree = older.tree {
      let mistakes = tree.diagnostics.diagnostics.count { $0.severity == .error }
      if mistakes > 0 {
        result.warnings.append(
          .warning(
            "\(mistakes == 1 ? "a mistake" : "\(mistakes) mistakes") in the manifests of \(base.prefix(12)): "
              + "what could not be read there counts as new"))
      }
    }
    result.warnings += older.warnings
    result.compare(newer, with: older.tree)
    if let patterns { try result.restrict(to: patterns, in: newer, and: older.tree) }
    return result
  }

  /// The planned tree of the base, and why there is none.
  private func olderTree(_ base: String, _ history: GitHistory, _ memo: PackageMemo) throws -> (
    tree: PlannedTree?, warnings: [Diagnostic]
  ) {
    let tree = try history.tree(of: base, ignore: WorkspaceDefinition.ignored)
    guard let settings = WorkspacePath("slipway.yaml"), tree.mode(of: settings) != nil else {
      return (nil, [.warning("\(base.prefix(12)) has no slipway.yaml in this folder: every target counts as new")])
    }
    do { return (try PlannedTree(tree, memo), []) } catch is DiagnosticList {
      return (
        nil, [.warning("slipway.yaml or a kind of \(base.prefix(12)) has mistakes: every target counts as new")]
      )
    }
  }
}

extension Affected {
  /// Leaves what the patterns mean, in the newer tree or in the older one.
  fileprivate mutating func restrict(to patterns: TargetPatternSet, in newer: PlannedTree, and older: PlannedTree?)
    throws
  {
    func meant(_ tree: PlannedTree) throws(DiagnosticList) -> Set<Label> {
      Set(
        try patterns.resolve(
          packages: tree.tree.packages,
          targets: { tree.plan.packages[$0]?.declaration.targets.map(\.name.value) ?? [] },
          defaultTarget: { tree.plan.packages[$0]?.declaration.defaultTarget }))
    }
    var before: Set<Label> = []
    if let older { before = (try? meant(older)) ?? [] }
    var now: Set<Label> = []
    do throws(DiagnosticList) { now = try meant(newer) } catch {
      // A pattern may mean only what is gone.
      if before.isEmpty { throw error }
    }
    labels.removeAll { !now.contains($0) }
    removed.removeAll { !before.contains($0) }
  }

  fileprivate mutating func compare(_ newer: PlannedTree, with older: PlannedTree?) {
    let graph = newer.plan.graph
    for index in graph.topologicalOrder {
      let label = graph.nodes[index].label
      guard let entry = newer.keys.entries[label], let target = newer.plan.targets[label] else { continue }
      let before = older?.keys.entries[label]
      if before?.key == entry.key { continue }
      reasons[label] = Reason(rule: target.rule, cause: cause(target, entry, before, newer, older))
    }
    labels = reasons.keys.sorted()
    all = Set(labels)
    if let older { removed = older.keys.entries.keys.filter { newer.keys.entries[$0] == nil }.sorted() }
  }

  private func cause(
    _ target: Target, _ entry: PlannedKeys.Entry, _ before: PlannedKeys.Entry?, _ newer: PlannedTree,
    _ older: PlannedTree?
  ) -> Cause {
    guard let before, let older, let was = older.plan.targets[target.label] else { return .new }
    if entry.sources != before.sources {
      let files = Set(target.files).union(was.files).filter { newer.tree.content(of: $0) != older.tree.content(of: $0) }
      if !files.isEmpty { return .files(files.sorted()) }
    }
    if entry.attributes != before.attributes {
      let (now, then) = (target.declaration.attributeTexts, was.declaration.attributeTexts)
      let names = Set(now.map(\.name)).union(then.map(\.name)).filter { name in
        now.first { $0.name == name }?.json != then.first { $0.name == name }?.json
      }
      return .attributes(names.sorted())
    }
    // Nearest first: dependencies have their reasons by now.
    let edges = newer.plan.graph.index(of: target.label).map { newer.plan.graph.nodes[$0].dependencies } ?? []
    for edge in edges where edge.role != .needs && edge.role != .when && reasons[edge.target] != nil {
      return .dependency(edge.target)
    }
    return .reference
  }
}

extension Affected {
  /// What changed, and the way from there to a target, in lines for a person.
  package func explanation(of label: Label) -> [String] {
    let (cause, labels) = chain(to: label)
    let first = labels.first ?? label
    let what =
      switch cause {
      case .new: ["\(first) is new"]
      case .attributes(let names): ["\(first): \(names.map { "`\($0)`" }.joined(separator: ", ")) changed"]
      case .files(let paths):
        paths.prefix(8).map { "\($0)" } + (paths.count > 8 ? ["… and \(paths.count - 8) more"] : [])
      case .reference, .dependency: ["\(first): a label in it means another target"]
      }
    return what + [labels.map { "-> \($0)" }.joined(separator: " ")]
  }

  /// One JSON object; `schemas/affected.schema.json`.
  package func json(why: Bool) -> String {
    func list(_ items: [String]) -> String { "[" + items.joined(separator: ",") + "]" }
    let targets = labels.map { label -> String in
      var line = JSONLine()
      line.add("label", label.description)
      line.add("rule", reasons[label]?.rule.rawValue)
      if why {
        let (cause, labels) = chain(to: label)
        line.add("cause", cause.name)
        switch cause {
        case .files(let paths): line.add("files", list: paths.map(\.string))
        case .attributes(let names): line.add("attributes", list: names)
        case .new, .reference, .dependency: break
        }
        line.add("through", list: labels.map(\.description))
      }
      return String(decoding: line.text, as: UTF8.self)
    }
    var line = JSONLine()
    line.add("base", base)
    line.add("head", head)
    let start = String(decoding: line.text.dropLast(), as: UTF8.self)
    var gone = JSONLine()
    gone.add("removed", list: removed.map(\.description))
    return start + ",\"affected\":\(list(targets))," + String(decoding: gone.text.dropFirst(), as: UTF8.self)
  }
}

extension Affected.Cause {
  var name: String {
    switch self {
    case .new: "new"
    case .attributes: "attributes"
    case .files: "files"
    case .dependency, .reference: "reference"
    }
  }
}
