#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A pattern for paths, relative to its package.
///
/// `*`, `?` and `[a-z]` (`[!a-z]`, `[^a-z]`) stay inside a component; `**` as a whole component stands for any number
/// of folders, also none; `dir/**` is everything below `dir`. A backslash takes the next character literally. Names
/// that begin with a dot are ordinary names. Matching takes at most |pattern| × |path| steps per wildcard level, whatever
/// the pattern: it only ever goes back to the last `*` and the last `**`.
package struct Glob: Sendable {
  /// Why a text is no glob; a fragment for a diagnostic: lower case, no full stop.
  package struct Malformed: Error, Hashable, Sendable, CustomStringConvertible {
    package var reason: String
    package var description: String { reason }
  }

  /// As it was written.
  package let text: String
  private var components: [Component] = []
  private var tokens: [Token] = []
  /// The literal components' bytes, escapes undone.
  private var bytes: [UInt8] = []
  /// How many components before the first wildcard.
  private var literalCount = 0

  private struct Component {
    enum Kind: UInt8 { case literal, pattern, folders }
    var kind: Kind
    /// Into `bytes` for a literal, into `tokens` for a pattern.
    var start: Int
    var end: Int
  }

  private enum Token {
    case byte(UInt8)
    case any
    case star
    case set(CharacterSet)
  }

  /// ASCII characters; `negated` also covers every character beyond ASCII.
  private struct CharacterSet {
    var low: UInt64 = 0
    var high: UInt64 = 0
    var negated = false

    mutating func insert(_ byte: UInt8) {
      if byte < 64 { low |= 1 << UInt64(byte) } else { high |= 1 << UInt64(byte - 64) }
    }

    func contains(_ byte: UInt8) -> Bool {
      if byte >= 128 { return negated }
      return (((byte < 64 ? low >> UInt64(byte) : high >> UInt64(byte - 64)) & 1) == 1) != negated
    }
  }

  package init(_ text: String) throws(Malformed) {
    self.text = text
    let source = Array(text.utf8)
    if source.isEmpty { throw Malformed(reason: "a glob cannot be empty") }
    if source[0] == UInt8(ascii: "/") {
      throw Malformed(reason: "a glob is relative to its package: `\(text)` is absolute")
    }
    if source.contains(0) || source.contains(10) {
      throw Malformed(reason: "a glob cannot hold a NUL or a newline")
    }
    var start = 0
    while start <= source.count {
      let end = source[start...].firstIndex(of: UInt8(ascii: "/")) ?? source.count
      try add(source[start..<end])
      start = end + 1
    }
    literalCount = components.firstIndex { $0.kind != .literal } ?? components.count
  }

  private mutating func add(_ source: ArraySlice<UInt8>) throws(Malformed) {
    if source.isEmpty { throw Malformed(reason: "`\(text)` has an empty component") }
    if source.elementsEqual("**".utf8) {
      // `a/**/**` says no more than `a/**`; one of them keeps the match linear.
      if components.last?.kind != .folders { components.append(Component(kind: .folders, start: 0, end: 0)) }
      return
    }
    let firstToken = tokens.count
    var isLiteral = true
    var index = source.startIndex
    while index < source.endIndex {
      let byte = source[index]
      index += 1
      switch byte {
      case UInt8(ascii: "*"):
        if index < source.endIndex, source[index] == UInt8(ascii: "*") {
          throw Malformed(reason: "`**` must be a whole component of `\(text)`")
        }
        tokens.append(.star)
        isLiteral = false
      case UInt8(ascii: "?"):
        tokens.append(.any)
        isLiteral = false
      case UInt8(ascii: "["):
        tokens.append(.set(try parseSet(source, &index)))
        isLiteral = false
      case UInt8(ascii: "\\"):
        guard index < source.endIndex else { throw Malformed(reason: "`\(text)` has a component that ends in `\\`") }
        tokens.append(.byte(source[index]))
        index += 1
      default: tokens.append(.byte(byte))
      }
    }
    guard isLiteral else {
      components.append(Component(kind: .pattern, start: firstToken, end: tokens.count))
      return
    }
    let firstByte = bytes.count
    for case .byte(let byte) in tokens[firstToken...] { bytes.append(byte) }
    tokens.removeSubrange(firstToken...)
    let literal = bytes[firstByte...]
    if literal.elementsEqual("..".utf8) {
      throw Malformed(reason: "a glob stays inside its package: `\(text)` holds `..`")
    }
    if literal.elementsEqual(".".utf8) { throw Malformed(reason: "`\(text)` holds a `.` component") }
    components.append(Component(kind: .literal, start: firstByte, end: bytes.count))
  }

  /// The set whose `[` lies before `index`; a `]` right after it is a member.
  private func parseSet(_ source: ArraySlice<UInt8>, _ index: inout Int) throws(Malformed) -> CharacterSet {
    var set = CharacterSet()
    func member() throws(Malformed) -> UInt8 {
      guard index < source.endIndex else { throw Malformed(reason: "`[` is never closed in `\(text)`") }
      var byte = source[index]
      index += 1
      if byte == UInt8(ascii: "\\") {
        guard index < source.endIndex else { throw Malformed(reason: "`[` is never closed in `\(text)`") }
        byte = source[index]
        index += 1
      }
      guard byte < 128 else { throw Malformed(reason: "`[…]` can hold only ASCII characters in `\(text)`") }
      return byte
    }
    if index < source.endIndex, source[index] == UInt8(ascii: "!") || source[index] == UInt8(ascii: "^") {
      set.negated = true
      index += 1
    }
    var isFirst = true
    while true {
      if index < source.endIndex, source[index] == UInt8(ascii: "]"), !isFirst {
        index += 1
        return set
      }
      isFirst = false
      let low = try member()
      if index + 1 < source.endIndex, source[index] == UInt8(ascii: "-"), source[index + 1] != UInt8(ascii: "]") {
        index += 1
        let high = try member()
        guard low <= high else { throw Malformed(reason: "a range of `\(text)` runs backwards") }
        for byte in low...high { set.insert(byte) }
      } else {
        set.insert(low)
      }
    }
  }

  /// Whether it has no wildcard: it names one path.
  package var isLiteral: Bool { literalCount == components.count }

  /// The one path that a literal glob names, escapes undone.
  package var literalPath: String? { isLiteral ? joined(literalCount) : nil }

  /// The folders before the first component with a wildcard, without a final `/`; empty when there are none.
  ///
  /// All but the last component of a literal glob.
  package var literalPrefix: String { joined(min(literalCount, components.count - 1)) }

  private func joined(_ count: Int) -> String {
    components[..<count].map { String(decoding: bytes[$0.start..<$0.end], as: UTF8.self) }.joined(separator: "/")
  }

  /// Whether it covers a path that is relative to the glob's package.
  package func matches(_ path: some StringProtocol) -> Bool {
    if let result = path.utf8.withContiguousStorageIfAvailable({ matches($0) }) { return result }
    return Array(path.utf8).withUnsafeBufferPointer { matches($0) }
  }

  /// Whether it covers the path with these bytes.
  package func matches(_ path: UnsafeBufferPointer<UInt8>) -> Bool {
    components.withUnsafeBufferPointer { components in
      tokens.withUnsafeBufferPointer { tokens in
        bytes.withUnsafeBufferPointer { bytes in
          Matcher(components: components, tokens: tokens, bytes: bytes, path: path).run()
        }
      }
    }
  }

  private struct Matcher {
    let components: UnsafeBufferPointer<Component>
    let tokens: UnsafeBufferPointer<Token>
    let bytes: UnsafeBufferPointer<UInt8>
    let path: UnsafeBufferPointer<UInt8>

    func run() -> Bool {
      guard !path.isEmpty else { return false }
      var component = 0
      // The start of the next component of the path; `path.count + 1` when none is left.
      var position = 0
      // Where to go on after the last `**` took one more folder.
      var retry: (component: Int, position: Int)?
      while true {
        if component < components.count {
          let current = components[component]
          if current.kind == .folders {
            // A final `**` wants at least one component; all that is left is then below it.
            if component + 1 == components.count {
              if position <= path.count { return true }
            } else {
              retry = (component + 1, position)
              component += 1
              continue
            }
          } else if position <= path.count {
            let end = componentEnd(position)
            if matches(current, position, end) {
              component += 1
              position = end + 1
              continue
            }
          }
        } else if position > path.count {
          return true
        }
        guard let (next, start) = retry, start <= path.count else { return false }
        let skipped = componentEnd(start) + 1
        guard skipped <= path.count else { return false }
        retry = (next, skipped)
        (component, position) = (next, skipped)
      }
    }

    func componentEnd(_ start: Int) -> Int {
      var end = start
      while end < path.count, path[end] != UInt8(ascii: "/") { end += 1 }
      return end
    }

    func matches(_ component: Component, _ start: Int, _ end: Int) -> Bool {
      guard component.kind == .pattern else {
        guard end - start == component.end - component.start, let a = bytes.baseAddress, let b = path.baseAddress
        else { return false }
        return memcmp(a + component.start, b + start, end - start) == 0
      }
      var token = component.start
      var position = start
      var retry: (token: Int, position: Int)?
      while position < end || token < component.end {
        if token < component.end {
          if case .star = tokens[token] {
            retry = (token + 1, position)
            token += 1
            continue
          }
          if position < end, let next = take(tokens[token], position, end) {
            token += 1
            position = next
            continue
          }
        }
        guard let (next, from) = retry, from < end else { return false }
        retry = (next, from + 1)
        (token, position) = (next, from + 1)
      }
      return true
    }

    /// The position behind what the token takes; `?` and sets take a whole UTF-8 sequence.
    func take(_ token: Token, _ position: Int, _ end: Int) -> Int? {
      let byte = path[position]
      switch token {
      case .byte(let wanted): return byte == wanted ? position + 1 : nil
      case .star: return nil
      case .set(let set) where !set.contains(byte): return nil
      case .any, .set:
        if byte & 0xC0 == 0x80 { return nil }
        var next = position + 1
        while next < end, path[next] & 0xC0 == 0x80 { next += 1 }
        return next
      }
    }
  }
}

extension Glob: Hashable, CustomStringConvertible {
  package static func == (a: Glob, b: Glob) -> Bool { a.text == b.text }
  package func hash(into hasher: inout Hasher) { hasher.combine(text) }
  package var description: String { text }
}
