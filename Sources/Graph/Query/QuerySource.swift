import Diagnostics

/// The text of a query, and places in it.
struct QuerySource: Sendable {
  let scalars: [Unicode.Scalar]
  /// Where each line begins, and its text; spans share it, since a generated query has thousands of them on one line.
  private var lines: [(start: Int, text: String)] = []

  init(_ text: String) {
    scalars = Array(text.unicodeScalars)
    var start = 0
    while start <= scalars.count {
      let end = scalars[start...].firstIndex(of: "\n") ?? scalars.count
      lines.append((start, string(start..<end)))
      start = end + 1
    }
  }

  func string(_ range: Range<Int>) -> String {
    var view = String.UnicodeScalarView()
    view.append(contentsOf: scalars[range])
    return String(view)
  }

  func span(_ range: Range<Int>) -> SourceSpan {
    var (low, high) = (0, lines.count - 1)
    while low < high {
      let middle = (low + high + 1) / 2
      if lines[middle].start <= range.lowerBound { low = middle } else { high = middle - 1 }
    }
    let line = lines[low]
    let lineEnd = low + 1 < lines.count ? lines[low + 1].start - 1 : scalars.count
    return SourceSpan(
      file: "query", line: low + 1, column: range.lowerBound - line.start + 1,
      length: max(1, min(range.upperBound, lineEnd) - range.lowerBound), excerpt: line.text)
  }

  func error(_ message: String, _ range: Range<Int>, hints: [String] = []) -> Diagnostic {
    .error(message, at: span(range), hints: hints)
  }
}
