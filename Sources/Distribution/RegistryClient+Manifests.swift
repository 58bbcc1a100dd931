import Diagnostics
import Digests
import NIOHTTP1
import OCI

/// A manifest or an index, as a registry holds it.
package struct RegistryDocument: Hashable, Sendable {
  package var descriptor: Descriptor
  package var bytes: [UInt8]
  package var json: JSON

  package init(descriptor: Descriptor, bytes: [UInt8], json: JSON) {
    self.descriptor = descriptor
    self.bytes = bytes
    self.json = json
  }
}

extension RegistryClient {
  private static let accept = MediaType.manifests.map { ("Accept", $0) }

  /// What a tag or a digest names now, or `nil` where the registry has no such thing.
  ///
  /// - Parameter direct: Ask the registry itself and no mirror, as whoever pushes must.
  package func resolve(_ reference: Reference, direct: Bool = false) async throws -> Descriptor? {
    let doing = "pull \(reference)"
    let body: (Endpoint) async throws -> Descriptor? = { try await self.head($0, reference) }
    return direct ? try await asking(reference, doing, body) : try await pulling(reference, doing, body)
  }

  /// The document that a tag or a digest names, or `nil` where the registry has no such thing.
  package func findManifest(_ reference: Reference, direct: Bool = false) async throws -> RegistryDocument? {
    let doing = "pull \(reference)"
    let body: (Endpoint) async throws -> RegistryDocument? = { try await self.get($0, reference) }
    return direct ? try await asking(reference, doing, body) : try await pulling(reference, doing, body)
  }

  /// As `findManifest`, absence being an error.
  package func manifest(_ reference: Reference, direct: Bool = false) async throws -> RegistryDocument {
    if let found = try await findManifest(reference, direct: direct) { return found }
    throw Diagnostic.error(
      "cannot pull \(reference): GET /v2/\(reference.repository)/manifests/\(reference.manifestName): 404 NOT_FOUND",
      cause: .environment,
      hints: [
        "check the name and the \(reference.digest == nil ? "tag" : "digest"); a private repository may hide itself"
      ])
  }

  private func head(_ asked: Endpoint, _ reference: Reference) async throws -> Descriptor? {
    let endpoint = try await reach(asked)
    let address = address(endpoint, reference, "manifests/" + reference.manifestName)
    let scopes = [Self.scope(endpoint.repository(reference), .pull)]
    let call = Call(method: .HEAD, address: address, headers: Self.accept, accepts: [200, 404, 405])
    let (status, descriptor): (Int, Descriptor?) = try await perform(endpoint, scopes: scopes, { call }) { answer, _ in
      await answer.discard()
      let type = HeaderValues.mediaType(answer.headers.first(name: "Content-Type") ?? "")
      guard answer.status == 200, MediaType.manifests.contains(type),
        let digest = Digest(oci: answer.headers.first(name: "Docker-Content-Digest") ?? ""),
        let size = answer.headers.first(name: "Content-Length").flatMap(Int.init), size > 0
      else { return (answer.status, nil) }
      return (200, Descriptor(mediaType: type, digest: digest, size: size))
    }
    if status == 404 { return nil }
    if let descriptor, reference.digest == nil || reference.digest == descriptor.digest { return descriptor }
    // A server that does not say it all in a header says it in the document.
    return try await get(endpoint, reference)?.descriptor
  }

  private func get(_ asked: Endpoint, _ reference: Reference) async throws -> RegistryDocument? {
    let endpoint = try await reach(asked)
    let address = address(endpoint, reference, "manifests/" + reference.manifestName)
    let scopes = [Self.scope(endpoint.repository(reference), .pull)]
    let call = Call(
      method: .GET, address: address, headers: Self.accept, size: settings.limits.manifest, accepts: [200, 404])
    return try await perform(endpoint, scopes: scopes, { call }) { answer, address in
      if answer.status == 404 {
        await answer.discard()
        return nil
      }
      let bytes = try await exchange.body(answer, .GET, address, limit: settings.limits.manifest)
      return try document(bytes, answer, address, reference)
    }
  }

