/// What one run of `build` or `test` did.
struct BuildResult {
  var finished: HostProcess.Finished
  var events: Events

  var status: Int32 { finished.status }
  /// Labels whose targets executed successfully, in order.
  var executed: [String] { events.labels("executed") }
  var hits: [String] { events.labels("hit-local") }
  var hitRemote: [String] { events.labels("hit-remote") }
  var failed: [String] { events.labels("failed") }
  var skipped: [String] { events.labels("skipped") }
  var error: String { finished.standardError }

  func key(_ label: String) -> String? { events.finished[label]?["key"] }
}

/// The events of one build, as `--events` wrote them.
struct Events {
  /// One event's string fields; the values have no escapes in these tests' events.
  typealias Row = [String: String]

  var rows: [Row] = []

  init(path: String) throws {
    guard let bytes = try? readBytes(path) else { return }
    rows = bytes.split(separator: 10).map { Self.row(String(decoding: $0, as: UTF8.self)) }
  }

  /// `target.finished`, by label.
  var finished: [String: Row] {
    var found: [String: Row] = [:]
    for row in rows where row["type"] == "target.finished" { found[row["label"] ?? ""] = row }
    return found
  }

  func labels(_ outcome: String) -> [String] {
    rows.filter { $0["type"] == "target.finished" && $0["outcome"] == outcome }.compactMap { $0["label"] }.sorted()
  }

  private static func row(_ line: String) -> Row {
    var row: Row = [:]
    for match in line.matches(of: /"([a-z_A-Z]+)":"((?:[^"\\]|\\.)*)"/) { row[String(match.1)] = String(match.2) }
    return row
  }
}
