import Caching
import Diagnostics
import Digests
import Distribution
import OCI
import SystemPackage

/// Attaches documents to a published image, such that whoever has the image's digest finds them (OCI 1.1, referrers).
///
/// The registry keeps the list where it knows how; else the client keeps it, as an index at a tag.
package struct Referrers: Sendable {
  package static let emptyType = "application/vnd.oci.empty.v1+json"

  private let client: RegistryClient
  private let store: Store

  package init(_ client: RegistryClient, _ store: Store) {
    self.client = client
    self.store = store
  }

  /// A document to attach.
  package struct Document: Hashable, Sendable {
    package var artifactType: String
    package var bytes: [UInt8]
    /// Of the artifact's manifest.
    package var annotations: [String: String]

    package init(artifactType: String, bytes: [UInt8], annotations: [String: String] = [:]) {
      self.artifactType = artifactType
      self.bytes = bytes
      self.annotations = annotations
    }

    package init(_ sbom: SBOM) { self.init(artifactType: SBOM.mediaType, bytes: sbom.encoded) }

    package init(_ provenance: Provenance) {
      self.init(
        artifactType: Provenance.mediaType, bytes: provenance.encoded,
        annotations: ["in-toto.io/predicate-type": Provenance.predicateType])
    }
  }

  package enum Outcome: Hashable, Sendable {
    /// The artifact's manifest is listed now.
    case attached(Digest)
    /// It was listed already, or another one of its type was, and that counted.
    case present(Digest)
  }

  /// The manifest of an artifact: no configuration, the document as its one layer, the image as its subject.
  static func manifest(_ document: Document, subject: Descriptor) -> [UInt8] {
    var members: [String: JSON] = [
      "schemaVersion": .number(2), "mediaType": .string(MediaType.manifest),
      "artifactType": .string(document.artifactType),
      "config": json(Descriptor(mediaType: emptyType, digest: Digest(of: Array("{}".utf8)), size: 2)),
      "layers": .array([
        json(
          Descriptor(
            mediaType: document.artifactType, digest: Digest(of: document.bytes), size: document.bytes.count))
      ]),
      "subject": json(subject),
    ]
    if !document.annotations.isEmpty {
      members["annotations"] = .object(document.annotations.mapValues { .string($0) })
    }
    return JSON.object(members).encoded
  }

  private static func json(_ descriptor: Descriptor) -> JSON {
    .object([
      "mediaType": .string(descriptor.mediaType), "digest": .string(descriptor.digest.oci),
      "size": .number(descriptor.size),
    ])
  }

  /// Brings a document to the registry, and into the list of what refers to its subject; again does nothing.
  ///
  /// - Parameters:
  ///   - subject: A manifest that the repository has.
  ///   - unlessPresent: Let an older document of the same type be, as when a version was published before.
  package func attach(
    _ document: Document, to subject: Descriptor, in reference: Reference, unlessPresent: Bool = false
  )
    async throws -> Outcome
  {
    let bytes = Self.manifest(document, subject: subject)
    let digest = Digest(of: bytes)
    let known = try await client.referrers(of: subject.digest, in: reference)
    let same = known.first { $0.descriptor.digest == digest }
    let older = unlessPresent ? known.first { $0.artifactType == document.artifactType } : nil
    if let there = same ?? older { return .present(there.descriptor.digest) }
    for (content, type) in [(Array("{}".utf8), Self.emptyType), (document.bytes, document.artifactType)] {
      let file = try store.insert(content)
      try await client.pushBlob(
        Descriptor(mediaType: type, digest: file.digest, size: file.size),
        from: try store.path(of: file.digest, executable: false), to: reference)
    }
    try await client.pushReferrer(bytes, mediaType: MediaType.manifest, to: reference)
    return .attached(digest)
  }

  /// The documents of a type that are attached to a manifest, verified by digest.
  package func documents(_ artifactType: String, of subject: Digest, in reference: Reference) async throws -> [[UInt8]]
  {
    var found: [[UInt8]] = []
    for referrer in try await client.referrers(of: subject, in: reference) where referrer.artifactType == artifactType {
      let manifest = try await client.manifest(reference.pinned(to: referrer.descriptor.digest), direct: true)
      guard let layer = manifest.json["layers"]?.array?.first.flatMap(Descriptor.init) else { continue }
      let file = try await client.pullBlob(layer, of: reference, into: store)
      found.append(try store.read(file.digest, limit: 256 << 20))
    }
    return found
  }
}
