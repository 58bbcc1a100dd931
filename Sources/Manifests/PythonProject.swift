/// The one thing of a `pyproject.toml` that Slipway changes.
package enum PythonProject {
  /// The text with the version of `[project]` and `[tool.poetry]` raised where it is `old`; `nil` where it is not there.
  package static func raising(_ text: String, from old: String, to new: String) -> String? {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    var isProject = false
    var found = false
    for (index, line) in lines.enumerated() {
      if line.hasPrefix("[") {
        isProject = line.hasPrefix("[project]") || line.hasPrefix("[tool.poetry]")
        continue
      }
      guard isProject, let equals = line.firstIndex(of: "="), line[..<equals].filter({ $0 != " " }) == "version" else {
        continue
      }
      for quote in ["\"", "'"] {
        guard let range = line[equals...].firstRange(of: quote + old + quote) else { continue }
        lines[index] = line[..<range.lowerBound] + quote + new + quote + line[range.upperBound...]
        found = true
      }
    }
    return found ? lines.joined(separator: "\n") : nil
  }
}
