import Synchronization

/// Decides whether a remote cache is worth asking, for all who ask in one build.
///
///     closed -- failures in a row, or seconds lost to them --> open -- pause --> one probe -- success --> closed
///                                                               ^                   | failure
///     a refusal of credentials or certificates ----> off        +-------------------+
///
/// A value that reads no clock.
package struct CircuitBreaker: Sendable {
  package struct Limits: Sendable {
    /// Failures in a row after which nothing is asked for a while.
    package var failures = 3
    /// After which one question is allowed again; twice as long each time.
    package var pause = Duration.seconds(5)
    /// That waiting for failures may cost a build in all.
    package var budget = Duration.seconds(2)

    package init() {}
  }

  private enum State {
    case closed(failures: Int)
    case open(until: Duration)
    case probing
    case off
  }

  private let limits: Limits
  private var state = State.closed(failures: 0)
  private var pause: Duration
  private var lost = Duration.zero
  /// Until when the time of failures is counted already: many at once cost no more than one.
  private var lostUntil = Duration.zero
  /// The failure that opened it last.
  package private(set) var reason: RemoteFailure?

  package init(_ limits: Limits = Limits()) {
    self.limits = limits
    pause = limits.pause
  }

  /// Whether a question may be asked now; who is allowed to must tell how it ended.
  package mutating func mayAsk(at now: Duration) -> Bool {
    switch state {
    case .closed: return true
    case .probing, .off: return false
    case .open(let until):
      guard now >= until, lost < limits.budget else { return false }
      state = .probing
      return true
    }
  }

  package mutating func succeeded() {
    switch state {
    case .closed, .probing:
      state = .closed(failures: 0)
    case .open, .off: break
    }
  }

  /// - Parameter start: When the question was asked.
  package mutating func failed(_ failure: RemoteFailure, from start: Duration, at now: Duration) {
    if failure.reason == .cancelled || failure.reason == .local || failure.reason == .tooLarge { return }
    lost += max(.zero, now - max(start, lostUntil))
    lostUntil = max(lostUntil, now)
    if failure.isFinal {
      if case .off = state { return }
      state = .off
      reason = failure
      return
    }
    switch state {
    case .off, .open: return
    case .probing: open(failure, now)
    case .closed(let failures):
      state = .closed(failures: failures + 1)
      if failures + 1 >= limits.failures || lost >= limits.budget { open(failure, now) }
    }
  }

  private mutating func open(_ failure: RemoteFailure, _ now: Duration) {
    state = .open(until: now + pause)
    pause += pause
    reason = failure
  }

  /// Whether nothing is asked at the moment.
  package var isOpen: Bool {
    if case .closed = state { return false }
    return true
  }
}
