import Caching

/// One thing that happened in a build.
///
/// The console, `--events`, `--trace` and the reports are all made from these and from nothing else.
package struct Event: Hashable, Sendable {
  package enum Kind: String, CaseIterable, Sendable {
    case buildStarted = "build.started"
    case targetPlanned = "target.planned"
    case actionStarted = "action.started"
    /// Of an action that is not run here: `uploading`, `queued`, `running` or `fetching`, as its reason.
    case actionStage = "action.stage"
    case actionOutput = "action.output"
    case actionFinished = "action.finished"
    case cacheWarning = "cache.warning"
    case targetFinished = "target.finished"
    case buildFinished = "build.finished"
  }

  /// What became of an action or a target.
  package enum Outcome: String, CaseIterable, Sendable {
    case hitLocal = "hit-local"
    case hitRemote = "hit-remote"
    case executed
    case failed
    case skipped

    package var isHit: Bool { self == .hitLocal || self == .hitRemote }
  }

  /// What a test found; a test that never ran has none.
  package enum Verdict: String, CaseIterable, Sendable {
    case passed
    case failed
    /// It ran, and held no tests: not a pass.
    case noTests = "no-tests"
    /// It passed after a retry: not a pass that the cache keeps.
    case flaky
    case timedOut = "timed-out"
  }

  /// Its place in the stream, from 0; set by `EventStream`.
  package var sequence = 0
  /// Milliseconds since the stream began; set by `EventStream`.
  package var milliseconds = 0
  package var kind: Kind

  /// The target that it is about.
  package var label: String?
  /// That target's rule: `test` makes a target count as a test.
  package var rule: String?
  /// The action key.
  package var key: String?
  package var outcome: Outcome?
  package var verdict: Verdict?
  /// In a few words, for a person: `exit 1`, `needs //a:b`, `//a:b failed`.
  package var reason: String?
  /// The exit status of a command, or of Slipway itself in `build.finished`.
  package var exitCode: Int?
  package var durationMs: Int?
  /// Which run of the action it is, from 1; more than 1 is a retry.
  package var attempt: Int?
  /// How many targets the build will walk; in `build.started`.
  package var targets: Int?
  /// Bytes as the action wrote them: a piece of output, whole lines if it can be; or the whole log of a failed target.
  package var text: [UInt8]?
  /// The file that holds the whole log; read only when `text` is absent.
  package var log: String?
  /// Rendered diagnostics, as many lines as they take; a cache warning's one sentence.
  package var message: String?
  /// In `build.finished`.
  package var counts: Counts?
  /// In `build.finished`, where results were looked up.
  package var cache: CacheStatistics?
  /// Why no tier of the cache had it, of a target that was executed.
  package var miss: String?

  package init(
    _ kind: Kind, label: String? = nil, rule: String? = nil, key: String? = nil, outcome: Outcome? = nil,
    verdict: Verdict? = nil, reason: String? = nil, exitCode: Int? = nil, durationMs: Int? = nil,
    attempt: Int? = nil, targets: Int? = nil, text: [UInt8]? = nil, log: String? = nil, message: String? = nil,
    counts: Counts? = nil, cache: CacheStatistics? = nil
  ) {
    self.kind = kind
    self.label = label
    self.rule = rule
    self.key = key
    self.outcome = outcome
    self.verdict = verdict
    self.reason = reason
    self.exitCode = exitCode
    self.durationMs = durationMs
    self.attempt = attempt
    self.targets = targets
    self.text = text
    self.log = log
    self.message = message
    self.counts = counts
    self.cache = cache
  }
}
