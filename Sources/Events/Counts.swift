/// How many targets, and how many tests among them, ended in which way.
package struct Counts: Hashable, Sendable {
  /// How many targets the build was to walk: the ended ones and those never reached.
  package var total = 0
  package var hitLocal = 0
  package var hitRemote = 0
  package var executed = 0
  package var failed = 0
  package var skipped = 0
  package var tests = Tests()
  private var planned = 0

  package struct Tests: Hashable, Sendable {
    package var passed = 0
    /// How many of `passed` came from a cache.
    package var cached = 0
    package var flaky = 0
    package var failed = 0
    package var timedOut = 0
    package var noTests = 0
    package var skipped = 0

    package init() {}

    package var total: Int { passed + flaky + failed + timedOut + noTests + skipped }
  }

  package init() {}

  package var cached: Int { hitLocal + hitRemote }
  package var built: Int { cached + executed }
  package var finished: Int { built + failed + skipped }
  /// Those that the build ended without reaching, after an interrupt or a first failure.
  package var notStarted: Int { max(0, total - finished) }

  /// Counts a `build.started`, `target.planned` or `target.finished` event; others change nothing.
  ///
  /// Targets that never run anything, such as `files` and `suite`, are to have no events.
  package mutating func add(_ event: Event) {
    switch event.kind {
    case .buildStarted:
      total = max(total, event.targets ?? 0)
    case .targetPlanned:
      planned += 1
      total = max(total, planned)
    case .targetFinished:
      guard let outcome = event.outcome else { return }
      add(outcome)
      if event.rule == "test" { tests.add(event, outcome) }
      total = max(total, finished)
    default:
      break
    }
  }

  /// Counts targets that were up to date, and the tests among them, which passed.
  package mutating func add(hits: Int, tests passed: Int) {
    hitLocal += hits
    tests.passed += passed
    tests.cached += passed
    total = max(total, finished)
  }

  private mutating func add(_ outcome: Event.Outcome) {
    switch outcome {
    case .hitLocal: hitLocal += 1
    case .hitRemote: hitRemote += 1
    case .executed: executed += 1
    case .failed: failed += 1
    case .skipped: skipped += 1
    }
  }
}

extension Counts.Tests {
  fileprivate mutating func add(_ event: Event, _ outcome: Event.Outcome) {
    switch event.verdict {
    case .passed:
      passed += 1
      if outcome.isHit { cached += 1 }
    case .flaky: flaky += 1
    case .failed: failed += 1
    case .timedOut: timedOut += 1
    case .noTests: noTests += 1
    case nil:
      // Only a test that ran has a verdict: one whose sandbox could not start failed without one.
      if outcome == .skipped { skipped += 1 } else if outcome == .failed { failed += 1 }
    }
  }
}
