import Diagnostics
import Files
import Graph
import Manifests

/// Which bases of the workspace stand in for another version than the connectors on them name.
///
/// A base says what it stands in for by the label that Airbyte's own bases carry; one without it claims no version.
enum BaseVersions {
  static let label = "io.airbyte.version"

  /// One warning for each replaced repository, however many connectors name it.
  static func warnings(_ packages: [WorkspacePath: LoadedPackage], _ settings: WorkspaceSettings) -> [Diagnostic] {
    struct Replacement: Hashable {
      var repository: String
      var base: Label
    }
    var named: [Replacement: (version: String, connectors: Set<WorkspacePath>, versions: Set<String>)] = [:]
    for (path, package) in packages {
      for target in package.declaration.targets {
        guard let text = target.base?.value, let reference = ImageReference(text), let tag = reference.tag,
          let replacement = settings.replacement(forImage: text),
          let parsed = try? LabelReference.parse(replacement.value, relativeTo: .root),
          let owner = packages[parsed.package]?.declaration, let name = parsed.name ?? owner.defaultTarget,
          let version = owner.target(name)?.config.labels.first(where: { $0.name.value == label })?.value.value,
          version != tag
        else { continue }
        let key = Replacement(
          repository: reference.repository, base: Label(package: parsed.package, name: name))
        named[key, default: (version, [], [])].connectors.insert(path)
        named[key]?.versions.insert(tag)
      }
    }
    return named.sorted { ($0.key.repository, $0.key.base) < ($1.key.repository, $1.key.base) }.map { key, found in
      let all = found.versions.sorted()
      let shown = all.prefix(3).joined(separator: ", ") + (all.count > 3 ? " and \(all.count - 3) more" : "")
      let connectors = found.connectors.sorted()
      let who = connectors.count == 1 ? "//\(connectors[0]) names" : "\(connectors.count) connectors name"
      return .warning(
        "\(who) `\(key.repository)` \(shown), and \(key.base) stands in for \(found.version)",
        hints: ["what a base stands in for is its label `\(label)`"])
    }
  }
}
