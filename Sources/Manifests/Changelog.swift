/// Changelogs as connector repositories keep them.
package enum Changelog {
  /// Puts a new version above the last one: a row of a documentation page's table (`| Version | Date | Pull Request |
  /// Subject |`), or a section of a `CHANGELOG.md`. `nil` where the text has neither.
  ///
  /// - Parameter date: `2024-10-30`.
  package static func adding(_ version: String, date: String, message: String, to text: String) -> String? {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    if let header = lines.firstIndex(where: isTableHeader), header + 1 < lines.count, isRule(lines[header + 1]) {
      let columns = cells(lines[header]).map { $0.lowercased() }
      let row = columns.map { column in
        switch column {
        case "version": version
        case "date": date
        case "subject", "description", "changes": message
        default: ""
        }
      }
      lines.insert(Substring("| " + row.joined(separator: " | ") + " |"), at: header + 2)
      return lines.joined(separator: "\n")
    }
    guard let section = lines.firstIndex(where: { $0.hasPrefix("## ") }) else { return nil }
    lines.insert(contentsOf: ["## \(version) (\(date))", "", "- \(message)", ""].map { Substring($0) }, at: section)
    return lines.joined(separator: "\n")
  }

  private static func isTableHeader(_ line: Substring) -> Bool {
    line.hasPrefix("|") && cells(line).first?.lowercased() == "version"
  }

  private static func isRule(_ line: Substring) -> Bool {
    line.hasPrefix("|") && line.allSatisfy { "|:- \r".contains($0) }
  }

  private static func cells(_ line: Substring) -> [String] {
    line.split(separator: "|").map { cell in
      String(cell.drop { $0 == " " }.reversed().drop { $0 == " " || $0 == "\r" }.reversed())
    }.filter { !$0.isEmpty }
  }
}
