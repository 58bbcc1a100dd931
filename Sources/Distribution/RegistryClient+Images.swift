import Caching
import Diagnostics
import Digests
import OCI
import Synchronization
import SystemPackage

/// How far a transfer is.
package struct TransferProgress: Hashable, Sendable {
  package var bytesDone = 0
  package var bytesTotal = 0
  package var blobsDone = 0
  package var blobsTotal = 0
}

/// An image to push: its manifest, and where the blobs are that it names.
package struct PushableImage: Sendable {
  package var manifest: RegistryDocument
  /// Configuration and layers, each once.
  package var blobs: [(descriptor: Descriptor, path: FilePath)]

  /// - Throws: A diagnostic when the manifest, or a blob that it names, is not in the store.
  package init(manifest digest: Digest, in store: Store) throws {
    let bytes = try store.read(digest, limit: 4 << 20)
    guard let json = JSON(decoding: bytes), let parts = ImageParts(json) else {
      throw Diagnostic.error("the blob `\(digest)` is not an image manifest", cause: .environment)
    }
    manifest = RegistryDocument(
      descriptor: Descriptor(
        mediaType: json["mediaType"]?.string ?? MediaType.manifest, digest: Digest(of: bytes), size: bytes.count),
      bytes: bytes, json: json)
    blobs = try parts.blobs.map { ($0, try store.path(of: $0.digest, executable: false)) }
  }
}

/// What a manifest names.
package struct ImageParts: Hashable, Sendable {
  package var config: Descriptor
  /// Lowest first.
  package var layers: [Descriptor]

  package init?(_ manifest: JSON) {
    guard let config = manifest["config"].flatMap(Descriptor.init), let list = manifest["layers"]?.array else {
      return nil
    }
    let layers = list.compactMap(Descriptor.init)
    guard layers.count == list.count, layers.count <= 1024 else { return nil }
    self.config = config
    self.layers = layers
  }

  /// Configuration and layers, each once.
  package var blobs: [Descriptor] {
    var seen: Set<Digest> = []
    return ([config] + layers).filter { seen.insert($0.digest).inserted }
  }
}

/// What was pulled; the bytes of all of it are in the store.
package struct PulledImage: Hashable, Sendable {
  /// The index that listed the manifest, if one did.
  package var index: Descriptor?
  package var manifest: Descriptor
  package var parts: ImageParts
  /// `linux/amd64`, as the configuration says.
  package var platform: String
}

extension RegistryClient {
  /// Pushes what an image consists of, several blobs at once, and then its manifest by digest; a tag only if asked.
  ///
  /// - Parameters:
  ///   - tag: Moved last, when everything else is there.
  ///   - mountFrom: Repositories of the same registry that may have a blob, likeliest first.
  /// - Returns: How each blob came to be there, in the image's order.
  @discardableResult
  package func push(
    _ image: PushableImage, to reference: Reference, tag: String? = nil,
    mountFrom: @escaping @Sendable (Descriptor) -> [String] = { _ in [] },
    progress: @escaping @Sendable (TransferProgress) -> Void = { _ in }
  ) async throws -> [BlobPush] {
    let meter = TransferMeter(image.blobs.map(\.descriptor), progress)
    let blobs = image.blobs
    let results = try await several(blobs.count) { index in
      let (descriptor, path) = blobs[index]
      let result = try await self.pushBlob(
        descriptor, from: path, to: reference, mountFrom: mountFrom(descriptor), progress: meter.add)
      meter.finish()
      return result
    }
    let manifest = image.manifest
    try await pushManifest(
      manifest.bytes, mediaType: manifest.descriptor.mediaType, to: reference, byDigest: true)
    if let tag {
      try await pushManifest(
        manifest.bytes, mediaType: manifest.descriptor.mediaType, to: try reference.tagged(tag), byDigest: false)
    }
    return results
  }

  /// Brings an image with all its blobs into the store; what is there is not asked for.
  ///
  /// - Parameter platform: `os/architecture[/variant]`, which an index is searched for and a single image compared with.
  package func pull(
    _ reference: Reference, platform: String, into store: Store,
    progress: @escaping @Sendable (TransferProgress) -> Void = { _ in }
  ) async throws -> PulledImage {
    var document = try await manifest(reference, in: store)
    var index: Descriptor?
    if MediaType.isIndex(document.descriptor.mediaType) {
      index = document.descriptor
      let chosen = try Self.choose(document.json, platform, reference)
      document = try await manifest(reference.pinned(to: chosen.digest), in: store)
      guard !MediaType.isIndex(document.descriptor.mediaType) else {
        throw Diagnostic.error(
          "cannot pull \(reference): its index lists another index for \(platform)", cause: .environment)
      }
    }
    guard let parts = ImageParts(document.json) else {
      throw Diagnostic.error(
        "cannot pull \(reference): its manifest \(document.descriptor.digest.oci) has a descriptor that is malformed",
        cause: .environment)
    }
    let blobs = parts.blobs
    let meter = TransferMeter(blobs, progress)
    _ = try await several(blobs.count) { index in
      let artifact = try await self.pullBlob(blobs[index], of: reference, into: store, progress: meter.add)
      meter.finish()
      return artifact
    }
    let found = try Self.platform(of: parts.config, in: store, reference)
    guard Self.isPlatform(found, platform) else {
      throw Diagnostic.error("cannot pull \(reference): the image is for \(found), not for \(platform)", cause: .input)
    }
    return PulledImage(index: index, manifest: document.descriptor, parts: parts, platform: found)
  }

