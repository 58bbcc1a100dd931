import Caching
import Diagnostics
import Digests

/// The images that one target gives, one for each of its platforms: a tag names the one manifest, or an index of them all.
package struct PlatformImages: Sendable {
  /// In byte order of their platforms, never empty.
  package let images: [ImageArtifact]
  /// `nil` for an image for one platform only.
  package let index: FileArtifact?

  /// Stores the index, if there is to be one.
  package init(_ images: [ImageArtifact], in store: Store) throws {
    guard !images.isEmpty else { throw Diagnostic.error("there is no image for any platform", cause: .internal) }
    self.images = images.sorted { $0.platform.utf8.lexicographicallyPrecedes($1.platform.utf8) }
    index = images.count == 1 ? nil : try ImageBuilder(store).index(images)
  }

  /// What names all of it.
  package var digest: Digest { index?.digest ?? images[0].manifest }

  /// The image for a platform, or else the first.
  package func preferred(_ platform: String) -> ImageArtifact {
    images.first { $0.platform == platform } ?? images[0]
  }

  /// Every blob, each once.
  var blobs: [(digest: Digest, size: Int)] {
    var seen: Set<Digest> = []
    let all = images.flatMap { image in
      image.layers.map { ($0.digest, $0.size) }
        + [(image.config, image.configSize), (image.manifest, image.manifestSize)]
    }
    return (all + (index.map { [($0.digest, $0.size)] } ?? [])).filter { seen.insert($0.0).inserted }
  }

  /// As an entry of a layout's `index.json`.
  func descriptor(name: String?) -> JSON {
    guard let index else { return ImageBuilder.manifestDescriptor(images[0], name: name) }
    var members = ImageBuilder.descriptor(MediaType.index, index.digest, index.size).object ?? [:]
    if let name { members["annotations"] = .object(["org.opencontainers.image.ref.name": .string(name)]) }
    return .object(members)
  }
}
