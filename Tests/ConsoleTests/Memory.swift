import Console
import Events
import Synchronization

/// Keeps what is written, each write apart.
final class Memory: ByteOutput {
  private let state = Mutex<[[UInt8]]>([])

  func write(_ bytes: [UInt8]) { state.withLock { $0.append(bytes) } }

  var writes: [String] { state.withLock { $0.map { String(decoding: $0, as: UTF8.self) } } }
  var text: String { writes.joined() }
}

/// A clock that tests set, in milliseconds.
final class ManualClock: Sendable {
  private let now = Mutex(0)

  var milliseconds: Int {
    get { now.withLock { $0 } }
    set { now.withLock { $0 = newValue } }
  }

  var elapsed: Duration { .milliseconds(milliseconds) }
}

/// A console on memory, fed through a stream.
struct Stage {
  let memory = Memory()
  let clock = ManualClock()
  let console: ConsoleSink
  let stream: EventStream

  init(live: Bool = false, color: Bool = false, tests: Bool = false, columns: Int = 80, rows: Int = 24) {
    let clock = clock
    console = ConsoleSink(
      ConsoleOptions(isLive: live, isColored: color, sumsUpTests: tests), output: memory,
      size: { TerminalSize(columns: columns, rows: rows) })
    stream = EventStream(sinks: [console], elapsed: { clock.elapsed })
  }

  func emit(at milliseconds: Int, _ event: Event) {
    clock.milliseconds = milliseconds
    stream.emit(event)
  }

  func tick(at milliseconds: Int) {
    clock.milliseconds = milliseconds
    console.tick(elapsed: clock.elapsed)
  }
}
