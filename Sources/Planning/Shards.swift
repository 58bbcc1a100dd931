import Digests

/// Divides work among machines: evenly by its expected time, what belongs together on one, and as before where it can.
///
/// Each group goes to the machine that a hash prefers (rendezvous hashing, Thaler and Ravishankar 1998), so that others
/// stay where they are when one is added; then groups are moved off machines that have too much.
package struct Shards: Hashable, Sendable {
  /// What one machine should have, such as a connector's tests, which share its image.
  package struct Group: Hashable, Sendable {
    package var name: String
    /// Seconds.
    package var cost: Double

    package init(_ name: String, cost: Double) {
      self.name = name
      self.cost = cost
    }
  }

  /// The positions of the groups, by shard, each list in order; none is empty.
  package private(set) var members: [[Int]]

  /// As many jobs as one matrix of GitHub Actions may have.
  package static let limit = 256
  /// Of the longest shard to the mean one.
  private static let evenness = 1.1

  /// - Parameter count: At most so many shards, and never more than `limit`.
  package init(_ groups: [Group], count: Int) {
    let count = max(1, min(count, Self.limit, groups.count))
    var shard = groups.map { Self.preferred($0.name, among: count) }
    Self.even(&shard, groups, count)
    members = (0..<count).map { wanted in shard.indices.filter { shard[$0] == wanted } }.filter { !$0.isEmpty }
  }

  private static func preferred(_ name: String, among count: Int) -> Int {
    func score(_ shard: Int) -> Fingerprint {
      let hasher = FingerprintHasher()
      hasher.update(name)
      hasher.update(UInt64(shard))
      return hasher.finish()
    }
    var best = (shard: 0, score: score(0))
    for shard in 1..<max(1, count) where count > 1 {
      let other = score(shard)
      if best.score < other { best = (shard, other) }
    }
    return best.shard
  }

  /// Moves groups from the longest shard to the shortest until no shard is much longer than the mean.
  private static func even(_ shard: inout [Int], _ groups: [Group], _ count: Int) {
    var loads = [Double](repeating: 0, count: count)
    for (group, place) in zip(groups, shard) { loads[place] += group.cost }
    let mean = loads.reduce(0, +) / Double(count)
    let bound = max(mean * evenness, groups.map(\.cost).max() ?? 0)
    // Each move makes the sum of squares smaller; the bound is only against rounding.
    for _ in 0..<(groups.count * 8) {
      guard let longest = loads.indices.max(by: { (loads[$0], $1) < (loads[$1], $0) }), loads[longest] > bound,
        let shortest = loads.indices.min(by: { (loads[$0], $0) < (loads[$1], $1) })
      else { return }
      let gap = loads[longest] - loads[shortest]
      // The one that comes nearest to closing the gap; of equal ones the first by name.
      let movable = groups.indices.filter { shard[$0] == longest && groups[$0].cost > 0 && groups[$0].cost < gap }
      guard
        let moved = movable.min(by: { a, b in
          let (x, y) = (abs(groups[a].cost - gap / 2), abs(groups[b].cost - gap / 2))
          return x == y ? groups[a].name < groups[b].name : x < y
        })
      else { return }
      shard[moved] = shortest
      loads[longest] -= groups[moved].cost
      loads[shortest] += groups[moved].cost
    }
  }
}
