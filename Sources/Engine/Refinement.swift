import Caching
import Diagnostics
import Digests
import Events
import Files
import Graph
import Manifests
import Planning
import SystemPackage

extension Session {
  /// Takes from what is affected the targets whose results are known to be what they were.
  ///
  /// Planned keys say what a target comes from, not what it comes to: a comment in a library is another key for all that
  /// depends on it, and early cutoff ends that only in a build. What the caches know ends it here: a target is left out
  /// if its action keys are equal on both sides, or both have results with equal outputs; and a target that executes
  /// nothing, if all that made it differ is left out. Where anything fails, all is kept, with a warning.
  func refine(_ compared: inout Comparison) async {
    guard let older = compared.older, !compared.affected.labels.isEmpty else { return }
    do {
      let labels = compared.affected.all.filter { compared.plan.targets[$0]?.rule.hasResult ?? false }.sorted()
      let after: KnownResults
      if compared.affected.head == nil {
        after = try await knownResults(of: labels)
      } else {
        after = try await laidOut(compared.newer, labels) { try await $0.knownResults(of: labels) }
      }
      let before = try await laidOut(older, labels) { try await $0.knownResults(of: labels) }
      compared.affected.drop(compared.plan, before, after)
    } catch {
      let reason = (error as? DiagnosticList)?.diagnostics.first?.message ?? (error as? Diagnostic)?.message
      compared.affected.warnings.append(
        .warning("what is affected was not refined: \(reason ?? "\(error)")", hints: ["nothing was left out"]))
    }
  }

  /// Runs something in a checkout that has what targets of a source tree depend on, with this session's cache.
  private func laidOut<Result>(
    _ side: ComparedTree, _ labels: [Label], _ body: (Session) async throws -> Result
  ) async throws -> Result {
    let folder = try store.makeTemporaryFolder()
    // What stays is swept with what processes that were killed have left.
    defer { try? Disk.removeTree(folder.string) }
    var mistakes = DiagnosticList()
    let known = Set(side.tree.packages)
    let roots = Set(labels.map(\.package)).filter(known.contains).sorted()
    let plan = Plan(roots: roots, source: side, settings: side.definition.settings, diagnostics: &mistakes)
    let files = side.definition.sources.compactMap { WorkspacePath($0.file) }
    try side.tree.layOut(plan.packages.keys, files, at: folder)
    return try await body(Session(directory: folder, cache: store.root))
  }

  /// What the caches know of targets, as far as they are there.
  private func knownResults(of labels: [Label]) async throws -> KnownResults {
    let lease = try await store.lease()
    defer { withExtendedLifetime(lease) {} }
    try workspace.tree.refresh(.all)
    let packages = Set(workspace.tree.packages)
    var mistakes = DiagnosticList()
    let plan = Plan(
      roots: Set(labels.map(\.package)).filter(packages.contains).sorted(), source: workspace,
      settings: workspace.settings, diagnostics: &mistakes)
    let spread = try await spread(labels.filter { plan.targets[$0] != nil }, in: plan, chosen: [])
    var options = BuildOptions()
    options.isDryRun = true
    options.keepGoing = true
    let outcome = try await walk(spread, options, EventStream(sinks: []))
    await registries.close()
    return KnownResults(outcome: outcome, variants: spread.images)
  }
}

/// What a dry run told of one side.
private struct KnownResults {
  var outcome: BuildOutcome
  /// Of images: the targets for their platforms.
  var variants: [Label: [Label]]

  /// Whether a target is known to come to the same on another side.
  func isSame(_ label: Label, as other: KnownResults) -> Bool {
    let (mine, theirs) = (variants[label] ?? [label], other.variants[label] ?? [label])
    guard mine == theirs else { return false }
    return mine.allSatisfy { variant in
      if let key = outcome.keys[variant], key == other.outcome.keys[variant] { return true }
      guard let outputs = outcome.outputs[variant], let others = other.outcome.outputs[variant] else { return false }
      return outputs == others
    }
  }
}

extension Affected {
  fileprivate mutating func drop(_ plan: Plan, _ before: KnownResults, _ after: KnownResults) {
    var kept = all
    for index in plan.graph.topologicalOrder {
      let node = plan.graph.nodes[index]
      guard kept.contains(node.label), let reason = reasons[node.label] else { continue }
      let isSame: Bool
      if reason.rule.hasResult {
        isSame = before.isSame(node.label, as: after)
      } else if case .dependency = reason.cause {
        isSame = node.dependencies.allSatisfy { edge in
          edge.role == .needs || edge.role == .when || !kept.contains(edge.target)
        }
      } else {
        isSame = false
      }
      if isSame { kept.remove(node.label) }
    }
    all = kept
    labels.removeAll { !kept.contains($0) }
  }
}

extension Rule {
  /// Whether its targets have an action key, and results under it.
  fileprivate var hasResult: Bool {
    switch self {
    case .action, .fetch, .test, .image, .rootfs, .pull: true
    case .files, .suite, .publish: false
    }
  }
}
