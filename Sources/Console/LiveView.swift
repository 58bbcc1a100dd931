/// What the moving part of the display shows; a value that draws itself.
struct LiveView: Hashable, Sendable {
  struct Row: Hashable, Sendable {
    var label: String
    var key: String?
    /// Milliseconds since the stream began.
    var started: Int
    /// Where it stands on an engine; empty for what runs here.
    var stage = ""
  }

  static let mostLines = 8
  private static let barLength = 20

  var done = 0
  var failed = 0
  var total = 0
  /// What runs, the longest-running first.
  var rows: [Row] = []

  /// The lines at a time, none wider than `width`, at most 8 and fewer than `height`.
  func lines(at time: Int, width: Int, height: Int) -> [String] {
    let most = max(1, min(Self.mostLines, height - 1))
    var lines = [progress(width)]
    let room = most - 1
    let shown = rows.count <= room ? rows.count : max(0, room - 1)
    for row in rows.prefix(shown) {
      let time =
        " (\(row.stage.isEmpty ? "" : row.stage + ", ")\(DurationText.whole(milliseconds: time - row.started)))"
      lines.append(TextWidth.prefix(TextWidth.suffix(row.label, max(4, width - time.utf8.count)) + time, width))
    }
    if shown < rows.count, room > 0 { lines.append(TextWidth.prefix("... and \(rows.count - shown) more", width)) }
    return lines
  }

  /// `[=============------ ] 31/48 done, 4 running, 1 failed`; without the bar where it does not fit.
  private func progress(_ width: Int) -> String {
    var text = "\(done)/\(total) done, \(rows.count) running"
    if failed > 0 { text += ", \(failed) failed" }
    guard Self.barLength + 3 + text.utf8.count <= width else { return TextWidth.prefix(text, width) }
    let length = Self.barLength
    let filled = total > 0 ? min(length, done * length / total) : 0
    // A running target shows even where a target is less than a character of the bar.
    let reached = total > 0 ? min(length, (done + rows.count) * length / total) : 0
    let running = rows.isEmpty ? 0 : max(reached - filled, filled < length ? 1 : 0)
    let bar = String(repeating: "=", count: filled) + String(repeating: "-", count: running)
    return "[" + bar + String(repeating: " ", count: length - filled - running) + "] " + text
  }
}

/// The bytes of one picture: what was drawn before is wiped, finished text goes above, the live lines below.
struct Frame {
  /// Columns of each live line on the screen; the cursor stands at the start of the line under them.
  private(set) var drawn: [Int] = []

  /// One write: terminals that know synchronized updates (`CSI ? 2026`) show it at once, others ignore that.
  ///
  /// Where nothing is live there is only the text.
  mutating func render(above: [UInt8], lines: [String], width: Int, isLive: Bool = true) -> [UInt8] {
    guard isLive, !lines.isEmpty || !drawn.isEmpty else { return above }
    var bytes = Array("\u{1b}[?2026h".utf8)
    if !drawn.isEmpty {
      // A terminal that was made narrower since has wrapped the old lines.
      let rows = drawn.reduce(0) { $0 + max(1, ($1 + width - 1) / max(1, width)) }
      bytes += Array("\r\u{1b}[\(rows)A\u{1b}[J".utf8)
    }
    bytes += above
    for line in lines { bytes += Array((line + "\n").utf8) }
    drawn = lines.map { TextWidth.columns($0) }
    return bytes + Array("\u{1b}[?2026l".utf8)
  }
}
