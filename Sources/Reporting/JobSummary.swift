import Events

extension RunRecord {
  /// Markdown for a job's page: what failed first, then what ran; of hits only the number.
  package func summary(title: String) -> String {
    let ran = targets.filter { $0.outcome == .executed || $0.outcome == .failed || $0.outcome == .skipped }
    let sorted = ran.sorted { ($0.rank, $0.label) < ($1.rank, $1.label) }
    let hits = targets.count { $0.outcome?.isHit ?? false }
    var text = "### \(Self.escaped(title))\n\n"
    if !sorted.isEmpty {
      text += "| | target | time | why |\n|---|---|---:|---|\n"
      for target in sorted.prefix(200) {
        let why = target.reason ?? target.miss ?? ""
        text +=
          "| \(target.mark) | `\(target.label.split(separator: "|", omittingEmptySubsequences: false).joined(separator: "\\|"))` | \(Self.time(target.milliseconds)) | \(Self.escaped(why)) |\n"
      }
      if sorted.count > 200 { text += "\nand \(sorted.count - 200) more\n" }
      text += "\n"
    }
    return text + "\(targets.count) targets: \(hits) cached, \(ran.count { $0.outcome == .executed }) executed, "
      + "\(ran.count { $0.outcome == .failed }) failed, \(ran.count { $0.outcome == .skipped }) skipped, in "
      + "\(Self.time(milliseconds))\n\n"
  }

  private static func time(_ milliseconds: Int?) -> String {
    guard let milliseconds else { return "" }
    return milliseconds < 1000
      ? "\(milliseconds) ms" : "\(milliseconds / 1000).\(milliseconds % 1000 / 100) s"
  }

  /// As text of one cell.
  private static func escaped(_ text: String) -> String {
    var result = ""
    for character in text {
      switch character {
      case "|", "\\", "`", "*", "_", "[", "]": result += "\\" + String(character)
      case "<": result += "&lt;"
      case "&": result += "&amp;"
      case "\n", "\r", "\r\n": result += " "
      default: result.append(character)
      }
    }
    return result
  }
}

extension RunRecord.Target {
  fileprivate var rank: Int {
    switch outcome {
    case .failed: 0
    case .skipped: 1
    default: verdict == .flaky ? 2 : 3
    }
  }

  fileprivate var mark: String {
    switch (outcome, verdict) {
    case (.failed, .timedOut): "TIMEOUT"
    case (.failed, _): "**FAIL**"
    case (.skipped, _): "SKIP"
    case (_, .flaky): "FLAKY"
    case (_, .noTests): "NO TESTS"
    case (_, .passed): "PASS"
    default: "DONE"
    }
  }
}
