import Diagnostics
import Synchronization

/// The text of one file that a user wrote: what positions point into.
package final class SourceText: Sendable {
  /// Whose words these are; it decides whether references in them are expanded.
  package enum Role: Sendable {
    /// Written for Slipway: `${a.b}` is a reference.
    case template
    /// A connector's metadata: `${a.b}` is ordinary text.
    case data
  }

  package let file: String
  package let role: Role
  package let bytes: [UInt8]
  /// Where each line starts; found only once a diagnostic needs an excerpt.
  private let lineStarts = Mutex<[Int]?>(nil)

  package init(file: String, bytes: [UInt8], role: Role = .template) {
    self.file = file
    self.role = role
    // libyaml takes a byte order mark for a character of the first line; columns would be one off.
    self.bytes = bytes.starts(with: [0xef, 0xbb, 0xbf]) ? Array(bytes.dropFirst(3)) : bytes
  }

  package convenience init(file: String, text: String, role: Role = .template) {
    self.init(file: file, bytes: Array(text.utf8), role: role)
  }

  /// The text of a line, counted from 1, without its line break; `nil` beyond the end.
  package func line(_ number: Int) -> String? {
    lineStarts.withLock { cached in
      let starts = cached ?? Self.findLines(bytes)
      cached = starts
      guard number >= 1, number <= starts.count else { return nil }
      let start = starts[number - 1]
      var end = number < starts.count ? starts[number] : bytes.count
      end -= Self.breakLength(endingAt: end, in: bytes, from: start)
      return String(decoding: bytes[start..<end], as: UTF8.self)
    }
  }

  /// The byte that a line, counted from 1, starts at; `nil` beyond the end.
  package func lineStart(_ number: Int) -> Int? {
    lineStarts.withLock { cached in
      let starts = cached ?? Self.findLines(bytes)
      cached = starts
      return number >= 1 && number <= starts.count ? starts[number - 1] : nil
    }
  }

  /// The line and column, counted from 1, of a byte.
  package func position(ofByte offset: Int) -> (line: Int, column: Int) {
    lineStarts.withLock { cached in
      let starts = cached ?? Self.findLines(bytes)
      cached = starts
      var (low, high) = (0, starts.count)
      while high - low > 1 {
        let middle = (low + high) / 2
        if starts[middle] <= offset { low = middle } else { high = middle }
      }
      let prefix = bytes[starts[low]..<min(max(offset, starts[low]), bytes.count)]
      return (low + 1, String(decoding: prefix, as: UTF8.self).unicodeScalars.count + 1)
    }
  }

  /// YAML's breaks as libyaml counts them: LF, CR, CR LF, NEL, LS and PS.
  private static func findLines(_ bytes: [UInt8]) -> [Int] {
    var starts = [0]
    var index = 0
    while index < bytes.count {
      let length = breakLength(startingAt: index, in: bytes)
      index += max(length, 1)
      if length > 0 { starts.append(index) }
    }
    return starts
  }

  private static func breakLength(startingAt i: Int, in bytes: [UInt8]) -> Int {
    switch bytes[i] {
    case 0x0a: 1
    case 0x0d: i + 1 < bytes.count && bytes[i + 1] == 0x0a ? 2 : 1
    case 0xc2: i + 1 < bytes.count && bytes[i + 1] == 0x85 ? 2 : 0
    case 0xe2: i + 2 < bytes.count && bytes[i + 1] == 0x80 && (0xa8...0xa9).contains(bytes[i + 2]) ? 3 : 0
    default: 0
    }
  }

  private static func breakLength(endingAt end: Int, in bytes: [UInt8], from start: Int) -> Int {
    for length in [3, 2, 1] where end - length >= start {
      if breakLength(startingAt: end - length, in: bytes) == length { return length }
    }
    return 0
  }
}

/// A range of a source text, small enough to keep one for every value; `span` adds the excerpt.
package struct Place: Sendable {
  package let source: SourceText
  /// Counted from 1, in characters (Unicode scalars).
  package let line: UInt32
  package let column: UInt32
  /// In characters; 0 means to the end of the line.
  package let length: UInt32

  package init(_ source: SourceText, line: Int, column: Int, length: Int) {
    self.source = source
    self.line = UInt32(clamping: line)
    self.column = UInt32(clamping: column)
    self.length = UInt32(clamping: length)
  }

  package var file: String { source.file }

  /// For a diagnostic; it copies the line out of the text.
  package var span: SourceSpan {
    let excerpt = source.line(Int(line))
    var length = Int(length)
    if length == 0, let excerpt {
      let shown = excerpt.unicodeScalars.reversed().drop { $0 == " " || $0 == "\t" }.count
      length = max(1, shown - (Int(column) - 1))
    }
    return SourceSpan(
      file: source.file, line: Int(line), column: Int(column), length: max(1, length), excerpt: excerpt)
  }
}

/// A value that still knows where the user wrote it.
package struct Located<Value: Sendable>: Sendable {
  package var value: Value
  package var place: Place

  package init(_ value: Value, at place: Place) {
    self.value = value
    self.place = place
  }

  package var span: SourceSpan { place.span }
}
