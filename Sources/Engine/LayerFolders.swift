import Caching
import Digests
import OCI
import SystemPackage

/// Unpacked layers, each unpacked once however many actions wait for it.
actor LayerFolders {
  private let store: Store
  private var running: [Digest: Task<FilePath, any Error>] = [:]

  init(store: Store) { self.store = store }

  /// Folders of an image's layers, topmost first, as an overlay wants them.
  func folders(of image: ImageArtifact) async throws -> [String] { try await folders(of: image.layers) }

  /// Of layers, the lowest first.
  func folders(of layers: [ImageArtifact.Layer]) async throws -> [String] {
    var folders: [String] = []
    for layer in layers.reversed() { folders.append(try await folder(of: layer).string) }
    return folders
  }

  private func folder(of layer: ImageArtifact.Layer) async throws -> FilePath {
    if let task = running[layer.diffID] { return try await task.value }
    let store = store
    let task = Task.detached { try await LayerUnpacker(store).unpack(layer) }
    running[layer.diffID] = task
    do {
      return try await task.value
    } catch {
      // A failure may be of the moment (a full disk): who asks again tries again.
      running[layer.diffID] = nil
      throw error
    }
  }
}
