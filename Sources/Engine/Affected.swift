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

/// One side of a comparison: a source tree with its workspace's files, and packages as they are needed.
struct ComparedTree {
  let tree: GitTree
  let definition: WorkspaceDefinition

  /// - Throws: A `DiagnosticList` for mistakes in `slipway.yaml` or a kind.
  init(_ tree: GitTree) throws {
    self.tree = tree
    definition = try WorkspaceDefinition(in: tree) { folder in
      // Most are kinds, which are read next.
      let names = tree.names(inFolder: folder)
      try? tree.prefetch(names.compactMap { WorkspacePath(folder.isEmpty ? $0 : "\(folder)/\($0)") })
      return names
    }
  }

  /// The packages that may say or read something else than in another tree; `nil` for all, where settings or kinds differ.
  fileprivate func changedPackages(from older: ComparedTree) -> Set<WorkspacePath>? {
    if definition.fingerprint != older.definition.fingerprint { return nil }
    let paths = tree.paths(differingFrom: older.tree)
    var packages: Set<WorkspacePath> = []
    for path in paths {
      for tree in [tree, older.tree] {
        if let package = tree.package(containing: path) { packages.insert(package) }
      }
    }
    // The page of a connector's documentation lies outside of its package.
    let changed = Set(paths)
    for package in tree.packages {
      if let page = package.documentationPage, changed.contains(page) { packages.insert(package) }
    }
    return packages
  }

  /// What a package's declarations come from, but for settings and kinds; `nil` for none.
  fileprivate func origin(of package: WorkspacePath) -> Fingerprint? {
    let hasher = FingerprintHasher()
    var isPackage = false
    for name in WorkspaceDefinition.manifests {
      guard let content = tree.content(of: package.appending(name)) else { continue }
      isPackage = true
      hasher.update(name)
      withUnsafeBytes(of: content) { hasher.update($0) }
    }
    if !isPackage { return nil }
    tree.forEachFile(in: package) { path, _ in
      hasher.update(UInt64(path.count))
      hasher.update(UnsafeRawBufferPointer(path))
    }
    return hasher.finish()
  }
}

extension ComparedTree: PackageSource {
  /// Begins to read the manifests of packages.
  fileprivate func readAhead(_ packages: [WorkspacePath]) -> Background<Void> {
    // What fails here fails again where it is needed.
    Background { [tree] in try? tree.prefetch(WorkspaceDefinition.manifests(of: packages)) }
  }

  func packages(at paths: [WorkspacePath], diagnostics: inout DiagnosticList) -> [LoadedPackage?] {
    do { try tree.prefetch(WorkspaceDefinition.manifests(of: paths)) } catch {
      diagnostics.diagnostics.append((error as? Diagnostic) ?? .error("\(error)", cause: .environment))
    }
    return definition.packages(at: paths, in: tree, &diagnostics)
  }
}

/// What differs, with both sides of it.
struct Comparison {
  var affected: Affected
  let plan: Plan
  let newer: ComparedTree
  /// `nil` where it cannot be read.
  let older: ComparedTree?
  fileprivate let among: Among

  /// Leaves what is asked about.
  fileprivate mutating func restrict() throws { try affected.restrict(to: among, plan, newer, older) }
}

extension Session {
  /// Compares the working tree, or the commit `until`, with where it and the commit `since` come from.
  ///
  /// - Parameter exactBase: Compares with `since` itself.
  /// - Throws: A diagnostic for commits that git does not know, and a `DiagnosticList` for mistakes in the newer tree.
  package func affected(
    since: String, until: String? = nil, exactBase: Bool = false, among selection: TargetSelection = .all
  ) throws -> Affected {
    var compared = try compare(since: since, until: until, exactBase: exactBase, among: selection)
    try compared.restrict()
    return compared.affected
  }

  /// As `affected`, without the targets whose results are known to be what they were.
  package func refined(
    since: String, until: String? = nil, exactBase: Bool = false, among selection: TargetSelection = .all
  ) async throws -> Affected {
    var compared = try compare(since: since, until: until, exactBase: exactBase, among: selection)
    await refine(&compared)
    try compared.restrict()
    return compared.affected
  }

