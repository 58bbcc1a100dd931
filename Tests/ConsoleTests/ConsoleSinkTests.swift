import Diagnostics
import Events
import Glibc
import SystemPackage
import Testing

@testable import Console

@Suite struct ConsoleSinkTests {
  private let unit = "//connectors/source-faker:unit"

  private func failure(_ text: [UInt8]?, log: String? = nil) -> Event {
    Event(
      .targetFinished, label: unit, rule: "test", outcome: .failed, verdict: .failed, exitCode: 1, durationMs: 4100,
      text: text, log: log)
  }

  @Test func `without a terminal hits are silent and whatever ran has a line`() {
    let stage = Stage()
    stage.emit(at: 0, Event(.buildStarted, targets: 9))
    stage.emit(at: 1, Event(.targetFinished, label: "//a:hit", outcome: .hitLocal))
    stage.emit(at: 1, Event(.targetFinished, label: "//a:far", rule: "test", outcome: .hitRemote, verdict: .passed))
    stage.emit(at: 2, Event(.actionStarted, label: "//a:image"))
    stage.emit(at: 900, Event(.actionOutput, label: "//a:image", text: Array("noise\n".utf8)))
    stage.emit(at: 2002, Event(.actionFinished, label: "//a:image", outcome: .executed))
    stage.emit(
      at: 2002, Event(.targetFinished, label: "//a:image", rule: "image", outcome: .executed, durationMs: 2000))
    stage.emit(
      at: 2003,
      Event(.targetFinished, label: "//a:unit", rule: "test", outcome: .executed, verdict: .passed, durationMs: 41))
    stage.emit(
      at: 2004,
      Event(
        .targetFinished, label: "//a:shaky", rule: "test", outcome: .executed, verdict: .flaky, durationMs: 1000,
        attempt: 2))
    stage.emit(
      at: 2005,
      Event(.targetFinished, label: "//a:none", rule: "test", outcome: .executed, verdict: .noTests, durationMs: 7))
    stage.emit(
      at: 2006, Event(.targetFinished, label: "//a:after", rule: "test", outcome: .skipped, reason: "needs //a:none"))
    stage.emit(
      at: 2007,
      Event(
        .targetFinished, label: "//a:slow", rule: "test", outcome: .failed, verdict: .timedOut, durationMs: 600_000,
        text: []))
    stage.emit(
      at: 2008,
      Event(
        .targetFinished, label: "//a:odd", rule: "image", outcome: .failed, message: "error: no base\nhint: add one"))
    stage.emit(at: 9400, Event(.buildFinished, exitCode: 1))
    #expect(
      stage.memory.text == """
        //a:image | noise
        DONE //a:image (2.0s)
        PASS //a:unit (41ms)
        FLAKY //a:shaky (passed on attempt 2, 1.0s)
        NO TESTS //a:none (7ms)
        SKIP //a:after (needs //a:none)
        FAIL //a:slow (timed out, 10m00s)
        (no output)
        reproduce: slipway shell //a:slow
        FAIL //a:odd
        error: no base
        hint: add one
        Built 6 of 9 targets in 9.4s: 2 cached (1 local, 1 remote), 4 executed, 2 failed, 1 skipped
        6 tests: 2 passed (1 cached), 1 flaky, 1 timed out, 1 without tests, 1 skipped

        """)
  }

  @Test func `a failing test shows as drawn`() {
    let stage = Stage(tests: true)
    stage.emit(at: 0, Event(.targetFinished, label: "//a:1", rule: "test", outcome: .hitLocal, verdict: .passed))
    stage.emit(at: 0, Event(.targetFinished, label: "//a:2", rule: "test", outcome: .hitLocal, verdict: .passed))
    stage.emit(at: 0, failure(Array("one\ntwo".utf8)))
    stage.emit(at: 4200, Event(.buildFinished, exitCode: 3))
    #expect(
      stage.memory.text == """
        FAIL //connectors/source-faker:unit (exit 1, 4.1s)
        one
        two
        reproduce: slipway shell //connectors/source-faker:unit
        3 tests: 2 passed (2 cached), 1 failed

        """)
  }

  @Test func `a test run that stopped for another reason sums up the targets too`() {
    let stage = Stage(tests: true)
    stage.emit(at: 0, Event(.targetFinished, label: "//a:image", rule: "image", outcome: .failed))
    stage.emit(
      at: 0, Event(.targetFinished, label: "//a:t", rule: "test", outcome: .skipped, reason: "//a:image failed"))
    stage.emit(at: 20, Event(.buildFinished, exitCode: 1))
    #expect(
      stage.memory.text.hasSuffix("Built 0 of 2 targets in 20ms: 1 failed, 1 skipped\n1 test: 1 skipped\n"))
  }

  @Test func `a warning that every target repeats is told once`() {
    let stage = Stage()
    for _ in 0..<3 {
      stage.emit(at: 0, Event(.cacheWarning, message: "remote cache http://127.0.0.1:9090 timed out after 5 s"))
    }
    #expect(stage.memory.text == "warning: remote cache http://127.0.0.1:9090 timed out after 5 s\n")
  }

  @Test func `a warning that is a diagnostic is not called one twice`() {
    let stage = Stage()
    stage.emit(at: 0, Event(.cacheWarning, message: "warning: slow\nhint: wait\n"))
    stage.emit(at: 0, Event(.cacheWarning, message: "a.yaml:1:2: warning: odd\n1 | x\n"))
    #expect(stage.memory.text == "warning: slow\nhint: wait\na.yaml:1:2: warning: odd\n1 | x\n")
  }

  @Test func `a root file system that failed has no shell to look into`() {
    let stage = Stage()
    stage.emit(
      at: 0,
      Event(.targetFinished, label: "//a:root", rule: "rootfs", outcome: .failed, exitCode: 25, text: Array("E\n".utf8))
    )
    #expect(stage.memory.text.hasSuffix("E\n"))
  }

  @Test func `names from outside cannot move the cursor`() {
    let stage = Stage()
    stage.emit(at: 0, Event(.targetFinished, label: "//a:\u{1b}[2J", outcome: .skipped, reason: "\u{1b}[31m\n"))
    #expect(stage.memory.text == "SKIP //a:\\u{1b}[2J (\\u{1b}[31m\\u{a})\n")
  }

  @Test func `colours adorn and never replace the words`() {
    let colored = Stage(color: true)
    let plain = Stage()
    for stage in [colored, plain] {
      stage.emit(at: 0, failure(Array("\u{1b}[32mlog\u{1b}[0m \u{1b}[2J\n".utf8)))
      stage.emit(at: 0, Event(.cacheWarning, message: "slow"))
    }
    #expect(
      colored.memory.text.hasPrefix("\u{1b}[1;31mFAIL\u{1b}[0m //connectors/source-faker:unit (exit 1, 4.1s)\n"))
    #expect(colored.memory.text.contains("\n\u{1b}[32mlog\u{1b}[0m \\u{1b}[2J\n\u{1b}[0mreproduce: "))
    #expect(!plain.memory.text.contains("\u{1b}"))
    var screen = Screen(columns: 80, rows: 24)
    screen.feed(colored.memory.text)
    #expect(screen.lines.joined(separator: "\n") + "\n" == plain.memory.text)
  }

  @Test(
    arguments: [
      (true, "xterm", nil, true, true), (true, "xterm", "", true, true), (true, "xterm", "1", true, false),
      (true, "dumb", nil, false, false), (true, nil, nil, false, false), (false, "xterm", nil, false, false),
    ] as [(Bool, String?, String?, Bool, Bool)])
  func `the terminal and NO_COLOR decide`(isTerminal: Bool, term: String?, noColor: String?, live: Bool, color: Bool) {
    let options = ConsoleOptions(isTerminal: isTerminal, term: term, noColor: noColor)
    #expect(options.isLive == live)
    #expect(options.isColored == color)
  }

  @Test func `a long log is read from its file in parts, and shown whole`() throws {
    let path = "/tmp/slipway-console-\(UInt64.random(in: .min ... .max)).log"
    let file = try FileDescriptor.open(
      FilePath(path), .writeOnly, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
    defer { unlink(path) }
    let lines = (0..<40_000).map { "line \($0) é\n" }.joined()
    try file.closeAfter { _ = try file.writeAll(lines.utf8) }
    for live in [false, true] {
      let stage = Stage(live: live)
      stage.emit(at: 0, failure(nil, log: path))
      stage.emit(at: 10, Event(.buildFinished))
      #expect(stage.memory.writes.count > 3)
      #expect(stage.memory.writes.allSatisfy { $0.utf8.count < 200_000 })
      #expect(stage.memory.text.contains("4.1s)\n" + lines + "reproduce: "))
    }
  }

  @Test func `a log that cannot be read is a warning`() {
    let stage = Stage()
    stage.emit(at: 0, failure(nil, log: "/nonexistent/log"))
    #expect(
      stage.memory.text == """
        FAIL //connectors/source-faker:unit (exit 1, 4.1s)
        warning: cannot read the log /nonexistent/log: No such file or directory
        reproduce: slipway shell //connectors/source-faker:unit

        """)
  }

  @Test func `a build that is over at once draws nothing but its summary`() {
    let stage = Stage(live: true)
    stage.emit(at: 0, Event(.buildStarted, targets: 1))
    stage.emit(at: 5, Event(.actionStarted, label: unit))
    stage.tick(at: 60)
    stage.emit(at: 99, Event(.targetFinished, label: unit, outcome: .executed))
    stage.emit(at: 99, Event(.buildFinished))
    #expect(stage.memory.writes == ["Built 1 target in 99ms: 1 executed\n"])
  }

  @Test func `what an engine runs shows where it stands`() {
    let stage = Stage(live: true)
    stage.emit(at: 0, Event(.buildStarted, targets: 2))
    stage.emit(at: 5, Event(.actionStarted, label: unit))
    for (time, reason) in [(10, "uploading"), (2000, "queued"), (4000, "running")] {
      stage.emit(at: time, Event(.actionStage, label: unit, reason: reason))
      stage.tick(at: time + 1000)
      #expect(stage.memory.text.contains("\(unit) (\(reason), "), "\(stage.memory.text)")
    }
    stage.emit(at: 6000, Event(.actionStage, label: "//a:unknown", reason: "queued"))
  }

  @Test func `what commands print is shown line by line, with whose it is`() {
    let stage = Stage(live: false)
    stage.emit(at: 0, Event(.buildStarted, targets: 2))
    stage.emit(at: 5, Event(.actionStarted, label: unit))
    stage.emit(at: 9, Event(.actionOutput, label: unit, text: Array("one\n\ntw\u{1b}[2Jo\n".utf8)))
    stage.emit(at: 12, Event(.actionOutput, label: unit, text: Array("no end".utf8)))
    #expect(
      stage.memory.text == "\(unit) | one\n\(unit) | \n\(unit) | tw\\u{1b}[2Jo\n\(unit) | no end\n",
      "\(stage.memory.text)")
  }

  @Test func `there are at most ten pictures a second, each of them one write`() {
    let stage = Stage(live: true)
    stage.emit(at: 0, Event(.buildStarted, targets: 2000))
    for time in 0..<2000 {
      stage.emit(at: time, Event(.actionStarted, label: "//a:\(time)"))
      stage.emit(at: time, Event(.actionFinished, label: "//a:\(time)"))
      stage.emit(at: time, Event(.targetFinished, label: "//a:\(time)", outcome: .skipped, reason: "needs //b:b"))
      stage.tick(at: time)
    }
    #expect(stage.memory.writes.count == 19)
    #expect(
      stage.memory.writes.allSatisfy { $0.hasPrefix("\u{1b}[?2026h") && $0.hasSuffix("\u{1b}[?2026l") })
    stage.emit(at: 2000, Event(.buildFinished))
    var screen = Screen(columns: 80, rows: 24)
    screen.feed(stage.memory.text)
    let skips = (0..<2000).map { "SKIP //a:\($0) (needs //b:b)" }
    #expect(screen.everything == skips + ["Built 0 of 2000 targets in 2.0s: 2000 skipped"])
    #expect(screen.unknown == [])
  }

  @Test(arguments: [20, 40, 80, 200])
  func `the live lines stay below what has been said, and leave nothing behind`(columns: Int) {
    let stage = Stage(live: true, color: true, columns: columns, rows: 10)
    var screen = Screen(columns: columns, rows: 10)
    stage.emit(at: 0, Event(.buildStarted, targets: 48))
    stage.emit(at: 0, Event(.actionStarted, label: unit))
    stage.emit(at: 4000, Event(.actionStarted, label: "//connectors/source-csv:image"))
    stage.tick(at: 6000)
    screen.feed(stage.memory.text)
    #expect(screen.lines.count == 3)
    #expect(screen.lines[1].hasSuffix(":unit (6s)"))
    #expect(screen.row == 3 && screen.column == 0 && !screen.isHeld)
    var read = stage.memory.writes.count
    stage.emit(at: 6100, Event(.actionFinished, label: unit))
    stage.emit(at: 6101, failure(Array("\u{1b}[1mred\n\u{1b}[A".utf8)))
    stage.console.show(.warning("disk is full"))
    stage.tick(at: 6200)
    screen.feed(stage.memory.writes[read...].joined())
    read = stage.memory.writes.count
    #expect(screen.everything.contains("warning: disk is full".prefix(columns).description))
    #expect(screen.lines.last?.hasSuffix(":image (2s)") == true)
    stage.emit(at: 6300, Event(.buildFinished, exitCode: 8))
    screen.feed(stage.memory.writes[read...].joined())
    let said = screen.everything.joined()
    #expect(!said.contains("running") && !said.contains("(2s)"))
    #expect(said.hasSuffix("1 test: 1 failed"))
    #expect(said.contains("FAIL") && said.contains("\\u{1b}[A"))
    #expect(screen.unknown == [])
  }
}
