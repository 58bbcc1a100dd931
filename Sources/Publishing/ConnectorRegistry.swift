import Diagnostics
import Manifests
import OCI

/// What the registry documents are made from: one connector as it is published.
package struct PublishedConnector: Sendable {
  /// A version of it.
  package struct Version: Sendable {
    /// The metadata's `data`.
    package var data: JSON
    /// The specification, without the message around it.
    package var spec: JSON
    package var hasIcon = false
    /// Of the airbyte-cdk in the image: `7.39.1`.
    package var cdkVersion: String?

    package init(data: JSON, spec: JSON, hasIcon: Bool = false, cdkVersion: String? = nil) {
      self.data = data
      self.spec = spec
      self.hasIcon = hasIcon
      self.cdkVersion = cdkVersion
    }
  }

  package var repository: String
  package var latest: Version
  package var candidate: Version?

  package init(repository: String, latest: Version, candidate: Version? = nil) {
    self.repository = repository
    self.latest = latest
    self.candidate = candidate
  }
}

/// The lists of connectors that Airbyte's platform reads: `oss_registry.json` and `cloud_registry.json`.
///
/// An entry is the connector's metadata as `registryOverrides` changes it for that registry, with the specification of
/// the image that it then names. What an entry looks like was taken from Airbyte's ConnectorRegistryV0, and how one
/// is made from metadata from its metadata service; unlike there, nothing in it depends on the clock.
package struct ConnectorRegistry: Sendable {
  package enum Name: String, Sendable, CaseIterable {
    case oss, cloud

    package var path: String { "registries/v0/\(rawValue)_registry.json" }
  }

  /// An image by repository and tag.
  package struct ImageName: Hashable, Comparable, Sendable {
    package var repository: String
    package var tag: String

    package init(repository: String, tag: String) {
      self.repository = repository
      self.tag = tag
    }

    package static func < (a: ImageName, b: ImageName) -> Bool {
      let (x, y) = (a.repository + ":" + a.tag, b.repository + ":" + b.tag)
      return x.utf8.lexicographicallyPrecedes(y.utf8)
    }
  }

  package var connectors: [PublishedConnector]
  /// Specifications of images that overrides name.
  package var specs: [ImageName: JSON]
  /// Where readers find the metadata store, for the addresses of icons; without it entries have none.
  package var publicURL: String?

  package init(_ connectors: [PublishedConnector], specs: [ImageName: JSON] = [:], publicURL: String? = nil) {
    self.connectors = connectors.sorted { $0.repository.utf8.lexicographicallyPrecedes($1.repository.utf8) }
    self.specs = specs
    self.publicURL = publicURL
  }

  /// The images that overrides put in place of a connector's own, sorted: `specs` needs their specifications.
  package static func overriddenImages(_ connectors: [PublishedConnector]) -> [ImageName] {
    var names: Set<ImageName> = []
    for connector in connectors {
      for name in Name.allCases {
        guard let merged = overridden(connector.latest.data, name, keepingTag: false),
          let image = image(merged), image != Self.image(connector.latest.data.object ?? [:])
        else { continue }
        names.insert(image)
      }
    }
    return names.sorted()
  }

  /// One registry's document, and what could not be part of it, a warning each.
  ///
  /// Entries are in byte order of the connectors' own repositories.
  package func document(_ name: Name) -> (bytes: [UInt8], problems: [Diagnostic]) {
    var (sources, destinations): ([JSON], [JSON]) = ([], [])
    var problems: [Diagnostic] = []
    var owners: [String: String] = [:]
    for connector in connectors {
      do {
        guard var entry = try entry(connector, connector.latest, name, isCandidate: false) else { continue }
        // Readers take the identifier for the connector: of two entries one would hide the other.
        let id = (entry["sourceDefinitionId"] ?? entry["destinationDefinitionId"])?.string?.lowercased() ?? ""
        if let owner = owners.updateValue(connector.repository, forKey: id) {
          owners[id] = owner
          throw Diagnostic.warning(
            "\(connector.repository) is not in \(name.path): its `definitionId` is that of \(owner)",
            hints: ["enable only one of them there (`registryOverrides`)"])
        }
        do {
          try addCandidate(of: connector, name, to: &entry)
        } catch let problem as Diagnostic {
          problems.append(problem)
        }
        if entry["sourceDefinitionId"] != nil {
          sources.append(.object(entry))
        } else {
          destinations.append(.object(entry))
        }
      } catch let problem as Diagnostic {
        problems.append(problem)
      } catch {
        problems.append(.warning("\(connector.repository) cannot be listed: \(error)"))
      }
    }
    let document = JSON.object(["sources": .array(sources), "destinations": .array(destinations)])
    return (document.encoded + [10], problems)
  }

  // MARK: Entries

  /// The metadata with a registry's overrides; `nil` where it is not enabled there.
  private static func overridden(_ data: JSON, _ name: Name, keepingTag: Bool) -> [String: JSON]? {
    guard var merged = data.withoutNulls.object, let overrides = data["registryOverrides"]?[name.rawValue]?.object,
      overrides["enabled"] == .bool(true)
    else { return nil }
    for (key, value) in overrides where key != "enabled" && value != .null {
      if keepingTag && key == "dockerImageTag" { continue }
      merged[key] = value.withoutNulls
    }
    return merged
  }

  private static func image(_ data: [String: JSON]) -> ImageName? {
    guard let repository = data["dockerRepository"]?.string, let tag = data["dockerImageTag"]?.string else {
      return nil
    }
    return ImageName(repository: repository, tag: tag)
  }

  private func entry(
    _ connector: PublishedConnector, _ version: PublishedConnector.Version, _ name: Name, isCandidate: Bool
  ) throws -> [String: JSON]? {
    let data = version.data
    // A candidate is what is being tried: a pinned release must not hide it.
    guard var entry = Self.overridden(data, name, keepingTag: isCandidate) else { return nil }
    func missing(_ field: String) -> Diagnostic {
      .warning("\(connector.repository) is not in \(name.path): its published metadata has no `\(field)`")
    }
    for field in ["name", "documentationUrl"] where entry[field]?.string == nil { throw missing(field) }
    guard let image = Self.image(entry) else { throw missing("dockerRepository` or `dockerImageTag") }
    guard let id = entry["definitionId"]?.string else { throw missing("definitionId") }
    switch entry["connectorType"]?.string {
    case "source"?: entry["sourceDefinitionId"] = .string(id)
    case "destination"?: entry["destinationDefinitionId"] = .string(id)
    default: throw missing("connectorType")
    }
    if let subtype = entry["connectorSubtype"] { entry["sourceType"] = subtype }
    for field in ["definitionId", "connectorType", "connectorSubtype", "registryOverrides"] { entry[field] = nil }
    entry["spec"] = try spec(of: image, version, connector, name)
    entry["tombstone"] = .bool(false)
    entry["custom"] = .bool(false)
    if case .bool? = entry["public"] {} else { entry["public"] = .bool(true) }
    if entry["supportLevel"]?.string == nil { entry["supportLevel"] = .string("community") }
    entry["ab_internal"] = .object(
      ["sl": .number(100), "ql": .number(100)].merging(entry["ab_internal"]?.object ?? [:]) { $1 })
    if entry["language"]?.string == nil { entry["language"] = Self.language(entry["tags"]).map { .string($0) } }
    let folder =
      "metadata/\(connector.repository)/\((isCandidate ? MetadataChannel.releaseCandidate : .latest).rawValue)"
    entry["iconUrl"] = publicURL.flatMap {
      version.hasIcon ? .string("\($0)/\(folder)/\(MetadataFiles.iconName)") : nil
    }
    entry["generated"] = .object(
      (entry["generated"]?.object ?? [:]).merging([
        "source_file_info": .object(["metadata_file_path": .string("\(folder)/\(MetadataFiles.metadataName)")])
      ]) { $1 })
    var package = entry["packageInfo"]?.object ?? [:]
    if let version = version.cdkVersion { package["cdk_version"] = .string("python:" + version) }
    entry["packageInfo"] = .object(package)
    entry["releases"] = Self.releases(entry)
    return entry
  }

  private func spec(
    of image: ImageName, _ version: PublishedConnector.Version, _ connector: PublishedConnector, _ name: Name
  ) throws -> JSON {
    if image == Self.image(version.data.object ?? [:]) { return version.spec }
    if let spec = specs[image] { return spec }
    throw Diagnostic.warning(
      "\(connector.repository) is not in \(name.path): its entry there names \(image.repository):\(image.tag), which "
        + "is not published", hints: ["publish \(image.repository) first"])
  }

  private static func language(_ tags: JSON?) -> String? {
    let tag = tags?.array?.lazy.compactMap(\.string).first { $0.hasPrefix("language:") }
    return tag.map { String($0.dropFirst("language:".count)) }
  }

  // MARK: Releases

  /// Breaking changes with the addresses of their guides, and how a release is rolled out; `nil` for neither.
  private static func releases(_ entry: [String: JSON]) -> JSON? {
    guard let releases = entry["releases"]?.object else { return nil }
    var kept: [String: JSON] = [:]
    let guide = (entry["documentationUrl"]?.string ?? "") + "-migrations"
    if let changes = releases["breakingChanges"]?.object, !changes.isEmpty {
      kept["migrationDocumentationUrl"] = .string(releases["migrationDocumentationUrl"]?.string ?? guide)
      // Each value is changed by itself, so their order does not matter.
      var completed: [String: JSON] = [:]
      for (version, change) in changes {
        guard var members = change.object else { continue }
        if members["migrationDocumentationUrl"]?.string == nil {
          members["migrationDocumentationUrl"] = .string("\(guide)#\(version)")
        }
        completed[version] = .object(members)
      }
      kept["breakingChanges"] = .object(completed)
    }
    if let rollout = releases["rolloutConfiguration"]?.object, !rollout.isEmpty {
      kept["rolloutConfiguration"] = .object(rollout)
    }
    return kept.isEmpty ? nil : .object(kept)
  }

  /// A candidate is listed below the release that it may replace, if it is to be rolled out progressively and is newer.
  private func addCandidate(of connector: PublishedConnector, _ name: Name, to entry: inout [String: JSON]) throws {
    guard let candidate = connector.candidate,
      candidate.data["releases"]?["rolloutConfiguration"]?["enableProgressiveRollout"] == .bool(true),
      let version = candidate.data["dockerImageTag"]?.string, let parsed = SemanticVersion(version),
      let released = entry["dockerImageTag"]?.string.flatMap(SemanticVersion.init), released < parsed,
      let inner = try self.entry(connector, candidate, name, isCandidate: true)
    else { return }
    var releases = entry["releases"]?.object ?? [:]
    releases["releaseCandidates"] = .object([version: .object(inner)])
    entry["releases"] = .object(releases)
  }
}

extension JSON {
  /// Without the members that are null, as Airbyte's registry leaves out what has no value.
  fileprivate var withoutNulls: JSON {
    switch self {
    case .object(let members): .object(members.filter { $0.value != .null }.mapValues(\.withoutNulls))
    case .array(let values): .array(values.map(\.withoutNulls))
    default: self
    }
  }
}
