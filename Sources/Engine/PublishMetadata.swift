import Caching
import Diagnostics
import Digests
import Files
import Graph
import Manifests
import OCI
import Publishing
import Synchronization
import SystemPackage

/// The metadata store of one publish: a release's files go there after its tags, the lists of connectors come last.
final class PublishMetadata: Sendable {
  /// What a release's files are made from.
  struct Source: Sendable {
    var document: Node
    /// What the image printed when its `spec` test ran; `nil` to take it from the store.
    var spec: [UInt8]?
    var icon: [UInt8]?
    var documentation: [UInt8]?

    /// Names everything but the specification, which belongs to the image.
    var digest: Digest {
      let parts = [Array(document.jsonText(sortedKeys: true).utf8), icon ?? [], documentation ?? []]
      return Digest(of: parts.map { Digest(of: $0).hex }.joined(separator: "\n"))
    }

    func files(spec: [UInt8]) throws -> MetadataFiles {
      try MetadataFiles(document: document, spec: spec, icon: icon, documentation: documentation)
    }
  }

  private let store: any MetadataStore
  private let journal: PublishJournal
  /// As it was when the publish began; `nil` in a repair, which compares everything.
  private let index: MetadataIndex?
  private let changes = Mutex<[MetadataIndex.Change]>([])

  init(_ store: any MetadataStore, _ journal: PublishJournal, isRepair: Bool) async throws {
    self.store = store
    self.journal = journal
    index = isRepair ? nil : try await MetadataIndex.read(from: store)
  }

  /// Finds out, before anything is pushed, whether the store takes files: a full or read-only one would only be noticed
  /// after the tags.
  func requireWritable() async throws {
    let path = try MetadataPath("registries/probe")
    do {
      try await store.write(Array(repeating: 0, count: 64 << 10), to: path, contentType: "application/octet-stream")
    } catch var problem as Diagnostic {
      problem.notes.append(Diagnostic.Note("nothing was pushed: what is published must appear in the metadata store"))
      throw problem
    }
    // Where nobody may delete, it is overwritten the next time.
    try? await store.remove(path)
  }

  /// Waits until no other publish tags or describes a repository, where the store can tell.
  func lock(_ release: Release) async throws -> PublishLock? { try await store.lock(release.repository) }

  /// Brings the files of a published release up to date; the paths that were written.
  func bring(_ source: Source, of release: Release, manifest: Digest, _ publisher: Publisher) async throws -> [String] {
    let mark = "\(store.url) \(source.digest.hex)"
    let known = index?.connectors[release.repository]
    if publisher.metadataMark(release, manifest: manifest) == mark,
      let entries = known?.entries.values, entries.contains(where: { $0.version == release.tag })
    {
      return []
    }
    let upload = MetadataUpload(to: store)
    var spec = source.spec
    if spec == nil { spec = try await upload.spec(of: release.repository, release.tag) }
    guard let spec else {
      throw Diagnostic.error(
        "cannot upload the metadata of \(release.reference): nothing tells its specification", cause: .build,
        hints: [
          index == nil
            ? "publish it without --repair, which lets the image tell it"
            : "the store names the version and has lost it: slipway publish --repair, and then publish again"
        ])
    }
    let outcome = try await upload.upload(
      try source.files(spec: spec), repository: release.repository, version: release.tag, known: known)
    if let entry = outcome.entry, let channel = outcome.channel {
      let change = MetadataIndex.Change(repository: release.repository, channel: channel, entry: entry)
      changes.withLock { $0.append(change) }
    }
    try publisher.noteMetadata(mark, release, manifest: manifest)
    return outcome.written
  }

  /// Brings index and lists of connectors up to date; what could not be listed.
  ///
  /// In a folder of this machine, after whoever else is at it: of two writers of one document the last one stays. A web
  /// server has no such lock; what is lost there is looked for and comes back.
  func finish(repairing repositories: [String]?) async throws -> [Diagnostic] {
    let lock = try await store.lock(nil)
    defer { withExtendedLifetime(lock) {} }
    let update = ConnectorRegistryUpdate(store, journal: journal)
    if let repositories { return try await update.repair(repositories: repositories).problems }
    let changes = changes.withLock { $0 }.sorted { $0.repository.utf8.lexicographicallyPrecedes($1.repository.utf8) }
    return try await update.update(changes).problems
  }

  func close() async { await store.close() }
}

extension Session {
  /// The metadata store that the options, the environment or `slipway.yaml` name.
  func metadataStore(_ options: PublishOptions) throws -> (any MetadataStore)? {
    let environment = RegistryAccess.environment()
    let named = options.metadataStore ?? environment["SLIPWAY_PUBLISH_METADATA"].flatMap { $0.isEmpty ? nil : $0 }
    guard let url = named ?? workspace.settings.publish.metadata?.value else { return nil }
    return try openMetadataStore(url, settings: registries.registrySettings(), environment: environment)
  }
}

extension PublishSelection {
  /// `nil` for a package without a `metadata.yaml`.
  func metadata(of subject: PublishSubject, _ session: Session) throws -> PublishMetadata.Source? {
    guard let package = plan.packages[subject.label.package], let document = package.declaration.metadata?.document,
      let release = subject.entry.release
    else { return nil }
    func file(_ path: WorkspacePath) throws -> [UInt8]? {
      try Disk.contents(of: session.workspace.root.appending(path.string).string, limit: 4 << 20)
    }
    var source = PublishMetadata.Source(document: document.withVersion(release.tag))
    if package.files.contains("icon.svg") { source.icon = try file(subject.label.package.appending("icon.svg")) }
    source.documentation = try subject.label.package.documentationPage.flatMap(file)
    return source
  }

  /// What the image of a subject printed when its `spec` test ran last; nil when that was another image.
  func specification(of subject: PublishSubject, printedBy images: [ImageArtifact], _ session: Session) throws
    -> [UInt8]?
  {
    let label = Label(package: subject.label.package, name: "spec")
    guard let entry = session.history.entry(of: label), let record = session.store.actions.any(entry.key),
      let log = record.log
    else { return nil }
    let layers = record.explanation.filter { $0.category == .image && $0.name.hasPrefix("layer ") }.map(\.value)
    guard images.contains(where: { $0.layers.map(\.diffID.hex) == layers }) else { return nil }
    let bytes = try session.store.read(log.digest, limit: 64 << 20)
    return bytes.split(separator: UInt8(ascii: "\n")).lazy.map { Array($0) }.first {
      JSON(decoding: $0)?["type"]?.string == "SPEC"
    }
  }
}

extension Node {
  /// A connector's metadata under another version, as a preview has one.
  fileprivate func withVersion(_ version: String) -> Node {
    guard let data = self["data"], data["dockerImageTag"]?.string != version else { return self }
    return replacing("data", by: data.replacing("dockerImageTag", by: Node(string: version, at: place)))
  }

  private func replacing(_ name: String, by value: Node) -> Node {
    let pairs = (pairs ?? []).map { pair in
      pair.name == name ? Pair(name: name, keyPlace: pair.keyPlace, value: value) : pair
    }
    return Node(.mapping(pairs), at: place)
  }
}
