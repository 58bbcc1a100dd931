import Events
import Testing

@testable import Console

@Suite struct TraceTests {
  private func trace(_ events: [(Int, Event)]) -> String {
    let memory = Memory()
    let clock = ManualClock()
    let stream = EventStream(sinks: [TraceWriter(memory)], elapsed: { clock.elapsed })
    for (time, event) in events {
      clock.milliseconds = time
      stream.emit(event)
    }
    return memory.text
  }

  @Test func `each slot is a row, used again once it is free, and what still runs is ended`() {
    let text = trace([
      (0, Event(.buildStarted, targets: 3)), (1, Event(.actionStarted, label: "//a:a", key: "1")),
      (2, Event(.actionStarted, label: "//a:\"b\"", key: "2", attempt: 2)),
      (5, Event(.actionFinished, label: "//a:a", key: "1", outcome: .executed, exitCode: 0)),
      (6, Event(.actionStarted, label: "//a:c", key: "3")), (6, Event(.cacheWarning, message: "slow")),
      (9, Event(.buildFinished)), (10, Event(.actionStarted, label: "//a:late")),
    ])
    #expect(
      text == #"""
        [
        {"name":"thread_name","ph":"M","pid":1,"tid":1,"args":{"name":"slot 1"}},
        {"name":"//a:a","ph":"B","pid":1,"tid":1,"ts":1000,"args":{"key":"1"}},
        {"name":"thread_name","ph":"M","pid":1,"tid":2,"args":{"name":"slot 2"}},
        {"name":"//a:\"b\"","ph":"B","pid":1,"tid":2,"ts":2000,"args":{"key":"2","attempt":2}},
        {"name":"//a:a","ph":"E","pid":1,"tid":1,"ts":5000,"args":{"outcome":"executed","exit_code":0}},
        {"name":"//a:c","ph":"B","pid":1,"tid":1,"ts":6000,"args":{"key":"3"}},
        {"name":"slow","ph":"i","pid":1,"tid":1,"ts":6000,"s":"g"},
        {"name":"//a:c","ph":"E","pid":1,"tid":1,"ts":9000,"args":{"outcome":"interrupted"}},
        {"name":"//a:\"b\"","ph":"E","pid":1,"tid":2,"ts":9000,"args":{"outcome":"interrupted"}}
        ]

        """#)
  }

  @Test func `a build without actions leaves an empty array`() {
    #expect(trace([(0, Event(.buildStarted)), (1, Event(.buildFinished))]) == "[]\n")
  }

  @Test func `what a kill leaves lacks only the closing bracket`() {
    let text = trace([(0, Event(.actionStarted, label: "//a:a")), (1, Event(.actionFinished, label: "//a:a"))])
    #expect(text.hasPrefix("[\n{") && text.hasSuffix("}"))
  }
}
