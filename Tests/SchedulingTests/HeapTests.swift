import SeededRandom
import Testing

@testable import Scheduling

@Suite struct HeapTests {
  @Test func `a heap gives the highest priority first and the lowest id among equals`() {
    for seed in 0..<200 as Range<UInt64> {
      var random = SeededGenerator(seed: seed)
      var heap = Heap()
      var sorted: [(id: Int, priority: Double)] = []
      for id in (0..<Int.random(in: 0...40, using: &random)).shuffled(using: &random) {
        let priority = Double(Int.random(in: 0...5, using: &random))
        heap.insert(id, priority: priority)
        sorted.append((id, priority))
      }
      sorted.sort { ($1.priority, $0.id) < ($0.priority, $1.id) }
      #expect(heap.first?.id == sorted.first?.id)
      var popped: [Int] = []
      while let id = heap.popFirst() { popped.append(id) }
      #expect(popped == sorted.map(\.id), "seed \(seed)")
      #expect(heap.isEmpty)
    }
  }
}
