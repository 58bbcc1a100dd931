import Diagnostics
import Digests
import Files
import Graph
import Manifests

/// Turns one declaration into a target: labels to targets, globs to files, images to the targets that stand for them.
struct TargetResolver {
  let package: WorkspacePath
  let loaded: [WorkspacePath: LoadedPackage]
  let settings: WorkspaceSettings
  let declaration: TargetDeclaration
  var diagnostics: DiagnosticList
  private(set) var edges: [GraphEdge] = []
  /// Images of registries that are named in place of a target, each pinned by its digest.
  private(set) var pulls: [Label: Located<String>] = [:]

  init(
    package: WorkspacePath, loaded: [WorkspacePath: LoadedPackage], settings: WorkspaceSettings,
    declaration: TargetDeclaration, diagnostics: DiagnosticList
  ) {
    self.package = package
    self.loaded = loaded
    self.settings = settings
    self.declaration = declaration
    self.diagnostics = diagnostics
  }

  mutating func resolve() -> Target {
    let label = Label(package: package, name: declaration.name.value)
    var target = Target(label: label, kind: loaded[package]?.declaration.kind, declaration: declaration)
    for input in declaration.sources {
      switch input.source.value {
      case .glob(let text):
        target.sources += match(text, input).map { package.appending($0) }
      case .label:
        if let part = reference(input.source.label, role: .input, optional: input.isOptional) {
          target.parts.append(part.label)
        }
      case .bundled: break
      }
    }
    target.sources = Array(Set(target.sources)).sorted()
    target.inputs = declaration.inputs.compactMap { resolve($0) }
    if declaration.rule == .pull {
      checkPinned(declaration.image)
      return target
    }
    target.image =
      image(declaration.image, role: declaration.rule == .publish ? .publish : .image)
      ?? image(declaration.base, role: .base)
    target.layers = declaration.layers.compactMap { layer in
      reference(layer.from, role: .layer).map { ResolvedLayer(from: $0, to: layer.to.value, place: layer.from.place) }
    }
    if let plan = declaration.plan { target.plan = reference(plan, role: .plan) }
    target.tests = declaration.tests.compactMap { reference($0.label, role: .test, optional: $0.isOptional)?.label }
    target.needs = declaration.needs.compactMap { reference($0, role: .needs)?.label }
    if let when = declaration.when {
      switch when.value {
      case .affected(let text):
        target.when = reference(Located(text, at: when.place), role: .when).map { .affected($0.label) }
      case .failed(let text):
        target.when = reference(Located(text, at: when.place), role: .when).map { .failed($0.label) }
      }
    }
    return target
  }

  private mutating func resolve(_ input: Input) -> ResolvedInput? {
    let place = input.source.place
    let folder = input.destination?.value
    switch input.source.value {
    case .glob(let text):
      let matched = match(text, input)
      guard !matched.isEmpty else { return nil }
      // Under a folder of its own a glob keeps only what its wildcards matched; a plain file keeps its name.
      let cut = folder == nil ? 0 : Self.fixedPrefix(of: text).utf8.count
      let files = matched.map { path in
        (path: package.appending(path), below: String(decoding: path.utf8.dropFirst(cut), as: UTF8.self))
      }
      return ResolvedInput(
        folder: folder ?? Self.sourceRoot(package), source: .files(files), place: place)
    case .label:
      guard let found = reference(input.source.label, role: .input, optional: input.isOptional) else { return nil }
      return ResolvedInput(folder: folder, source: .target(found), place: place)
    case .bundled(let path):
      return ResolvedInput(folder: folder, source: .bundled(path), place: place)
    }
  }

  /// `unit_tests/` of `unit_tests/**`, the folder of a plain file.
  private static func fixedPrefix(of glob: String) -> String {
    var prefix = ""
    for component in glob.split(separator: "/").dropLast() {
      if component.contains(where: { "*?[".contains($0) }) { break }
      prefix += component + "/"
    }
    return prefix
  }

  /// Where a package's files are seen in a sandbox.
  static func sourceRoot(_ package: WorkspacePath) -> String { package.isRoot ? "/src" : "/src/\(package)" }

  private mutating func match(_ text: String, _ input: Input) -> [String] {
    let files = loaded[package]?.files ?? []
    let matched: [String]
    if text.contains(where: { "*?[".contains($0) }) {
      guard let glob = try? Glob(text) else { return [] }
      matched = files.filter { glob.matches($0) }
    } else {
      matched = files.contains(text) ? [text] : []
    }
    if matched.isEmpty, !input.isOptional {
      let near = didYouMean(text, among: files)
      diagnostics.diagnostics.append(
        .error(
          "`\(text)` matches no source file of //\(package)", at: input.source.span,
          hints: near.map { ["did you mean `\($0)`?"] }
            ?? ["ignored files are no sources; write `\(text)?` if it may be missing"]))
    }
    return matched
  }

