import Diagnostics
import Files

/// What selects targets on the command line and in queries, as in Bazel.
///
/// `//a:b` one target, `//a` the default target of a package, `//a:all` and `//a:*` all of its targets, `//a/...` all
/// targets of the package and those below, `//...` all; `-` in front takes away. What does not begin with `//` is
/// relative to the current folder, where `c` is the package `c` or else the target `:c`.
package struct TargetPattern: Hashable, Sendable, CustomStringConvertible {
  package enum Selection: Hashable, Sendable {
    case target(Label)
    case defaultTarget(WorkspacePath)
    /// A relative path without a colon: the default target of that package, or else a target of the folder above it.
    case path(WorkspacePath)
    case all(WorkspacePath)
    case below(WorkspacePath)
  }

  package let selection: Selection
  package let isNegative: Bool
  /// As it was written.
  package let text: String
  /// Where it was written, if in a file.
  package var span: SourceSpan?

  package var description: String { text }

  package static func parse(
    _ text: String, relativeTo folder: WorkspacePath
  ) throws(LabelError) -> TargetPattern {
    let isNegative = text.utf8.first == UInt8(ascii: "-")
    if text.isEmpty { throw LabelError("a pattern cannot be empty", in: text) }
    let parts = try LabelText(text, from: isNegative ? 1 : 0)
    if let output = parts.output {
      throw LabelError(
        "a pattern selects targets, not outputs", in: text, offset: output.lowerBound - 1, length: output.count + 1)
    }
    return TargetPattern(
      selection: try selection(parts, relativeTo: folder), isNegative: isNegative, text: text, span: nil)
  }

  private static func selection(
    _ parts: LabelText, relativeTo folder: WorkspacePath
  ) throws(LabelError) -> Selection {
    var path = parts.package
    let name = parts.name.map(parts.string)
    if let above = folderBelowWhich(parts) {
      let package = try parts.package(above, relativeTo: folder)
      guard let range = parts.name, name != "all", name != "*" else { return .below(package) }
      throw LabelError(
        "only `:all` can follow `...`", in: parts.text, offset: range.lowerBound - 1, length: range.count + 1)
    }
    // Completion in a shell leaves a slash behind a folder.
    if parts.name == nil, path.count > 1, parts.scalars[path.upperBound - 1] == "/" {
      path = path.lowerBound..<path.upperBound - 1
    }
    let package = try parts.package(path, relativeTo: folder)
    guard let range = parts.name else {
      if path.isEmpty { throw LabelError("the root's target must be named: `//:NAME` or `//:all`", in: parts.text) }
      return parts.isAbsolute ? .defaultTarget(package) : .path(package)
    }
    if name == "all" || name == "*" { return .all(package) }
    return .target(Label(package: package, name: try parts.name(range, of: "a target")))
  }

  /// The path before a last component `...`.
  private static func folderBelowWhich(_ parts: LabelText) -> Range<Int>? {
    let path = parts.package
    guard path.count >= 3, parts.scalars[path.upperBound - 3..<path.upperBound].allSatisfy({ $0 == "." }) else {
      return nil
    }
    if path.count == 3 { return path.lowerBound..<path.lowerBound }
    guard parts.scalars[path.upperBound - 4] == "/" else { return nil }
    return path.lowerBound..<max(path.lowerBound, path.upperBound - 4)
  }
}

extension TargetPattern {
  /// The patterns of an `@file`: one a line; blank lines and what follows a `#` at the start of a word are left out.
  ///
  /// - Parameter file: The file's name, for diagnostics.
  package static func parse(
    file: String, text: String, relativeTo folder: WorkspacePath
  ) throws(DiagnosticList) -> [TargetPattern] {
    var patterns: [TargetPattern] = []
    var diagnostics = DiagnosticList()
    // A byte order mark and carriage returns come from other systems' editors.
    var scalars = text.unicodeScalars[...]
    if scalars.first == "\u{FEFF}" { scalars = scalars.dropFirst() }
    for (number, line) in scalars.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let excerpt = Array(line)
      var end = excerpt.count
      for (index, scalar) in excerpt.enumerated() where scalar == "#" {
        if index == 0 || isBlank(excerpt[index - 1]) {
          end = index
          break
        }
      }
      guard let start = excerpt[..<end].firstIndex(where: { !isBlank($0) }) else { continue }
      while isBlank(excerpt[end - 1]) { end -= 1 }
      let span = SourceSpan(
        file: file, line: number + 1, column: start + 1, length: end - start, excerpt: string(excerpt[...]))
      do {
        var pattern = try parse(string(excerpt[start..<end]), relativeTo: folder)
        pattern.span = span
        patterns.append(pattern)
      } catch {
        diagnostics.diagnostics.append(error.diagnostic(at: span))
      }
    }
    if diagnostics.hasErrors { throw diagnostics }
    return patterns
  }

  private static func isBlank(_ scalar: Unicode.Scalar) -> Bool { scalar == " " || scalar == "\t" || scalar == "\r" }

  private static func string(_ scalars: ArraySlice<Unicode.Scalar>) -> String {
    var view = String.UnicodeScalarView()
    view.append(contentsOf: scalars)
    return String(view)
  }
}
