/// As much of a terminal as the console uses; anything else that arrives is noted in `unknown`.
struct Screen {
  let columns: Int
  let rows: Int
  /// Lines that have left at the top.
  private(set) var scrolledOff: [String] = []
  private var cells: [[Character]]
  private(set) var row = 0
  private(set) var column = 0
  private(set) var unknown: [String] = []
  /// Inside a synchronized update.
  private(set) var isHeld = false

  init(columns: Int, rows: Int) {
    self.columns = columns
    self.rows = rows
    cells = Array(repeating: Array(repeating: " ", count: columns), count: rows)
  }

  /// The lines from the top, without blanks at their ends and without empty lines at the end.
  var lines: [String] {
    var lines = cells.map { Self.trimmed($0) }
    while lines.last == "" { lines.removeLast() }
    return lines
  }

  /// All that can be read, what has scrolled off too.
  var everything: [String] { scrolledOff + lines }

  private static func trimmed(_ cells: [Character]) -> String {
    var line = String(cells)
    while line.last == " " { line.removeLast() }
    return line
  }

  /// `translates`: a newline also returns the carriage, as a terminal's line discipline makes it do.
  mutating func feed(_ text: String, translates: Bool = true) {
    var scalars = Array(text.unicodeScalars)[...]
    while let scalar = scalars.popFirst() {
      switch scalar {
      case "\r": column = 0
      case "\n":
        if translates { column = 0 }
        lineFeed()
      case "\u{1b}":
        var sequence = ""
        while let next = scalars.popFirst() {
          sequence.unicodeScalars.append(next)
          if sequence.count > 1, ("@"..."~").contains(Character(next)) { break }
        }
        control(sequence)
      default:
        if column == columns {
          column = 0
          lineFeed()
        }
        cells[row][column] = Character(scalar)
        column += 1
      }
    }
  }

  private mutating func lineFeed() {
    guard row + 1 == rows else {
      row += 1
      return
    }
    scrolledOff.append(Self.trimmed(cells.removeFirst()))
    cells.append(Array(repeating: " ", count: columns))
  }

  private mutating func control(_ sequence: String) {
    switch sequence {
    case "[?2026h": isHeld = true
    case "[?2026l": isHeld = false
    case "[J":
      for place in column..<columns { cells[row][place] = " " }
      for line in (row + 1)..<max(rows, row + 1) { cells[line] = Array(repeating: " ", count: columns) }
    case _ where sequence.hasSuffix("m"): break
    case _ where sequence.hasSuffix("A"):
      guard let count = Int(sequence.dropFirst().dropLast()) else { fallthrough }
      row = max(0, row - count)
    default: unknown.append(sequence)
    }
  }
}
