import Caching
import Digests
import OCI

/// Layers of a build, each written once however many images have it: one of only data is the same on every platform.
actor NewLayers {
  private let store: Store
  private var running: [Fingerprint: Task<ImageArtifact.Layer, any Error>] = [:]

  init(_ store: Store) { self.store = store }

  func layer(of items: [LayerItem]) async throws -> ImageArtifact.Layer {
    let key = Self.key(of: items)
    if let task = running[key] { return try await task.value }
    let store = store
    let task = Task.detached { try LayerWriter(store).write(items) }
    running[key] = task
    do {
      return try await task.value
    } catch {
      // A failure may be of the moment (a full disk): who asks again tries again.
      running[key] = nil
      throw error
    }
  }

  private static func key(of items: [LayerItem]) -> Fingerprint {
    let hasher = FingerprintHasher()
    func add(_ kind: String, _ path: String, _ content: String = "") {
      for text in [kind, path, content] {
        hasher.update(UInt64(text.utf8.count))
        hasher.update(text)
      }
    }
    for item in items {
      switch item {
      case .directory(let directory, let path): add("directory", path, directory.root.hex)
      case .file(let file, let path): add(file.isExecutable ? "executable" : "file", path, file.digest.hex)
      case .symlink(let target, let path): add("symlink", path, target)
      case .folder(let path): add("folder", path)
      case .whiteout(let path): add("whiteout", path)
      case .opaque(let path): add("opaque", path)
      }
    }
    return hasher.finish()
  }
}