  /// The platforms that an image is for, sorted: those of its index, or its own. Attestations and what is for another
  /// system than Linux do not count.
  package func platforms(of reference: Reference, into store: Store) async throws -> [String] {
    let document = try await manifest(reference, in: store)
    if MediaType.isIndex(document.descriptor.mediaType) {
      let names = (document.json["manifests"]?.array ?? []).compactMap { Self.platform(of: $0["platform"]) }
      return Set(names.filter { $0.hasPrefix("linux/") }.map(Self.normalized)).sorted()
    }
    guard let parts = ImageParts(document.json) else {
      throw Diagnostic.error(
        "cannot pull \(reference): its manifest \(document.descriptor.digest.oci) has a descriptor that is malformed",
        cause: .environment)
    }
    _ = try await pullBlob(parts.config, of: reference, into: store)
    return [Self.normalized(try Self.platform(of: parts.config, in: store, reference))]
  }

  private static func platform(of json: JSON?) -> String? {
    guard let os = json?["os"]?.string, let architecture = json?["architecture"]?.string else { return nil }
    return [os, architecture, json?["variant"]?.string].compactMap { $0?.isEmpty == true ? nil : $0 }
      .joined(separator: "/")
  }

  /// `linux/arm64/v8` is what `linux/arm64` means.
  private static func normalized(_ platform: String) -> String {
    platform == "linux/arm64/v8" ? "linux/arm64" : platform
  }

  /// A document by digest from the store, if it is there; else from the registry, and then it is.
  private func manifest(_ reference: Reference, in store: Store) async throws -> RegistryDocument {
    if let digest = reference.digest, let bytes = try? store.read(digest, limit: settings.limits.manifest),
      Digest(of: bytes) == digest, let json = JSON(decoding: bytes),
      let type = json["mediaType"]?.string, MediaType.manifests.contains(type)
    {
      return RegistryDocument(
        descriptor: Descriptor(mediaType: type, digest: digest, size: bytes.count), bytes: bytes, json: json)
    }
    let document = try await manifest(reference)
    _ = try store.insert(document.bytes)
    return document
  }

  static func choose(_ index: JSON, _ platform: String, _ reference: Reference) throws -> Descriptor {
    var offered: [String] = []
    for entry in index["manifests"]?.array ?? [] {
      guard let name = Self.platform(of: entry["platform"]) else { continue }
      if isPlatform(name, platform), let descriptor = Descriptor(entry) { return descriptor }
      // Attestations pose as images for an unknown platform.
      if !name.hasPrefix("unknown/") { offered.append(name) }
    }
    throw Diagnostic.error(
      "cannot pull \(reference): it offers no image for \(platform)", cause: .environment,
      hints: offered.isEmpty ? [] : ["it offers " + offered.joined(separator: ", ")])
  }

  /// `linux/arm64/v8` is what `linux/arm64` means.
  private static func isPlatform(_ offered: String, _ wanted: String) -> Bool {
    offered == wanted || offered == wanted + "/v8" && wanted.hasSuffix("/arm64")
      || wanted == offered + "/v8" && offered.hasSuffix("/arm64")
  }

  private static func platform(of config: Descriptor, in store: Store, _ reference: Reference) throws -> String {
    guard let found = platform(of: JSON(decoding: try store.read(config.digest, limit: 16 << 20))) else {
      throw Diagnostic.error(
        "cannot pull \(reference): its configuration \(config.digest.oci) names no platform", cause: .environment)
    }
    return found
  }

  /// Runs the work for each index, so many at once as the limits say; the results in order.
  func several<Value: Sendable>(_ count: Int, _ body: @escaping @Sendable (Int) async throws -> Value) async throws
    -> [Value]
  {
    // No tuple: optimised, Swift 6.3 mixes up one of a number and a `Result` (met in Publishing).
    try await withThrowingTaskGroup(of: Numbered<Value>.self) { group in
      var next = 0
      func start() {
        guard next < count else { return }
        let index = next
        next += 1
        group.addTask { Numbered(index: index, value: try await body(index)) }
      }
      for _ in 0..<max(1, settings.limits.transfers) { start() }
      var results: [Numbered<Value>] = []
      while let result = try await group.next() {
        results.append(result)
        start()
      }
      return results.sorted { $0.index < $1.index }.map(\.value)
    }
  }
}

private struct Numbered<Value: Sendable>: Sendable {
  var index: Int
  var value: Value
}

/// Adds up what several transfers report.
private final class TransferMeter: Sendable {
  private let state: Mutex<TransferProgress>
  private let report: @Sendable (TransferProgress) -> Void

  init(_ blobs: [Descriptor], _ report: @escaping @Sendable (TransferProgress) -> Void) {
    var progress = TransferProgress()
    progress.bytesTotal = blobs.reduce(0) { $0 + $1.size }
    progress.blobsTotal = blobs.count
    state = Mutex(progress)
    self.report = report
  }

  @Sendable func add(_ bytes: Int) {
    report(
      state.withLock {
        $0.bytesDone += bytes
        return $0
      })
  }

  func finish() {
    report(
      state.withLock {
        $0.blobsDone += 1
        return $0
      })
  }
}
