/// A set of targets of one graph, a bit for each.
struct TargetSet: Hashable, Sendable {
  private var words: [UInt64]

  init(count: Int) { words = Array(repeating: 0, count: (count + 63) / 64) }

  init(_ members: some Sequence<Int>, count: Int) {
    self.init(count: count)
    for member in members { insert(member) }
  }

  static func all(count: Int) -> TargetSet {
    var set = TargetSet(count: count)
    for index in set.words.indices { set.words[index] = .max }
    if count % 64 != 0 { set.words[set.words.count - 1] = (1 << UInt64(count % 64)) - 1 }
    return set
  }

  func contains(_ member: Int) -> Bool { words[member >> 6] & (1 << UInt64(member & 63)) != 0 }

  /// Whether it was not yet in the set.
  @discardableResult
  mutating func insert(_ member: Int) -> Bool {
    let bit: UInt64 = 1 << UInt64(member & 63)
    if words[member >> 6] & bit != 0 { return false }
    words[member >> 6] |= bit
    return true
  }

  mutating func formUnion(_ other: TargetSet) {
    for index in words.indices { words[index] |= other.words[index] }
  }

  mutating func formIntersection(_ other: TargetSet) {
    for index in words.indices { words[index] &= other.words[index] }
  }

  mutating func subtract(_ other: TargetSet) {
    for index in words.indices { words[index] &= ~other.words[index] }
  }

  var isEmpty: Bool { words.allSatisfy { $0 == 0 } }

  /// Ascending, which is by label.
  var members: [Int] {
    var members: [Int] = []
    for (index, word) in words.enumerated() {
      var rest = word
      while rest != 0 {
        members.append(index << 6 + rest.trailingZeroBitCount)
        rest &= rest - 1
      }
    }
    return members
  }
}
