import Caching
import Diagnostics
import Digests
import Distribution
import Graph
import Manifests
import OCI
import Planning

/// Finds out which platforms image targets are for.
///
/// Only an image of a registry has to be asked; the answer is a function of its digest, and is kept like any result.
struct PlatformSurvey {
  let plan: Plan
  let store: Store
  let registries: RegistryAccess
  /// Whether registries may be asked.
  var asks = true
  private var known: [Label: Result<[String], any Error>] = [:]

  init(_ plan: Plan, store: Store, registries: RegistryAccess, asks: Bool = true) {
    self.plan = plan
    self.store = store
    self.registries = registries
    self.asks = asks
  }

  /// What the survey may not ask for.
  struct Unknown: Error {}

  /// The platforms of an `image`, `rootfs` or `pull`, in byte order.
  mutating func platforms(of label: Label) async throws -> [String] {
    if let found = known[label] { return try found.get() }
    let result: Result<[String], any Error>
    do {
      result = .success(try await find(label))
    } catch { result = .failure(error) }
    known[label] = result
    return try result.get()
  }

  private mutating func find(_ label: Label) async throws -> [String] {
    guard let target = plan.targets[label] else { return [Workspace.platform] }
    let declared = target.declaration.platforms.map(\.value).sorted()
    switch target.rule {
    case .pull: return try await pulled(target)
    case .image: break
    default: return declared.isEmpty ? [Workspace.platform] : declared
    }
    var offered: [String]?
    for base in bases(of: target) {
      let its = try await platforms(of: base)
      offered = offered.map { $0.filter(its.contains) } ?? its
      for platform in target.declaration.platforms where !its.contains(platform.value) {
        throw Diagnostic.error(
          "\(label) is to be for `\(platform.value)`, and its base \(base) is not", at: platform.span,
          hints: ["\(base) is for " + its.joined(separator: ", ")])
      }
    }
    if !declared.isEmpty { return declared }
    guard let offered else { return [Workspace.platform] }
    if offered.isEmpty {
      throw Diagnostic.error(
        "what \(label) is made of has no platform in common", at: target.declaration.place.span,
        notes: try await notes(bases(of: target)))
    }
    return offered
  }

  private mutating func notes(_ bases: [Label]) async throws -> [Diagnostic.Note] {
    var notes: [Diagnostic.Note] = []
    for base in bases {
      notes.append(Diagnostic.Note("\(base) is for " + (try await platforms(of: base)).joined(separator: ", ")))
    }
    return notes
  }

  /// Its base, and root file systems that are layers of it.
  private func bases(of target: Target) -> [Label] {
    (target.image.map { [$0.label] } ?? [])
      + target.layers.map(\.from.label).filter { plan.targets[$0]?.rule == .rootfs }
  }

  // MARK: Registries

  private static let output = "platforms"

  private func pulled(_ target: Target) async throws -> [String] {
    guard let text = target.declaration.image?.value, let digest = try Reference(text).digest else {
      return [Workspace.platform]
    }
    let key = ActionKey { sink in
      sink.field(.rule, "platforms", "1")
      sink.field(.image, "digest", digest.oci)
    }
    if case .hit(let record) = store.actions.lookup(key.fingerprint),
      case .file(let file)? = record.output(named: Self.output)
    {
      return String(decoding: try store.read(file.digest, limit: 1 << 20), as: UTF8.self).split(separator: "\n")
        .map(String.init)
    }
    guard asks else { throw Unknown() }
    let started = CommandExecution.now()
    let found = try await registries.client().platforms(of: try Reference(text), into: store)
    guard !found.isEmpty else {
      throw Diagnostic.error(
        "\(target.label) names an index without an image for Linux", at: target.declaration.image?.span,
        cause: .environment)
    }
    let file = try store.insert(Array(found.map { $0 + "\n" }.joined().utf8))
    try store.actions.store(
      ActionRecord(
        key: key.fingerprint, label: target.label.description, rule: "pull", verdict: .passed, startedAt: started,
        completedAt: CommandExecution.now(), duration: 0,
        outputs: [ActionRecord.Output(name: Self.output, path: "", artifact: .file(file))],
        explanation: key.explanation))
    return found
  }
}
