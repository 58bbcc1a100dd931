import Glibc

/// When a request that failed for a reason that may pass is sent again: exponential backoff with full jitter.
package struct RetryPolicy: Sendable {
  /// Requests in all, the first included.
  package var attempts = 6
  package var base = Duration.milliseconds(250)
  /// The longest wait that is chosen here; a server may ask for longer.
  package var cap = Duration.seconds(10)
  /// The sum of all waits for one request; a server that asks for more is not waited for.
  package var budget = Duration.seconds(90)

  package init() {}

  /// How long to wait after a failure; `nil` to give up.
  ///
  /// - Parameters:
  ///   - failures: How many there were, this one included.
  ///   - waited: The waits before this one.
  ///   - retryAfter: Seconds that the server asked for; they are a minimum, and the jitter comes on top, lest all clients
  ///     come back at once.
  ///   - random: From 0 up to 1.
  package func delay(failures: Int, waited: Duration, retryAfter: Int?, random: Double) -> Duration? {
    guard failures < attempts else { return nil }
    let doubled = min(cap, base * (1 << min(max(failures - 1, 0), 20)))
    let wait = (doubled * random) + .seconds(min(retryAfter ?? 0, 1 << 30))
    return waited + wait <= budget ? wait : nil
  }
}

/// Seconds since 1970.
func wallClock() -> Int {
  var now = timespec()
  clock_gettime(CLOCK_REALTIME, &now)
  return now.tv_sec
}
