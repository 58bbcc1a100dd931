/// How many columns text takes on a terminal, and text made to fit them.
enum TextWidth {
  static func columns(_ text: String) -> Int {
    text.unicodeScalars.reduce(0) { $0 + columns($1) }
  }

  /// The start of the text that fits; a cut shows as `...`.
  static func prefix(_ text: String, _ width: Int) -> String {
    guard columns(text) > width else { return text }
    let mark = String("...".prefix(max(0, width)))
    return String(kept(text.unicodeScalars, width - mark.unicodeScalars.count)) + mark
  }

  /// The end of the text that fits; a cut shows as `...`.
  static func suffix(_ text: String, _ width: Int) -> String {
    guard columns(text) > width else { return text }
    let mark = String("...".prefix(max(0, width)))
    let tail = kept(text.unicodeScalars.reversed(), width - mark.unicodeScalars.count)
    var scalars = String.UnicodeScalarView()
    scalars.append(contentsOf: tail.reversed())
    return mark + String(scalars)
  }

  private static func kept(_ scalars: some Sequence<Unicode.Scalar>, _ width: Int) -> String.UnicodeScalarView {
    var result = String.UnicodeScalarView()
    var used = 0
    for scalar in scalars {
      used += columns(scalar)
      if used > width { break }
      result.append(scalar)
    }
    return result
  }

  /// 0 for what combines with the character before it, 2 for wide East Asian ones and emoji, else 1.
  private static func columns(_ scalar: Unicode.Scalar) -> Int {
    if scalar.value < 0x300 { return 1 }
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark, .format: return 0
    default: break
    }
    return wide.contains { $0.contains(scalar.value) } ? 2 : 1
  }

  /// The blocks that Unicode's EastAsianWidth.txt calls wide, coarsely.
  private static let wide: [ClosedRange<UInt32>] = [
    0x1100...0x115f, 0x2e80...0xa4cf, 0xa960...0xa97f, 0xac00...0xd7a3, 0xf900...0xfaff, 0xfe30...0xfe6f,
    0xff00...0xff60, 0xffe0...0xffe6, 0x1f300...0x1f64f, 0x1f900...0x1f9ff, 0x20000...0x3fffd,
  ]
}
