import Synchronization

/// Lets so many in at once; the others wait in the order in which they came.
package final class Permits: Sendable {
  private struct State {
    var free: Int
    var waiting: [CheckedContinuation<Void, Never>] = []
  }

  private let state: Mutex<State>

  package init(_ count: Int) { state = Mutex(State(free: max(1, count))) }

  package func take() async {
    await withCheckedContinuation { continuation in
      let isFree = state.withLock { state in
        if state.free > 0 {
          state.free -= 1
          return true
        }
        state.waiting.append(continuation)
        return false
      }
      if isFree { continuation.resume() }
    }
  }

  package func giveBack() {
    let next: CheckedContinuation<Void, Never>? = state.withLock { state in
      if state.waiting.isEmpty {
        state.free += 1
        return nil
      }
      return state.waiting.removeFirst()
    }
    next?.resume()
  }
}

/// Lets one in at a time for each key; the others wait in the order in which they came.
actor Gate {
  private var waiting: [String: [CheckedContinuation<Void, Never>]] = [:]

  /// Waits even when cancelled: whoever is inside is bounded in time, and is cancelled too if both belong together.
  func enter(_ key: String) async {
    if waiting[key] == nil {
      waiting[key] = []
      return
    }
    await withCheckedContinuation { waiting[key]?.append($0) }
  }

  func leave(_ key: String) {
    guard var queue = waiting[key] else { return }
    if queue.isEmpty {
      waiting[key] = nil
      return
    }
    let next = queue.removeFirst()
    waiting[key] = queue
    next.resume()
  }
}
