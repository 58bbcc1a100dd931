import Diagnostics
import Events
import Synchronization
import SystemPackage

/// Shows a build on standard error, of which it is the only writer while the build runs.
///
/// On a terminal at most ten pictures a second, each one write; elsewhere plain lines. Whatever else has to be said
/// meanwhile goes through `show`.
package final class ConsoleSink: EventSink {
  private struct State {
    var transcript: Transcript
    var frame = Frame()
    /// Text that the next picture puts above its live lines.
    var pending: [UInt8] = []
    /// When the last picture was drawn; the first is not drawn before a build has lasted as long as one.
    var drawnAt = 0
    var isFinished = false
  }

  private static let frameMilliseconds = 100
  private static let readSize = 64 * 1024

  private let options: ConsoleOptions
  private let output: any ByteOutput
  private let size: @Sendable () -> TerminalSize
  private let state: Mutex<State>

  /// `size` is asked at each picture.
  package init(
    _ options: ConsoleOptions, output: any ByteOutput, size: @escaping @Sendable () -> TerminalSize = { .standard }
  ) {
    self.options = options
    self.output = output
    self.size = size
    state = Mutex(State(transcript: Transcript(options)))
  }

  package func receive(_ event: Event) {
    state.withLock { state in
      write(state.transcript.apply(event), &state)
      if event.kind == .buildFinished {
        state.isFinished = true
        flush(&state, at: event.milliseconds)
      } else {
        draw(&state, at: event.milliseconds)
      }
    }
  }

  /// No line of its own tells of a hit.
  package func receive(hits: some Sequence<Event>, count: Int, tests: Int) {
    state.withLock { $0.transcript.add(hits: count, tests: tests) }
  }

  /// Draws the next picture if it is time, so that the durations move while nothing happens.
  ///
  /// `elapsed` is the clock of the stream.
  package func tick(elapsed: Duration) {
    state.withLock { state in draw(&state, at: elapsed.wholeMilliseconds) }
  }

  /// Ticks until the task is cancelled.
  package func run(elapsed: @Sendable () -> Duration) async {
    guard options.isLive else { return }
    while !Task.isCancelled {
      try? await Task.sleep(for: .milliseconds(Self.frameMilliseconds))
      tick(elapsed: elapsed())
    }
  }

  /// Writes a diagnostic above the live lines.
  package func show(_ diagnostic: Diagnostic) {
    state.withLock { state in
      write([.text(diagnostic.rendered)], &state)
      if state.isFinished { flush(&state, at: state.drawnAt) }
    }
  }

  // MARK: Drawing

  private func draw(_ state: inout State, at time: Int) {
    guard options.isLive, !state.isFinished, time - state.drawnAt >= Self.frameMilliseconds else { return }
    state.drawnAt = time
    flush(&state, at: time)
  }

  private func flush(_ state: inout State, at time: Int) {
    let size = knownSize
    let isDrawn = options.isLive && !state.isFinished && state.drawnAt > 0
    // The last column stays free: some terminals wrap as soon as it is filled.
    let lines = isDrawn ? state.transcript.view.lines(at: time, width: size.columns - 1, height: size.rows) : []
    let bytes = state.frame.render(above: state.pending, lines: lines, width: size.columns, isLive: options.isLive)
    state.pending = []
    if !bytes.isEmpty { output.write(bytes) }
  }

  private var knownSize: TerminalSize {
    let size = size()
    return size.columns > 0 && size.rows > 0 ? size : .standard
  }

  /// On a terminal text waits for the next picture, unless there is much of it.
  private func write(_ pieces: [Transcript.Piece], _ state: inout State) {
    guard !pieces.isEmpty else { return }
    state.pending = join(state.pending, pieces) { part in
      let frame = state.frame.render(above: part, lines: [], width: knownSize.columns, isLive: options.isLive)
      output.write(frame)
    }
    if !options.isLive { flush(&state, at: 0) }
  }

  /// The pieces after `first`, as bytes; whenever they grow long, `overflow` gets what there is of them.
  private func join(_ first: [UInt8], _ pieces: [Transcript.Piece], overflow: ([UInt8]) -> Void) -> [UInt8] {
    var bytes = first
    let passesColor = options.isColored
    for piece in pieces {
      switch piece {
      case .text(let text): bytes += Array(text.utf8)
      case .log(let text): bytes += log(LogFilter.text(text, passesColor: passesColor))
      case .logFile(let path):
        var filter = LogFilter(passesColor: passesColor)
        do {
          try Self.read(path) { part in
            bytes += filter.feed(part)
            guard bytes.count > Self.readSize else { return }
            overflow(bytes)
            bytes = []
          }
          let end = filter.finish()
          bytes += filter.isEmpty ? log([]) : end
        } catch {
          bytes += filter.finish()
          bytes += Array(Diagnostic.warning("cannot read the log \(path): \(error)").rendered.utf8)
        }
      }
    }
    return bytes
  }

  private func log(_ bytes: [UInt8]) -> [UInt8] { bytes.isEmpty ? Array("(no output)\n".utf8) : bytes }

  private static func read(_ path: String, _ body: (ArraySlice<UInt8>) -> Void) throws {
    let file = try FileDescriptor.open(FilePath(path), .readOnly, options: [.closeOnExec])
    defer { try? file.close() }
    var buffer = [UInt8](repeating: 0, count: readSize)
    while true {
      let count = try buffer.withUnsafeMutableBytes { try file.read(into: $0) }
      if count == 0 { return }
      body(buffer[..<count])
    }
  }
}
