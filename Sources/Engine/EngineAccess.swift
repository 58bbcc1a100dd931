import Caching
import Diagnostics
import Digests
import Distribution
import Files
import Graph
import Manifests
import OCI
import Planning
import RemoteCaching
import RemoteExecution
import RemoteExecutionAPI
import Sandboxing
import Synchronization

/// What a build needs of an engine: the client, and the images as trees or in a registry.
final class EngineAccess: Sendable {
  let engine: ExecutionEngine
  /// What else `slipway.yaml` says of engines.
  private let settings: WorkspaceSettings.Executor?
  /// Told how an action stands.
  let stage: @Sendable (Label, Stage) -> Void
  private let store: Store
  private let layers: LayerFolders
  private let registries: RegistryAccess
  private let trees = Memo<[Digest], DirectoryArtifact>()
  private let references = Memo<Digest, Reference>()
  /// Why the engine was given up.
  private let lost = Mutex<RemoteFailure?>(nil)
  let locals: Permits

  init(
    _ opened: OpenedEngine, store: Store, layers: LayerFolders, registries: RegistryAccess,
    stage: @escaping @Sendable (Label, Stage) -> Void
  ) {
    (engine, settings) = (opened.client, opened.settings)
    (self.store, self.layers, self.registries, self.stage) = (store, layers, registries, stage)
    locals = Permits(Host.cores)
  }

  /// Whether what the engine cannot run for reasons of its own is run here.
  var fallsBack: Bool { settings?.fallback ?? false }

  /// Whether workers pull an action's image themselves.
  var namesImages: Bool { settings?.image == .property }

  /// Where an action stands that is not run here.
  enum Stage: String, Sendable {
    /// Its inputs go to the engine.
    case uploading
    case queued
    case running
    /// Its outputs come from the engine.
    case fetching
  }

  func tell(_ stage: REAPIExecutionStage.Value, of target: Target) {
    switch stage {
    case .queued: self.stage(target.label, .queued)
    case .executing: self.stage(target.label, .running)
    case .completed: self.stage(target.label, .fetching)
    case .unknown, .cacheCheck, .UNRECOGNIZED: break
    }
  }

  /// Whether the engine can run it: what reads an open file, or needs what the engine does not offer, stays here.
  ///
  /// - Parameter pulled: Whether its image is that of a registry.
  func takes(_ target: Target, pulled: Bool) -> Bool {
    let declaration = target.declaration
    let offers = settings?.offers ?? []
    if namesImages, !pulled, settings?.registry == nil { return false }
    guard [.action, .test].contains(target.rule), declaration.stdin == nil else { return false }
    if (declaration.network?.value ?? .none) != .none, !offers.contains(.network) { return false }
    if !declaration.secrets.isEmpty, !offers.contains(.secrets) { return false }
    return target.platform.map { offers.contains(.platform($0)) } ?? true
  }

  /// The platform properties of an action: those of the workspace, and over them those of its target.
  ///
  /// - Parameter image: What workers are to pull.
  func properties(of target: Target, resources: Resources, image: Reference?) -> [REAPIPlatform.Property] {
    var values: [String: String] = [:]
    // The name that Bazel gave it, and the engines that start containers took over.
    if let image { values["container-image"] = "docker://\(image)" }
    for property in (settings?.properties ?? []) + target.declaration.properties {
      values[property.name] = property.value.filled { placeholder in
        switch placeholder {
        case .cpu: resources.cpu.map { "\(Int($0.rounded(.up)))" }
        case .memory: resources.memory.map { "\($0)" }
        case .platform: target.platform ?? Workspace.platform
        case .kind: target.kind
        case .rule: target.rule.rawValue
        case .label: target.label.description
        case .network: target.declaration.network?.value == .host ? "on" : nil
        case .secrets: target.declaration.secrets.map(\.name.value).joined(separator: ",")
        }
      }
    }
    return values.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { name, value in
      var property = REAPIPlatform.Property()
      (property.name, property.value) = (name, value)
      return property
    }
  }

  var failure: RemoteFailure? { lost.withLock { $0 } }

  func giveUp(_ failure: RemoteFailure) { lost.withLock { $0 = $0 ?? failure } }

  /// An image's files as one tree, made once however many actions run in it.
  func tree(of image: ImageArtifact) async throws -> DirectoryArtifact {
    let (store, layers) = (store, layers)
    return try await trees.value(of: image.layers.map(\.diffID)) { try await Self.tree(of: image, store, layers) }
  }

  /// Where workers pull an image: where it came from, or the registry for this, which is given it if it has it not.
  ///
  /// Throws a `RemoteFailure` where that registry fails.
  func reference(of image: ImageArtifact, pulledAs source: Reference?) async throws -> Reference {
    if let source { return source.pinned(to: image.manifest) }
    guard let registry = settings?.registry else {
      throw RemoteFailure(.unsupported, "no `executor: {registry: …}` names where workers may pull images")
    }
    let (store, client) = (store, registries.client())
    return try await references.value(of: image.manifest) {
      do {
        let reference = try Reference("\(registry.value)/slipway").pinned(to: image.manifest)
        if try await client.resolve(reference, direct: true) == nil {
          try await client.push(PushableImage(manifest: image.manifest, in: store), to: reference)
        }
        return reference
      } catch let diagnostic as Diagnostic {
        // The registry was asked several times; other images would fare no better.
        throw RemoteFailure(.connection, "cannot give an image to workers: \(diagnostic.message)")
      }
    }
  }

  /// Remembered as the result of an action of its own, whose bytes are kept and evicted like any other's.
  private static func tree(of image: ImageArtifact, _ store: Store, _ layers: LayerFolders) async throws
    -> DirectoryArtifact
  {
    let key = Fingerprint(of: "image tree 1 " + image.layers.map(\.diffID.hex).joined(separator: " "))
    let hold = try await store.lock(key)
    defer { withExtendedLifetime(hold) {} }
    if case .hit(let record) = store.actions.lookup(key), case .directory(let tree)? = record.outputs.first?.artifact,
      store.firstMissing(of: record) == nil
    {
      return tree
    }
    let start = CommandExecution.now()
    let tree = try ImageTree.insert(layers: await layers.folders(of: image), into: store)
    let end = CommandExecution.now()
    try store.actions.store(
      ActionRecord(
        key: key, label: "", rule: "image-tree", verdict: .passed, startedAt: start, completedAt: end,
        duration: end - start, outputs: [ActionRecord.Output(name: "tree", path: "tree", artifact: .directory(tree))]))
    return tree
  }
}

/// Values that are made once however many ask for them, and again where that failed.
private final class Memo<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  private let tasks = Mutex<[Key: Task<Value, any Error>]>([:])

  func value(of key: Key, _ make: @escaping @Sendable () async throws -> Value) async throws -> Value {
    let task = tasks.withLock { tasks in
      if let task = tasks[key] { return task }
      let task = Task { try await make() }
      tasks[key] = task
      return task
    }
    do { return try await task.value } catch {
      // A full disk may have room again when the next action asks.
      tasks.withLock { $0[key] = nil }
      throw error
    }
  }
}
