import Console
import SeededRandom
import Testing

@Suite struct LogFilterTests {
  private func shown(_ text: String, color: Bool = false) -> String {
    String(decoding: LogFilter.text(Array(text.utf8), passesColor: color), as: UTF8.self)
  }

  @Test func `lines and tabs pass, and the last line gets its newline`() {
    #expect(shown("a\tb\r\nc") == "a\tb\nc\n")
    #expect(shown("") == "")
    #expect(shown("ü 漢 🎉\n") == "ü 漢 🎉\n")
  }

  @Test(arguments: [
    ("\u{1b}[2J", "\\u{1b}[2J\n"), ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}\n"), ("a\rb", "a\\u{d}b\n"),
    ("\u{8}\u{0}", "\\u{8}\\u{0}\n"), ("\u{9b}1A", "\\u{9b}1A\n"), ("\u{202e}gnp", "\\u{202e}gnp\n"),
    ("\u{1b}", "\\u{1b}\n"), ("\u{1b}[", "\\u{1b}[\n"), ("\u{1b}[31", "\\u{1b}[31\n"), ("\u{1b}m", "\\u{1b}m\n"),
    ("\u{1b}\u{1b}[31mx", "\\u{1b}x\n"), ("\u{7f}", "\\u{7f}\n"), ("\r", "\\u{d}\n"),
  ])
  func `what could move the cursor is written out`(text: String, expected: String) {
    #expect(shown(text) == expected)
  }

  @Test func `colours pass where they may, are ended, and are dropped elsewhere`() {
    let text = "\u{1b}[1;31mred\u{1b}[38:2::1:2:3mx\n"
    #expect(shown(text, color: true) == "\u{1b}[1;31mred\u{1b}[38:2::1:2:3mx\n\u{1b}[0m")
    #expect(shown(text) == "redx\n")
    let long = "\u{1b}[" + String(repeating: "1;", count: 40) + "m"
    #expect(shown(long, color: true) == "\\u{1b}[" + String(repeating: "1;", count: 40) + "m\n")
  }

  @Test func `what is not UTF-8 is replaced as the standard library does it`() {
    var random = SeededGenerator(seed: 20)
    let bytes: [UInt8] = [0x41, 0x80, 0x9f, 0xa0, 0xbf, 0xc0, 0xc3, 0xe0, 0xe1, 0xed, 0xf0, 0xf1, 0xf4, 0xf5, 0xff]
    for _ in 0..<5000 {
      let text = (0..<8).compactMap { _ in bytes.randomElement(using: &random) } + [0x0a]
      let decoded = String(decoding: text, as: UTF8.self)
      #expect(LogFilter.text(text, passesColor: false) == Array(decoded.utf8), "\(text)")
    }
  }

  @Test func `a log in pieces reads as the log in one`() {
    let tail: [UInt8] = [0xf0, 0x9f, 0x8e, 0x0d, 0x0a, 0xe2]
    let log = Array("é漢🎉\u{1b}[31mred\u{1b}[0m\r\n\u{1b}[2K\r\u{85}\u{202e}".utf8) + tail
    for color in [true, false] {
      let whole = LogFilter.text(log, passesColor: color)
      for size in 1...log.count {
        var filter = LogFilter(passesColor: color)
        var output: [UInt8] = []
        for start in stride(from: 0, to: log.count, by: size) {
          output += filter.feed(log[start..<min(log.count, start + size)])
        }
        output += filter.finish()
        #expect(output == whole, "pieces of \(size)")
      }
    }
  }

  @Test func `no bytes get a control character or half a character through`() {
    var random = SeededGenerator(seed: 21)
    for _ in 0..<2000 {
      let length = Int.random(in: 0...60, using: &random)
      let bytes = (0..<length).map { _ in
        random.next() & 3 == 0
          ? UInt8([0x1b, 0x5b, 0x6d, 0x3b].randomElement(using: &random) ?? 0)
          : UInt8.random(in: 0...255, using: &random)
      }
      let output = LogFilter.text(bytes, passesColor: false)
      let text = String(decoding: output, as: UTF8.self)
      #expect(Array(text.utf8) == output)
      let isClean = text.unicodeScalars.allSatisfy {
        $0 == "\n" || $0 == "\t" || ($0.value >= 0x20 && !(0x7f...0x9f).contains($0.value))
      }
      #expect(isClean, "\(bytes)")
    }
  }
}