  private func compare(since: String, until: String?, exactBase: Bool, among selection: TargetSelection) throws
    -> Comparison
  {
    let among = try Among(selection, self)
    guard let history = GitHistory(of: workspace.root) else {
      throw Diagnostic.error(
        "`\(workspace.root)` lies in no git work tree, so there is nothing to compare with",
        hints: ["build all of it: slipway build //..."])
    }
    readOutlinesAhead()
    let sides = try history.sides(
      since: since, until: until, exactBase: exactBase, reader: workspace.tree.reader,
      ignore: WorkspaceDefinition.ignored)
    let newer = try ComparedTree(sides.newer)
    var result = Affected(base: sides.base, head: sides.head)
    let older = result.open(sides.older)
    let changed = older.flatMap { newer.changedPackages(from: $0) }
    // Of the others it is enough to know what they name, but where a query or a mistake is about what they say.
    var whole = changed
    if case .query = among { whole = nil }
    // One git reads for the older side while this one is planned.
    let ahead = changed.flatMap { changed in older.map { $0.readAhead(changed.sorted()) } }
    var (plan, outlined, diagnostics) = plan(newer, whole: whole)
    ahead?.take()
    var before = OlderTargets(plan, newer, older, changed)
    if !outlined.isEmpty, diagnostics.hasErrors || !before.packages.isDisjoint(with: outlined) {
      (plan, outlined, diagnostics) = self.plan(newer, whole: nil)
      before = OlderTargets(plan, newer, older, changed)
    }
    if diagnostics.hasErrors { throw diagnostics }
    retained = [plan, before]
    result.compare(plan, newer, with: older, before)
    return Comparison(affected: result, plan: plan, newer: newer, older: older, among: among)
  }

  /// - Parameter whole: The packages of which more than the outline is needed; `nil` for all.
  private func plan(_ newer: ComparedTree, whole: Set<WorkspacePath>?) -> (
    plan: Plan, outlined: Set<WorkspacePath>, diagnostics: DiagnosticList
  ) {
    var diagnostics = DiagnosticList()
    let (roots, settings) = (newer.tree.packages, newer.definition.settings)
    guard let whole else {
      let plan = Plan(roots: roots, source: newer, settings: settings, diagnostics: &diagnostics)
      return (plan, [], diagnostics)
    }
    let source = OutlinedPackages(
      newer, outlines(), whole: whole, definition: newer.definition.fingerprint
    ) { $0.map { newer.origin(of: $0) } }
    let plan = Plan(roots: roots, source: source, settings: settings, diagnostics: &diagnostics)
    source.outlines.save()
    return (plan, source.outlined, diagnostics)
  }
}

extension Affected {
  /// The base's side; nil, with a warning, where it cannot be read at all.
  fileprivate mutating func open(_ tree: GitTree) -> ComparedTree? {
    guard let settings = WorkspacePath("slipway.yaml"), tree.mode(of: settings) != nil else {
      warnings.append(.warning("\(base.prefix(12)) has no slipway.yaml in this folder: every target counts as new"))
      return nil
    }
    do { return try ComparedTree(tree) } catch {
      warnings.append(
        .warning("slipway.yaml or a kind of \(base.prefix(12)) cannot be read: every target counts as new"))
      return nil
    }
  }

  /// Finds the targets that differ. Equal to comparing planned keys of both trees, but that what did not change is not
  /// read again: a target is the same if it says the same, reads the same files, and depends on what is the same.
  fileprivate mutating func compare(
    _ plan: Plan, _ newer: ComparedTree, with older: ComparedTree?, _ before: OlderTargets
  ) {
    guard let older else {
      for (label, target) in plan.targets { reasons[label] = Reason(rule: target.rule, cause: .new) }
      return finish(plan, [:])
    }
    let mistakes = before.diagnostics.diagnostics.count { $0.severity == .error }
    if mistakes > 0 {
      warnings.append(
        .warning(
          "\(mistakes == 1 ? "a mistake" : "\(mistakes) mistakes") in the manifests of \(base.prefix(12)): "
            + "what could not be read there counts as new"))
    }
    let graph = plan.graph
    for index in graph.topologicalOrder {
      let node = graph.nodes[index]
      guard let target = plan.targets[node.label] else { continue }
      var cause: Cause?
      if before.packages.contains(node.label.package) || plan.pulls.contains(node.label) {
        cause = before.cause(of: target, node.dependencies, newer, older)
      }
      if cause == nil {
        // What only orders, or decides whether it runs, is not what a target comes from.
        cause = node.dependencies.first {
          $0.role != .needs && $0.role != .when && reasons[$0.target] != nil
        }.map { .dependency($0.target) }
      }
      if let cause { reasons[node.label] = Reason(rule: target.rule, cause: cause) }
    }
    finish(plan, before.targets)
  }

  private mutating func finish(_ plan: Plan, _ older: [Label: Target]) {
    // Pulls that manifests name in place of a target are not targets of their own.
    labels = reasons.keys.filter { !plan.pulls.contains($0) }.sorted()
    all = Set(labels)
    removed = older.keys.filter { plan.targets[$0] == nil }.sorted()
  }

