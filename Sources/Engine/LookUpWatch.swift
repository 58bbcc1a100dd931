import Synchronization

/// Sees whether the remote tier answers: what waits for an answer that does not come is executed beside the question.
///
/// A server that answers late would otherwise cost every build its patience. Whichever comes first counts.
final class LookUpWatch: Sendable {
  private struct State {
    var waiting: Set<Int> = []
    /// Of the last answer, or of the first question after a time without any.
    var last = ContinuousClock.now
    var isSlow = false
  }

  private let state = Mutex(State())
  /// Without any answer for so long, none is waited for.
  private let limit: Duration
  /// Between two looks.
  var pause: Duration { limit / 4 }

  init(limit: Duration) { self.limit = limit }

  /// Notes a question; whether it is not to be waited for.
  func asked(_ node: Int, at now: ContinuousClock.Instant = .now) -> Bool {
    state.withLock { state in
      if state.isSlow { return true }
      if state.waiting.isEmpty { state.last = now }
      state.waiting.insert(node)
      return false
    }
  }

  /// - Parameter isReached: The server itself answered.
  func answered(_ node: Int, isReached: Bool, at now: ContinuousClock.Instant = .now) {
    state.withLock { state in
      state.waiting.remove(node)
      state.last = now
      if isReached { state.isSlow = false }
    }
  }

  var isWaiting: Bool { state.withLock { !$0.waiting.isEmpty } }

  /// The nodes that are not to be waited for any more, in order.
  func overdue(at now: ContinuousClock.Instant = .now) -> [Int] {
    state.withLock { state in
      guard !state.waiting.isEmpty, now - state.last > limit else { return [] }
      state.isSlow = true
      defer { state.waiting = [] }
      return state.waiting.sorted()
    }
  }
}
