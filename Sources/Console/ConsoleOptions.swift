package struct TerminalSize: Hashable, Sendable {
  package var columns: Int
  package var rows: Int

  package init(columns: Int, rows: Int) {
    self.columns = columns
    self.rows = rows
  }

  /// What a terminal that does not tell its size is taken for.
  package static let standard = TerminalSize(columns: 80, rows: 24)
}

/// How the console is to behave.
package struct ConsoleOptions: Sendable {
  /// Draws live lines; without them it writes plain lines and no escape sequences but colours.
  package var isLive: Bool
  package var isColored: Bool
  /// Sums up tests rather than targets, as `slipway test` does.
  package var sumsUpTests: Bool

  package init(isLive: Bool, isColored: Bool, sumsUpTests: Bool = false) {
    self.isLive = isLive
    self.isColored = isColored
    self.sumsUpTests = sumsUpTests
  }

  /// By what standard error is: live and coloured on a terminal that can move its cursor; `NO_COLOR`, unless empty,
  /// turns the colours off.
  package init(isTerminal: Bool, term: String?, noColor: String?, sumsUpTests: Bool = false) {
    isLive = isTerminal && term != nil && term != "" && term != "dumb"
    isColored = isLive && (noColor ?? "").isEmpty
    self.sumsUpTests = sumsUpTests
  }
}
