import Events
import OCI
import Testing

@testable import Reporting

@Suite struct RunRecordTests {
  private func record(_ events: [Event]) -> RunRecord {
    let recorder = RunRecorder()
    for (index, var event) in events.enumerated() {
      event.milliseconds = index * 10
      recorder.receive(event)
    }
    return recorder.record
  }

  @Test func `events become targets, with times, attempts and why`() {
    var flaky = Event(.targetFinished, label: "//a:t", rule: "test", outcome: .executed, verdict: .flaky)
    flaky.miss = "was evicted"
    let record = record([
      Event(.buildStarted, targets: 3),
      Event(.targetFinished, label: "//a:hit", rule: "action", outcome: .hitRemote, durationMs: 70),
      Event(.actionStarted, label: "//a:t", rule: "test", key: "ab", attempt: 1),
      Event(.actionFinished, label: "//a:t", outcome: .failed, exitCode: 1, durationMs: 8),
      Event(.actionStarted, label: "//a:t", rule: "test", key: "ab", attempt: 2),
      Event(.actionFinished, label: "//a:t", outcome: .executed, durationMs: 9),
      flaky,
      Event(.targetFinished, label: "//a:s", outcome: .skipped, reason: "needs //a:x"),
      Event(.cacheWarning, message: "slow"),
      Event(.buildFinished, exitCode: 3),
    ])
    #expect(record.exitCode == 3 && record.milliseconds == 90 && record.warnings == ["slow"])
    #expect(record.targets.map(\.label) == ["//a:hit", "//a:t", "//a:s"])
    let test = record.targets[1]
    #expect((test.start, test.end, test.attempts, test.milliseconds) == (20, 50, 2, 9))
    #expect(test.verdict == .flaky && test.miss == "was evicted" && test.key == "ab")
    #expect(record.targets[0].start == nil && record.targets[0].milliseconds == 70)
    #expect(record.targets[2].reason == "needs //a:x")
  }

  @Test func `the critical path goes back from what ended last`() {
    var record = RunRecord()
    for (label, start, end, before) in [
      ("a", 0, 10, []), ("b", 0, 30, []), ("c", 30, 40, ["a", "b"]), ("d", 40, 90, ["c"]), ("e", 10, 80, ["a"]),
    ] as [(String, Int, Int, [String])] {
      record.targets.append(.init(label: label, start: start, end: end, dependencies: before))
    }
    record.targets.append(.init(label: "hit"))
    record.markCriticalPath()
    #expect(record.targets.filter(\.isCritical).map(\.label) == ["b", "c", "d"])
    // Mistaken events, such as a circle, end it.
    record.targets[1].dependencies = ["d"]
    record.markCriticalPath()
    var none = RunRecord()
    none.markCriticalPath()
    #expect(none.targets.isEmpty)
  }

  @Test func `a log's end begins with a whole line`() {
    #expect(RunRecord.tail(Array("ab\n".utf8), 8) == "ab\n")
    #expect(RunRecord.tail(Array("abc\ndef\nghi\n".utf8), 6) == "… (8 bytes before)\nghi\n")
    #expect(RunRecord.tail(Array("abcdef".utf8), 3) == "… (3 bytes before)\ndef")
    #expect(RunRecord.tail([0xff, 0x41], 8) == "\u{fffd}A")
  }

  @Test func `a summary puts failures first and keeps its table whole`() {
    var record = RunRecord()
    record.milliseconds = 65_432
    record.targets = [
      .init(label: "//a:ok", outcome: .executed, verdict: .passed, miss: "never built", milliseconds: 1500),
      .init(label: "//a:hit", outcome: .hitLocal),
      .init(label: "//a:b_c|d", outcome: .failed, verdict: .failed, reason: "exit 1 | <b>\nx", milliseconds: 3),
    ]
    let text = record.summary(title: "slipway test //...")
    let lines = text.split(separator: "\n").map(String.init)
    #expect(lines[0] == "### slipway test //...")
    #expect(lines[3] == "| **FAIL** | `//a:b_c\\|d` | 3 ms | exit 1 \\| &lt;b> x |")
    #expect(lines[4] == "| PASS | `//a:ok` | 1.5 s | never built |")
    #expect(lines[5] == "3 targets: 1 cached, 1 executed, 1 failed, 0 skipped, in 65.4 s")
  }

  @Test func `a page holds its data, and nothing in it ends the element`() throws {
    var record = RunRecord()
    record.targets = [.init(label: "//a:b", outcome: .failed, log: "</script><script>alert(1)</script><!-- \u{2028}")]
    let page = String(decoding: record.html(command: "slipway test <x>"), as: UTF8.self)
    #expect(page.components(of: "</script>") == 3 && !page.contains("alert(1)</") && !page.contains("@DATA@"))
    let start = try #require(page.range(of: "id=\"data\">"))
    let end = try #require(page[start.upperBound...].range(of: "</script>"))
    let data = JSON(decoding: Array(page[start.upperBound..<end.lowerBound].utf8))
    #expect(data == record.json(command: "slipway test <x>"))
  }
}

extension String {
  fileprivate func components(of part: String) -> Int { ranges(of: part).count + 1 }
  fileprivate func range(of part: String) -> Range<Index>? { self[...].firstRange(of: part) }
}

extension Substring {
  fileprivate func range(of part: String) -> Range<Index>? { firstRange(of: part) }
}