  /// Verifies what was received, as the requester of a digest, or of a tag, must.
  private func document(_ bytes: [UInt8], _ answer: Transport.Answer, _ address: WebAddress, _ reference: Reference)
    throws -> RegistryDocument
  {
    func wrong(_ text: String) -> RegistryFailure { exchange.failed(.GET, address, .content, text) }
    let type = HeaderValues.mediaType(answer.headers.first(name: "Content-Type") ?? "")
    if type == "text/html" { throw wrong("the answer is `text/html`, not a manifest") }
    let digest = Digest(of: bytes)
    if let wanted = reference.digest, wanted != digest {
      var failure = wrong("the manifest has the digest \(digest.oci), not the one asked for")
      failure.isTransient = true
      throw failure
    }
    if reference.digest == nil, let said = answer.headers.first(name: "Docker-Content-Digest"),
      said.hasPrefix("sha256:"), said != digest.oci
    {
      var failure = wrong("the manifest has the digest \(digest.oci), but its header says \(said.prefix(80))")
      failure.isTransient = true
      throw failure
    }
    guard let json = JSON(decoding: bytes), json.object != nil else {
      throw wrong("the answer\(type.isEmpty ? "" : " (`\(type.prefix(100))`)") is not the JSON of a manifest")
    }
    guard json["schemaVersion"]?.int == 2 else {
      throw wrong("the manifest is not of schema version 2")
    }
    let inside = json["mediaType"]?.string
    let name: String
    if MediaType.manifests.contains(type) {
      // The field decides how the next reader takes the bytes, the header how this one does (CVE-2021-41190).
      if let inside, inside != type {
        throw wrong("the manifest calls itself `\(inside.prefix(100))`, but is sent as `\(type)`")
      }
      name = type
    } else if let inside, MediaType.manifests.contains(inside) {
      name = inside
    } else {
      throw wrong("`\((inside ?? type).prefix(100))` is not a type of manifest that slipway reads")
    }
    let isIndex = MediaType.isIndex(name)
    guard json[isIndex ? "manifests" : "layers"]?.array != nil, (json[isIndex ? "layers" : "manifests"]) == nil else {
      throw wrong("the \(isIndex ? "index lists no manifests" : "manifest lists no layers")")
    }
    return RegistryDocument(
      descriptor: Descriptor(mediaType: name, digest: digest, size: bytes.count), bytes: bytes, json: json)
  }

  /// Puts a manifest or an index under its digest, or under the tag of the reference.
  ///
  /// Whatever it names must be there already. The same bytes may be put any number of times.
  @discardableResult
  package func pushManifest(_ bytes: [UInt8], mediaType: String, to reference: Reference, byDigest: Bool) async throws
    -> Descriptor
  {
    try await put(bytes, mediaType: mediaType, to: reference, byDigest: byDigest).descriptor
  }

  /// - Returns: Besides, whether the registry notes what the manifest refers to (`OCI-Subject`).
  func put(_ bytes: [UInt8], mediaType: String, to reference: Reference, byDigest: Bool) async throws -> (
    descriptor: Descriptor, hasSubject: Bool
  ) {
    let digest = Digest(of: bytes)
    let name = byDigest ? digest.oci : reference.tag ?? "latest"
    return try await asking(reference, "push \(reference)") { asked in
      let endpoint = try await self.reach(asked)
      let scopes = [Self.scope(endpoint.repository(reference), .push)]
      // docker-registry 2.8 calls the digest invalid while another writer rewrites a file that says what it is of.
      let call = Call(
        method: .PUT, address: self.address(endpoint, reference, "manifests/" + name),
        headers: [("Content-Type", mediaType)], payload: .bytes(bytes), size: bytes.count, accepts: [201, 200],
        transientCodes: ["DIGEST_INVALID"])
      return try await self.perform(endpoint, scopes: scopes, { call }) { answer, address in
        await answer.discard()
        if let said = answer.headers.first(name: "Docker-Content-Digest"), said.hasPrefix("sha256:"), said != digest.oci
        {
          throw self.exchange.failed(
            .PUT, address, .content, "the registry took other bytes: it says \(said.prefix(80)), not \(digest.oci)")
        }
        return (
          Descriptor(mediaType: mediaType, digest: digest, size: bytes.count),
          answer.headers.contains(name: "OCI-Subject")
        )
      }
    }
  }

  /// All tags of a repository, in byte order; none where it does not exist.
  package func tags(_ reference: Reference) async throws -> [String] {
    try await asking(reference, "list the tags of \(reference.name)") { asked in
      let endpoint = try await self.reach(asked)
      let scopes = [Self.scope(endpoint.repository(reference), .pull)]
      var next: WebAddress? = self.address(endpoint, reference, "tags/list?n=1000")
      var tags: Set<String> = []
      var seen: Set<WebAddress> = []
      while let address = next, seen.insert(address).inserted {
        let call = Call(method: .GET, address: address, size: 4 << 20, accepts: [200, 404])
        next = try await self.perform(endpoint, scopes: scopes, { call }) { answer, address in
          if answer.status == 404 {
            await answer.discard()
            return nil
          }
          let bytes = try await self.exchange.body(answer, .GET, address, limit: 4 << 20)
          // A repository whose tags are all deleted has `null`.
          guard let json = JSON(decoding: bytes), let members = json.object, let list = members["tags"],
            let names = list == .null ? [] : list.strings
          else { throw self.exchange.failed(.GET, address, .content, "the answer is not a list of tags") }
          tags.formUnion(names.filter(Reference.isTag))
          guard tags.count <= self.settings.limits.tags else {
            throw self.exchange.failed(
              .GET, address, .content, "the repository has more than the \(self.settings.limits.tags) tags allowed")
          }
          guard let link = answer.headers["Link"].lazy.compactMap(HeaderValues.nextLink).first,
            let target = address.resolving(link), target.hasSameOrigin(as: endpoint.address)
          else { return nil }
          return target
        }
      }
      return tags.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }
  }
}
