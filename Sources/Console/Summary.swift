import Caching
import Diagnostics
import Events

/// The last lines of a build or test, the same for the same counts.
package enum Summary {
  /// `Built 48 targets in 9.4s: 41 cached (38 local, 3 remote), 7 executed`
  package static func targets(_ counts: Counts, durationMs: Int, wasInterrupted: Bool) -> String {
    var number = "\(counts.built)"
    if counts.total != counts.built { number += " of \(counts.total)" }
    let targets = counts.total == 1 ? "target" : "targets"
    let duration = DurationText.short(milliseconds: durationMs)
    let start =
      wasInterrupted
      ? "Interrupted after \(duration), built \(number) \(targets)" : "Built \(number) \(targets) in \(duration)"
    var cached = "\(counts.cached) cached"
    if counts.hitRemote > 0 { cached += " (\(counts.hitLocal) local, \(counts.hitRemote) remote)" }
    let parts = [
      counts.cached > 0 ? cached : nil, part(counts.executed, "executed"), part(counts.failed, "failed"),
      part(counts.skipped, "skipped"), part(counts.notStarted, "not started"),
    ].compactMap(\.self)
    return parts.isEmpty ? start : start + ": " + parts.joined(separator: ", ")
  }

  /// `3 tests: 2 passed (2 cached), 1 failed`
  package static func tests(_ counts: Counts.Tests) -> String {
    let start = counts.total == 1 ? "1 test" : "\(counts.total) tests"
    var passed = "\(counts.passed) passed"
    if counts.cached > 0 { passed += " (\(counts.cached) cached)" }
    let parts = [
      counts.passed > 0 ? passed : nil, part(counts.flaky, "flaky"), part(counts.failed, "failed"),
      part(counts.timedOut, "timed out"), part(counts.noTests, "without tests"), part(counts.skipped, "skipped"),
    ].compactMap(\.self)
    return parts.isEmpty ? start : start + ": " + parts.joined(separator: ", ")
  }

  /// The lines for a `build.finished`.
  static func lines(_ event: Event, _ counts: Counts, sumsUpTests: Bool) -> [String] {
    let wasInterrupted = event.exitCode == 8
    let targets = targets(counts, durationMs: event.durationMs ?? 0, wasInterrupted: wasInterrupted)
    let cache = event.cache?.remote.flatMap(tier).map { "Remote cache: \($0)" }
    guard counts.tests.total > 0 else { return [targets, cache].compactMap(\.self) }
    // What is no test is worth a line of its own only where it is why tests did not run.
    let isAllAboutTests =
      counts.failed == counts.tests.failed + counts.tests.timedOut && counts.skipped == counts.tests.skipped
      && counts.notStarted == 0
    let lines = sumsUpTests && isAllAboutTests ? [tests(counts.tests)] : [targets, tests(counts.tests)]
    return lines + [cache].compactMap(\.self)
  }

  /// `14 hits (1m12s saved), 3 misses (no result 3), 1.2 MiB down, 3 results up (340.0 KiB)`
  package static func tier(_ tier: TierStatistics) -> String? {
    func count(_ number: Int, _ word: String) -> String { number == 1 ? "1 \(word)" : "\(number) \(word)s" }
    var hits = count(tier.hits, "hit")
    if tier.savedSeconds >= 0.001 {
      hits += " (\(DurationText.short(milliseconds: Int(min(tier.savedSeconds, 1e12) * 1000))) saved)"
    }
    let parts = [
      tier.hits > 0 ? hits : nil,
      tier.missCount > 0 ? (tier.missCount == 1 ? "1 miss" : "\(tier.missCount) misses") + " (\(tier.missText))" : nil,
      tier.bytesDown > 0 ? "\(ByteText.short(tier.bytesDown)) down" : nil,
      tier.uploads > 0 ? "\(count(tier.uploads, "result")) up (\(ByteText.short(tier.bytesUp)))" : nil,
    ].compactMap(\.self)
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
  }

  private static func part(_ number: Int, _ word: String) -> String? { number > 0 ? "\(number) \(word)" : nil }
}
