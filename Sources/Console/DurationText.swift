/// Durations for people, rounded down.
package enum DurationText {
  /// `12ms` below a second, `9.4s` below a minute, then `2m05s` and `1h02m`.
  package static func short(milliseconds: Int) -> String {
    let milliseconds = max(0, milliseconds)
    if milliseconds < 1000 { return "\(milliseconds)ms" }
    if milliseconds < 60_000 { return "\(milliseconds / 1000).\(milliseconds / 100 % 10)s" }
    return whole(milliseconds: milliseconds)
  }

  /// In whole seconds, for what still runs: `0s`, `6s`, `2m05s`, `1h02m`.
  package static func whole(milliseconds: Int) -> String {
    let seconds = max(0, milliseconds) / 1000
    if seconds < 60 { return "\(seconds)s" }
    if seconds < 3600 { return "\(seconds / 60)m\(padded(seconds % 60))s" }
    return "\(seconds / 3600)h\(padded(seconds / 60 % 60))m"
  }

  private static func padded(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
}
