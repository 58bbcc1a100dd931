import Diagnostics
import Files

/// A template that gives every connector of one sort its targets.
package struct Kind: Sendable {
  package var name: Located<String>
  package var match: Match
  /// With its references unexpanded, as are `targets`.
  package var base: Node?
  package var targets: [Node.Pair]
  package var defaultTarget: Located<String>?
  package var document: Node

  package struct Match: Sendable {
    package var all: [Glob] = []
    package var any: [Glob] = []
    package var none: [Glob] = []
    package var tags: [String] = []
  }

  /// `nil` when the file has an error.
  package static func decode(_ source: SourceText, diagnostics: inout DiagnosticList) -> Kind? {
    guard let document = parse(source, &diagnostics) else { return nil }
    var decoder = Decoder(.template)
    let kind = decoder.kind(document)
    diagnostics.diagnostics += decoder.diagnostics
    return decoder.hasErrors ? nil : kind
  }

  /// The kind of a package by its files, and failing that by its tags; `nil` when none matches.
  ///
  /// `kinds` are in order of precedence: the workspace's own first.
  package static func choose(from kinds: [Kind], files: [String], tags: [String]) -> Kind? {
    kinds.first { $0.match.matches(files: files) }
      ?? kinds.first { $0.match.matches(tags: tags) && !$0.match.isExcluded(by: files) }
      ?? kinds.first { $0.name.value == "metadata-only" }
  }
}

extension Kind.Match {
  func matches(files: [String]) -> Bool {
    guard !(all.isEmpty && any.isEmpty) else { return false }
    return all.allSatisfy { isPresent($0, in: files) } && (any.isEmpty || any.contains { isPresent($0, in: files) })
      && !isExcluded(by: files)
  }

  func matches(tags: [String]) -> Bool { self.tags.contains { tags.contains($0) } }

  func isExcluded(by files: [String]) -> Bool { none.contains { isPresent($0, in: files) } }

  private func isPresent(_ glob: Glob, in files: [String]) -> Bool { anyFile(files, matches: glob) }
}

/// Whether one of `files`, which are sorted, matches.
func anyFile(_ files: [String], matches glob: Glob) -> Bool {
  guard let path = glob.literalPath else { return files.contains { glob.matches($0) } }
  var (low, high) = (0, files.count)
  while low < high {
    let middle = (low + high) / 2
    if files[middle].utf8.lexicographicallyPrecedes(path.utf8) { low = middle + 1 } else { high = middle }
  }
  return low < files.count && files[low] == path
}

/// The document of a file, or a diagnostic.
func parse(_ source: SourceText, _ diagnostics: inout DiagnosticList) -> Node? {
  do throws(Diagnostic) { return try YAMLParser.parse(source) } catch {
    diagnostics.diagnostics.append(error)
    return nil
  }
}

extension Decoder {
  var hasErrors: Bool { diagnostics.contains { $0.severity == .error } }

  mutating func kind(_ document: Node) -> Kind? {
    guard let fields = fields(ofDocument: document, "a kind", known: ["kind", "match", "base", "default", "targets"])
    else {
      return nil
    }
    guard fields["kind"] != nil else {
      error("a kind needs its name, `kind`", at: document)
      return nil
    }
    let name = literally { decoder in
      decoder.string(fields["kind"], "`kind`", "a name of letters, digits, `_`, `.`, `+` and `-`") {
        LabelText.isTargetName($0)
      }
    }
    _ = string(fields["base"], "`base`")
    let defaultTarget = targetName(fields["default"], "`default`")
    if fields["targets"] == nil { error("a kind needs `targets`", at: document) }
    let targets = checkTargets(fields["targets"], ruleRequired: true)
    let match = fields["match"].map { node in literally { $0.match(node) } } ?? Kind.Match()
    guard let name else { return nil }
    return Kind(
      name: name, match: match, base: fields["base"], targets: targets, defaultTarget: defaultTarget,
      document: document)
  }

  private mutating func match(_ node: Node) -> Kind.Match {
    var match = Kind.Match()
    guard let fields = fields(node, "`match`", known: ["all", "any", "none", "tags"]) else { return match }
    match.all = globs(fields["all"], "`all`")
    match.any = globs(fields["any"], "`any`")
    match.none = globs(fields["none"], "`none`")
    match.tags = list(fields["tags"], "`tags`") { $0.string($1, $2) }.map(\.value)
    return match
  }

  private mutating func globs(_ node: Node?, _ what: Subject) -> [Glob] {
    list(node, what) { $0.glob($1, $2) }.compactMap { try? Glob($0.value) }
  }

  mutating func targetName(_ node: Node?, _ what: Subject) -> Located<String>? {
    literally { $0.string(node, what, "the name of a target") { LabelText.isTargetName($0) && $0 != "all" } }
  }

  /// The targets of a template, each looked at as far as that goes without a package.
  mutating func checkTargets(_ node: Node?, ruleRequired: Bool) -> [Node.Pair] {
    guard let node else { return [] }
    guard let pairs = node.pairs else {
      expected("a mapping", for: "`targets`", found: node)
      return []
    }
    for pair in pairs {
      let name = Located(pair.name, at: pair.keyPlace)
      guard checkName(name, "a target"), !pair.value.isNull else { continue }
      if ruleRequired, let fields = pair.value.pairs, !fields.contains(where: { $0.name == "rule" && !$0.value.isNull })
      {
        report(.error("target `\(pair.name)` has no `rule`", at: pair.keyPlace.span))
      }
      _ = target(name: name, pair.value)
    }
    return pairs
  }
}
