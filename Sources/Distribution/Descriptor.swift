import Digests
import OCI

/// What a registry's content is: its media type, its digest, its size.
package struct Descriptor: Hashable, Sendable {
  package var mediaType: String
  package var digest: Digest
  /// Bytes.
  package var size: Int

  package init(mediaType: String, digest: Digest, size: Int) {
    self.mediaType = mediaType
    self.digest = digest
    self.size = size
  }

  /// `nil` unless digest and size are there and valid; a digest that is not SHA-256 counts as invalid.
  package init?(_ json: JSON) {
    guard let digest = Digest(oci: json["digest"]?.string ?? ""), let size = json["size"]?.int, size >= 0 else {
      return nil
    }
    self.init(mediaType: json["mediaType"]?.string ?? "application/octet-stream", digest: digest, size: size)
  }
}

extension MediaType {
  /// Docker's names for the same four things (image manifest version 2, schema 2).
  package static let dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
  package static let dockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json"

  /// What a request for a manifest accepts; servers answer 404 for a type that is not listed.
  static let manifests = [manifest, index, dockerManifest, dockerIndex]

  /// Whether the document lists manifests rather than layers.
  package static func isIndex(_ type: String) -> Bool { type == index || type == dockerIndex }
}
