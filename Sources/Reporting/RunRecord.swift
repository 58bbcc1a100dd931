import Events
import Synchronization

/// One run, as its events told it.
package struct RunRecord: Hashable, Sendable {
  package struct Target: Hashable, Sendable {
    package var label: String
    package var rule: String?
    package var key: String?
    package var outcome: Event.Outcome?
    package var verdict: Event.Verdict?
    /// In a few words: `exit 1`, `needs //a:b`.
    package var reason: String?
    /// Why no tier of the cache had it, where it was executed.
    package var miss: String?
    /// When its action began and ended, in milliseconds of the run; `nil` for what was not executed.
    package var start: Int?
    package var end: Int?
    /// How long the action took, in this run or in the one that a hit comes from.
    package var milliseconds: Int?
    package var attempts = 0
    /// The labels of those among the run's targets that it depends on.
    package var dependencies: [String] = []
    /// Whether the run would have been over sooner without it.
    package var isCritical = false
    /// The end of what it wrote.
    package var log: String?
  }

  package var targets: [Target] = []
  package var warnings: [String] = []
  package var milliseconds = 0
  package var exitCode: Int?
  package var counts = Counts()

  /// Marks the chain of executions that the run's end waited for: from the last one back, each time to what it depends on
  /// that ended last.
  package mutating func markCriticalPath() {
    let positions = Dictionary(targets.indices.map { (targets[$0].label, $0) }) { first, _ in first }
    func end(_ index: Int) -> Int { targets[index].end ?? -1 }
    var next = targets.indices.filter { targets[$0].end != nil }.max { end($0) < end($1) }
    while let index = next, !targets[index].isCritical {
      targets[index].isCritical = true
      next = targets[index].dependencies.compactMap { positions[$0] }
        .filter { targets[$0].end != nil && !targets[$0].isCritical }.max { end($0) < end($1) }
    }
  }
}

/// Keeps what reports are made from.
package final class RunRecorder: EventSink {
  private struct State {
    var record = RunRecord()
    var positions: [String: Int] = [:]
  }

  private let state = Mutex(State())

  package init() {}

  package var record: RunRecord { state.withLock { $0.record } }

  package func receive(_ event: Event) {
    state.withLock { state in
      state.record.milliseconds = max(state.record.milliseconds, event.milliseconds)
      switch event.kind {
      case .cacheWarning: if let message = event.message { state.record.warnings.append(message) }
      case .buildFinished:
        state.record.exitCode = event.exitCode
        if let counts = event.counts { state.record.counts = counts }
      case .actionStarted, .actionFinished, .targetFinished:
        guard let label = event.label else { return }
        let position = state.positions[label] ?? state.record.targets.count
        if position == state.record.targets.count {
          state.positions[label] = position
          state.record.targets.append(RunRecord.Target(label: label))
        }
        Self.note(event, &state.record.targets[position])
      case .buildStarted, .targetPlanned, .actionStage, .actionOutput: break
      }
    }
  }

  private static func note(_ event: Event, _ target: inout RunRecord.Target) {
    target.rule = event.rule ?? target.rule
    target.key = event.key ?? target.key
    target.milliseconds = event.durationMs ?? target.milliseconds
    switch event.kind {
    case .actionStarted:
      target.start = target.start ?? event.milliseconds
      target.attempts += 1
    case .actionFinished: if target.start != nil { target.end = event.milliseconds }
    default:
      target.outcome = event.outcome ?? target.outcome
      target.verdict = event.verdict ?? target.verdict
      target.reason = event.reason ?? target.reason
      target.miss = event.miss ?? target.miss
      // Of a failure: its whole log.
      if let text = event.text { target.log = RunRecord.tail(text, 64 << 10) }
    }
  }
}

extension RunRecord {
  /// The end of a log, from the beginning of a line where it is cut.
  package static func tail(_ bytes: [UInt8], _ limit: Int) -> String {
    if bytes.count <= limit { return String(decoding: bytes, as: UTF8.self) }
    let end = bytes.suffix(limit)
    let line = end.firstIndex(of: 10).map { end[($0 + 1)...] } ?? end
    return "… (\(bytes.count - line.count) bytes before)\n" + String(decoding: line, as: UTF8.self)
  }
}
