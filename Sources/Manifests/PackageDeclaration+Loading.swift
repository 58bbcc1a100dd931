import Diagnostics
import Files

/// The values a package is loaded with, the same for all packages of a workspace.
package struct LoadingContext: Sendable {
  package var settings: WorkspaceSettings
  /// In order of precedence: the workspace's own, then those that ship with Slipway.
  package var kinds: [Kind]
  /// `linux/amd64`
  package var platform: String

  package init(settings: WorkspaceSettings, kinds: [Kind], platform: String) {
    self.settings = settings
    self.kinds = kinds
    self.platform = platform
  }
}

/// Decodes a package from its manifests and the list of its source files.
///
/// - `files` are relative to the package and sorted by their bytes; nested packages are not among them.
/// - Gives `nil` when a manifest cannot be used at all; with errors in single targets, the others are still returned.
package func loadPackage(
  path: WorkspacePath, metadata: SourceText?, targets: SourceText?, files: [String], context: LoadingContext,
  diagnostics: inout DiagnosticList
) -> PackageDeclaration? {
  // All mistakes of both files, before giving up on either.
  let connector = metadata.map { ConnectorMetadata.decode($0, diagnostics: &diagnostics) }
  let changes = targets.map { TargetsFile.decode($0, diagnostics: &diagnostics) }
  if case .some(.none) = connector { return nil }
  if case .some(.none) = changes { return nil }
  let loader = PackageLoader(
    path: path, connector: connector ?? nil, changes: changes ?? nil, files: files, context: context)
  return loader.load(&diagnostics)
}

private struct PackageLoader {
  let path: WorkspacePath
  let connector: ConnectorMetadata?
  let changes: TargetsFile?
  let files: [String]
  let context: LoadingContext

  func load(_ diagnostics: inout DiagnosticList) -> PackageDeclaration {
    let kind = connector.flatMap { connector in
      Kind.choose(from: context.kinds, files: files, tags: connector.tags.map(\.value))
    }
    var merging = Merging()
    let merged = merging.targets(kind?.targets ?? [], changes?.targets ?? [])
    diagnostics.diagnostics += merging.diagnostics

    let name = path.isRoot ? context.settings.name?.value ?? "" : path.name
    func scope(_ base: Scope.Base) -> Scope {
      Scope(data: connector?.data, name: name, package: path, platform: context.platform, base: base)
    }
    var base = Scope.Base.absent
    if let node = changes?.base ?? kind?.base {
      var decoder = Decoder(.resolved(scope(.absent)))
      let image = decoder.image(node, "`base`")
      base = image.map { .known(Node(string: $0.value, at: $0.place)) } ?? .broken
      diagnostics.diagnostics += decoder.diagnostics
    }

    var decoder = Decoder(.resolved(scope(base)))
    let targets = merged.compactMap { target($0, &decoder) }.sorted {
      $0.name.value.utf8.lexicographicallyPrecedes($1.name.value.utf8)
    }
    let defaultTarget = defaultTarget(kind, targets, merged, &decoder)
    diagnostics.diagnostics += decoder.diagnostics
    return PackageDeclaration(
      path: path, kind: kind?.name.value, metadata: connector, targets: targets, defaultTarget: defaultTarget)
  }

  private func target(_ pair: Node.Pair, _ decoder: inout Decoder) -> TargetDeclaration? {
    if let condition = pair.value["if"] {
      // What does not exist here has no mistakes either: its references may well be missing.
      let globs = decoder.list(condition, "`if`") { $0.glob($1, $2) }.compactMap { try? Glob($0.value) }
      guard globs.contains(where: { anyFile(files, matches: $0) }) else { return nil }
    }
    guard var target = decoder.target(name: Located(pair.name, at: pair.keyPlace), pair.value) else { return nil }
    if let defaults = context.settings.defaults[target.rule] { target.resources.fill(from: defaults) }
    return target
  }

  private func defaultTarget(
    _ kind: Kind?, _ targets: [TargetDeclaration], _ merged: [Node.Pair], _ decoder: inout Decoder
  ) -> String? {
    if let named = changes?.defaultTarget ?? kind?.defaultTarget {
      if targets.contains(where: { $0.name.value == named.value }) { return named.value }
      // A target left out by its `if` is no mistake; the package then has no default.
      if !merged.contains(where: { $0.name == named.value }) {
        let near = didYouMean(named.value, among: merged.map(\.name))
        decoder.report(
          .error(
            "`default` names no target of this package: `\(named.value)`", at: named.span,
            hints: near.map { ["did you mean `\($0)`?"] } ?? []))
      }
      return nil
    }
    if targets.contains(where: { $0.name.value == "image" }) { return "image" }
    return targets.count == 1 ? targets.first?.name.value : nil
  }
}

extension Resources {
  /// Takes what is not set here from `defaults`.
  package mutating func fill(from defaults: Resources) {
    timeout = timeout ?? defaults.timeout
    cpu = cpu ?? defaults.cpu
    memory = memory ?? defaults.memory
    processes = processes ?? defaults.processes
    scratch = scratch ?? defaults.scratch
    retries = retries ?? defaults.retries
  }
}
