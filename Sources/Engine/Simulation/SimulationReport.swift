import OCI

extension Simulation {
  private static func median(_ values: [Double], at quantile: Double = 0.5) -> Double {
    values.isEmpty ? 0 : values.sorted()[min(values.count - 1, Int(Double(values.count) * quantile))]
  }

  /// `12.3 min`, `4.5 h`.
  private static func time(_ seconds: Double) -> String {
    let (value, unit) =
      seconds < 60 ? (seconds, "s") : seconds < 7200 ? (seconds / 60, "min") : (seconds / 3600, "h")
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10) \(unit)"
  }

  private func row(_ result: Result) -> [String] {
    [
      result.strategy.rawValue, "\(result.executed)", Self.time(result.machineSeconds),
      Self.time(Self.median(result.latencies)), Self.time(Self.median(result.latencies, at: 0.95)),
      "\(result.longestQueue)", "\(result.missedTests)",
    ]
  }

  /// For a person: what the history is, a line a strategy, and what slipway saves.
  package var table: String {
    let hits = commits.reduce(0) { $0 + $1.hits }
    let affected = commits.reduce(0) { $0 + $1.affected }
    var text =
      "\(commits.count) commits \(base.prefix(12))..\(head.prefix(12)), \(machines) machines, \(targets) targets\n"
    text += "\(affected) targets affected, \(hits) of them in a shared cache, \(affected - hits) executed\n"
    text += "durations: \(timed) of \(targets) targets recorded or given, the others as targets like them\n"
    if broken > 0 { text += "\(broken) commits with mistakes in their manifests: what could be read of them counts\n" }
    let head = [
      "strategy", "executed", "machine time", "a commit, median", "95 of 100", "longest queue",
      "affected tests not run",
    ]
    let rows = [head] + results.map(row)
    let widths = head.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    for row in rows {
      let cells = row.enumerated().map { column, cell in
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        return column == 0 ? cell + padding : padding + cell
      }
      text += "\n" + cells.joined(separator: "  ")
    }
    text += "\n\n"
    if let own = results.first(where: { $0.strategy == .slipway }) {
      for other in results where other.strategy != .slipway && other.machineSeconds > 0 {
        let saved = (1 - own.machineSeconds / other.machineSeconds) * 100
        let total = (own.latencies.reduce(0, +), other.latencies.reduce(0, +))
        let faster = total.1 > 0 ? ", \(Int(((1 - total.0 / total.1) * 100).rounded())) % less time to wait" : ""
        text += "against \(other.strategy.rawValue): \(Int(saved.rounded())) % less machine time\(faster)\n"
      }
    }
    return text
  }

  /// `schemas/simulate.schema.json`.
  package var json: JSON {
    func milliseconds(_ seconds: Double) -> JSON { .number(Int((seconds * 1000).rounded())) }
    return .object([
      "base": .string(base), "head": .string(head), "machines": .number(machines), "targets": .number(targets),
      "timed_targets": .number(timed), "broken_commits": .number(broken),
      "commits": .array(
        commits.map { commit in
          .object([
            "commit": .string(commit.id), "time": .number(Int(commit.time)), "affected": .number(commit.affected),
            "hits": .number(commit.hits), "executed": .number(commit.executed),
            "duration_ms": milliseconds(commit.seconds),
          ])
        }),
      "strategies": .array(
        results.map { result in
          .object([
            "strategy": .string(result.strategy.rawValue), "executed": .number(result.executed),
            "machine_ms": milliseconds(result.machineSeconds),
            "median_ms": milliseconds(Self.median(result.latencies)),
            "p95_ms": milliseconds(Self.median(result.latencies, at: 0.95)),
            "wait_ms": milliseconds(result.latencies.reduce(0, +)),
            "longest_queue": .number(result.longestQueue), "missed_tests": .number(result.missedTests),
          ])
        }),
    ])
  }
}
