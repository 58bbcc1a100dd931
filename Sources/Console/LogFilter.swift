/// Makes the output of a stranger's program fit to be shown, piece by piece.
///
/// Newlines and tabs pass; `\r\n` becomes `\n`. Colours (SGR sequences) pass where they may and are dropped where
/// they may not. All other control characters, C1 and the bidirectional overrides among them, are written as
/// `\u{1b}`, so that a log can neither move the cursor nor hide what it says. What is not UTF-8 becomes U+FFFD.
package struct LogFilter {
  private let passesColor: Bool
  /// The start of something whose end is in the next piece.
  private var pending: [UInt8] = []
  private var isColored = false
  /// The last byte that was given out.
  private var last: UInt8?

  /// Longer sequences are not colours.
  private static let longestColor = 48

  package init(passesColor: Bool) { self.passesColor = passesColor }

  /// Nothing has been given out yet.
  package var isEmpty: Bool { last == nil }

  package mutating func feed(_ piece: some Sequence<UInt8>) -> [UInt8] { filter(piece, isEnd: false) }

  /// What was held back, the colours ended, and the last line with its newline.
  package mutating func finish() -> [UInt8] {
    var output = filter(EmptyCollection(), isEnd: true)
    if isColored { output += Array("\u{1b}[0m".utf8) }
    isColored = false
    if let last, last != UInt8(ascii: "\n") { output.append(UInt8(ascii: "\n")) }
    return output
  }

  /// All of it at once.
  package static func text(_ bytes: [UInt8], passesColor: Bool) -> [UInt8] {
    var filter = LogFilter(passesColor: passesColor)
    return filter.feed(bytes) + filter.finish()
  }

  private mutating func filter(_ piece: some Sequence<UInt8>, isEnd: Bool) -> [UInt8] {
    let input = pending + piece
    pending = []
    var output: [UInt8] = []
    output.reserveCapacity(input.count + 16)
    var index = 0
    while index < input.count {
      let used: Int?
      switch input[index] {
      case UInt8(ascii: "\n"), UInt8(ascii: "\t"), 0x20..<0x7f:
        output.append(input[index])
        used = 1
      case UInt8(ascii: "\r"): used = carriageReturn(input[index...], isEnd, &output)
      case 0x1b: used = escape(input[index...], isEnd, &output)
      case 0..<0x80:
        Self.show(UInt32(input[index]), &output)
        used = 1
      default: used = scalar(input[index...], isEnd, &output)
      }
      guard let used else {
        pending = Array(input[index...])
        break
      }
      index += used
    }
    last = output.last ?? last
    return output
  }

  /// These three return how many bytes they used; `nil` when only the next piece can tell.
  private func carriageReturn(_ input: ArraySlice<UInt8>, _ isEnd: Bool, _ output: inout [UInt8]) -> Int? {
    guard input.count > 1 || isEnd else { return nil }
    if input.dropFirst().first != UInt8(ascii: "\n") { Self.show(0x0d, &output) }
    return 1
  }

  private mutating func escape(_ input: ArraySlice<UInt8>, _ isEnd: Bool, _ output: inout [UInt8]) -> Int? {
    var length = 1
    for byte in input.dropFirst().prefix(Self.longestColor) {
      length += 1
      switch byte {
      case UInt8(ascii: "[") where length == 2: continue
      case UInt8(ascii: "0")...UInt8(ascii: ";") where length > 2: continue
      case UInt8(ascii: "m") where length > 2:
        if passesColor {
          output += input.prefix(length)
          isColored = true
        }
        return length
      default:
        Self.show(0x1b, &output)
        return 1
      }
    }
    if length <= Self.longestColor, !isEnd { return nil }
    Self.show(0x1b, &output)
    return 1
  }

  private func scalar(_ input: ArraySlice<UInt8>, _ isEnd: Bool, _ output: inout [UInt8]) -> Int? {
    let bytes = Array(input.prefix(4))
    let length: Int
    var value: UInt32
    switch bytes[0] {
    case 0xc2...0xdf: (length, value) = (2, UInt32(bytes[0] & 0x1f))
    case 0xe0...0xef: (length, value) = (3, UInt32(bytes[0] & 0x0f))
    case 0xf0...0xf4: (length, value) = (4, UInt32(bytes[0] & 0x07))
    default:
      output += Self.replacement
      return 1
    }
    for place in 1..<length {
      guard place < bytes.count else {
        guard isEnd else { return nil }
        output += Self.replacement
        return bytes.count
      }
      guard Self.mayFollow(bytes[0], bytes[place], at: place) else {
        output += Self.replacement
        return place
      }
      value = value << 6 | UInt32(bytes[place] & 0x3f)
    }
    switch value {
    case 0x80...0x9f, 0x202a...0x202e, 0x2066...0x2069: Self.show(value, &output)
    default: output += bytes.prefix(length)
    }
    return length
  }

  /// Table 3-7 of the Unicode standard: no overlong forms, no surrogates, nothing above U+10FFFF.
  private static func mayFollow(_ lead: UInt8, _ byte: UInt8, at place: Int) -> Bool {
    guard place == 1 else { return (0x80...0xbf).contains(byte) }
    switch lead {
    case 0xe0: return (0xa0...0xbf).contains(byte)
    case 0xed: return (0x80...0x9f).contains(byte)
    case 0xf0: return (0x90...0xbf).contains(byte)
    case 0xf4: return (0x80...0x8f).contains(byte)
    default: return (0x80...0xbf).contains(byte)
    }
  }

  private static let replacement: [UInt8] = [0xef, 0xbf, 0xbd]

  private static func show(_ value: UInt32, _ output: inout [UInt8]) {
    output += Array("\\u{\(String(value, radix: 16))}".utf8)
  }
}
