import Dispatch
import Glibc
import Synchronization
import Testing

@testable import Files

@Suite struct CrewTests {
  /// Each position once, whoever helps, and whenever that one comes.
  @Test(arguments: [0, 1, 100, 2_000, 100_000]) func `a crew does every part of every loop once`(_ delay: UInt32) {
    for _ in 0..<20 {
      let crew = Crew()
      let loops = (0..<4).map { _ in Counters(1_000) }
      let background = Background {
        defer { crew.dismiss() }
        for loop in loops {
          inParallel(loop.counts.count, chunk: 8, with: crew) { part in
            for position in part { loop.add(at: position) }
          }
        }
        return true
      }
      usleep(delay)
      #expect(background.take(with: crew))
      for loop in loops { #expect(loop.counts.allSatisfy { $0 == 1 }) }
    }
  }

  @Test func `who helps takes part`() {
    let crew = Crew()
    let threads = Mutex<Set<UInt>>([])
    let isHelped = Atomic<Bool>(false)
    let isRunning = DispatchSemaphore(value: 0)
    let background = Background {
      defer { crew.dismiss() }
      isRunning.signal()
      // Ends when a second thread has come only, or after ten seconds.
      inParallel(1_000, chunk: 1, with: crew) { _ in
        if isHelped.load(ordering: .relaxed) { return }
        let count = threads.withLock { threads in
          threads.insert(UInt(pthread_self()))
          return threads.count
        }
        if count > 1 { isHelped.store(true, ordering: .relaxed) } else { usleep(10_000) }
      }
      return 7
    }
    isRunning.wait()
    #expect(background.take(with: crew) == 7)
    let wasHelped = isHelped.load(ordering: .relaxed)
    #expect(wasHelped)
  }

  @Test func `a crew that nobody joins is no hindrance`() {
    let crew = Crew()
    let loop = Counters(500)
    inParallel(500, chunk: 4, with: crew) { part in for position in part { loop.add(at: position) } }
    crew.dismiss()
    crew.join()
    #expect(loop.counts.allSatisfy { $0 == 1 })
  }
}

/// Every position is one thread's only.
private final class Counters: @unchecked Sendable {
  private let base: UnsafeMutableBufferPointer<Int>

  init(_ count: Int) {
    base = .allocate(capacity: count)
    base.initialize(repeating: 0)
  }

  deinit { base.deallocate() }

  func add(at position: Int) { base[position] += 1 }

  var counts: [Int] { Array(base) }
}
