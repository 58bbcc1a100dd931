import Caching
import Diagnostics
import Digests
import Distribution
import OCI
import Planning

/// Brings an image that is pinned by its digest from a registry, or a mirror of it, into the store.
struct PullExecution: Sendable {
  let target: Target
  let reference: Reference
  let platform: String
  let key: ActionKey
  let store: Store
  let registries: RegistryAccess

  init(target: Target, planner: ActionPlanner, store: Store, registries: RegistryAccess) throws {
    let text = target.declaration.image
    do {
      reference = try Reference(text?.value ?? "")
    } catch var diagnostic as Diagnostic {
      diagnostic.span = text?.span
      throw diagnostic
    }
    guard let digest = reference.digest else {
      throw Diagnostic.error("\(target.label) pulls an image that no digest pins", at: text?.span)
    }
    self.target = target
    self.store = store
    self.registries = registries
    platform = planner.platform(of: target)
    key = planner.pullKey(of: digest, for: target)
  }

  func run() async throws -> ActionRecord {
    let started = CommandExecution.now()
    let clock = ContinuousClock.now
    let pulled = try await registries.client().pull(reference, platform: platform, into: store)
    let image = try ImageBuilder(store).image(ofManifest: pulled.manifest.digest)
    return ActionRecord(
      key: key.fingerprint, label: target.label.description, rule: "pull", verdict: .passed, startedAt: started,
      completedAt: CommandExecution.now(), duration: Int64((ContinuousClock.now - clock).milliseconds),
      outputs: [ActionRecord.Output(name: "image", path: "", artifact: .image(image))], explanation: key.explanation)
  }
}
