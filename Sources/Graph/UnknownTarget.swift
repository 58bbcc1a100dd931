import Diagnostics

/// What a diagnostic can tell about a label that no target bears.
enum UnknownTarget {
  /// Adds the nearest label in the same package, else the nearest anywhere, else what the package does have.
  static func explain(_ error: inout Diagnostic, _ label: Label, siblings: [String], elsewhere: [Label]) {
    if let name = didYouMean(label.name, among: siblings) {
      error.hints.append("did you mean `\(Label(package: label.package, name: name))`?")
      return
    }
    if let other = didYouMean(label.description, among: elsewhere.lazy.map(\.description)) {
      error.hints.append("did you mean `\(other)`?")
      return
    }
    if let list = list(siblings) { error.notes.append(Diagnostic.Note("`//\(label.package)` has \(list)")) }
  }

  /// `a`, `b` and 3 more; `nil` for none.
  static func list(_ names: [String]) -> String? {
    if names.isEmpty { return nil }
    let sorted = names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    let shown = sorted.prefix(8).map { "`\($0)`" }
    if shown.count == 1 { return shown[0] }
    if sorted.count > shown.count {
      return shown.joined(separator: ", ") + " and \(sorted.count - shown.count) more"
    }
    return shown.dropLast().joined(separator: ", ") + " and " + shown[shown.count - 1]
  }
}
