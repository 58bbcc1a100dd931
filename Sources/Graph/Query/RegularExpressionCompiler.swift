/// Turns the tree of a regular expression into a program.
struct RegularExpressionCompiler {
  /// Counted repetitions multiply; beyond this the expression is refused.
  private static let maximumSize = 2_000

  private let length: Int
  private var program: [RegularExpression.Instruction] = []

  static func compile(
    _ text: String
  ) throws(RegularExpression.Malformed) -> [RegularExpression.Instruction] {
    var compiler = RegularExpressionCompiler(length: max(1, text.unicodeScalars.count))
    try compiler.add(RegularExpressionParser.parse(text))
    try compiler.emit(.match)
    return compiler.program
  }

  private init(length: Int) { self.length = length }

  private mutating func emit(_ instruction: RegularExpression.Instruction) throws(RegularExpression.Malformed) {
    if program.count >= Self.maximumSize {
      throw RegularExpression.Malformed(reason: "the regular expression is too large", offset: 0, length: length)
    }
    program.append(instruction)
  }

  private mutating func add(_ tree: RegularExpressionParser.Tree) throws(RegularExpression.Malformed) {
    switch tree {
    case .scalar(let set): try emit(.scalar(set))
    case .start: try emit(.start)
    case .end: try emit(.end)
    case .sequence(let parts): for part in parts { try add(part) }
    case .alternatives(let branches):
      var exits: [Int] = []
      for (number, branch) in branches.enumerated() {
        let choice = program.count
        let isLast = number == branches.count - 1
        if !isLast { try emit(.jump(0)) }
        try add(branch)
        if !isLast {
          exits.append(program.count)
          try emit(.jump(0))
          program[choice] = .either(choice + 1, program.count)
        }
      }
      for exit in exits { program[exit] = .jump(program.count) }
    case .repeated(let part, let least, let most):
      for _ in 0..<least {
        let size = program.count
        try add(part)
        // What says nothing need not be said again; `((){1000}){1000}` would never grow into the limit.
        if program.count == size { break }
      }
      guard let most else {
        let choice = program.count
        try emit(.jump(0))
        try add(part)
        try emit(.jump(choice))
        program[choice] = .either(choice + 1, program.count)
        return
      }
      var choices: [Int] = []
      for _ in least..<most {
        choices.append(program.count)
        try emit(.jump(0))
        try add(part)
      }
      for choice in choices { program[choice] = .either(choice + 1, program.count) }
    }
  }
}
