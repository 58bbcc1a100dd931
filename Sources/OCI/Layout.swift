import Caching
import Diagnostics
import Digests
import Glibc
import SystemPackage

/// Folders in OCI's image layout (image-spec, image-layout.md).
package struct ImageLayout: Sendable {
  private let store: Store

  package init(_ store: Store) { self.store = store }

  // MARK: Writing

  /// Writes images as a layout, in place of what is at the path.
  ///
  /// - Parameters:
  ///   - images: Each with the name of its reference (`org.opencontainers.image.ref.name`), if it is to have one.
  ///   - linking: Make blobs hard links into the store where that is possible: instant, but only for a folder that
  ///     nobody writes.
  package func write(_ images: [(image: ImageArtifact, name: String?)], to path: FilePath, linking: Bool = false) throws
  {
    try write(images.map { (try PlatformImages([$0.image], in: store), $0.name) }, to: path, linking: linking)
  }

  /// As above; images for several platforms are under one name.
  package func write(
    _ images: [(images: PlatformImages, name: String?)], to path: FilePath, linking: Bool = false
  ) throws {
    guard let name = path.lastComponent?.string else {
      throw Diagnostic.error("`\(path)` cannot be written as an image layout", cause: .input)
    }
    let parent = path.removingLastComponent()
    try Disk.makeFolders(parent.string.isEmpty ? "." : parent.string)
    let beside = parent.appending(".\(name).\(getpid()).\(UInt32.random(in: 0 ... .max))")
    do {
      try fill(beside, images, linking: linking)
      try Disk.putInPlace(beside.string, at: path.string)
    } catch {
      try? Disk.removeTree(beside.string)
      throw error
    }
  }

  private func fill(
    _ folder: FilePath, _ images: [(images: PlatformImages, name: String?)], linking: Bool
  ) throws {
    let blobs = folder.appending("blobs").appending("sha256")
    try Disk.makeFolders(blobs.string)
    var written: Set<Digest> = []
    for (images, _) in images {
      for (digest, size) in images.blobs where written.insert(digest).inserted {
        let place = blobs.appending(digest.hex)
        if linking, try link(store.path(of: digest, executable: false).string, place.string) == 0 { continue }
        try store.export(.file(FileArtifact(digest: digest, size: size, isExecutable: false)), to: place)
      }
    }
    let index = JSON.object([
      "schemaVersion": .number(2), "mediaType": .string(MediaType.index),
      "manifests": .array(images.map { $0.images.descriptor(name: $0.name) }),
    ])
    try write(index.encoded, to: folder.appending("index.json"))
    try write(JSON.object(["imageLayoutVersion": .string("1.0.0")]).encoded, to: folder.appending("oci-layout"))
  }

  private func write(_ bytes: [UInt8], to path: FilePath) throws {
    let file = try Disk.open(path.string, O_WRONLY | O_CREAT | O_EXCL)
    defer { try? file.close() }
    try bytes.withUnsafeBytes { try Disk.write(file, $0, path: path.string) }
  }

  // MARK: Reading

  /// Takes the images of a layout into the store; every blob is verified by digest and size.
  ///
  /// What a layer holds is compared with its diffID when it is unpacked.
  package func read(_ path: FilePath) throws -> [(image: ImageArtifact, name: String?)] {
    let index = try document(path, "index.json")
    guard let version = try document(path, "oci-layout")["imageLayoutVersion"]?.string, version.hasPrefix("1.") else {
      throw Diagnostic.error("`\(path)` is not an OCI image layout of version 1", cause: .input)
    }
    return try manifests(index, path, depth: 0).map { descriptor, name in
      (try image(descriptor, path), name)
    }
  }

  private func document(_ path: FilePath, _ name: String) throws -> JSON {
    let file = path.appending(name).string
    guard let bytes = try Disk.contents(of: file, limit: ImageBuilder.documentLimit) else {
      throw Diagnostic.error("`\(path)` is not an OCI image layout: it has no `\(name)`", cause: .input)
    }
    guard let json = JSON(decoding: bytes) else {
      throw Diagnostic.error("`\(file)` is not valid JSON", cause: .input)
    }
    return json
  }

  private func manifests(_ index: JSON, _ path: FilePath, depth: Int) throws -> [(JSON, String?)] {
    guard let entries = index["manifests"]?.array, depth < 4 else { throw malformed(path, "an index") }
    var found: [(JSON, String?)] = []
    for entry in entries {
      let name = entry["annotations"]?["org.opencontainers.image.ref.name"]?.string
      if entry["mediaType"]?.string == MediaType.index {
        let (digest, _) = try take(entry, path)
        let inner = try JSON(decoding: store.read(digest, limit: ImageBuilder.documentLimit)) ?? .null
        found += try manifests(inner, path, depth: depth + 1).map { ($0, $1 ?? name) }
      } else {
        found.append((entry, name))
      }
    }
    return found
  }

  private func image(_ descriptor: JSON, _ path: FilePath) throws -> ImageArtifact {
    let (manifestDigest, _) = try take(descriptor, path)
    let builder = ImageBuilder(store)
    let manifest = try builder.document(manifestDigest)
    guard let configDescriptor = manifest["config"], let layers = manifest["layers"]?.array else {
      throw malformed(path, "a manifest")
    }
    for part in [configDescriptor] + layers { _ = try take(part, path) }
    return try builder.image(ofManifest: manifestDigest)
  }

  /// Brings the blob of a descriptor into the store.
  private func take(_ descriptor: JSON, _ path: FilePath) throws -> (Digest, Int) {
    guard let digest = Digest(oci: descriptor["digest"]?.string ?? ""), let size = descriptor["size"]?.int, size >= 0
    else { throw malformed(path, "a descriptor") }
    if store.contains(digest, size: size) { return (digest, size) }
    let blob = path.appending("blobs").appending("sha256").appending(digest.hex).string
    let file = try Disk.open(blob, O_RDONLY)
    defer { try? file.close() }
    guard try Disk.status(of: file, path: blob).size == size else {
      throw Diagnostic.error("`\(blob)` does not have the \(size) bytes that its descriptor says", cause: .input)
    }
    guard try store.insert(contentsOf: file, executable: false, path: blob).digest == digest else {
      throw Diagnostic.error("`\(blob)` is damaged: its bytes have another digest", cause: .input)
    }
    return (digest, size)
  }

  private func malformed(_ path: FilePath, _ what: String) -> Diagnostic {
    .error("the image layout `\(path)` has \(what) that is malformed", cause: .input)
  }
}
