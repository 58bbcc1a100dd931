import Events
import Synchronization

/// The executions as a Chrome trace, for `--trace`: a row a slot, written as it happens.
///
/// The format is the JSON array of the Trace Event Format, whose readers do not ask for the closing bracket: a trace
/// that is cut short by a kill is still shown.
package final class TraceWriter: EventSink {
  private struct State {
    var isOpen = false
    var isClosed = false
    /// The action on each row; rows are reused, the lowest free one first.
    var rows: [(label: String?, key: String?)?] = []
    var named = 0
  }

  private let output: any ByteOutput
  private let state = Mutex(State())

  package init(_ output: any ByteOutput) { self.output = output }

  package func receive(_ event: Event) {
    state.withLock { state in
      guard !state.isClosed else { return }
      switch event.kind {
      case .actionStarted:
        let row = state.rows.firstIndex { $0 == nil } ?? state.rows.count
        if row == state.rows.count { state.rows.append(nil) }
        state.rows[row] = (event.label, event.key)
        if row >= state.named {
          state.named = row + 1
          var name = JSONLine()
          name.add("name", "slot \(row + 1)")
          write(&state, phase: "M", name: "thread_name", row: row, at: nil, arguments: name)
        }
        var arguments = JSONLine()
        arguments.add("key", event.key)
        arguments.add("attempt", event.attempt)
        write(&state, phase: "B", name: event.label, row: row, at: event.milliseconds, arguments: arguments)
      case .actionFinished:
        guard let row = state.rows.firstIndex(where: { $0 != nil && $0?.label == event.label && $0?.key == event.key })
        else { return }
        state.rows[row] = nil
        var arguments = JSONLine()
        arguments.add("outcome", event.outcome?.rawValue)
        arguments.add("exit_code", event.exitCode)
        write(&state, phase: "E", name: event.label, row: row, at: event.milliseconds, arguments: arguments)
      case .cacheWarning:
        write(&state, phase: "i", name: event.message, row: 0, at: event.milliseconds, arguments: nil)
      case .buildFinished:
        close(&state, at: event.milliseconds)
      case .buildStarted, .targetPlanned, .actionStage, .actionOutput, .targetFinished:
        break
      }
    }
  }

  /// Ends what still runs, and the array.
  private func close(_ state: inout State, at time: Int) {
    for (row, action) in state.rows.enumerated() {
      guard let action else { continue }
      var arguments = JSONLine()
      arguments.add("outcome", "interrupted")
      write(&state, phase: "E", name: action.label, row: row, at: time, arguments: arguments)
    }
    state.isClosed = true
    output.write(Array((state.isOpen ? "\n]\n" : "[]\n").utf8))
  }

  private func write(
    _ state: inout State, phase: String, name: String?, row: Int, at time: Int?, arguments: JSONLine?
  ) {
    var line = JSONLine()
    line.add("name", name ?? "")
    line.add("ph", phase)
    line.add("pid", 1)
    line.add("tid", row + 1)
    line.add("ts", time.map { $0 * 1000 })
    if phase == "i" { line.add("s", "g") }
    line.add("args", object: arguments)
    output.write(Array((state.isOpen ? ",\n" : "[\n").utf8) + line.text)
    state.isOpen = true
  }
}
