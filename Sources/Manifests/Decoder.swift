import Diagnostics

/// Turns nodes into values and goes on after a mistake, so that one run reports all of them.
///
/// Every function gives `nil` for what is absent, wrong (then it is reported) or not yet known (a reference in a
/// template).
struct Decoder {
  enum Mode {
    /// A file without references.
    case document
    /// A kind or `targets.yaml` on its own: what a reference stands for is not known, `null` removes, `+name` appends.
    case template
    /// A merged target, whose references mean something.
    case resolved(Scope)
  }

  let mode: Mode
  private(set) var diagnostics: [Diagnostic] = []

  init(_ mode: Mode) { self.mode = mode }

  var isTemplate: Bool { if case .template = mode { true } else { false } }

  mutating func report(_ diagnostic: Diagnostic) { diagnostics.append(diagnostic) }

  mutating func error(_ message: String, at node: Node, hint: String? = nil) {
    report(.error(message, at: node.span, hints: hint.map { [$0] } ?? []))
  }

  // MARK: References

  /// The node that a value stands for.
  mutating func resolve(_ node: Node) -> Node? {
    guard needsExpansion(node), let text = node.scalar?.text else { return node }
    guard let expanded = expand(text, of: node) else { return nil }
    switch expanded {
    case .node(let node): return node
    case .template(let template):
      if let literal = template.literal { return Node(string: literal, at: node.place) }
      error(
        "`\(firstReference(of: template))` is known only when a command runs", at: node,
        hint: "it can stand in `run`, `env` and `stdin`")
      return nil
    }
  }

  private func needsExpansion(_ node: Node) -> Bool {
    if case .document = mode { return false }
    guard node.place.source.role == .template, let scalar = node.scalar else { return false }
    return ReferenceText.isNeeded(for: scalar.text)
  }

  private enum Expanded {
    case node(Node)
    case template(TextTemplate)
  }

  private mutating func expand(_ text: String, of node: Node) -> Expanded? {
    let parsed: ReferenceText
    do throws(ReferenceText.Malformed) { parsed = try ReferenceText(text) } catch {
      self.error(error.message, at: node, hint: error.hint)
      return nil
    }
    guard case .resolved(let scope) = mode else {
      // Only escapes: that text is known already.
      if parsed.segments.count == 1, case .literal(let literal) = parsed.segments[0] {
        return .node(Node(string: literal, at: node.place))
      }
      return nil
    }
    if parsed.segments.count == 1, case .value(let reference) = parsed.segments[0] {
      guard let value = value(of: reference, in: scope, at: node) else { return nil }
      if reference.filters.isEmpty { return .node(value) }
    }
    var segments: [TextTemplate.Segment] = []
    var literal = ""
    for segment in parsed.segments {
      switch segment {
      case .literal(let text): literal += text
      case .runtime(let reference):
        if !literal.isEmpty { segments.append(.literal(literal)) }
        literal = ""
        segments.append(.reference(reference))
      case .value(let reference):
        guard let value = value(of: reference, in: scope, at: node) else { return nil }
        guard let text = value.scalar?.text else {
          error("`\(reference.name)` is \(value.typeDescription) and cannot stand inside a text", at: node)
          return nil
        }
        literal += reference.filtered(text)
      }
    }
    if !literal.isEmpty { segments.append(.literal(literal)) }
    return .template(TextTemplate(segments))
  }

  private mutating func value(of reference: ValueReference, in scope: Scope, at node: Node) -> Node? {
    switch scope.value(of: reference, at: node.place) {
    case .node(let node): return node
    case .broken: return nil
    case .missing(let note, let hint):
      report(
        .error(
          "`\(reference.name)` is missing for `\(scope.package.isRoot ? "//" : scope.package.string)`", at: node.span,
          notes: note.map { [$0] } ?? [], hints: hint.map { [$0] } ?? []))
      return nil
    }
  }

  private func firstReference(of template: TextTemplate) -> String {
    for case .reference(let reference) in template.segments { return reference.description }
    return ""
  }

  // MARK: Structures

