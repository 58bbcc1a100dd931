import Dispatch
import Synchronization

/// Computes `count` values on at most two threads, the caller's among them; the first failure by index is thrown.
///
/// Two, because builds run several actions at once already. Work is handed out in order, so a failure stops what comes
/// after it, and the thrown one does not depend on timing.
package func concurrently<Value: Sendable>(_ count: Int, _ body: @Sendable (Int) throws -> Value) throws -> [Value] {
  if count < 2 { return try (0..<count).map(body) }
  let next = Atomic<Int>(0)
  let results = Mutex<[Result<Value, any Error>?]>(Array(repeating: nil, count: count))
  let failed = Atomic<Bool>(false)
  DispatchQueue.concurrentPerform(iterations: 2) { _ in
    while !failed.load(ordering: .relaxed) {
      let index = next.add(1, ordering: .relaxed).oldValue
      guard index < count else { return }
      let result = Result { try body(index) }
      if case .failure = result { failed.store(true, ordering: .relaxed) }
      results.withLock { $0[index] = result }
    }
  }
  // A failure leaves gaps only behind the last index that was handed out.
  return try results.withLock { try $0.compactMap { try $0?.get() } }
}
