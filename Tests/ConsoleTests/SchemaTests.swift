import Console
import Events
import Glibc
import SystemPackage
import Testing

@Suite struct SchemaTests {
  private static let root = String(#filePath.dropLast("/Tests/ConsoleTests/SchemaTests.swift".count))

  /// Events with no member, and with every member, of each kind.
  private var events: [Event] {
    var counts = Counts()
    counts.total = 3
    var events: [Event] = []
    for kind in Event.Kind.allCases {
      events.append(Event(kind, label: "//a:b", outcome: .executed))
      for outcome in Event.Outcome.allCases {
        for verdict in Event.Verdict.allCases {
          events.append(
            Event(
              kind, label: "//connectors/ü:b c", rule: "test", key: "3f9a1c02", outcome: outcome, verdict: verdict,
              reason: "\"\\\n\u{7f}\u{2028}", exitCode: -9, durationMs: 0, attempt: 2, targets: 3,
              text: Array(0...255), log: "/a b/log", message: "error: x\n", counts: counts))
        }
      }
    }
    return events
  }

  @Test func `every event is a line that the schema of events allows`() throws {
    let folder = "/tmp/slipway-events-\(UInt64.random(in: .min ... .max))"
    try #require(mkdir(folder, 0o700) == 0)
    defer { for name in ["in", "out", ""] { remove("\(folder)/\(name)") } }
    let file = try FileDescriptor.open(
      "\(folder)/in", .writeOnly, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
    let output = DescriptorOutput(file)
    let wrapped = Memory()
    let stream = EventStream(sinks: [EventLog(wrapped)])
    for event in events { stream.emit(event) }
    for line in wrapped.writes {
      #expect(line.split(separator: "\n", omittingEmptySubsequences: false).count == 2)
      output.write(Array("{\"schema\":\"events\",\"document\":\(line.dropLast())}\n".utf8))
    }
    #expect(output.failure == nil)
    try file.close()
    let command = ["python3", Self.root + "/Tests/ManifestsTests/judge.py", Self.root + "/schemas"]
    let words = (command + ["\(folder)/in", "\(folder)/out"]).map { "'\($0)'" }.joined(separator: " ")
    try #require(system(words) == 0, "judge.py failed; it needs python3 and its package jsonschema")
    let verdicts = try read("\(folder)/out").split(separator: "\n")
    #expect(verdicts.count == events.count)
    #expect(verdicts.filter { $0 != "valid" } == [])
  }

  private func read(_ path: String) throws -> String {
    let file = try FileDescriptor.open(path, .readOnly)
    defer { try? file.close() }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = try buffer.withUnsafeMutableBytes { try file.read(into: $0) }
      if count == 0 { return String(decoding: bytes, as: UTF8.self) }
      bytes += buffer[..<count]
    }
  }
}
