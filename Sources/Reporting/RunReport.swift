import Events
import OCI

extension RunRecord {
  /// `report.json`, as `schemas/report.schema.json` describes it.
  package func json(command: String) -> JSON {
    var members: [String: JSON] = [
      "v": .number(1), "command": .string(command), "duration_ms": .number(milliseconds),
      "critical_path_ms": .number(criticalMilliseconds), "warnings": .strings(warnings),
      "targets": .array(targets.map(\.json)),
    ]
    if let exitCode { members["exit_code"] = .number(exitCode) }
    return .object(members)
  }

  private var criticalMilliseconds: Int {
    targets.filter(\.isCritical).reduce(0) { $0 + max(0, ($1.end ?? 0) - ($1.start ?? 0)) }
  }

  /// A page of its own, from that JSON: no other file, no network.
  package func html(command: String) -> [UInt8] {
    let data = String(decoding: json(command: command).encoded, as: UTF8.self)
      // Nothing in it may end the element that it stands in.
      .split(separator: "<", omittingEmptySubsequences: false).joined(separator: "\\u003c")
    let parts = String(decoding: PackageResources.report_html, as: UTF8.self)
      .split(separator: "@DATA@", maxSplits: 1, omittingEmptySubsequences: false)
    return Array((parts.first.map(String.init) ?? "").utf8) + Array(data.utf8) + Array((parts.last ?? "").utf8)
  }
}

extension RunRecord.Target {
  fileprivate var json: JSON {
    var members: [String: JSON] = ["label": .string(label), "critical": .bool(isCritical)]
    func add(_ name: String, _ value: String?) { if let value { members[name] = .string(value) } }
    func add(_ name: String, _ value: Int?) { if let value { members[name] = .number(value) } }
    add("rule", rule)
    add("key", key)
    add("outcome", outcome?.rawValue)
    add("verdict", verdict?.rawValue)
    add("reason", reason)
    add("miss", miss)
    add("start_ms", start)
    add("end_ms", end)
    add("duration_ms", milliseconds)
    if attempts > 1 { add("attempts", attempts) }
    if !dependencies.isEmpty { members["dependencies"] = .strings(dependencies) }
    add("log", log)
    return .object(members)
  }
}
