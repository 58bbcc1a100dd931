import Diagnostics

/// A decoded `targets.yaml`: further targets, or changes to those of a kind.
package struct TargetsFile: Sendable {
  package var document: Node
  package var base: Node?
  package var defaultTarget: Located<String>?
  /// As written: references unexpanded, not yet merged over a kind.
  package var targets: [Node.Pair]

  /// `nil` when the file has an error.
  package static func decode(_ source: SourceText, diagnostics: inout DiagnosticList) -> TargetsFile? {
    guard let document = parse(source, &diagnostics) else { return nil }
    var decoder = Decoder(.template)
    let file = decoder.targetsFile(document)
    diagnostics.diagnostics += decoder.diagnostics
    return decoder.hasErrors ? nil : file
  }
}

extension Decoder {
  mutating func targetsFile(_ document: Node) -> TargetsFile? {
    guard let fields = fields(ofDocument: document, "`targets.yaml`", known: ["base", "default", "targets"]) else {
      return nil
    }
    _ = string(fields["base"], "`base`")
    let defaultTarget = targetName(fields["default"], "`default`")
    let targets = checkTargets(fields["targets"], ruleRequired: false)
    return TargetsFile(document: document, base: fields["base"], defaultTarget: defaultTarget, targets: targets)
  }
}
