/// Reads the text of a regular expression into a tree.
struct RegularExpressionParser {
  indirect enum Tree {
    case scalar(RegularExpression.ScalarSet)
    case start
    case end
    case sequence([Tree])
    case alternatives([Tree])
    case repeated(Tree, least: Int, most: Int?)
  }

  typealias Malformed = RegularExpression.Malformed
  private typealias ScalarSet = RegularExpression.ScalarSet

  /// The stack bounds how deep groups may nest.
  private static let maximumDepth = 50
  private static let maximumCount = 1_000
  private static let digits: [ClosedRange<UInt32>] = [48...57]
  private static let wordCharacters: [ClosedRange<UInt32>] = [48...57, 65...90, 95...95, 97...122]
  private static let blanks: [ClosedRange<UInt32>] = [9...13, 32...32]

  private let scalars: [Unicode.Scalar]
  private var index = 0
  private var depth = 0
  private var ignoresCase = false

  static func parse(_ text: String) throws(Malformed) -> Tree {
    var parser = RegularExpressionParser(scalars: Array(text.unicodeScalars))
    if parser.scalars.starts(with: "(?i)".unicodeScalars) {
      parser.ignoresCase = true
      parser.index = 4
    }
    let tree = try parser.alternatives()
    if parser.current != nil { throw Malformed(reason: "`)` closes no group", offset: parser.index) }
    return tree
  }

  private init(scalars: [Unicode.Scalar]) { self.scalars = scalars }

  private var current: Unicode.Scalar? { index < scalars.count ? scalars[index] : nil }

  private func set(_ ranges: [ClosedRange<UInt32>], negated: Bool = false) -> Tree {
    let set = ScalarSet(ranges: ranges, isNegated: negated)
    return .scalar(ignoresCase ? set.ignoringCase : set)
  }

  private mutating func alternatives() throws(Malformed) -> Tree {
    var branches = [try sequence()]
    while current == "|" {
      index += 1
      branches.append(try sequence())
    }
    return branches.count == 1 ? branches[0] : .alternatives(branches)
  }

  private mutating func sequence() throws(Malformed) -> Tree {
    var parts: [Tree] = []
    while let scalar = current, scalar != "|", scalar != ")" {
      let atom = try atom()
      parts.append(try repetition(of: atom))
    }
    return parts.count == 1 ? parts[0] : .sequence(parts)
  }

  private mutating func atom() throws(Malformed) -> Tree {
    let place = index
    let scalar = scalars[index]
    index += 1
    switch scalar {
    case ".": return set([10...10], negated: true)
    case "^": return .start
    case "$": return .end
    case "(": return try group(place)
    case "[": return try characterClass(place)
    case "\\": return try escape(place)
    case "*", "+", "?", "{": throw Malformed(reason: "`\(scalar)` has nothing to repeat", offset: place)
    default: return set([scalar.value...scalar.value])
    }
  }

  private mutating func group(_ place: Int) throws(Malformed) -> Tree {
    if current == "?" {
      guard index + 1 < scalars.count, scalars[index + 1] == ":" else {
        throw Malformed(
          reason: "only `(?:` groups, and `(?i)` at the very start, are known", offset: place,
          length: min(3, scalars.count - place))
      }
      index += 2
    }
    depth += 1
    if depth > Self.maximumDepth {
      throw Malformed(reason: "groups nest deeper than \(Self.maximumDepth) levels", offset: place)
    }
    let tree = try alternatives()
    depth -= 1
    guard current == ")" else { throw Malformed(reason: "this group is never closed", offset: place) }
    index += 1
    return tree
  }

  private mutating func repetition(of atom: Tree) throws(Malformed) -> Tree {
    let place = index
    var bounds: (least: Int, most: Int?)
    switch current {
    case "*": bounds = (0, nil)
    case "+": bounds = (1, nil)
    case "?": bounds = (0, 1)
    case "{":
      bounds = try counts()
      index -= 1
    default: return atom
    }
    index += 1
    // `*?` and `*+` only choose which match is found, not whether there is one.
    if current == "?" || current == "+" { index += 1 }
    if let next = current, next == "*" || next == "+" || next == "?" {
      throw Malformed(reason: "`\(next)` cannot repeat a repetition", offset: place, length: index + 1 - place)
    }
    switch atom {
    case .start, .end: throw Malformed(reason: "an anchor cannot be repeated", offset: place)
    default: return .repeated(atom, least: bounds.least, most: bounds.most)
    }
  }