  private mutating func image(_ text: Located<String>?, role: DependencyRole) -> TargetOutput? {
    guard let text else { return nil }
    if text.value.isLabelText { return reference(text, role: role) }
    if let label = settings.replacement(forImage: text.value) {
      return reference(Located(label.value, at: text.place), role: role)
    }
    guard let reference = ImageReference(text.value), let label = reference.pullLabel else {
      reportUnpinned(text)
      return nil
    }
    pulls[label] = text
    edges.append(GraphEdge(target: label, role: role, span: text.span))
    return TargetOutput(label)
  }

  private mutating func checkPinned(_ text: Located<String>?) {
    if let text, ImageReference(text.value)?.pullLabel == nil { reportUnpinned(text) }
  }

  private mutating func reportUnpinned(_ text: Located<String>) {
    let repository = ImageReference(text.value)?.repository ?? text.value
    diagnostics.diagnostics.append(
      .error(
        "image `\(text.value)` is not pinned by a digest", at: text.span,
        hints: [
          "write the digest that its tag has now: slipway update-images //\(package)",
          "or name a target for it in slipway.yaml: images: {\(repository): //path/to:image}",
        ]))
  }

  /// The target that a label means; an edge to it is noted, also when it is unknown, so that the graph can say so.
  private mutating func reference(_ text: Located<String>, role: DependencyRole, optional: Bool = false)
    -> TargetOutput?
  {
    let parsed: LabelReference
    do {
      parsed = try LabelReference.parse(text.value, relativeTo: package)
    } catch {
      diagnostics.diagnostics.append(.error(error.message, at: text.span))
      return nil
    }
    let owner = loaded[parsed.package]?.declaration
    guard let name = parsed.name ?? owner?.defaultTarget ?? parsed.package.nameOrNil else { return nil }
    let label = Label(package: parsed.package, name: name)
    let found = owner?.target(name)
    if found == nil, optional { return nil }
    edges.append(GraphEdge(target: label, role: role, output: parsed.output, span: text.span))
    if let output = parsed.output, let found, !found.outputs.contains(where: { $0.name.value == output }) {
      let names = found.outputs.map(\.name.value)
      diagnostics.diagnostics.append(
        .error(
          "`\(label)` has no output `\(output)`", at: text.span,
          hints: didYouMean(output, among: names).map { ["did you mean `\(label)#\($0)`?"] } ?? []))
      return nil
    }
    return TargetOutput(label, output: parsed.output)
  }
}

extension WorkspacePath {
  fileprivate var nameOrNil: String? { isRoot ? nil : name }
}

extension Located<Input.Source> {
  /// The label's text; only of a `.label`.
  fileprivate var label: Located<String> {
    if case .label(let text) = value { return Located<String>(text, at: place) }
    return Located<String>("", at: place)
  }
}

extension Target {
  func graphNode(edges: [GraphEdge]) -> GraphNode {
    var attributes: [(name: String, value: String)] = [("name", label.name), ("rule", rule.rawValue)]
    if let kind { attributes.append(("kind", kind)) }
    if let network = declaration.network?.value { attributes.append(("network", network.rawValue)) }
    if let freshness = declaration.freshness { attributes.append(("freshness", String(freshness.value))) }
    if declaration.isFlaky { attributes.append(("flaky", "true")) }
    if let cwd = declaration.cwd { attributes.append(("cwd", cwd.value)) }
    for output in declaration.outputs { attributes.append(("output.\(output.name.value)", output.path.value)) }
    for variable in declaration.env {
      attributes.append(("env.\(variable.name.value)", variable.value.value.literal ?? ""))
    }
    for variable in declaration.config.labels {
      attributes.append(("label.\(variable.name.value)", variable.value.value))
    }
    let files = inputs.flatMap { input in
      if case .files(let files) = input.source { return files.map(\.path) }
      return []
    }
    return GraphNode(
      label: label, rule: rule.rawValue, kind: kind, span: declaration.place.span, dependencies: edges,
      attributes: attributes, sources: Array(Set(sources + files)).sorted())
  }
}

extension ImageReference {
  /// The label of the target that pulls the image: its repository as a package, `TAG@DIGEST` as a name, which no target
  /// that a manifest declares can have. `nil` without a digest.
  package var pullLabel: Label? {
    guard let digest, Digest(oci: digest) != nil else { return nil }
    return Label(
      package: WorkspacePath(unchecked: "@" + repository), name: tag.map { $0 + "@" + digest } ?? digest)
  }
}
