import Console
import Events
import Testing

@Suite struct EventTests {
  private func line(_ event: Event) -> String { String(decoding: event.jsonLine, as: UTF8.self) }

  @Test func `an event is one line with its members in a fixed order`() {
    var event = Event(
      .targetFinished, label: "//a:b", rule: "test", key: "3f9a", outcome: .executed, verdict: .flaky,
      reason: "passed on attempt 2", exitCode: 0, durationMs: 41, attempt: 2)
    event.sequence = 7
    event.milliseconds = 12
    #expect(
      line(event)
        == #"{"v":1,"seq":7,"t_ms":12,"type":"target.finished","label":"//a:b","rule":"test","key":"3f9a","#
        + #""outcome":"executed","verdict":"flaky","reason":"passed on attempt 2","exit_code":0,"duration_ms":41,"#
        + #""attempt":2}"# + "\n")
  }

  @Test(arguments: [
    (Array("a\"b\\c\n\r\t\u{1}\u{7f}é".utf8), #""a\"b\\c\n\r\t\u0001\u007fé""#),
    ([0x61, 0xff, 0xfe, 0x62], "\"a\u{fffd}\u{fffd}b\""), ([], "\"\""), ([0xe2, 0x80, 0xa8], "\"\u{2028}\""),
  ])
  func `output is written as a JSON string whatever bytes it holds`(bytes: [UInt8], json: String) {
    #expect(
      line(Event(.actionOutput, label: "//a:b", text: bytes))
        == #"{"v":1,"seq":0,"t_ms":0,"type":"action.output","label":"//a:b","text":"# + json + "}\n")
  }

  @Test func `a stream numbers, stamps and counts, and gives every sink the same`() {
    let (first, second) = (Memory(), Memory())
    let clock = ManualClock()
    let stream = EventStream(sinks: [EventLog(first), EventLog(second)], elapsed: { clock.elapsed })
    stream.emit(Event(.buildStarted, targets: 5))
    clock.milliseconds = 1500
    stream.emit(Event(.targetFinished, label: "//a:a", outcome: .hitLocal))
    stream.emit(Event(.targetFinished, label: "//a:b", rule: "test", outcome: .hitRemote, verdict: .passed))
    stream.emit(Event(.targetFinished, label: "//a:c", rule: "test", outcome: .failed, verdict: .timedOut))
    stream.emit(Event(.targetFinished, label: "//a:d", rule: "test", outcome: .skipped))
    clock.milliseconds = 2000
    stream.emit(Event(.buildFinished, exitCode: 3))
    #expect(first.text == second.text)
    #expect(
      first.writes.last
        == #"{"v":1,"seq":5,"t_ms":2000,"type":"build.finished","exit_code":3,"duration_ms":2000,"#
        + #""counts":{"total":5,"hit_local":1,"hit_remote":1,"executed":0,"failed":1,"skipped":1,"#
        + #""tests":{"passed":1,"cached":1,"flaky":0,"failed":0,"timed_out":1,"no_tests":0,"skipped":1}}}"# + "\n")
    #expect(stream.counts.notStarted == 1)
  }

  @Test func `hits that are sent together are as if sent one by one`() {
    let labels = (0..<50).map { "//a:\($0)" }
    let hit = { (label: String) in
      let isTest = label.hasSuffix("7")
      return Event(
        .targetFinished, label: label, rule: isTest ? "test" : nil, outcome: .hitLocal, verdict: isTest ? .passed : nil)
    }
    func run(_ send: (EventStream) -> Void) -> (log: String, shown: String) {
      let (log, shown) = (Memory(), Memory())
      let console = ConsoleSink(ConsoleOptions(isLive: false, isColored: false, sumsUpTests: true), output: shown)
      let stream = EventStream(sinks: [EventLog(log), console], elapsed: { .milliseconds(3) })
      stream.emit(Event(.buildStarted, targets: labels.count))
      send(stream)
      stream.emit(Event(.buildFinished, exitCode: 0))
      return (log.text, shown.text)
    }
    let single = run { stream in for label in labels { stream.emit(hit(label)) } }
    let together = run { $0.emit(hits: labels, tests: labels.count { $0.hasSuffix("7") }, hit) }
    #expect(single == together)
    #expect(together.shown.contains("5 passed"))
  }

  @Test func `emitting from many tasks leaves no gap and no doubled number`() async {
    let memory = Memory()
    let stream = EventStream(sinks: [EventLog(memory)])
    await withTaskGroup(of: Void.self) { group in
      for task in 0..<8 {
        group.addTask { for _ in 0..<100 { stream.emit(Event(.targetPlanned, label: "//t:\(task)")) } }
      }
    }
    let numbers = memory.writes.compactMap { $0.split(separator: ",").dropFirst().first }
    #expect(numbers == (0..<800).map { "\"seq\":\($0)" })
  }

  @Test func `durations are rounded down and grow shorter in digits as they grow longer`() {
    let expected = [
      (-1, "0ms"), (0, "0ms"), (12, "12ms"), (999, "999ms"), (1000, "1.0s"), (4199, "4.1s"), (9400, "9.4s"),
      (59_999, "59.9s"), (60_000, "1m00s"), (125_000, "2m05s"), (3_599_999, "59m59s"), (3_720_000, "1h02m"),
      (360_000_000, "100h00m"),
    ]
    for (milliseconds, text) in expected { #expect(DurationText.short(milliseconds: milliseconds) == text) }
    #expect([0, 6999, 65_000].map { DurationText.whole(milliseconds: $0) } == ["0s", "6s", "1m05s"])
  }
}
