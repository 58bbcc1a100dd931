import Testing

@testable import Console

@Suite struct LiveViewTests {
  private let view = {
    var view = LiveView()
    view.done = 31
    view.total = 48
    view.rows = [
      .init(label: "//connectors/source-faker:unit", started: 0),
      .init(label: "//connectors/source-csv:image", started: 4000),
    ]
    return view
  }()

  @Test func `at 80 columns it is as drawn`() {
    #expect(
      view.lines(at: 6000, width: 80, height: 24) == [
        "[============-       ] 31/48 done, 2 running", "//connectors/source-faker:unit (6s)",
        "//connectors/source-csv:image (2s)",
      ])
  }

  @Test func `at 200 columns nothing is wider`() {
    #expect(view.lines(at: 6000, width: 200, height: 24) == view.lines(at: 6000, width: 80, height: 24))
  }

  @Test func `at 40 columns the bar is left out, and at 20 labels lose their start`() {
    #expect(
      view.lines(at: 6000, width: 40, height: 24) == [
        "31/48 done, 2 running", "//connectors/source-faker:unit (6s)", "//connectors/source-csv:image (2s)",
      ])
    #expect(
      view.lines(at: 6000, width: 20, height: 24) == [
        "31/48 done, 2 run...", "...e-faker:unit (6s)", "...ce-csv:image (2s)",
      ])
  }

  @Test(arguments: [(0, 1), (1, 1), (2, 5), (5, 2), (9, 3), (20, 8), (80, 24), (200, 100)])
  func `no line is too wide and there are never too many, however small the terminal`(width: Int, height: Int) {
    var view = view
    for number in 0..<20 {
      view.rows.append(.init(label: "//連接器/源-\(number):ユニット", started: number * 100_000))
      let lines = view.lines(at: 5_000_000, width: width, height: height)
      #expect(lines.allSatisfy { TextWidth.columns($0) <= width })
      #expect(lines.count <= max(1, min(8, height - 1)))
    }
  }

  @Test func `what does not fit in eight lines is counted`() {
    var view = view
    view.failed = 2
    view.rows = (0..<12).map { .init(label: "//a:\($0)", started: $0 * 1000) }
    let lines = view.lines(at: 61_000, width: 80, height: 24)
    #expect(
      lines == [
        "[============-----   ] 31/48 done, 12 running, 2 failed", "//a:0 (1m01s)", "//a:1 (1m00s)", "//a:2 (59s)",
        "//a:3 (58s)", "//a:4 (57s)", "//a:5 (56s)", "... and 6 more",
      ])
  }

  @Test func `the bar is never longer than its frame`() {
    for total in 0...30 {
      for done in 0...total {
        for running in 0...(total - done) {
          var view = LiveView()
          (view.done, view.total) = (done, total)
          view.rows = (0..<running).map { .init(label: "//a:\($0)", started: 0) }
          let bar = view.lines(at: 0, width: 80, height: 2)[0].prefix(22)
          #expect(bar.hasPrefix("[") && bar.hasSuffix("]"), "\(done) \(total) \(running)")
        }
      }
    }
  }

  @Test func `a picture wipes the one before, also when the terminal was made narrower`() {
    var frame = Frame()
    #expect(frame.render(above: [], lines: [], width: 80) == [])
    let first = frame.render(above: [], lines: ["0123456789", "01"], width: 80)
    #expect(String(decoding: first, as: UTF8.self) == "\u{1b}[?2026h0123456789\n01\n\u{1b}[?2026l")
    let second = frame.render(above: Array("FAIL\n".utf8), lines: ["x"], width: 4)
    #expect(String(decoding: second, as: UTF8.self) == "\u{1b}[?2026h\r\u{1b}[4A\u{1b}[JFAIL\nx\n\u{1b}[?2026l")
    let third = frame.render(above: [], lines: [], width: 4)
    #expect(String(decoding: third, as: UTF8.self) == "\u{1b}[?2026h\r\u{1b}[1A\u{1b}[J\u{1b}[?2026l")
    #expect(frame.render(above: [], lines: [], width: 4) == [])
  }
}
