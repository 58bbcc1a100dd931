/// Node ids waiting for their turn: the longest critical path first, the lowest id among equals.
struct Heap {
  private struct Entry {
    var priority: Double
    var id: Int

    func precedes(_ other: Entry) -> Bool {
      priority != other.priority ? priority > other.priority : id < other.id
    }
  }

  private var entries: [Entry] = []

  var isEmpty: Bool { entries.isEmpty }

  /// The node whose turn it is.
  var first: (id: Int, priority: Double)? { entries.first.map { ($0.id, $0.priority) } }

  mutating func insert(_ id: Int, priority: Double) {
    var hole = entries.count
    let entry = Entry(priority: priority, id: id)
    entries.append(entry)
    while hole > 0 {
      let parent = (hole - 1) / 2
      guard entry.precedes(entries[parent]) else { break }
      entries[hole] = entries[parent]
      hole = parent
    }
    entries[hole] = entry
  }

  mutating func popFirst() -> Int? {
    guard let result = entries.first, let moved = entries.popLast() else { return nil }
    guard !entries.isEmpty else { return result.id }
    var hole = 0
    while true {
      var child = 2 * hole + 1
      guard child < entries.count else { break }
      if child + 1 < entries.count, entries[child + 1].precedes(entries[child]) { child += 1 }
      guard entries[child].precedes(moved) else { break }
      entries[hole] = entries[child]
      hole = child
    }
    entries[hole] = moved
    return result.id
  }
}