  /// The known keys of a mapping; the unknown ones are reported.
  mutating func fields(_ node: Node, _ what: Subject, known: [String], appendable: [String] = []) -> Fields? {
    guard let node = resolve(node) else { return nil }
    guard let pairs = node.pairs else {
      expected("a mapping", for: what, found: node)
      return nil
    }
    for pair in pairs where !known.contains(pair.name) {
      if isTemplate, pair.name.hasPrefix("+"), appendable.contains(String(pair.name.dropFirst())) { continue }
      let shown = Diagnostic.shortened(pair.name)
      let hint: String? =
        if pair.name.hasPrefix("+"), known.contains(String(pair.name.dropFirst())) {
          "only a list can be appended to"
        } else {
          didYouMean(pair.name, among: known).map { "did you mean `\($0)`?" }
            ?? (known.count <= 8 ? "known here: \(known.map { "`\($0)`" }.joined(separator: ", "))" : nil)
        }
      report(.error("unknown field `\(shown)` in \(what)", at: pair.keyPlace.span, hints: hint.map { [$0] } ?? []))
    }
    return Fields(node: node, pairs: pairs, ignoresNull: isTemplate)
  }

  /// The same for a whole file, which no reference can stand for.
  mutating func fields(ofDocument node: Node, _ what: Subject, known: [String]) -> Fields? {
    if node.pairs == nil {
      expected("a mapping", for: what, found: node)
      return nil
    }
    return fields(node, what, known: known)
  }

  /// The pairs of a mapping whose keys the user chooses.
  mutating func entries(_ node: Node?, _ what: Subject) -> [Node.Pair] {
    guard let node, let resolved = resolve(node) else { return [] }
    guard let pairs = resolved.pairs else {
      expected("a mapping", for: what, found: resolved)
      return []
    }
    return pairs
  }

  /// `name: null` takes away what a kind has there.
  func isRemoval(_ pair: Node.Pair) -> Bool { isTemplate && pair.value.isNull }

  /// Decodes what cannot hold a reference, since nothing is known yet that it could refer to.
  mutating func literally<Value>(_ decode: (inout Decoder) -> Value) -> Value {
    var decoder = Decoder(.document)
    let value = decode(&decoder)
    diagnostics += decoder.diagnostics
    return value
  }

  mutating func elements(_ node: Node?, _ what: Subject) -> [Node]? {
    guard let node, let resolved = resolve(node) else { return nil }
    guard let elements = resolved.elements else {
      expected("a list", for: what, found: resolved)
      return nil
    }
    return elements
  }

  mutating func list<Value>(
    _ node: Node?, _ what: Subject, of decode: (inout Decoder, Node, Subject) -> Value?
  ) -> [Value] {
    guard let elements = elements(node, what) else { return [] }
    return elements.compactMap { decode(&self, $0, what.element) }
  }

  // MARK: Scalars

  mutating func expected(_ type: String, for what: Subject, found node: Node) {
    let hint: String? =
      switch (type, node.content) {
      case ("a string", .scalar(let scalar)) where scalar.type != .null: "put it in quotes"
      case ("a list", .scalar(let scalar)) where scalar.type != .null: "a list is written `[a, b]`"
      default: nil
      }
    error("\(what) must be \(type), not \(node.typeDescription)", at: node, hint: hint)
  }

  mutating func string(_ node: Node?, _ what: Subject) -> Located<String>? {
    guard let node, let resolved = resolve(node) else { return nil }
    guard let text = resolved.string else {
      expected("a string", for: what, found: resolved)
      return nil
    }
    return Located(text, at: resolved.place)
  }

  /// A string that `isValid` accepts; otherwise "`what` must be `rule`".
  mutating func string(
    _ node: Node?, _ what: Subject, _ rule: String, hint: String? = nil, where isValid: (String) -> Bool
  ) -> Located<String>? {
    guard let text = string(node, what) else { return nil }
    guard isValid(text.value) else {
      report(
        .error(
          "\(what) must be \(rule), not `\(Diagnostic.shortened(text.value))`", at: text.span,
          hints: hint.map { [$0] } ?? []))
      return nil
    }
    return text
  }

