import Caching
import Console
import Events
import Testing

@Suite struct SummaryTests {
  private func counts(_ change: (inout Counts) -> Void) -> Counts {
    var counts = Counts()
    change(&counts)
    return counts
  }

  @Test func `a build is summed up as drawn`() {
    let counts = counts {
      $0.total = 48
      $0.hitLocal = 38
      $0.hitRemote = 3
      $0.executed = 7
    }
    #expect(
      Summary.targets(counts, durationMs: 9412, wasInterrupted: false)
        == "Built 48 targets in 9.4s: 41 cached (38 local, 3 remote), 7 executed")
  }

  @Test func `a build in which nothing ran says so, in milliseconds`() {
    let counts = counts {
      $0.total = 48
      $0.hitLocal = 48
    }
    #expect(
      Summary.targets(counts, durationMs: 12, wasInterrupted: false) == "Built 48 targets in 12ms: 48 cached")
  }

  @Test func `one target is no plural, and none has no parts`() {
    let one = counts {
      $0.total = 1
      $0.executed = 1
    }
    #expect(Summary.targets(one, durationMs: 1000, wasInterrupted: false) == "Built 1 target in 1.0s: 1 executed")
    #expect(Summary.targets(Counts(), durationMs: 0, wasInterrupted: false) == "Built 0 targets in 0ms")
  }

  @Test func `what was not built is counted by its reason`() {
    let counts = counts {
      $0.total = 48
      $0.hitLocal = 10
      $0.executed = 2
      $0.failed = 1
      $0.skipped = 2
    }
    #expect(
      Summary.targets(counts, durationMs: 3100, wasInterrupted: true)
        == "Interrupted after 3.1s, built 12 of 48 targets: 10 cached, 2 executed, 1 failed, 2 skipped, 33 not started")
  }

  @Test func `tests are summed up as drawn, with every verdict that occurred`() {
    var tests = Counts.Tests()
    tests.passed = 2
    tests.cached = 2
    tests.failed = 1
    #expect(Summary.tests(tests) == "3 tests: 2 passed (2 cached), 1 failed")
    tests.cached = 0
    tests.flaky = 1
    tests.timedOut = 1
    tests.noTests = 1
    tests.skipped = 4
    #expect(
      Summary.tests(tests) == "10 tests: 2 passed, 1 flaky, 1 failed, 1 timed out, 1 without tests, 4 skipped")
    #expect(Summary.tests(Counts.Tests()) == "0 tests")
  }

  @Test func `a tier of the cache is summed up by what it did`() {
    var tier = TierStatistics()
    #expect(Summary.tier(tier) == nil)
    tier.misses = ["no result": 1]
    #expect(Summary.tier(tier) == "1 miss (no result 1)")
    tier.hits = 14
    tier.savedSeconds = 72.9
    tier.misses["not signed"] = 2
    tier.bytesDown = 1_300_000
    tier.uploads = 1
    tier.bytesUp = 2048
    #expect(
      Summary.tier(tier)
        == "14 hits (1m12s saved), 3 misses (not signed 2, no result 1), 1.2 MiB down, 1 result up (2.0 KiB)")
    tier.savedSeconds = .infinity
    #expect(Summary.tier(tier)?.hasPrefix("14 hits (") == true)
  }
}
