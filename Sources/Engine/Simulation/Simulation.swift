import Diagnostics
import Digests
import Files
import Graph
import Manifests
import Planning

/// What CI would have cost: a history replayed without executing anything.
package struct Simulation: Sendable {
  /// How CI decides what to run.
  package enum Strategy: String, CaseIterable, Sendable {
    /// What is affected, by content, and in no shared cache.
    case slipway
    case everything
    /// All targets of packages that have a changed file in their folder, on a machine each that has nothing.
    case changedFolders = "changed folders, fresh machines"
    /// The same, but that only tests and what no machine built before are executed.
    case cachedFolders = "changed folders, layer cache"
  }

  package struct Commit: Sendable {
    package var id: String
    package var time: Int64
    package var affected = 0
    /// Affected, and in a shared cache already.
    package var hits = 0
    package var executed = 0
    package var seconds = 0.0
  }

  package struct Result: Sendable {
    package var strategy: Strategy
    package var executed = 0
    package var machineSeconds = 0.0
    package var latencies: [Double] = []
    package var longestQueue = 0
    /// Tests that a commit affects and this strategy did not run for it.
    package var missedTests = 0
  }

  package var base: String
  package var head: String
  package var machines: Int
  package var commits: [Commit] = []
  package var results: [Result] = []
  /// At the end of the history.
  package var targets = 0
  /// Those of them whose duration is recorded or given for the label itself.
  package var timed = 0
  /// Commits with mistakes in their manifests; what can be read of them counts.
  package var broken = 0
}

extension Session {
  /// Replays the commits after `base` and up to `head`, on the first parent's side of merges.
  ///
  /// What is affected comes from planned keys, as `affected` finds it; a planned key that was built before is a hit. What
  /// executes in truth may be less: a target that gives the same bytes as before stops there.
  package func simulate(base: String, head: String, machines: Int, durations: String?) throws -> Simulation {
    guard let history = GitHistory(of: workspace.root) else {
      throw Diagnostic.error("`\(workspace.root)` lies in no git work tree, so there is no history to replay")
    }
    let (base, head) = (try history.commit(base), try history.commit(head))
    let commits = try history.commits(after: base, to: head)
    var replay = try Replay(history, base)
    try history.prefetch(commits) { WorkspaceDefinition.manifests.contains($0.name) || replay.isDefinition($0) }
    let durations = try Durations(given: durations, history: self.history, targets: replay.plan.targets.keys)
    var strategies = Strategies(machines: machines, durations: durations, plan: replay.plan)
    var result = Simulation(base: base, head: head, machines: machines)
    for commit in commits {
      let step = try replay.advance(to: commit)
      if step.isBroken { result.broken += 1 }
      result.commits.append(strategies.run(commit, step, replay.plan))
    }
    result.results = strategies.results
    result.targets = replay.plan.targets.count
    result.timed = replay.plan.targets.keys.count { durations.known($0) != nil }
    return result
  }
}

/// A history's source tree and its targets, at one commit after another.
struct Replay {
  struct Step {
    var difference = PlannedTree.Difference()
    /// Packages with a changed file in their folder.
    var folders: Set<WorkspacePath> = []
    var isBroken = false
  }

  private var source: ReplayedPackages
  private(set) var plan: PlannedTree
  /// The packages that read a page of the documentation.
  private var readers: [WorkspacePath: Set<WorkspacePath>] = [:]

  init(_ history: GitHistory, _ base: String) throws {
    source = try ReplayedPackages(try history.replay(from: base, ignore: WorkspaceDefinition.ignored))
    plan = source.emptyPlan
    var diagnostics = DiagnosticList()
    planAll(&diagnostics)
  }

  private mutating func planAll(_ diagnostics: inout DiagnosticList) {
    let packages = source.tree.packages
    try? source.tree.prefetch(WorkspaceDefinition.manifests(of: packages))
    plan = source.emptyPlan
    _ = plan.update(Set(packages), from: source, content: source.tree.content, diagnostics: &diagnostics)
    readers = [:]
    for package in packages { noteReader(package) }
  }

  private mutating func noteReader(_ package: WorkspacePath) {
    if let page = package.documentationPage { readers[page, default: []].insert(package) }
  }

  /// Whether a file belongs to what all packages have in common, as far as can be told beforehand.
  func isDefinition(_ path: WorkspacePath) -> Bool {
    path.string == "slipway.yaml" || source.definition.sources.contains { $0.file == path.string }
      || source.kinds.contains { $0.matches(path.string) }
  }

  mutating func advance(to commit: GitCommit) throws -> Step {
    var step = Step()
    var touched = try source.tree.apply(commit)
    step.folders = Set(commit.changes.compactMap { source.tree.package(containing: $0.path) })
    for change in commit.changes { touched.formUnion(readers[change.path] ?? []) }
    for package in touched { noteReader(package) }
    var diagnostics = DiagnosticList()
    if commit.changes.contains(where: { isDefinition($0.path) }) {
      // A commit that breaks them leaves those before in force.
      if let next = try? ReplayedPackages(source.tree) { source = next } else { step.isBroken = true }
      let before = plan.keys
      planAll(&diagnostics)
      step.difference.affected = Set(plan.keys.filter { before[$0.key] != $0.value }.keys)
      step.difference.removed = Set(before.keys.filter { plan.keys[$0] == nil })
    } else {
      step.difference = plan.update(touched, from: source, content: source.tree.content, diagnostics: &diagnostics)
    }
    step.isBroken = step.isBroken || diagnostics.hasErrors
    return step
  }
}

/// The packages of a replayed tree.
private struct ReplayedPackages: PackageSource {
  var tree: ReplayedTree
  let definition: WorkspaceDefinition
  /// The workspace's own.
  let kinds: [Glob]

  init(_ tree: ReplayedTree) throws {
    self.tree = tree
    definition = try WorkspaceDefinition(in: tree) { tree.names(inFolder: $0) }
    kinds = definition.settings.kinds.compactMap { try? Glob($0.value) }
  }

  var emptyPlan: PlannedTree {
    PlannedTree(settings: definition.settings, platform: Workspace.platform, bundled: Workspace.bundled)
  }

  func packages(at paths: [WorkspacePath], diagnostics: inout DiagnosticList) -> [LoadedPackage?] {
    definition.packages(at: paths, in: tree, &diagnostics)
  }
}
