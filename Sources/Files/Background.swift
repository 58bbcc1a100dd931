import Dispatch
import Glibc
import Synchronization

/// A value that a thread of its own begins to compute at once; who takes it waits for it, or computes it.
///
/// A plain thread, as the callers are synchronous and must not block the cooperative pool. Nobody waits for a `Mutex`
/// while the value is made: the kernel lets such a wait spin, on a processor that the work itself could use.
package final class Background<Value: Sendable>: Startable, @unchecked Sendable {
  private enum State {
    case waiting
    case computing
    case computed(Value)
    case taken
  }

  private let body: @Sendable () -> Value
  private let state = Mutex(State.waiting)
  private let isDone = DispatchSemaphore(value: 0)

  package init(_ body: @escaping @Sendable () -> Value) {
    self.body = body
    super.init()
    var thread = pthread_t()
    let context = Unmanaged<Startable>.passRetained(self)
    let status = pthread_create(
      &thread, nil,
      { context in
        if let context { Unmanaged<Startable>.fromOpaque(context).takeRetainedValue().run() }
        return nil
      }, context.toOpaque())
    if status == 0 { pthread_detach(thread) } else { context.release() }
  }

  /// Gives the value away: nothing is kept here that would make its new owner copy it before a change.
  ///
  /// - Parameter crew: What the computation offers its loops to, and dismisses at its end; the caller joins it.
  package func take(with crew: Crew? = nil) -> Value {
    var found = claim()
    if case .computing = found {
      crew?.join()
      isDone.wait()
      isDone.signal()
      found = claim()
    }
    if case .computed(let value) = found { return value }
    return body()
  }

  /// The state as it was; it is the caller's now, unless it is being computed.
  private func claim() -> State {
    state.withLock { state in
      if case .computing = state { return state }
      defer { state = .taken }
      return state
    }
  }

  override func run() {
    let isMine = state.withLock { state in
      guard case .waiting = state else { return false }
      state = .computing
      return true
    }
    guard isMine else { return }
    let value = body()
    state.withLock { $0 = .computed(value) }
    isDone.signal()
  }
}

/// What a C callback, which knows no generic type, can run.
package class Startable {
  func run() {}
}
