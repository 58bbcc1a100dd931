/// What a CI system shows beside a line of a file: a workflow command of GitHub Actions.
package struct Annotation: Hashable, Sendable {
  package enum Level: String, Sendable { case error, warning, notice }

  package var level: Level
  package var title: String?
  /// Relative to the repository's top.
  package var file: String?
  package var line: Int?
  package var column: Int?
  package var message: String

  package init(
    _ level: Level, title: String? = nil, file: String? = nil, line: Int? = nil, column: Int? = nil, message: String
  ) {
    self.level = level
    self.title = title
    self.file = file
    self.line = line
    self.column = column
    self.message = message
  }

  /// One line, with its end.
  package var command: String {
    var properties: [String] = []
    if let file { properties.append("file=" + Self.escaped(file, isProperty: true)) }
    if let line { properties.append("line=\(line)") }
    if let column { properties.append("col=\(column)") }
    if let title { properties.append("title=" + Self.escaped(title, isProperty: true)) }
    let space = properties.isEmpty ? "" : " "
    return "::\(level.rawValue)\(space)\(properties.joined(separator: ","))::\(Self.escaped(message))\n"
  }

  /// As GitHub's toolkit does it (`@actions/core`, command.ts).
  private static func escaped(_ text: String, isProperty: Bool = false) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "%": result += "%25"
      case "\r": result += "%0D"
      case "\n": result += "%0A"
      case ":" where isProperty: result += "%3A"
      case "," where isProperty: result += "%2C"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}

/// A place in a source file that a failing test's log names.
package struct FailurePlace: Hashable, Sendable {
  /// As the log has it.
  package var path: String
  package var line: Int
  package var message: String

  /// The last `PATH:LINE: MESSAGE` of a line's beginning in a log, as pytest, unittest and compilers write it.
  package init?(log: String) {
    for text in log.split(whereSeparator: \.isNewline).reversed() {
      guard let match = text.firstMatch(of: /^([^\s:]+\.[A-Za-z]+):(\d{1,7}): (.+)$/), let line = Int(match.2) else {
        continue
      }
      (path, self.line, message) = (String(match.1), line, String(match.3))
      return
    }
    return nil
  }
}
