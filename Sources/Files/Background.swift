import Glibc
import Synchronization

/// A value that a thread of its own begins to compute at once; who takes it waits for it, or computes it.
///
/// A plain thread, as the callers are synchronous and must not block the cooperative pool.
package final class Background<Value: Sendable>: Startable, @unchecked Sendable {
  private enum State {
    case waiting
    case computed(Value)
    case taken
  }

  private let body: @Sendable () -> Value
  private let state = Mutex(State.waiting)

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
  package func take() -> Value {
    state.withLock { state in
      defer { state = .taken }
      if case .computed(let value) = state { return value }
      return body()
    }
  }

  override func run() {
    state.withLock { state in
      if case .waiting = state { state = .computed(body()) }
    }
  }
}

/// What a C callback, which knows no generic type, can run.
package class Startable {
  func run() {}
}
