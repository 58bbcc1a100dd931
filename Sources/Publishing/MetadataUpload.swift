import Diagnostics
import Digests
import Manifests
import OCI
import Synchronization

/// Brings the files of a version into a metadata store: its own folder first, then the folder of its channel.
///
/// Every step compares content before it writes, so a run after a kill, at whatever point, does just what is left. The
/// metadata is the last file of each folder: a reader who finds it finds all that it names, and takes the
/// specification from the version's own folder, which is whole before a channel moves to it.
package struct MetadataUpload: Sendable {
  private let store: any MetadataStore

  package init(to store: any MetadataStore) { self.store = store }

  /// What became of a version.
  package struct Outcome: Hashable, Sendable {
    /// In order; empty when everything was there.
    package var written: [String] = []
    package var removed: [String] = []
    /// What the index must say; `nil` for a preview, and where the channel has a newer version.
    package var entry: MetadataIndex.Entry?
    package var channel: MetadataChannel?
    /// The newer version that keeps the channel.
    package var newer: String?
  }

  /// - Parameters:
  ///   - known: What the index says of the repository; if it says that these very files are there, nothing is asked.
  ///     `nil` compares everything.
  package func upload(
    _ files: MetadataFiles, repository: String, version: String, known: MetadataIndex.Connector? = nil
  ) async throws -> Outcome {
    guard SemanticVersion(version) != nil else {
      throw Diagnostic.error("`\(Diagnostic.bounded(version))` is not a semantic version", cause: .input)
    }
    var outcome = Outcome()
    let channel = MetadataChannel(version: version)
    outcome.channel = channel
    let entry = MetadataIndex.Entry(version: version, files: files)
    if let channel, let known, known.entries[channel] == entry {
      outcome.entry = entry
      return outcome
    }
    try await bring(files, to: try Self.folder(repository, version), &outcome)
    guard let channel else { return outcome }
    if let newer = try await newer(than: version, in: channel, repository) {
      outcome.newer = newer
      return outcome
    }
    let folder = try Self.folder(repository, channel.rawValue)
    try await bring(files, to: folder, &outcome)
    for name in MetadataFiles.names where files.contents[name] == nil {
      let path = try MetadataPath("\(folder)/\(name)")
      guard try await store.read(path, limit: FileMetadataStore.limit) != nil else { continue }
      try await store.remove(path)
      outcome.removed.append(path.description)
    }
    outcome.entry = entry
    return outcome
  }

  /// Takes a channel away, its metadata first: a candidate that was rolled back, or has become a release.
  package func withdraw(_ channel: MetadataChannel, of repository: String) async throws {
    for name in MetadataFiles.names.reversed() {
      try await store.remove(try MetadataPath("metadata/\(repository)/\(channel.rawValue)/\(name)"))
    }
  }

  /// What a folder holds; `nil` without metadata.
  package func files(of repository: String, _ folder: String) async throws -> MetadataFiles? {
    let folder = try Self.folder(repository, folder)
    var contents: [String: [UInt8]] = [:]
    for name in MetadataFiles.names.reversed() {
      contents[name] = try await store.read(try MetadataPath("\(folder)/\(name)"), limit: FileMetadataStore.limit)
      if contents[MetadataFiles.metadataName] == nil { return nil }
    }
    return MetadataFiles(contents: contents)
  }

  /// The specification that a version's folder holds.
  package func spec(of repository: String, _ version: String) async throws -> [UInt8]? {
    let path = try MetadataPath("\(try Self.folder(repository, version))/\(MetadataFiles.specName)")
    return try await store.read(path, limit: FileMetadataStore.limit)
  }

  /// The repositories of those releases of which the store has no specification; what the index names is whole.
  package func lackingSpecification(_ releases: [Release]) async throws -> Set<String> {
    let index = try await MetadataIndex.read(from: store)
    let unnamed = releases.filter { release in
      index.connectors[release.repository]?.entries.values.contains { $0.version == release.tag } != true
    }
    let lacking = Mutex<Set<String>>([])
    try await concurrently(unnamed, limit: 8) { release in
      guard try await spec(of: release.repository, release.tag) == nil else { return }
      lacking.withLock { _ = $0.insert(release.repository) }
    }
    return lacking.withLock { $0 }
  }

  static func folder(_ repository: String, _ name: String) throws -> MetadataPath {
    try MetadataPath("metadata/\(repository)/\(name)")
  }

  private func bring(_ files: MetadataFiles, to folder: MetadataPath, _ outcome: inout Outcome) async throws {
    for name in MetadataFiles.names {
      guard let bytes = files.contents[name] else { continue }
      let path = try MetadataPath("\(folder)/\(name)")
      if try await store.writeIfChanged(bytes, to: path, contentType: MetadataFiles.contentType(name)) {
        outcome.written.append(path.description)
      }
    }
  }

  /// The version that a channel has, if it comes after this one.
  private func newer(than version: String, in channel: MetadataChannel, _ repository: String) async throws -> String? {
    let path = try MetadataPath("metadata/\(repository)/\(channel.rawValue)/\(MetadataFiles.metadataName)")
    guard let bytes = try await store.read(path, limit: FileMetadataStore.limit),
      let there = Self.version(bytes), let ours = SemanticVersion(version), let theirs = SemanticVersion(there),
      ours < theirs
    else { return nil }
    return there
  }

  /// The version that a metadata file names; `nil` where it is none that can be read.
  static func version(_ bytes: [UInt8]) -> String? {
    let document = try? YAMLParser.parse(SourceText(file: MetadataFiles.metadataName, bytes: bytes, role: .data))
    return document?["data"]?["dockerImageTag"]?.scalar?.text
  }
}
