import Files

/// A label as a manifest or the command line has it: the target may be left to the package, and an output named.
package struct LabelReference: Hashable, Sendable, CustomStringConvertible {
  package var package: WorkspacePath
  /// `nil` means the package's default target.
  package var name: String?
  package var output: String?

  package init(package: WorkspacePath, name: String?, output: String? = nil) {
    self.package = package
    self.name = name
    self.output = output
  }

  /// Reads `//a/b:c`, `//a/b`, `//:c`, `:c`, `c:d` and `c`, each with an optional `#output`.
  ///
  /// What does not begin with `//` is relative to `package`; without a colon it names a package and its default target.
  package static func parse(
    _ text: String, relativeTo package: WorkspacePath
  ) throws(LabelError) -> LabelReference {
    let parts = try LabelText(text)
    if parts.name == nil && parts.package.isEmpty {
      let message = parts.isAbsolute ? "the root's target must be named: `//:NAME`" : "a label cannot be empty"
      throw LabelError(message, in: text)
    }
    return LabelReference(
      package: try parts.package(parts.package, relativeTo: package),
      name: try parts.name.map { range throws(LabelError) in try parts.name(range, of: "a target") },
      output: try parts.output.map { range throws(LabelError) in try parts.name(range, of: "an output") })
  }

  /// The target, where the name is given or the package has a default.
  package func label(defaultTarget: (WorkspacePath) -> String?) -> Label? {
    (name ?? defaultTarget(package)).map { Label(package: package, name: $0) }
  }

  package var description: String {
    "//\(package.string)" + (name.map { ":" + $0 } ?? "") + (output.map { "#" + $0 } ?? "")
  }
}
