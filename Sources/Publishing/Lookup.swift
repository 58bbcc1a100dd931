import Diagnostics
import Digests
import Distribution
import Manifests
import OCI

/// Finds out what is published, with as few requests as the answer takes.
package struct PublishLookup: Sendable {
  private let client: RegistryClient

  package init(_ client: RegistryClient) { self.client = client }

  /// What the registry has of a release.
  ///
  /// A version that is published with the very manifest costs one HEAD, a stable one two. Only where the manifest is
  /// another one is it fetched, for the configuration's digest in it; and only where the order of versions decides are
  /// the tags listed.
  ///
  /// - Parameter manifest: What the tag would name; `nil` to have the published configurations in any case.
  package func published(_ release: Release, manifest: Digest?) async throws -> Published {
    async let latest = release.channel == .stable ? head(try release.reference.tagged("latest")) : nil
    let head = try await head(release.reference)
    var published = Published(latest: try await latest)
    if let head {
      published.version =
        head == manifest ? PublishedVersion(manifest: head) : try await version(release.reference)
    }
    let isSettled =
      switch (published.version, release.channel) {
      case (nil, .preview), (_?, .candidate), (_?, .preview): true
      case (let version?, .stable): published.latest == version.manifest
      case (nil, _): false
      }
    if !isSettled { published.newest = .newest(among: try await client.tags(release.reference)) }
    return published
  }

  private func head(_ reference: Reference) async throws -> Digest? {
    try await client.resolve(reference, direct: true)?.digest
  }

  /// What a tag names, with the configuration of each platform.
  package func version(_ reference: Reference) async throws -> PublishedVersion? {
    guard let document = try await client.findManifest(reference, direct: true) else { return nil }
    var version = PublishedVersion(manifest: document.descriptor.digest)
    guard MediaType.isIndex(document.descriptor.mediaType) else {
      version.configs[""] = try config(document, reference)
      return version
    }
    for entry in document.json["manifests"]?.array ?? [] {
      guard let child = Descriptor(entry), let os = entry["platform"]?["os"]?.string, os != "unknown",
        let architecture = entry["platform"]?["architecture"]?.string
      else { continue }
      let platform = [os, architecture, entry["platform"]?["variant"]?.string].compactMap(\.self).joined(separator: "/")
      guard let found = try await client.findManifest(reference.pinned(to: child.digest), direct: true) else {
        throw Diagnostic.error(
          "\(reference) is an index whose manifest \(child.digest.oci) for \(platform) is missing",
          cause: .environment, hints: ["publish a new version: this one cannot be pulled"])
      }
      version.configs[platform] = try config(found, reference)
    }
    return version
  }

  private func config(_ document: RegistryDocument, _ reference: Reference) throws -> Digest {
    guard let parts = ImageParts(document.json) else {
      throw Diagnostic.error(
        "the manifest \(document.descriptor.digest.oci) of \(reference) has a descriptor that is malformed",
        cause: .environment)
    }
    return parts.config.digest
  }
}
