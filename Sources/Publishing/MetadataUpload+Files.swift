import Diagnostics
import Digests
import Manifests
import OCI

/// The files that a version of a connector has in a metadata store.
package struct MetadataFiles: Hashable, Sendable {
  package static let metadataName = "metadata.yaml"
  package static let specName = "spec.json"
  package static let iconName = "icon.svg"
  package static let documentationName = "doc.md"
  package static let dependenciesName = "dependencies.json"
  /// All names that a version's folder can hold, in the order in which they are written: whoever finds the metadata
  /// finds the rest.
  package static let names = [specName, iconName, documentationName, dependenciesName, metadataName]

  /// By name; only names of `names`.
  package private(set) var contents: [String: [UInt8]]

  /// - Parameters:
  ///   - document: The whole `metadata.yaml`; it is written by its values, not its text.
  ///   - spec: What the connector's `spec` command printed as its message, or the specification in it.
  ///   - dependencies: Names and versions of the Python packages in the image.
  /// - Throws: A diagnostic when the specification is not one.
  package init(
    document: Node, spec: [UInt8], icon: [UInt8]? = nil, documentation: [UInt8]? = nil,
    dependencies: [(name: String, version: String)] = []
  ) throws {
    contents = [Self.metadataName: document.canonicalYAML, Self.specName: try Self.specification(spec).encoded]
    contents[Self.iconName] = icon
    contents[Self.documentationName] = documentation
    guard !dependencies.isEmpty else { return }
    let sorted = dependencies.sorted {
      ($0.name == $1.name ? $0.version : $0.name).utf8.lexicographicallyPrecedes(
        ($0.name == $1.name ? $1.version : $1.name).utf8)
    }
    let list = sorted.map { JSON.object(["package_name": .string($0.name), "version": .string($0.version)]) }
    contents[Self.dependenciesName] = JSON.object(["dependencies": .array(list)]).encoded
  }

  init(contents: [String: [UInt8]]) { self.contents = contents.filter { Self.names.contains($0.key) } }

  /// Names all the bytes: two versions with this digest hold the same files.
  package var digest: Digest {
    let parts = Self.names.compactMap { name in contents[name].map { "\(name) \(Digest(of: $0).hex)\n" } }
    return Digest(of: parts.joined())
  }

  var extras: [String] {
    contents.keys.filter { $0 != Self.metadataName && $0 != Self.specName }.sorted()
  }

  static func contentType(_ name: String) -> String {
    switch name {
    case specName, dependenciesName: "application/json"
    case iconName: "image/svg+xml"
    case documentationName: "text/markdown; charset=utf-8"
    default: "application/yaml"
    }
  }

  /// The specification itself, out of the message that carries it (Airbyte protocol, `AirbyteMessage` of type `SPEC`).
  static func specification(_ bytes: [UInt8]) throws -> JSON {
    guard let json = JSON(decoding: bytes), json.object != nil else {
      throw Diagnostic.error("the connector's specification is not a JSON object", cause: .build)
    }
    let specification = json["type"]?.string == "SPEC" ? json["spec"] ?? .null : json
    guard specification["connectionSpecification"]?.object != nil else {
      throw Diagnostic.error(
        "the connector's specification has no `connectionSpecification`", cause: .build,
        hints: ["it is what the image prints when it is run with `spec`"])
    }
    return specification
  }
}

/// Where the newest version of one kind is found besides its own folder.
package enum MetadataChannel: String, Hashable, Sendable, CaseIterable {
  case latest
  case releaseCandidate = "release_candidate"

  /// What a version is the newest of; `nil` for previews such as `1.2.3-dev.abc`, which stay in their own folder.
  package init?(version: String) {
    guard let version = SemanticVersion(version) else { return nil }
    switch version.prerelease.first {
    case nil: self = .latest
    case "rc"?: self = .releaseCandidate
    case let first? where first.hasPrefix("rc") && first.dropFirst(2).allSatisfy(\.isNumber): self = .releaseCandidate
    default: return nil
    }
  }
}
