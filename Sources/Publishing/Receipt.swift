import Caching
import Diagnostics
import Digests
import Distribution
import OCI
import SystemPackage

/// What was published, as `.slipway/publish/receipts/<repository>/<version>.json` keeps it (schemas/receipt.schema.json).
///
/// It says nothing of when or how: a publish that was killed and run again leaves the same receipt.
package struct Receipt: Hashable, Sendable {
  package var reference: Reference
  package var manifest: Descriptor
  /// Configurations by platform: what the version is, whoever compressed it.
  package var configs: [String: Digest]
  package var tags: [String]
  /// Root file systems without a lock that the image was made from, published all the same.
  package var floating: [String] = []

  package init(
    reference: Reference, manifest: Descriptor, configs: [String: Digest] = [:], tags: [String] = [],
    floating: [String] = []
  ) {
    self.reference = reference
    self.manifest = manifest
    self.configs = configs
    self.tags = tags
    self.floating = floating
  }

  package init(reference: Reference, manifest: Descriptor, images: [BuiltImage]) {
    self.init(reference: reference, manifest: manifest)
    for image in images { configs[image.platform] = image.config }
  }

  package var json: JSON {
    var members: [String: JSON] = [
      "v": .number(1), "registry": .string(reference.registry), "repository": .string(reference.repository),
      "version": .string(reference.tag ?? ""), "manifest": .string(manifest.digest.oci),
      "mediaType": .string(manifest.mediaType), "size": .number(manifest.size), "tags": .strings(tags),
      "platforms": .object(configs.mapValues { .string($0.oci) }),
    ]
    if !floating.isEmpty { members["floating"] = .strings(floating) }
    return .object(members)
  }

  /// Writes it, unless it is there just so; says whether it did.
  ///
  /// - Parameter folder: That of all receipts.
  @discardableResult
  package func write(below folder: FilePath) throws -> Bool {
    let path = folder.appending(reference.repository).appending("\(reference.tag ?? "").json")
    let bytes = json.encoded + [UInt8(ascii: "\n")]
    if let known = try? Disk.contents(of: path.string, limit: 1 << 20), known == bytes { return false }
    try Disk.makeFolders(path.removingLastComponent().string)
    try DurableFile.replace(path.string, with: bytes)
    return true
  }
}

extension BuiltImage {
  package var json: JSON {
    .object([
      "platform": .string(platform), "config": .string(config.oci), "manifest": .string(manifest.digest.oci),
    ])
  }
}
