import Testing

@testable import Engine

@Suite struct LookUpWatchTests {
  private let watch = LookUpWatch(limit: .milliseconds(200))
  private let start = ContinuousClock.now

  private func after(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

  @Test func `who waits without any answer for too long waits no more, nor does who asks later`() {
    #expect(!watch.asked(2, at: after(0)) && !watch.asked(1, at: after(150)) && watch.isWaiting)
    #expect(watch.overdue(at: after(200)) == [])
    #expect(watch.overdue(at: after(201)) == [1, 2] && !watch.isWaiting)
    #expect(watch.asked(3, at: after(300)) && watch.overdue(at: after(900)) == [])
  }

  @Test func `a long queue is no slow server, as long as answers come`() {
    for node in 0..<100 { #expect(!watch.asked(node, at: after(0))) }
    for node in 0..<99 {
      watch.answered(node, isReached: true, at: after(node * 150))
      #expect(watch.overdue(at: after(node * 150 + 199)) == [])
    }
    #expect(watch.overdue(at: after(98 * 150 + 201)) == [99])
  }

  @Test func `an answer makes others wait again, a failure does not`() {
    _ = watch.asked(1, at: after(0))
    _ = watch.overdue(at: after(500))
    watch.answered(1, isReached: false, at: after(1000))
    #expect(watch.asked(2, at: after(1001)))
    watch.answered(2, isReached: true, at: after(1100))
    #expect(!watch.asked(3, at: after(1200)))
    #expect(watch.overdue(at: after(1300)) == [] && watch.overdue(at: after(1401)) == [3])
  }
}
