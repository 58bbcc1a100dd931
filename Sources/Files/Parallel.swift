import Glibc
import Synchronization

/// Splits `0..<count` among at most one thread a processor, each taking chunks until none is left.
///
/// Runs inline when there are fewer than two chunks: a thread costs about 50 µs. Plain threads, because the callers are
/// synchronous and must not block the cooperative pool. `body` must be safe to call from several threads at once.
func inParallel(_ count: Int, chunk: Int, _ body: (Range<Int>) -> Void) {
  let chunks = (count + chunk - 1) / chunk
  let processors = Swift.max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  let threads = Swift.min(processors, chunks, 16)
  guard threads > 1 else {
    if count > 0 { body(0..<count) }
    return
  }
  withoutActuallyEscaping(body) { body in
    let queue = ChunkQueue(count: count, chunk: chunk, body: body)
    var started: [pthread_t] = []
    for _ in 1..<threads {
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

private final class ChunkQueue {
  private let count: Int
  private let chunk: Int
  private let body: (Range<Int>) -> Void
  private let next = Atomic<Int>(0)

  init(count: Int, chunk: Int, body: @escaping (Range<Int>) -> Void) {
    self.count = count
    self.chunk = chunk
    self.body = body
  }

  func drain() {
    while true {
      let start = next.wrappingAdd(1, ordering: .relaxed).oldValue * chunk
      guard start < count else { return }
      body(start..<Swift.min(count, start + chunk))
    }
  }
}
