import Diagnostics
import Events

/// Turns events into the text that stays, and into what the live lines show; a value without I/O.
struct Transcript: Sendable {
  /// A piece of text that stays.
  enum Piece: Hashable, Sendable {
    /// Fit to be shown, whole lines.
    case text(String)
    /// A log as the action wrote it.
    case log([UInt8])
    /// The file of such a log.
    case logFile(String)
  }

  let options: ConsoleOptions
  private(set) var view = LiveView()
  private(set) var counts = Counts()
  private var warned = Set<String>()

  init(_ options: ConsoleOptions) { self.options = options }

  mutating func apply(_ event: Event) -> [Piece] {
    counts.add(event)
    showCounts()
    switch event.kind {
    case .actionStarted:
      let label = Diagnostic.printable(event.label ?? "")
      view.rows.append(.init(label: label, key: event.key, started: event.milliseconds))
    case .actionFinished:
      let label = Diagnostic.printable(event.label ?? "")
      if let row = view.rows.firstIndex(where: { $0.label == label && $0.key == event.key }) {
        view.rows.remove(at: row)
      }
    case .actionStage:
      let label = Diagnostic.printable(event.label ?? "")
      guard let row = view.rows.firstIndex(where: { $0.label == label }) else { break }
      view.rows[row].stage = event.reason ?? ""
    case .cacheWarning:
      let message = event.message ?? event.reason ?? ""
      // One that comes for every target is told once.
      guard warned.insert(message).inserted else { return [] }
      // A diagnostic says itself that it is a warning: at once, or behind its place.
      let first = message.prefix { $0 != "\n" }
      if first.contains(": warning: ") { return [.text(plain(message))] }
      let text = first.hasPrefix("warning: ") ? String(message.dropFirst("warning: ".count)) : message
      return [.text(styled("warning", .yellow) + ": " + plain(text))]
    case .targetFinished:
      return finished(event)
    case .buildFinished:
      view.rows = []
      let lines = Summary.lines(event, event.counts ?? counts, sumsUpTests: options.sumsUpTests)
      return [.text(lines.map { $0 + "\n" }.joined())]
    case .actionOutput:
      let label = Diagnostic.printable(event.label ?? "")
      let lines = plain(event.text ?? []).split(separator: "\n", omittingEmptySubsequences: false).dropLast()
      return [.text(lines.map { "\(label) | \($0)\n" }.joined())]
    case .buildStarted, .targetPlanned:
      break
    }
    return []
  }

  mutating func add(hits: Int, tests: Int) {
    counts.add(hits: hits, tests: tests)
    showCounts()
  }

  private mutating func showCounts() {
    view.total = counts.total
    view.done = counts.finished
    view.failed = counts.failed
  }

  // MARK: Finished targets

  private func finished(_ event: Event) -> [Piece] {
    guard let outcome = event.outcome else { return [] }
    switch outcome {
    case .failed:
      return failure(event)
    case .skipped:
      return [.text(line("SKIP", .yellow, event, with: event.reason))]
    case .executed, .hitLocal, .hitRemote:
      break
    }
    switch event.verdict {
    case .noTests:
      return [.text(line("NO TESTS", .yellow, event, with: event.reason, time(event)))]
    case .flaky:
      let attempt = event.attempt.map { "passed on attempt \($0)" }
      return [.text(line("FLAKY", .yellow, event, with: event.reason ?? attempt, time(event)))]
    case .passed, .failed, .timedOut, nil:
      // Live lines have shown it; in a log one wants to see that something moves.
      guard !options.isLive, outcome == .executed else { return [] }
      return [.text(line(event.rule == "test" ? "PASS" : "DONE", .green, event, with: time(event)))]
    }
  }

  private func failure(_ event: Event) -> [Piece] {
    let why = event.reason ?? (event.verdict == .timedOut ? "timed out" : event.exitCode.map { "exit \($0)" })
    var pieces: [Piece] = [.text(line("FAIL", .red, event, with: why, time(event)))]
    if let text = event.text {
      pieces.append(.log(text))
    } else if let log = event.log {
      pieces.append(.logFile(log))
    }
    var after = event.message.map(plain) ?? ""
    // A shell in the sandbox is of use only where a command had been running in one.
    if let label = event.label, event.rule != "rootfs", event.exitCode != nil || event.verdict == .timedOut {
      after += "reproduce: slipway shell \(Diagnostic.printable(Self.argument(label)))\n"
    }
    if !after.isEmpty { pieces.append(.text(after)) }
    return pieces
  }

  /// What a command line takes for `//a:b@linux/arm64`, which is `//a:b` for another platform.
  private static func argument(_ label: String) -> String {
    guard let mark = label.lastIndex(of: "@"), label[mark...].contains("/") else { return label }
    return "\(label[..<mark]) --platform \(label[mark...].dropFirst())"
  }

  private func time(_ event: Event) -> String? { event.durationMs.map { DurationText.short(milliseconds: $0) } }

  private func line(_ tag: String, _ color: Color, _ event: Event, with details: String?...) -> String {
    let details = details.compactMap(\.self).joined(separator: ", ")
    let text = styled(tag, color) + " " + Diagnostic.printable(event.label ?? "")
    return details.isEmpty ? text + "\n" : "\(text) (\(Diagnostic.printable(details)))\n"
  }

  /// Text of several lines, each fit to be shown, the last with its newline.
  private func plain(_ text: String) -> String { plain(Array(text.utf8)) }

  private func plain(_ text: [UInt8]) -> String {
    String(decoding: LogFilter.text(text, passesColor: false), as: UTF8.self)
  }

  private enum Color: Int {
    case red = 31
    case green = 32
    case yellow = 33
  }

  private func styled(_ text: String, _ color: Color) -> String {
    options.isColored ? "\u{1b}[1;\(color.rawValue)m\(text)\u{1b}[0m" : text
  }
}
