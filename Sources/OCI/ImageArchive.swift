import Caching
import Diagnostics
import Digests
import Glibc
import SystemPackage

/// Images as one tar that both families of tools read: an OCI layout (`skopeo copy oci-archive:`, containerd), and
/// beside it Docker's `manifest.json`, which `docker load` reads and whose paths lead into the layout.
package struct ImageArchive: Sendable {
  private let store: Store

  package init(_ store: Store) { self.store = store }

  /// Writes the tar; equal images and names give equal bytes.
  ///
  /// - Parameters:
  ///   - platform: Whose image Docker gets, which reads but one.
  ///   - names: `repository:tag`, for Docker; the first one's tag is the layout's reference too.
  package func write(
    _ images: PlatformImages, platform: String, names: [String], to output: FileDescriptor, path: String
  ) throws {
    let image = images.preferred(platform)
    func blob(_ digest: Digest) -> String { "blobs/sha256/" + digest.hex }
    let tag = names.first.flatMap { $0.split(separator: ":").last.map(String.init) }
    let index = JSON.object([
      "schemaVersion": .number(2), "mediaType": .string(MediaType.index),
      "manifests": .array([images.descriptor(name: tag)]),
    ])
    let docker = JSON.array([
      .object([
        "Config": .string(blob(image.config)), "RepoTags": .strings(names),
        "Layers": .strings(image.layers.map { blob($0.digest) }),
      ])
    ])
    let documents = [
      ("index.json", index), ("manifest.json", docker),
      ("oci-layout", JSON.object(["imageLayoutVersion": .string("1.0.0")])),
    ]
    try inTarLocale {
      let tar = try TarWriter(owner: (0, 0)) { try Disk.write(output, $0, path: path) }
      try tar.add("blobs", .folder(DirectoryArtifact(root: .empty, size: 0)), from: store)
      try tar.add("blobs/sha256", .folder(DirectoryArtifact(root: .empty, size: 0)), from: store)
      for (digest, size) in images.blobs.sorted(by: { $0.digest < $1.digest }) {
        try tar.add(
          blob(digest), .file(FileArtifact(digest: digest, size: size, isExecutable: false)), from: store)
      }
      for (name, document) in documents {
        try tar.add(name, .file(try store.insert(document.encoded)), from: store)
      }
      try tar.close()
    }
  }
}
