import Caching
import Diagnostics
import Events
import Graph
import Manifests
import Planning
import Publishing
import SystemPackage

/// What `slipway publish` was told.
package struct PublishOptions: Sendable {
  package var build = BuildOptions()
  /// Images are built and looked up; nothing is tested, pushed or written.
  package var isDryRun = false
  /// Publishes `<version>-dev.<suffix>` beside the versions.
  package var prerelease: String?
  /// `HOST` or `HOST/PREFIX`.
  package var registry: String?
  package var metadataStore: String?
  /// Reconciles without building.
  package var isRepair = false
  /// `linux/amd64`; empty for all that are built.
  package var platforms: [String] = []
  package var allowsFloating = false
  /// Connectors that are pushed at the same time.
  package var concurrency = 4
  /// Told, a line each, of what goes on.
  package var progress: @Sendable (String) -> Void = { _ in }
  package var warn: @Sendable (Diagnostic) -> Void = { _ in }

  package init() {}
}

extension Session {
  /// Publishes what the patterns mean: builds it, compares it with what is published, tests what is new, pushes it.
  ///
  /// - Parameter console: Runs a build with a stream for its events; there are up to two, of images and of tests.
  /// - Throws: What keeps everything from being published. What concerns one connector is in the report.
  package func publish(_ patterns: [String], options: PublishOptions, console: PublishRun.Console) async throws
    -> PublishReport
  {
    let lease = try await store.lease()
    defer { withExtendedLifetime(lease) {} }
    let destination = try destination(options)
    let (plan, wanted, warnings) = try plan(try parse(patterns))
    for warning in warnings { options.warn(warning) }
    let selection = PublishSelection(plan: plan, destination: destination, prerelease: options.prerelease)
    var run = PublishRun(
      session: self, selection: selection, options: options, subjects: try selection.subjects(wanted))
    guard run.hasWork else { return run.report }
    do {
      run.refuseFloating()
      if options.isRepair {
        try await run.repair()
      } else {
        try await run.buildImages(console)
        try await run.lookUp()
        if !options.isDryRun {
          run.readMaterials()
          try await run.findUnspecified()
          try await run.test(console)
          try await run.push()
        }
      }
    } catch {
      await registries.close()
      throw error
    }
    await registries.close()
    for warning in registries.takeWarnings() { options.warn(warning) }
    return run.report
  }

  private func destination(_ options: PublishOptions) throws -> PublishDestination {
    if let text = options.registry { return try PublishDestination(text) }
    if let text = RegistryAccess.environment()["SLIPWAY_PUBLISH_REGISTRY"], !text.isEmpty {
      return try PublishDestination(text)
    }
    return try workspace.settings.publish.registry.map { try PublishDestination($0.value) } ?? .asNamed
  }

  /// `.slipway/publish`, made if it is missing.
  func publishFolder() throws -> FilePath {
    let folder = workspace.root.appending(".slipway").appending("publish")
    try Disk.makeFolders(folder.string)
    return folder
  }

  /// Walks targets; keeps what was learnt as a build does.
  func walk(_ spread: PlatformSpread, _ options: BuildOptions, _ events: EventStream) async throws -> BuildOutcome {
    let build = try Build(
      workspace: workspace, store: store, registries: registries, plan: spread.plan, history: history,
      options: options, events: events, shared: try remote(options))
    kept = (spread.plan, build)
    let outcome = try await build.run(spread)
    let cache = await closeCache(build, events)
    store.actions.noteUse(of: build.hits)
    try workspace.tree.save()
    try history.save()
    events.emit(Event(.buildFinished, exitCode: Int(outcome.exitCode), cache: cache))
    return outcome
  }
}