  /// Any scalar but null, as it was written: `8080` and `1.10` are taken by their text.
  mutating func text(_ node: Node?, _ what: Subject) -> Located<String>? {
    guard let node, let resolved = resolve(node) else { return nil }
    guard let scalar = resolved.scalar, scalar.type != .null else {
      expected("a string", for: what, found: resolved)
      return nil
    }
    return Located(scalar.text, at: resolved.place)
  }

  /// The same, where references to what only the planner knows may remain.
  mutating func template(_ node: Node?, _ what: Subject) -> Located<TextTemplate>? {
    guard let node else { return nil }
    if needsExpansion(node), let text = node.scalar?.text {
      switch expand(text, of: node) {
      case nil: return nil
      case .template(let template)?: return Located(template, at: node.place)
      case .node(let resolved)?:
        guard let scalar = resolved.scalar, scalar.type != .null else {
          expected("a string", for: what, found: resolved)
          return nil
        }
        return Located(TextTemplate(scalar.text), at: resolved.place)
      }
    }
    guard let text = text(node, what) else { return nil }
    return Located(TextTemplate(text.value), at: text.place)
  }

  mutating func boolean(_ node: Node?, _ what: Subject) -> Bool? {
    guard let node, let resolved = resolve(node) else { return nil }
    guard let value = resolved.scalar?.boolean else {
      let isOldStyle = ["yes", "no", "on", "off"].contains(resolved.string?.lowercased())
      error(
        "\(what) must be `true` or `false`, not \(resolved.typeDescription)", at: resolved,
        hint: isOldStyle ? "in YAML 1.2 `\(resolved.string ?? "")` is a string" : nil)
      return nil
    }
    return value
  }

  mutating func integer(_ node: Node?, _ what: Subject, in range: ClosedRange<Int>) -> Int? {
    guard let node, let resolved = resolve(node) else { return nil }
    guard let value = resolved.scalar?.integer, range.contains(value) else {
      let isNumber = resolved.scalar?.number != nil
      let found = isNumber ? "`\(Diagnostic.shortened(resolved.scalar?.text ?? ""))`" : resolved.typeDescription
      error("\(what) must be an integer from \(range.lowerBound) to \(range.upperBound), not \(found)", at: resolved)
      return nil
    }
    return value
  }

  mutating func choice<Value: RawRepresentable & CaseIterable>(
    _ node: Node?, _ what: Subject, _: Value.Type = Value.self
  ) -> Located<Value>? where Value.RawValue == String {
    guard let text = string(node, "`\(what)`") else { return nil }
    if let value = Value(rawValue: text.value) { return Located(value, at: text.place) }
    let names = Value.allCases.map(\.rawValue)
    let hint =
      didYouMean(text.value, among: names).map { "did you mean `\($0)`?" }
      ?? "it is one of \(names.map { "`\($0)`" }.joined(separator: ", "))"
    report(.error("unknown \(what) `\(Diagnostic.shortened(text.value))`", at: text.span, hints: [hint]))
    return nil
  }
}

/// What a message calls the value that is wrong; put together only when there is a message.
struct Subject: ExpressibleByStringInterpolation, CustomStringConvertible {
  private let name: String
  private let isElement: Bool

  init(stringLiteral name: String) { self.init(name, isElement: false) }

  private init(_ name: String, isElement: Bool) {
    self.name = name
    self.isElement = isElement
  }

  /// Each element of the list that this names.
  var element: Subject { Subject(name, isElement: true) }
  var description: String { isElement ? "an element of \(name)" : name }
}

/// A mapping whose keys are known.
struct Fields {
  let node: Node
  let pairs: [Node.Pair]
  let ignoresNull: Bool

  subscript(name: String) -> Node? {
    guard let index = pairs.index(ofKey: name) else { return nil }
    let value = pairs[index].value
    return ignoresNull && value.isNull ? nil : value
  }

  /// The value of `name` and that of `+name`.
  func all(_ name: String) -> [Node] {
    let value = self[name]
    guard ignoresNull else { return value.map { [$0] } ?? [] }
    return [value, self["+" + name]].compactMap { $0 }
  }
}
