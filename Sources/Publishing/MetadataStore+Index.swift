import Diagnostics
import Digests
import Manifests
import OCI

/// What a metadata store holds, in one document that its writers keep: `metadata/index.json`.
///
/// It answers "is anything to do?" for hundreds of connectors in one request, and stands in for the listing that HTTP
/// does not have. It is derived: what it says wrongly or not at all, the next publish of that connector, or a repair,
/// puts right.
package struct MetadataIndex: Hashable, Sendable {
  /// The version that a channel's folder holds.
  package struct Entry: Hashable, Sendable {
    package var version: String
    /// Names all bytes of the folder (`MetadataFiles.digest`).
    package var files: Digest
    /// The names of its files beyond metadata and specification, sorted.
    package var extras: [String]

    package init(version: String, files: MetadataFiles) {
      self.init(version: version, digest: files.digest, extras: files.extras)
    }

    init(version: String, digest: Digest, extras: [String]) {
      self.version = version
      files = digest
      self.extras = extras
    }
  }

  package struct Connector: Hashable, Sendable {
    package var entries: [MetadataChannel: Entry] = [:]
    package init() {}
  }

  /// By repository.
  package var connectors: [String: Connector] = [:]
  /// What the registry documents were last made from; `nil` when they must be made.
  package var registryInputs: Digest?

  package init() {}

  static let path = "metadata/index.json"
  private static let limit = 64 << 20

  /// The store's index, empty where there is none.
  ///
  /// - Throws: A diagnostic when the document is not an index, and what the store throws.
  package static func read(from store: any MetadataStore) async throws -> MetadataIndex {
    guard let bytes = try await store.read(try MetadataPath(path), limit: limit) else { return MetadataIndex() }
    guard let index = MetadataIndex(decoding: bytes) else {
      throw Diagnostic.error(
        "`\(store.url)/\(path)` is not an index of metadata", cause: .environment,
        hints: ["run `slipway publish --repair`"])
    }
    return index
  }

  package init?(decoding bytes: [UInt8]) {
    guard let json = JSON(decoding: bytes), json["version"]?.int == 1, let list = json["connectors"]?.object else {
      return nil
    }
    for (repository, value) in list {
      guard let members = value.object, (try? MetadataPath("metadata/\(repository)")) != nil else { return nil }
      var connector = Connector()
      for channel in MetadataChannel.allCases {
        guard let entry = members[channel.rawValue] else { continue }
        guard let version = entry["version"]?.string, SemanticVersion(version) != nil,
          let files = Digest(oci: entry["files"]?.string ?? ""),
          let extras = entry["extras"]?.strings
        else { return nil }
        connector.entries[channel] = Entry(version: version, digest: files, extras: extras)
      }
      connectors[repository] = connector
    }
    registryInputs = json["registryInputs"]?.string.flatMap { Digest(oci: $0) }
  }

  package var encoded: [UInt8] {
    var list: [String: JSON] = [:]
    // No name is there twice, and the encoding sorts.
    for (repository, connector) in connectors where !connector.entries.isEmpty {
      var members: [String: JSON] = [:]
      for (channel, entry) in connector.entries {
        members[channel.rawValue] = .object([
          "version": .string(entry.version), "files": .string(entry.files.oci), "extras": .strings(entry.extras),
        ])
      }
      list[repository] = .object(members)
    }
    var document: [String: JSON] = ["version": .number(1), "connectors": .object(list)]
    document["registryInputs"] = registryInputs.map { .string($0.oci) }
    return JSON.object(document).encoded
  }

  /// Names everything that the registry documents are made from.
  ///
  /// - Parameter publicURL: Where readers find the store; it is part of the documents.
  package func inputs(publicURL: String?) -> Digest {
    var copy = self
    copy.registryInputs = nil
    return Digest(of: "registries/1 \(publicURL ?? "")\n" + String(decoding: copy.encoded, as: UTF8.self))
  }

  /// The repositories, in byte order.
  package var repositories: [String] {
    connectors.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  // MARK: Changing

  /// What writers want to change.
  package struct Change: Hashable, Sendable {
    package var repository: String
    package var channel: MetadataChannel
    /// `nil` takes the entry away.
    package var entry: Entry?

    package init(repository: String, channel: MetadataChannel, entry: Entry?) {
      self.repository = repository
      self.channel = channel
      self.entry = entry
    }
  }

  package mutating func apply(_ changes: [Change]) {
    for change in changes {
      connectors[change.repository, default: Connector()].entries[change.channel] = change.entry
      if connectors[change.repository]?.entries.isEmpty == true { connectors[change.repository] = nil }
    }
  }

  /// Merges changes into the store's index, as it is now.
  ///
  /// Nothing locks a store, so another writer may put an older document in place of this one; what was written is
  /// therefore read back, and merged again where it is gone. What is lost even so comes back with the next publish.
  @discardableResult
  package static func update(_ store: any MetadataStore, _ changes: [Change]) async throws -> MetadataIndex {
    var index = MetadataIndex()
    for _ in 0..<4 {
      index = try await read(from: store)
      let before = index
      index.apply(changes)
      if index == before { return index }
      try await store.write(index.encoded, to: try MetadataPath(path), contentType: "application/json")
    }
    return index
  }

  /// The index that the store's folders give, whatever its document says.
  ///
  /// - Parameter repositories: Looked for beside those that the store can tell.
  /// - Returns: Also what could not be taken in, a warning each.
  package static func rebuild(from store: any MetadataStore, repositories: [String]) async throws
    -> (index: MetadataIndex, problems: [Diagnostic])
  {
    var all = Set(repositories)
    if let paths = try await store.list(below: try MetadataPath("metadata")) {
      for path in paths {
        let names = path.names
        guard names.count > 3, names.last == MetadataFiles.metadataName,
          MetadataChannel(rawValue: names[names.count - 2]) != nil
        else { continue }
        all.insert(names[1..<(names.count - 2)].joined(separator: "/"))
      }
    } else if let bytes = try await store.read(try MetadataPath(path), limit: limit) {
      // A document that is no index is what is repaired here; one that cannot be read now may name others' connectors.
      if let known = MetadataIndex(decoding: bytes) { all.formUnion(known.repositories) }
    }
    var index = MetadataIndex()
    var problems: [Diagnostic] = []
    let upload = MetadataUpload(to: store)
    for repository in all.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
      for channel in MetadataChannel.allCases {
        guard let files = try await upload.files(of: repository, channel.rawValue) else { continue }
        let bytes = files.contents[MetadataFiles.metadataName] ?? []
        guard let version = MetadataUpload.version(bytes), MetadataChannel(version: version) == channel,
          try await upload.files(of: repository, version) != nil
        else {
          problems.append(
            .warning(
              "`\(store.url)/metadata/\(repository)/\(channel.rawValue)` does not name a published version",
              hints: ["publish \(repository) again"]))
          continue
        }
        index.apply([Change(repository: repository, channel: channel, entry: Entry(version: version, files: files))])
      }
    }
    return (index, problems)
  }
}
