import Files

/// The name of a target: `//a/b:c` is the target `c` of the package in the folder `a/b`.
///
/// Labels order by package, then by name, both bytewise.
package struct Label: Hashable, Comparable, Sendable, CustomStringConvertible {
  package let package: WorkspacePath
  package let name: String

  package init(package: WorkspacePath, name: String) {
    self.package = package
    self.name = name
  }

  /// The label that `text` spells in full or relative to a package; it must name a target and no output.
  package static func parse(_ text: String, relativeTo package: WorkspacePath = .root) throws(LabelError) -> Label {
    let reference = try LabelReference.parse(text, relativeTo: package)
    if let output = reference.output {
      let length = output.unicodeScalars.count + 1
      throw LabelError(
        "a target is wanted here, not its output `\(output)`", in: text, offset: text.unicodeScalars.count - length,
        length: length)
    }
    guard let name = reference.name else {
      throw LabelError("`\(text)` names no target: write `\(text):NAME`", in: text)
    }
    return Label(package: reference.package, name: name)
  }

  package var description: String { "//\(package.string):\(name)" }

  package static func < (a: Label, b: Label) -> Bool {
    if a.package.string.utf8.elementsEqual(b.package.string.utf8) {
      return a.name.utf8.lexicographicallyPrecedes(b.name.utf8)
    }
    return a.package < b.package
  }
}
