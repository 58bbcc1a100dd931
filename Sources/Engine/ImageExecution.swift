import Caching
import Diagnostics
import Digests
import Glibc
import Graph
import Manifests
import OCI
import Planning
import SystemPackage

/// Builds an image in process: new layers on a base, and its configuration.
struct ImageExecution: Sendable {
  let workspace: Workspace
  let store: Store
  let snapshot: SourceSnapshot
  let folders: LayerFolders
  let newLayers: NewLayers
  let target: Target
  let base: ImageArtifact?
  let layers: [ActionPlanner.LayerContent]
  let key: ActionKey

  func run() async throws -> ActionRecord {
    let started = CommandExecution.now()
    let clock = ContinuousClock.now
    var written: [(layer: ImageArtifact.Layer, createdBy: String)] = []
    var below = LayerStack(store, folders: try await folders.folders(of: base?.layers ?? []))
    for (content, declared) in zip(layers, target.layers) {
      let createdBy = "slipway \(declared.from.label.withoutPlatform) \(content.to)"
      if content.whole.isEmpty {
        let items = try below.placed(content.entries.map(item))
        written.append((try await newLayers.layer(of: items), createdBy))
        below.push(items: items)
      } else {
        written += content.whole.map { ($0, createdBy) }
        below.push(folders: try await folders.folders(of: content.whole))
      }
    }
    var change = ImageChange(target.declaration.config)
    if let user = target.declaration.config.user, user.onlyIfPresent, try await !hasUser(user.name.value) {
      change.user = nil
    }
    let image = try ImageBuilder(store).build(
      base: base, platform: target.platform ?? Workspace.platform, layers: written, change: change)
    return ActionRecord(
      key: key.fingerprint, label: target.label.description, rule: "image", verdict: .passed, startedAt: started,
      completedAt: CommandExecution.now(), duration: Int64((ContinuousClock.now - clock).milliseconds),
      outputs: [ActionRecord.Output(name: "image", path: "", artifact: .image(image))], explanation: key.explanation)
  }

  private func item(_ entry: PlacedInput) throws -> LayerItem {
    switch entry.content {
    case .source(let file):
      if file.mode == .symlink {
        let text = try workspace.tree.read(file.path, limit: 4096)
        return .symlink(String(decoding: text, as: UTF8.self), at: entry.path)
      }
      return .file(try snapshot.artifact(of: file), at: entry.path)
    case .file(let file): return .file(file, at: entry.path)
    case .directory(let directory): return .directory(directory, at: entry.path)
    case .bundled(let path, _): return .file(try store.insert(Workspace.bundled(path) ?? []), at: entry.path)
    }
  }

  /// Whether the base's `/etc/passwd` names the user; it is a function of the base's layers, which are in the key.
  private func hasUser(_ name: String) async throws -> Bool {
    guard let base else { return false }
    for folder in try await folders.folders(of: base) {
      guard let bytes = try Disk.contents(of: folder + "/etc/passwd", limit: 16 << 20) else { continue }
      return bytes.split(separator: 10).contains { $0.starts(with: Array((name + ":").utf8)) }
    }
    return false
  }
}

extension ImageChange {
  /// What a declaration says of an image's run configuration.
  init(_ config: ImageConfiguration) {
    self.init()
    entrypoint = config.entrypoint?.map(\.value)
    command = config.command?.map(\.value)
    environment = config.env.map { ($0.name.value, $0.value.value) }
    for label in config.labels { labels[label.name.value] = label.value.value }
    user = config.user?.name.value
    workingDirectory = config.workdir?.value
    exposedPorts = config.exposedPorts.map(\.value)
  }
}

extension Duration {
  var milliseconds: Int {
    Int(components.seconds) * 1000 + Int(components.attoseconds / 1_000_000_000_000_000)
  }
}
