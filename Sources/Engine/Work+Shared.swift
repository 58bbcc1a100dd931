import Caching
import Digests
import Files
import Graph
import Manifests
import Planning

/// What the remote tier has to do with one miss.
extension Work {
  /// What an execution reads from the store, other than sources.
  var needs: [Artifact] {
    switch kind {
    case .command(let command):
      let image = command.action.image
      let isGivenWhole = engine?.namesImages == true && command.imageSource == nil
      return (isGivenWhole ? [.image(image)] : layerBlobs(image.layers, command.store))
        + Self.artifacts(of: command.action.inputs)
    case .image(let image):
      return (image.base.map { [.image($0)] } ?? [])
        + image.layers.flatMap { layerBlobs($0.whole, image.store) + Self.artifacts(of: $0.entries) }
    case .rootfs, .pull, .downloads: return []
    }
  }

  /// A layer that is unpacked is not needed packed.
  private func layerBlobs(_ layers: [ImageArtifact.Layer], _ store: Store) -> [Artifact] {
    layers.filter { !store.hasLayer($0.diffID) }.map {
      .file(FileArtifact(digest: $0.digest, size: $0.size, isExecutable: false))
    }
  }

  private static func artifacts(of inputs: [PlacedInput]) -> [Artifact] {
    inputs.compactMap { input in
      switch input.content {
      case .file(let file): .file(file)
      case .directory(let directory): .directory(directory)
      case .source, .bundled: nil
      }
    }
  }

  /// The name that every machine gives to the action.
  ///
  /// Throws `SharedAction.SourceChanged` when a source was edited since its key was computed, and a `Diagnostic` where a
  /// folder that others are merged into is not in the store.
  func sharedRequest() throws -> SharedRequest {
    let store = actions.store
    let directories = NamedDirectories(reading: store)
    let tree = workspace.tree
    let sources = SharedSources(
      contents: { try tree.contents(of: $0) },
      link: { String(decoding: try tree.read($0, limit: 4096), as: UTF8.self) }, bundled: Workspace.bundled)
    let action: SharedAction
    var outputs: [(name: String, path: String)]?
    var isHermetic = true
    switch kind {
    case .command(let command) where target.rule != .fetch:
      action = try SharedAction(command.action, sources: sources, in: directories)
      outputs = command.action.outputs
      isHermetic = command.action.network == .none && command.action.secrets.isEmpty
    case .command(let command):
      // Its bytes are a function of its plan, and verified by it, whatever network they come from.
      action = try SharedAction(key.explanation, inputs: [], sources: sources, in: directories)
      outputs = command.action.outputs
    case .image(let image):
      let entries = image.layers.flatMap(\.entries)
      action = try SharedAction(key.explanation, inputs: entries, sources: sources, in: directories)
    case .rootfs, .pull, .downloads:
      action = try SharedAction(key.explanation, inputs: [], sources: sources, in: directories)
      // A floating root file system is what the archive held that day.
      if case .rootfs(let rootfs) = kind { isHermetic = rootfs.lock != nil }
    }
    return SharedRequest(
      action: RemoteBlob(action.digest, size: action.action.count), key: key.fingerprint,
      label: target.label.description, rule: target.rule.rawValue, outputs: outputs, isHermetic: isHermetic)
  }
}
