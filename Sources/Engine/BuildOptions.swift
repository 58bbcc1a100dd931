import Graph

/// What a build may do and how.
package struct BuildOptions: Sendable {
  package enum SandboxChoice: String, CaseIterable, Sendable { case namespaces, runc }
  /// Which outputs of remote hits are brought to this machine, besides those that something here reads.
  package enum Download: String, CaseIterable, Sendable { case all, requested, none }

  /// Executions at once; 0 means one a core.
  package var jobs = 0
  package var keepGoing = false
  package var sandbox = SandboxChoice.namespaces
  /// Wanted tests run although a verdict is cached.
  package var rerun = false
  package var testArguments: [String] = []
  /// Tells what commands print while they run.
  package var streams = false
  /// Only says what would execute.
  package var isDryRun = false
  /// Tests among the wanted targets only (`slipway test`).
  package var onlyTests = false

  package var download = Download.none
  /// The URL of the remote cache, over the environment's and `slipway.yaml`'s; empty for none.
  package var remoteCache: String?
  /// `read`, `write` or `off`.
  package var remoteMode: String?

  /// The URL of the engine that runs actions, over the environment's and `slipway.yaml`'s; empty for none.
  package var executor: String?

  /// What a change affects, for `when: {affected: L}`; nil where nothing is compared, and then all run.
  package var affected: Set<Label>?

  /// Platforms that images are narrowed to; empty for all that they are for.
  package var platforms: [String] = []
  /// Where JUnit XML of every test goes.
  package var junitFolder: String?

  package init() {}
}
