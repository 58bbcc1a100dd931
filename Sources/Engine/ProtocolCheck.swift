import FoundationEssentials

/// Checks what a connector printed against the Airbyte protocol (airbyte-protocol, v0 messages as JSON lines).
///
/// It runs outside the sandbox, on the captured output, so that any image can be checked, whatever it holds.
package struct ProtocolCheck: Sendable {
  package enum Command: String, CaseIterable, Sendable { case spec, check, discover, read, write }

  package var command: Command
  package private(set) var counts: [(type: String, count: Int)] = []
  package private(set) var problems: [String] = []

  private static let types = [
    "RECORD", "STATE", "LOG", "SPEC", "CONNECTION_STATUS", "CATALOG", "TRACE", "CONTROL", "DESTINATION_CATALOG",
  ]

  package init(_ command: Command, output: [UInt8]) {
    self.command = command
    var found: [String: Int] = [:]
    var number = 0
    for line in output.split(separator: 10, omittingEmptySubsequences: false) {
      number += 1
      guard line.contains(where: { $0 != 32 && $0 != 9 && $0 != 13 }) else { continue }
      guard problems.count < 20 else { break }
      guard let message = try? JSONDecoder().decode(Message.self, from: Data(line)) else {
        problems.append("line \(number) is no protocol message: \(Self.excerpt(line))")
        continue
      }
      guard Self.types.contains(message.type) else {
        problems.append("line \(number) has the unknown message type `\(message.type)`")
        continue
      }
      found[message.type, default: 0] += 1
      if let problem = message.problem { problems.append("line \(number): \(problem)") }
      if message.type == "CONNECTION_STATUS", command == .check, let status = message.connectionStatus,
        status.status == "FAILED"
      {
        problems.append("check failed: \(status.message ?? "no message")")
      }
    }
    counts = found.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    switch command {
    case .spec: expectOne("SPEC", found)
    case .check: expectOne("CONNECTION_STATUS", found)
    case .discover: expectOne("CATALOG", found)
    case .read: if found["RECORD"] == nil { problems.append("`read` gave no RECORD message") }
    case .write: if found["STATE"] == nil { problems.append("`write` gave no STATE message back") }
    }
  }

  package var passed: Bool { problems.isEmpty }

  /// One line for the log: what came, or each problem.
  package var summary: String {
    let list = counts.map { "\($0.count) \($0.type)" }.joined(separator: ", ")
    if passed { return "slipway-protocol: \(command.rawValue) gave \(list.isEmpty ? "nothing" : list)\n" }
    return problems.map { "slipway-protocol: \($0)\n" }.joined()
  }

  private mutating func expectOne(_ type: String, _ found: [String: Int]) {
    let count = found[type] ?? 0
    if count != 1 { problems.append("`\(command.rawValue)` must give one \(type) message, and gave \(count)") }
  }

  private static func excerpt(_ line: some Collection<UInt8>) -> String {
    let text = String(decoding: line.prefix(120), as: UTF8.self)
    return line.count > 120 ? text + "…" : text
  }
}

/// The fields of a protocol message that decide whether it is one.
private struct Message: Decodable {
  struct Record: Decodable {
    var stream: String
    var data: [String: Anything]
    var emitted_at: Int64
  }
  struct Specification: Decodable { var connectionSpecification: [String: Anything] }
  struct Status: Decodable {
    var status: String
    var message: String?
  }
  struct Stream: Decodable {
    var name: String
    var json_schema: [String: Anything]
    var supported_sync_modes: [String]?
  }
  struct Catalog: Decodable { var streams: [Stream] }
  struct Log: Decodable {
    var level: String
    var message: String
  }
  /// Any JSON value, not kept.
  struct Anything: Decodable { init(from decoder: any Decoder) throws {} }

  var type: String
  var record: Record?
  var spec: Specification?
  var connectionStatus: Status?
  var catalog: Catalog?
  var log: Log?

  /// What its type demands and it lacks.
  var problem: String? {
    switch type {
    case "RECORD": return record == nil ? "a RECORD message has no `record`" : nil
    case "SPEC": return spec == nil ? "a SPEC message has no `spec`" : nil
    case "CATALOG":
      guard let catalog else { return "a CATALOG message has no `catalog`" }
      return catalog.streams.isEmpty ? "the catalog has no stream" : nil
    case "CONNECTION_STATUS":
      guard let connectionStatus else { return "a CONNECTION_STATUS message has no `connectionStatus`" }
      let known = ["SUCCEEDED", "FAILED"].contains(connectionStatus.status)
      return known ? nil : "the connection status is `\(connectionStatus.status)`, neither SUCCEEDED nor FAILED"
    case "LOG":
      guard let log else { return "a LOG message has no `log`" }
      let known = ["FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(log.level)
      return known ? nil : "the log level is `\(log.level)`"
    default: return nil
    }
  }
}
