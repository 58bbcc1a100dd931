import Caching
import Diagnostics
import Digests
import Distribution
import Manifests
import OCI

/// A release with the bytes that it consists of.
package struct PublishJob: Sendable {
  package var release: Release
  package var images: [BuiltImage]
  /// In the order of `images`.
  package var artifacts: [ImageArtifact]
  /// One for each platform, in the order of `images`.
  package var parts: [PushableImage]
  /// What the tags will name: the one manifest, or an index of all.
  package var top: RegistryDocument
  package var floating: [String] = []

  /// - Throws: A diagnostic when a blob of an image is not in the store.
  package init(_ release: Release, artifacts: [ImageArtifact], in store: Store) throws {
    self.release = release
    let sorted = artifacts.sorted { $0.platform.utf8.lexicographicallyPrecedes($1.platform.utf8) }
    self.artifacts = sorted
    parts = try sorted.map { try PushableImage(manifest: $0.manifest, in: store) }
    images = zip(sorted, parts).map { artifact, part in
      BuiltImage(platform: artifact.platform, config: artifact.config, manifest: part.manifest.descriptor)
    }
    guard let first = parts.first else {
      throw Diagnostic.error("\(release.label) has no image to publish", cause: .input)
    }
    top = first.manifest
    if parts.count > 1 {
      let index = try ImageBuilder(store).index(sorted)
      let bytes = try store.read(index.digest, limit: 4 << 20)
      top = RegistryDocument(
        descriptor: Descriptor(mediaType: MediaType.index, digest: index.digest, size: index.size), bytes: bytes,
        json: JSON(decoding: bytes) ?? .null)
    }
  }

  var key: PublishJournal.Key { PublishJournal.Key(release.reference, manifest: top.descriptor.digest) }
}

