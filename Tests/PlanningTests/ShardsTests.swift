import SeededRandom
import Testing

@testable import Planning

@Suite struct ShardsTests {
  private func groups(_ count: Int, seed: UInt64) -> [Shards.Group] {
    var random = SeededGenerator(seed: seed)
    // Most are short and some are long, as connectors' tests are.
    return (0..<count).map { number in
      let cost = Double(Int.random(in: 1...100, using: &random))
      return Shards.Group("//connectors/source-\(number)", cost: random.chance(5) ? cost * 10 : cost)
    }
  }

  private func loads(_ shards: Shards, _ groups: [Shards.Group]) -> [Double] {
    shards.members.map { $0.reduce(0) { $0 + groups[$1].cost } }
  }

  @Test(arguments: 0..<40)
  func `every group is in one shard, and no shard is much longer than the mean`(seed: Int) {
    let groups = groups(20 + seed * 15, seed: UInt64(seed))
    for count in [1, 2, 3, 7, 16, 40] {
      let shards = Shards(groups, count: count)
      #expect(shards.members.joined().sorted() == Array(groups.indices))
      #expect(shards.members.count <= count && shards.members.allSatisfy { !$0.isEmpty })
      let loads = loads(shards, groups)
      let mean = loads.reduce(0, +) / Double(loads.count)
      let longest = groups.map(\.cost).max() ?? 0
      // Where few groups share a shard, they may not divide any better.
      if groups.count >= 8 * count {
        #expect(shards.members.count == count)
        #expect((loads.max() ?? 0) <= max(1.1 * mean, longest) + 1e-9, "\(seed), \(count)")
      }
    }
  }

  @Test(arguments: 0..<10)
  func `one group more leaves most where they were`(seed: Int) {
    let all = groups(300, seed: UInt64(seed))
    func places(_ groups: [Shards.Group]) -> [String: Int] {
      var places: [String: Int] = [:]
      for (shard, members) in Shards(groups, count: 10).members.enumerated() {
        for member in members { places[groups[member].name] = shard }
      }
      return places
    }
    let (before, after) = (places(Array(all.dropLast())), places(all))
    let moved = before.count { after[$0.key] != $0.value }
    #expect(moved < 90, "\(moved) of \(before.count)")
    // The order in which they are given decides nothing.
    #expect(places(all.reversed()) == after)
  }

  @Test func `few groups, none, and groups that cost nothing are divided as well`() {
    #expect(Shards([], count: 4).members == [])
    #expect(Shards([Shards.Group("a", cost: 0)], count: 4).members == [[0]])
    #expect(Shards(groups(3, seed: 1), count: 0).members.count == 1)
    let many = Shards(groups(2000, seed: 1), count: 5000)
    #expect(many.members.count <= 256)
    let free = (0..<30).map { Shards.Group("g\($0)", cost: 0) }
    #expect(Shards(free, count: 3).members.joined().sorted() == Array(0..<30))
  }
}
