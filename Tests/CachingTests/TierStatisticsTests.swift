import Testing

@testable import Caching

@Suite struct TierStatisticsTests {
  private let scratch: Scratch
  private let store: Store

  init() throws {
    scratch = try Scratch()
    store = try scratch.store()
  }

  private func sample(_ factor: Int) -> TierStatistics {
    var tier = TierStatistics()
    (tier.hits, tier.failures, tier.lostBlobs, tier.bytesDown) = (factor, 2 * factor, 3 * factor, 4 * factor)
    (tier.bytesUp, tier.uploads, tier.uploadsLeft) = (5 * factor, 6 * factor, 7 * factor)
    (tier.seconds, tier.savedSeconds) = (0.25 * Double(factor), 1.5 * Double(factor))
    tier.misses = ["no result": factor, "damaged\u{e9}": 1]
    return tier
  }

  @Test func `totals are the sum of all builds`() async throws {
    #expect(try store.totals() == CacheStatistics(remote: TierStatistics()))
    try await store.addToTotals(CacheStatistics(local: sample(1)))
    try await store.addToTotals(CacheStatistics(local: sample(2), remote: sample(10)))
    var expected = sample(3)
    expected.misses["damaged\u{e9}"] = 2
    #expect(try store.totals() == CacheStatistics(local: expected, remote: sample(10)))
  }

  @Test func `builds that end together all count`() async throws {
    let store = store
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<20 { group.addTask { try await store.addToTotals(CacheStatistics(local: self.sample(1))) } }
      try await group.waitForAll()
    }
    #expect(try store.totals().local.hits == 20)
  }

  @Test(arguments: [
    "", "\n\n", "local\thits\tmany\n", "local\thits\t-4\n", "local\tmiss:a\t-1\n", "a\tb\tc\td\n", "\u{0}\t\t\n",
  ])
  func `what cannot be read counts for nothing`(text: String) {
    #expect(CacheStatistics(decoding: Array(text.utf8)) == CacheStatistics(remote: TierStatistics()))
  }

  @Test func `reasons are told by their frequency`() {
    var tier = TierStatistics()
    tier.misses = ["b": 2, "a": 2, "c": 5]
    #expect(tier.missText == "c 5, a 2, b 2" && tier.missCount == 9)
  }
}
