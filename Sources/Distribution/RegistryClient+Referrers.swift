import Diagnostics
import Digests
import NIOHTTP1
import OCI

/// Something that is attached to an image: an SBOM, a provenance statement, a signature.
package struct Referrer: Hashable, Sendable {
  package var descriptor: Descriptor
  package var artifactType: String?
  package var annotations: [String: String]

  package init(descriptor: Descriptor, artifactType: String?, annotations: [String: String] = [:]) {
    self.descriptor = descriptor
    self.artifactType = artifactType
    self.annotations = annotations
  }

  fileprivate init?(_ json: JSON) {
    guard let descriptor = Descriptor(json) else { return nil }
    self.init(
      descriptor: descriptor, artifactType: json["artifactType"]?.string,
      annotations: (json["annotations"]?.object ?? [:]).compactMapValues(\.string))
  }

  fileprivate var json: JSON {
    var members: [String: JSON] = [
      "mediaType": .string(descriptor.mediaType), "digest": .string(descriptor.digest.oci),
      "size": .number(descriptor.size),
    ]
    if let artifactType { members["artifactType"] = .string(artifactType) }
    if !annotations.isEmpty { members["annotations"] = .object(annotations.mapValues { .string($0) }) }
    return .object(members)
  }
}

/// OCI distribution specification 1.1, "Listing Referrers", with the tag `sha256-…` where a server lacks it.
extension RegistryClient {
  /// What is attached to a manifest, in the registry's order; nothing where nothing is known of it.
  package func referrers(of digest: Digest, in reference: Reference) async throws -> [Referrer] {
    let fromServer: [Referrer]? = try await asking(reference, "list what refers to \(reference.pinned(to: digest))") {
      asked in
      let endpoint = try await self.reach(asked)
      let address = self.address(endpoint, reference, "referrers/" + digest.oci)
      let scopes = [Self.scope(endpoint.repository(reference), .pull)]
      let call = Call(
        method: .GET, address: address, headers: [("Accept", MediaType.index)], size: self.settings.limits.manifest,
        accepts: [200, 400, 404, 405])
      return try await self.perform(endpoint, scopes: scopes, { call }) { answer, address in
        let type = HeaderValues.mediaType(answer.headers.first(name: "Content-Type") ?? "")
        guard answer.status == 200, type == MediaType.index else {
          await answer.discard()
          return nil
        }
        let bytes = try await self.exchange.body(answer, .GET, address, limit: self.settings.limits.manifest)
        guard let list = JSON(decoding: bytes)?["manifests"]?.array else {
          throw self.exchange.failed(.GET, address, .content, "the answer is not an index of referrers")
        }
        return list.compactMap(Referrer.init)
      }
    }
    if let fromServer { return fromServer }
    return try await tagged(digest, reference)
  }

  private func fallback(_ digest: Digest, _ reference: Reference) throws -> Reference {
    try reference.tagged("sha256-" + digest.hex)
  }

  private func tagged(_ digest: Digest, _ reference: Reference) async throws -> [Referrer] {
    guard let document = try await findManifest(fallback(digest, reference), direct: true),
      MediaType.isIndex(document.descriptor.mediaType)
    else { return [] }
    return (document.json["manifests"]?.array ?? []).compactMap(Referrer.init)
  }

  /// Attaches a manifest, whose `subject` says to what; its blobs must be there already.
  ///
  /// A registry without the API gets the list under the tag that the specification names. Two writers of that list may
  /// overtake each other, so it is read again, and written again where this entry was lost.
  @discardableResult
  package func pushReferrer(_ bytes: [UInt8], mediaType: String, to reference: Reference) async throws -> Descriptor {
    guard let json = JSON(decoding: bytes), let subject = json["subject"].flatMap(Descriptor.init) else {
      throw Diagnostic.error("the manifest to attach to \(reference) names no subject", cause: .internal)
    }
    let (descriptor, isNoted) = try await put(bytes, mediaType: mediaType, to: reference, byDigest: true)
    if isNoted { return descriptor }
    let own = Referrer(
      descriptor: descriptor, artifactType: json["artifactType"]?.string ?? json["config"]?["mediaType"]?.string,
      annotations: (json["annotations"]?.object ?? [:]).compactMapValues(\.string))
    for _ in 0..<5 {
      let known = try await tagged(subject.digest, reference)
      if known.contains(where: { $0.descriptor.digest == descriptor.digest }) { return descriptor }
      let index = JSON.object([
        "schemaVersion": .number(2), "mediaType": .string(MediaType.index),
        "manifests": .array((known + [own]).map(\.json)),
      ])
      try await pushManifest(
        index.encoded, mediaType: MediaType.index, to: fallback(subject.digest, reference), byDigest: false)
    }
    guard try await tagged(subject.digest, reference).contains(where: { $0.descriptor.digest == descriptor.digest })
    else {
      throw Diagnostic.error(
        "cannot push \(reference): the list of what refers to \(subject.digest.oci) is written by somebody else again "
          + "and again", cause: .environment)
    }
    return descriptor
  }
}
