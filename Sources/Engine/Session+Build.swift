import Caching
import Diagnostics
import Digests
import Events
import Files
import Glibc
import Graph
import Kinds
import Manifests
import Planning
import SystemPackage

extension Session {
  /// No test is among the targets: Bazel's exit status 4.
  package struct NoTests: Error {}

  /// Builds what the patterns mean, reporting to `events`; gives the exit code with all that was found out.
  ///
  /// Targets that are up to date by `BuildState` are reported as hits without a plan; only the rest is walked.
  package func build(_ patterns: [String], options: BuildOptions, events: EventStream) async throws -> BuildOutcome {
    let lease = try await store.lease()
    defer { withExtendedLifetime(lease) {} }
    let set = try parse(patterns)
    let state = currentState()
    let looked = try refresh(set, state)
    var stale = try resolve(set, state, options)
    var planned: PlatformSpread?
    if let looked, !stale.labels.isEmpty {
      planned = try? await spread(stale.labels, in: plan(stale), chosen: options.platforms)
      if planned == nil || !looked.isSuperset(of: workspace.loadedPackages) {
        // A changed manifest names what was not looked at: it lies anywhere.
        try workspace.tree.refresh(.all)
        workspace.forgetPackages()
        stale = try resolve(set, state, options)
        planned = nil
      }
    }
    // A manifest whose targets cannot be read leaves nothing to plan, which is no success.
    if stale.labels.isEmpty, stale.diagnostics.hasErrors { throw stale.diagnostics }
    if options.onlyTests, stale.labels.isEmpty, stale.verified.isEmpty { throw NoTests() }
    for warning in stale.warnings { events.emit(Event(.cacheWarning, message: warning.rendered)) }

    let already = state.closure(of: stale.verified).filter { state.targets[$0].sort.isCounted }
    guard !stale.labels.isEmpty else {
      events.emit(Event(.buildStarted, targets: already.count))
      report(already, state, events)
      events.emit(Event(.buildFinished, exitCode: 0))
      try workspace.tree.save()
      try writeJUnit(
        options, state.closure(of: stale.verified).filter { state.targets[$0].sort == .test }.map(state.label))
      return BuildOutcome(exitCode: 0)
    }
    let spread: PlatformSpread
    if let planned {
      spread = planned
    } else {
      spread = try await self.spread(stale.labels, in: plan(stale), chosen: options.platforms)
    }
    let plan = spread.plan
    for warning in plan.warnings { events.emit(Event(.cacheWarning, message: warning.rendered)) }
    let build = try Build(
      workspace: workspace, store: store, registries: registries, plan: plan, history: history, options: options,
      events: events, shared: try remote(options), engine: try openEngine(options))
    defer { build.engine?.engine.close() }
    kept = (plan, build)
    let walked = walkedLabels(spread.labels, plan)
    let rest = already.filter { !walked.contains(state.label($0)) }
    let outcome = try await build.run(spread, already: rest.count) { self.report(rest, state, events) }
    let cache = await closeCache(build, events)
    await registries.close()
    for warning in registries.takeWarnings() { events.emit(Event(.cacheWarning, message: warning.rendered)) }
    store.actions.noteUse(of: build.hits)
    try workspace.tree.save()
    try history.save()
    if !options.isDryRun {
      let tree = workspace.tree
      let seen = await whole(build.seen, plan)
      try state.updated(with: plan, seen: seen, among: Set(tree.packages), stamp: tree.stamp)
        .write(to: statePath)
    }
    events.emit(Event(.buildFinished, exitCode: Int(outcome.exitCode), cache: cache))
    let tests = already.filter { state.targets[$0].sort == .test }.map(state.label)
    try writeJUnit(options, tests + walked.filter { plan.targets[$0]?.rule == .test })
    return outcome
  }

  private func writeJUnit(_ options: BuildOptions, _ tests: [Label]) throws {
    guard let folder = options.junitFolder else { return }
    try writeJUnit(of: tests, to: FilePath(folder))
  }

  private var statePath: FilePath { workspace.root.appending(".slipway").appending("state") }

  /// Reads what is known of the last build, for a build that is about to begin.
  package func readAhead() { stateAhead = BuildState(reading: statePath, basis: basis) }

  /// By the generation that the lease holds: what was read ahead may be of one before.
  private func currentState() -> BuildState {
    let basis = basis
    if let ahead = stateAhead, ahead.basis == basis { return ahead }
    return BuildState(reading: statePath, basis: basis)
  }

  /// What decides, besides the files of packages, whether an earlier result still counts.
  private var basis: Fingerprint {
    let hasher = FingerprintHasher()
    hasher.update("state 2, rules \(ActionDescription.format), \(Workspace.platform)")
    hasher.update(UInt64(store.generation))
    hasher.update(store.root.string)
    // A store that was removed and made again is another one.
    var status = stat()
    if stat(store.root.appending("gc.lock").string, &status) == 0 {
      hasher.update(UInt64(status.st_ino))
      hasher.update(UInt64(bitPattern: Int64(status.st_mtim.tv_sec)))
      hasher.update(UInt64(bitPattern: Int64(status.st_mtim.tv_nsec)))
    }
    for source in workspace.sources {
      hasher.update(source.file)
      source.bytes.withUnsafeBytes { hasher.update(Fingerprint(of: $0).low) }
    }
    for file in BuiltInKinds.files {
      hasher.update(file.path)
      file.bytes.withUnsafeBytes { hasher.update(Fingerprint(of: $0).low) }
    }
    return hasher.finish()
  }

