import Dispatch
import Glibc
import Synchronization

/// Splits `0..<count` among at most one thread a processor, each taking chunks until none is left.
///
/// Runs inline when there are fewer than two chunks: a thread costs about 50 µs. Plain threads, because the callers are
/// synchronous and must not block the cooperative pool. `body` must be safe to call from several threads at once.
func inParallel(_ count: Int, chunk: Int, with crew: Crew? = nil, _ body: (Range<Int>) -> Void) {
  let chunks = (count + chunk - 1) / chunk
  let processors = Swift.max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  let threads = Swift.min(processors, chunks, 16)
  guard threads > 1 else {
    if count > 0 { body(0..<count) }
    return
  }
  withoutActuallyEscaping(body) { body in
    let queue = ChunkQueue(count: count, chunk: chunk, body: body)
    func run() {
      var started: [pthread_t] = []
      for _ in (crew == nil ? 1 : 2)..<threads {
        var thread = pthread_t()
        let context = Unmanaged.passRetained(queue)
        let status = pthread_create(
          &thread, nil,
          { context in
            if let context { Unmanaged<ChunkQueue>.fromOpaque(context).takeRetainedValue().drain() }
            return nil
          }, context.toOpaque())
        if status == 0 { started.append(thread) } else { context.release() }
      }
      queue.drain()
      for thread in started { pthread_join(thread, nil) }
    }
    if let crew { crew.offering(queue, run) } else { run() }
  }
}

/// Threads that are busy yet, and help with what another one runs in parallel as soon as they have nothing else to do.
///
/// More threads than processors would take each other's place in the middle of a chunk, for which all others then wait:
/// a slice of the scheduler's time, milliseconds. So a loop that is offered to a crew begins with one thread less.
package final class Crew: Sendable {
  private struct State {
    var loop: ChunkQueue?
    var helpers = 0
    var isDismissed = false
  }

  private let state = Mutex(State())
  /// Rung for each loop, and at the end.
  private let bell = DispatchSemaphore(value: 0)
  private let left = DispatchSemaphore(value: 0)

  package init() {}

  /// Helps until `dismiss`, with loops that run already, too.
  package func join() {
    while true {
      let (loop, isDismissed) = state.withLock { state in
        if state.loop != nil { state.helpers += 1 }
        return (state.loop, state.isDismissed)
      }
      if let loop {
        loop.drain()
        left.signal()
      }
      if isDismissed { return }
      bell.wait()
    }
  }

  package func dismiss() {
    state.withLock { $0.isDismissed = true }
    bell.signal()
  }

  /// For one loop at a time.
  fileprivate func offering(_ loop: ChunkQueue, _ body: () -> Void) {
    state.withLock { $0.loop = loop }
    bell.signal()
    body()
    let helpers = state.withLock { state in
      defer { (state.loop, state.helpers) = (nil, 0) }
      return state.helpers
    }
    for _ in 0..<helpers { left.wait() }
    loop.end()
  }
}

/// The results in the order of `items`; `body` must be safe to call from several threads at once.
package func mapInParallel<Item: Sendable, Result: Sendable>(
  _ items: [Item], chunk: Int, _ body: @Sendable (Item) -> Result
) -> [Result] {
  [Result](unsafeUninitializedCapacity: items.count) { buffer, filled in
    let results = UnsafeMutableBufferPointer(rebasing: buffer[..<items.count])
    // Every position is one thread's only.
    inParallel(items.count, chunk: chunk) { range in
      for position in range { results.initializeElement(at: position, to: body(items[position])) }
    }
    filled = items.count
  }
}

private final class ChunkQueue: @unchecked Sendable {
  private let count: Int
  private let chunk: Int
  private var body: ((Range<Int>) -> Void)?
  private let next = Atomic<Int>(0)

  init(count: Int, chunk: Int, body: @escaping (Range<Int>) -> Void) {
    self.count = count
    self.chunk = chunk
    self.body = body
  }

  /// Whoever helped may hold the queue for a moment more; what it runs is its caller's, and must be gone.
  func end() { body = nil }

  @inline(never) func drain() {
    guard let body else { return }
    while true {
      let start = next.wrappingAdd(1, ordering: .relaxed).oldValue * chunk
      guard start < count else { return }
      body(start..<Swift.min(count, start + chunk))
    }
  }
}