  /// Leaves what is meant, in the newer tree or in the older one.
  fileprivate mutating func restrict(to among: Among, _ plan: Plan, _ newer: ComparedTree, _ older: ComparedTree?)
    throws
  {
    if case .everything = among { return }
    var now: Set<Label> = []
    var failure: DiagnosticList?
    do throws(DiagnosticList) { now = Set(try among.labels(in: plan, packages: newer.tree.packages)) } catch {
      failure = error
    }
    var gone: Set<Label> = []
    if !removed.isEmpty, let older {
      var ignored = DiagnosticList()
      let plan = Plan(
        roots: older.tree.packages, source: older, settings: older.definition.settings, diagnostics: &ignored)
      gone = Set((try? among.labels(in: plan, packages: older.tree.packages)) ?? [])
    }
    labels.removeAll { !now.contains($0) }
    removed.removeAll { !gone.contains($0) }
    // A pattern may mean only what is gone.
    if let failure, removed.isEmpty { throw failure }
  }
}

/// What of a tree is asked about.
private enum Among {
  case everything
  case patterns(TargetPatternSet)
  case query(Query)

  init(_ selection: TargetSelection, _ session: Session) throws {
    switch selection {
    case .all: self = .everything
    case .patterns(let texts): self = .patterns(try session.parse(texts))
    case .query(let text): self = .query(try Query.parse(text, relativeTo: session.folder))
    }
  }

  func labels(in plan: Plan, packages: [WorkspacePath]) throws(DiagnosticList) -> [Label] {
    switch self {
    case .everything: Array(plan.targets.keys)
    case .query(let query): try plan.targets(of: query)
    case .patterns(let patterns):
      try patterns.resolve(
        packages: packages, targets: { plan.packages[$0]?.declaration.targets.map(\.name.value) ?? [] },
        defaultTarget: { plan.packages[$0]?.declaration.defaultTarget })
    }
  }
}

/// The older tree's targets, of those packages alone that may say or read something else there.
private struct OlderTargets {
  /// The packages that were looked at.
  private(set) var packages: Set<WorkspacePath> = []
  private(set) var targets: [Label: Target] = [:]
  private var edges: [Label: [GraphEdge]] = [:]
  private(set) var diagnostics = DiagnosticList()

  /// - Parameter changed: The packages that may differ; `nil` for all.
  init(_ plan: Plan, _ newer: ComparedTree, _ older: ComparedTree?, _ changed: Set<WorkspacePath>?) {
    guard let older else { return }
    let settings = older.definition.settings
    packages = changed ?? Set(newer.tree.packages).union(older.tree.packages)
    var loaded = plan.packages
    let changed = packages.sorted()
    for (path, package) in zip(changed, older.packages(at: changed, diagnostics: &diagnostics)) {
      loaded[path] = package
    }
    // Who names a package with other targets may mean others of them.
    let renamed = Set(changed.filter { Interface(plan.packages[$0]) != Interface(loaded[$0]) })
    if !renamed.isEmpty {
      for (path, package) in plan.packages where !packages.contains(path) {
        let named = package.declaration.packages(namedFrom: path, settings: newer.definition.settings)
        if named.contains(where: renamed.contains) { packages.insert(path) }
      }
    }
    // What the older packages name, and was not looked at yet.
    var pending = packages.sorted()
    while !pending.isEmpty {
      let named = Set(
        pending.flatMap { path in
          loaded[path]?.declaration.packages(namedFrom: path, settings: settings) ?? []
        }.filter { loaded[$0] == nil && !packages.contains($0) })
      pending = named.sorted()
      for (path, package) in zip(pending, older.packages(at: pending, diagnostics: &diagnostics)) {
        loaded[path] = package
      }
    }
    let resolved = ResolvedTargets(of: packages.sorted(), among: loaded, settings: settings)
    diagnostics.diagnostics += resolved.diagnostics.diagnostics
    targets = resolved.targets
    edges = resolved.edges
  }

  /// What makes a target another one than before, apart from what it depends on; nil where nothing does.
  func cause(of target: Target, _ now: [GraphEdge], _ newer: ComparedTree, _ older: ComparedTree) -> Affected.Cause? {
    guard let was = targets[target.label] else {
      // A pull is what its label says.
      return target.label.package.string.hasPrefix("@") ? nil : .new
    }
    let files = Set(target.files).union(was.files).filter { newer.tree.content(of: $0) != older.tree.content(of: $0) }
    if !files.isEmpty { return .files(files.sorted()) }
    let (attributes, before) = (target.declaration.attributeTexts, was.declaration.attributeTexts)
    let names = Set(attributes.map(\.name)).union(before.map(\.name)).filter { name in
      attributes.first { $0.name == name }?.json != before.first { $0.name == name }?.json
    }
    if !names.isEmpty { return .attributes(names.sorted()) }
    func same(_ a: GraphEdge, _ b: GraphEdge) -> Bool {
      a.target == b.target && a.role == b.role && a.output == b.output
    }
    return now.elementsEqual(edges[target.label] ?? [], by: same) ? nil : .reference
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