  /// Looks at the whole tree only when a pattern may reach all of it, and gives nil then; else the packages looked at.
  private func refresh(_ set: TargetPatternSet, _ state: BuildState) throws -> Set<WorkspacePath>? {
    var roots: [Int] = []
    for path in set.namedPackages ?? [] {
      guard let package = state.package(at: path) else {
        roots = []
        break
      }
      roots += Array(state.packages[package].targets)
    }
    guard !roots.isEmpty else {
      try workspace.tree.refresh(.all)
      return nil
    }
    let packages = Set(state.closure(of: roots).map { state.targets[$0].package })
    let paths = Set(packages.map { state.packages[Int($0)].path })
    try workspace.tree.refresh(.packages(paths.sorted()))
    return paths
  }

  /// What is to be walked, and what is up to date.
  private struct Resolution {
    var labels: [Label] = []
    /// Indices in the state.
    var verified: [Int] = []
    var warnings: [Diagnostic] = []
    var diagnostics = DiagnosticList()
  }

  private func resolve(_ set: TargetPatternSet, _ state: BuildState, _ options: BuildOptions) throws -> Resolution {
    let tree = workspace.tree
    let unchanged = zip(state.packages, tree.stamps(of: state.packages.map(\.path))).map { $0.stamp == $1 }
    let isPlain = !options.rerun && options.testArguments.isEmpty && options.download == .none
    let verified = state.verified(unchanged: unchanged, now: CommandExecution.now())
    var resolution = Resolution(warnings: workspace.warnings)
    resolution.diagnostics = DiagnosticList(workspace.warnings)
    // Questions come package by package.
    var last: (path: WorkspacePath, package: Int?)?
    func known(_ path: WorkspacePath) -> Int? {
      if let last, last.path == path { return last.package }
      // In order, more often than not.
      let next = (last?.package ?? -1) + 1
      let found = next < state.packages.count && state.packages[next].path == path ? next : state.package(at: path)
      let package = found.flatMap { unchanged[$0] ? $0 : nil }
      last = (path, package)
      return package
    }
    if unchanged.contains(false) || state.packages.count != tree.packages.count {
      // All at once, as that takes every processor.
      let unknown = set.packages(among: tree.packages).filter { known($0) == nil }
      _ = workspace.packages(at: unknown, diagnostics: &resolution.diagnostics)
    }
    func declaration(_ path: WorkspacePath) -> PackageDeclaration? {
      workspace.package(at: path, diagnostics: &resolution.diagnostics)?.declaration
    }
    let wanted: [Label]
    do {
      wanted = try set.resolve(
        packages: tree.packages,
        targets: { path in
          if let package = known(path) { return state.targets[state.packages[package].targets].map(\.name) }
          return declaration(path)?.targets.map(\.name.value) ?? []
        },
        defaultTarget: { path in
          if let package = known(path) { return state.packages[package].defaultTarget }
          return declaration(path)?.defaultTarget
        })
    } catch {
      resolution.diagnostics.diagnostics += error.diagnostics
      throw resolution.diagnostics
    }
    for label in wanted {
      if let package = known(label.package), let index = state.index(of: label.name, in: package) {
        let sort = state.targets[index].sort
        if options.onlyTests, sort != .test, sort != .suite { continue }
        if isPlain, verified[index], coversPlatforms(state.targets[index], options) {
          resolution.verified.append(index)
          continue
        }
      } else if options.onlyTests, let rule = declaration(label.package)?.target(label.name)?.rule,
        rule != .test, rule != .suite
      {
        continue
      }
      resolution.labels.append(label)
    }
    return resolution
  }

  private func plan(_ stale: Resolution) throws -> Plan {
    // The packages that stale targets depend on may not have been looked at.
    var diagnostics = stale.diagnostics
    let packages = Array(Set(stale.labels.map(\.package))).sorted()
    let plan = Plan(roots: packages, source: workspace, settings: workspace.settings, diagnostics: &diagnostics)
    if diagnostics.hasErrors { throw diagnostics }
    return plan
  }

  private func walkedLabels(_ labels: [Label], _ plan: Plan) -> Set<Label> {
    let roots = labels.compactMap { plan.graph.index(of: $0) }
    return Set(plan.graph.closure(of: roots).map { plan.graph.nodes[$0].label })
  }

  private func report(_ indices: [Int], _ state: BuildState, _ events: EventStream) {
    events.emit(hits: indices, tests: indices.count { state.targets[$0].sort == .test }) { index in
      let isTest = state.targets[index].sort == .test
      return Event(
        .targetFinished, label: state.label(index).description, rule: isTest ? "test" : nil, outcome: .hitLocal,
        verdict: isTest ? .passed : nil)
    }
  }
}