  /// The bounds of `{2}`, `{2,}` or `{2,5}`.
  private mutating func counts() throws(Malformed) -> (least: Int, most: Int?) {
    let place = index
    let end = scalars[index...].firstIndex(of: "}") ?? index
    let parts = scalars[(index + 1)..<max(index + 1, end)].split(separator: ",", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), let first = parts.first, let last = parts.last, !first.isEmpty,
      parts.allSatisfy({ $0.allSatisfy { ("0"..."9").contains($0) } })
    else {
      throw Malformed(reason: "`{` begins no count such as `{2,5}`; the character itself is `\\{`", offset: place)
    }
    index = end + 1
    guard let least = number(first), let most = last.isEmpty ? least : number(last), least <= most else {
      throw Malformed(
        reason: "a repetition counts upwards, to at most \(Self.maximumCount)", offset: place, length: index - place)
    }
    return (least, last.isEmpty ? nil : most)
  }

  private func number(_ digits: ArraySlice<Unicode.Scalar>) -> Int? {
    guard digits.count <= 6 else { return nil }
    let value = digits.reduce(0) { $0 * 10 + Int($1.value) - 48 }
    return value <= Self.maximumCount ? value : nil
  }

  private mutating func escape(_ place: Int) throws(Malformed) -> Tree {
    guard let scalar = current else { throw Malformed(reason: "nothing follows the `\\`", offset: place) }
    index += 1
    if let (ranges, negated) = Self.shorthand(scalar) { return set(ranges, negated: negated) }
    let value = try literal(scalar, place)
    return set([value...value])
  }

  private static func shorthand(_ scalar: Unicode.Scalar) -> (ranges: [ClosedRange<UInt32>], negated: Bool)? {
    switch scalar {
    case "d": (digits, false)
    case "D": (digits, true)
    case "w": (wordCharacters, false)
    case "W": (wordCharacters, true)
    case "s": (blanks, false)
    case "S": (blanks, true)
    default: nil
    }
  }

  private func literal(_ scalar: Unicode.Scalar, _ place: Int) throws(Malformed) -> UInt32 {
    switch scalar {
    case "n": return 10
    case "t": return 9
    case "r": return 13
    case "a"..."z", "A"..."Z", "0"..."9":
      throw Malformed(reason: "`\\\(scalar)` is not known", offset: place, length: 2)
    default: return scalar.value
    }
  }

  private mutating func characterClass(_ place: Int) throws(Malformed) -> Tree {
    var ranges: [ClosedRange<UInt32>] = []
    let negated = current == "^"
    if negated { index += 1 }
    var isFirst = true
    while let scalar = current, scalar != "]" || isFirst {
      isFirst = false
      let start = index
      index += 1
      if scalar == "\\", let next = current, let (shorthand, negatedPart) = Self.shorthand(next) {
        index += 1
        if !negatedPart {
          ranges += shorthand
        } else {
          throw Malformed(reason: "`\\\(next)` cannot stand in `[…]`", offset: start, length: 2)
        }
        continue
      }
      let low = try member(scalar, place)
      guard current == "-", index + 1 < scalars.count, scalars[index + 1] != "]" else {
        ranges.append(low...low)
        continue
      }
      let last = scalars[index + 1]
      index += 2
      let high = try member(last, place)
      guard low <= high else {
        throw Malformed(reason: "this range runs backwards", offset: start, length: index - start)
      }
      ranges.append(low...high)
    }
    guard current == "]" else { throw Malformed(reason: "`[` is never closed", offset: place) }
    index += 1
    return set(ranges, negated: negated)
  }

  /// A character of a class, whose backslash is already read.
  private mutating func member(_ scalar: Unicode.Scalar, _ place: Int) throws(Malformed) -> UInt32 {
    guard scalar == "\\" else { return scalar.value }
    guard let next = current else { throw Malformed(reason: "`[` is never closed", offset: place) }
    index += 1
    return try literal(next, index - 2)
  }
}