/// Pushes releases: blobs, manifests by digest, a look at what arrived, and only then tags.
///
/// Every step is noted in the journal once it is done, and every step finds out by itself what of it is left to do. So a
/// release that was interrupted anywhere is published by doing all steps again.
package struct Publisher: Sendable {
  private let client: RegistryClient
  private let journal: PublishJournal
  private let blobs: BlobLedger
  private let store: Store

  package init(_ client: RegistryClient, _ journal: PublishJournal, _ store: Store) {
    self.client = client
    self.journal = journal
    self.store = store
    blobs = BlobLedger(client, journal)
  }

  /// Brings a release that is absent to the registry, where nobody finds it yet.
  ///
  /// - Parameter describe: Attaches what is to be there before anybody can find the release by its tag.
  package func push(_ job: PublishJob, describe: @Sendable () async throws -> Void = {}) async throws {
    let release = job.release
    try journal.note(job.key, .begun)
    try await pushBlobs(job)
    try journal.note(job.key, .blobs)
    var documents = job.parts.map(\.manifest)
    if documents.count > 1 { documents.append(job.top) }
    for document in documents {
      try await client.pushManifest(
        document.bytes, mediaType: document.descriptor.mediaType, to: release.reference, byDigest: true)
    }
    try journal.note(job.key, .manifests)
    try await verify(job, documents)
    try journal.note(job.key, .verified)
    try await requireUntaken(job)
    try await describe()
    try journal.note(job.key, .described)
  }

  /// Lets tags name a release that was pushed; those that name it now.
  package func tag(_ job: PublishJob) async throws -> [String] {
    try await moveVersionTag(job)
    try journal.note(job.key, .tagged)
    return [job.release.tag] + (try await moveLatest(job.release, to: job.top) ? ["latest"] : [])
  }

  /// Looks, after all was done, whether the version's tag still names this image.
  ///
  /// The protocol has no "only if absent". Who tagged in the same instant and lost may have moved `latest` after the
  /// winner did, so `latest` follows the tag before the error is thrown.
  package func confirm(_ job: PublishJob) async throws {
    guard case .other(let winner) = try await versionTag(job) else { return }
    var named: Digest? = winner
    // Each round ends with a look at the tag, so whoever looks last leaves the two equal.
    for _ in 0..<4 {
      _ = try await restoreLatest(job.release)
      let now = try await client.resolve(job.release.reference, direct: true)?.digest
      if now == named { break }
      named = now
    }
    throw taken(job.release, by: winner)
  }

  /// Lets `latest` name a published version, if that is the newest stable one now; says whether it does.
  package func moveLatest(_ release: Release, to top: RegistryDocument) async throws -> Bool {
    guard release.channel == .stable else { return false }
    let latest = try release.reference.tagged("latest")
    let digest = top.descriptor.digest
    if try await client.resolve(latest, direct: true)?.digest != digest {
      // Asked now, not when the plan was made: another publish may have been faster.
      let newest = SemanticVersion.newest(among: try await client.tags(release.reference))
      guard release.movesLatest(Published(newest: newest)) else { return false }
      try await client.pushManifest(top.bytes, mediaType: top.descriptor.mediaType, to: latest, byDigest: false)
    }
    try journal.note(PublishJournal.Key(release.reference, manifest: digest), .latest)
    return true
  }

  /// Lets `latest` name a published release, if that is the newest stable one; says whether it does.
  package func restoreLatest(_ release: Release) async throws -> Bool {
    try await moveLatest(release, to: try await client.manifest(release.reference, direct: true))
  }

  /// What is published under a release's version, as the registry tells it; without tags.
  package func receipt(of release: Release) async throws -> Receipt {
    let top = try await client.manifest(release.reference, direct: true)
    var receipt = Receipt(reference: release.reference, manifest: top.descriptor)
    guard let parts = ImageParts(top.json) else {
      receipt.configs = try await PublishLookup(client).version(release.reference)?.configs ?? [:]
      return receipt
    }
    // A lone manifest does not say what it is for; its configuration does.
    _ = try await client.pullBlob(parts.config, of: release.reference, into: store)
    let config = JSON(decoding: try store.read(parts.config.digest, limit: 16 << 20))
    let names = ["os", "architecture", "variant"].compactMap { config?[$0]?.string }.filter { !$0.isEmpty }
    receipt.configs[names.joined(separator: "/")] = parts.config.digest
    return receipt
  }

  /// Attaches documents to an image of a release, unless it has some of their types.
  package func attach(_ documents: [Referrers.Document], to subject: Descriptor, of release: Release) async throws {
    let known = Set(try await client.referrers(of: subject.digest, in: release.reference).compactMap(\.artifactType))
    let documents = documents.filter { !known.contains($0.artifactType) }
    if documents.isEmpty { return }
    // Through the ledger: what is equal for several releases is sent once.
    for (bytes, type) in [(Array("{}".utf8), Referrers.emptyType)] + documents.map({ ($0.bytes, $0.artifactType) }) {
      let file = try store.insert(bytes)
      let descriptor = Descriptor(mediaType: type, digest: file.digest, size: file.size)
      _ = try await blobs.push(descriptor, from: try store.path(of: file), to: release.reference)
    }
    let referrers = Referrers(client, store)
    for document in documents {
      _ = try await referrers.attach(document, to: subject, in: release.reference, unlessPresent: true)
    }
  }

  /// What was noted when the metadata of a release was uploaded last.
  package func metadataMark(_ release: Release, manifest: Digest) -> String? {
    journal.detail(PublishJournal.Key(release.reference, manifest: manifest), .flipped)
  }

  package func noteMetadata(_ mark: String, _ release: Release, manifest: Digest) throws {
    try journal.note(PublishJournal.Key(release.reference, manifest: manifest), .flipped, detail: mark)
  }

  /// Notes that nothing is left to do for a release that the journal knows.
  package func finish(_ release: Release, manifest: Digest) throws {
    let key = PublishJournal.Key(release.reference, manifest: manifest)
    if let step = journal.step(key), step != .done { try journal.note(key, .done) }
  }

  // MARK: Steps

  private func pushBlobs(_ job: PublishJob) async throws {
    var seen: Set<Digest> = []
    let all = job.parts.flatMap(\.blobs).filter { seen.insert($0.descriptor.digest).inserted }
    try await concurrently(all, limit: 4) { blob in
      _ = try await blobs.push(blob.descriptor, from: blob.path, to: job.release.reference)
    }
  }

  /// Reads back what was pushed: manifests byte for byte, blobs by digest and size.
  private func verify(_ job: PublishJob, _ documents: [RegistryDocument]) async throws {
    let reference = job.release.reference
    for document in documents {
      let pinned = reference.pinned(to: document.descriptor.digest)
      guard let found = try await client.findManifest(pinned, direct: true) else {
        throw Diagnostic.error(
          "cannot publish \(reference): the registry took the manifest \(document.descriptor.digest.oci) and has lost it",
          cause: .environment, hints: ["publish again; nothing was tagged"])
      }
      guard found.bytes == document.bytes else {
        throw Diagnostic.error(
          "cannot publish \(reference): the registry gives other bytes for \(document.descriptor.digest.oci) than were "
            + "pushed", cause: .environment)
      }
    }
    for part in job.parts {
      for blob in part.blobs where try await !client.hasBlob(blob.descriptor, in: reference) {
        throw Diagnostic.error(
          "cannot publish \(reference): the registry took the blob \(blob.descriptor.digest.oci) and has lost it",
          cause: .environment, hints: ["publish again; nothing was tagged"])
      }
    }
  }

  private enum VersionTag {
    case absent
    /// This very manifest, or an equal image.
    case ours
    case other(Digest)
  }

  private func versionTag(_ job: PublishJob) async throws -> VersionTag {
    let release = job.release
    guard let found = try await client.resolve(release.reference, direct: true) else { return .absent }
    if found.digest == job.top.descriptor.digest { return .ours }
    let version = try await PublishLookup(client).version(release.reference)
    let state = release.state(
      built: job.images, manifest: job.top.descriptor.digest, published: Published(version: version))
    if case .identical = state { return .ours }
    return .other(found.digest)
  }

  /// Looks once more at the version's tag: it is never moved from other bytes.
  ///
  /// - Returns: Whether the tag names the image already.
  @discardableResult
  private func requireUntaken(_ job: PublishJob) async throws -> Bool {
    switch try await versionTag(job) {
    case .absent: return false
    case .ours: return true
    case .other(let manifest): throw taken(job.release, by: manifest)
    }
  }

  private func taken(_ release: Release, by manifest: Digest) -> Diagnostic {
    .error(
      "\(release.reference) was published with another image while this one was being pushed", cause: .build,
      notes: [Diagnostic.Note("the tag names \(manifest.oci) now, and was left alone")],
      hints: ["give this one a new version: slipway bump \(release.package)"])
  }

  private func moveVersionTag(_ job: PublishJob) async throws {
    if try await requireUntaken(job) { return }
    let top = job.top
    try await client.pushManifest(
      top.bytes, mediaType: top.descriptor.mediaType, to: job.release.reference, byDigest: false)
    // The protocol has no "only if absent": of two that tag in the same instant, the last one stays, and the other
    // finds out here.
    try await requireUntaken(job)
  }
}

extension Release {
  /// The package, as a command line takes it.
  package var package: String { String(label.prefix { $0 != ":" }) }
}

/// Runs the work for every element, so many at once; the first failure ends it.
func concurrently<Element: Sendable>(
  _ elements: [Element], limit: Int, _ body: @escaping @Sendable (Element) async throws -> Void
) async throws {
  try await withThrowingTaskGroup(of: Void.self) { group in
    for (index, element) in elements.enumerated() {
      if index >= limit { try await group.next() }
      group.addTask { try await body(element) }
    }
    try await group.waitForAll()
  }
}
