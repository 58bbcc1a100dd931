/// A regular expression in a user's hand: its cost is bounded by |expression| × |text|, whatever it says.
///
/// Swift's `Regex` backtracks, so that `(a+)+$` takes exponential time; this one follows all alternatives at once
/// (Thompson's construction). It knows what such an engine can know, in the syntax that Bazel's users write: `.`,
/// classes with `\d \w \s`, anchors, groups, alternatives, counted repetition, and `(?i)` in front. It finds a match
/// anywhere in the text unless it is anchored.
package struct RegularExpression: Sendable {
  /// Why a text is no regular expression, and which part of it is to blame; offset and length in Unicode scalars.
  package struct Malformed: Error, Hashable, Sendable {
    package var reason: String
    package var offset: Int
    package var length: Int = 1
  }

  enum Instruction: Sendable {
    case scalar(ScalarSet)
    case either(Int, Int)
    case jump(Int)
    case start
    case end
    case match
  }

  /// As it was written.
  package let text: String
  private let program: [Instruction]

  package init(_ text: String) throws(Malformed) {
    self.text = text
    program = try RegularExpressionCompiler.compile(text)
  }

  /// Whether some part of `text` matches.
  package func matches(_ text: String) -> Bool {
    var current = Threads(count: program.count)
    var next = Threads(count: program.count)
    let scalars = text.unicodeScalars
    var index = scalars.startIndex
    while true {
      let isStart = index == scalars.startIndex
      let isEnd = index == scalars.endIndex
      // A new attempt begins at every place.
      if current.add(0, program, isStart: isStart, isEnd: isEnd) { return true }
      if isEnd { return false }
      let value = scalars[index].value
      index = scalars.index(after: index)
      let nextIsEnd = index == scalars.endIndex
      next.removeAll()
      for thread in current.waiting {
        if case .scalar(let set) = program[thread], set.contains(value) {
          if next.add(thread + 1, program, isStart: false, isEnd: nextIsEnd) { return true }
        }
      }
      swap(&current, &next)
    }
  }

  /// The instructions that wait for the next character.
  private struct Threads {
    var waiting: [Int] = []
    private var seen: [UInt32]
    private var generation: UInt32 = 1
    private var stack: [Int] = []

    init(count: Int) { seen = Array(repeating: 0, count: count) }

    mutating func removeAll() {
      waiting.removeAll(keepingCapacity: true)
      if generation == .max {
        for index in seen.indices { seen[index] = 0 }
        generation = 0
      }
      generation += 1
    }

    /// Follows what needs no character from `first` on; whether that reaches the end of the program.
    mutating func add(_ first: Int, _ program: [Instruction], isStart: Bool, isEnd: Bool) -> Bool {
      stack.append(first)
      while let place = stack.popLast() {
        if seen[place] == generation { continue }
        seen[place] = generation
        switch program[place] {
        case .scalar: waiting.append(place)
        case .jump(let target): stack.append(target)
        case .either(let one, let other):
          stack.append(other)
          stack.append(one)
        case .start: if isStart { stack.append(place + 1) }
        case .end: if isEnd { stack.append(place + 1) }
        case .match:
          stack.removeAll(keepingCapacity: true)
          return true
        }
      }
      return false
    }
  }

  /// What one character may be.
  struct ScalarSet: Sendable {
    var ranges: [ClosedRange<UInt32>]
    var isNegated = false

    func contains(_ value: UInt32) -> Bool {
      for range in ranges where range.contains(value) { return !isNegated }
      return isNegated
    }

    /// With the other case of every ASCII letter.
    var ignoringCase: ScalarSet {
      var set = self
      for range in ranges {
        let upper = range.clamped(to: 65...90)
        let lower = range.clamped(to: 97...122)
        if upper.overlaps(range) { set.ranges.append(upper.lowerBound + 32...upper.upperBound + 32) }
        if lower.overlaps(range) { set.ranges.append(lower.lowerBound - 32...lower.upperBound - 32) }
      }
      return set
    }
  }
}
