import Caching
import Diagnostics
import Planning

extension Session {
  /// Resolves the packages of a `rootfs` target and writes its lock, or one for each of its platforms; tells each lock's
  /// path in the workspace and how many packages it has.
  package func lock(_ text: String, wrote: (_ path: String, _ count: Int) -> Void) async throws {
    let lease = try await store.lease()
    defer { withExtendedLifetime(lease) {} }
    let (plan, target) = try target(text)
    guard target.rule == .rootfs else {
      throw Diagnostic.error(
        "\(target.label) has the rule `\(target.rule.rawValue)`; slipway writes locks of `rootfs` targets only",
        hints: plan.targets.values.filter { $0.rule == .rootfs && $0.label.package == target.label.package }
          .map(\.label).sorted().prefix(1).map { "slipway lock \($0)" })
    }
    guard target.declaration.rootfs?.lock != nil else {
      throw Diagnostic.error(
        "\(target.label) names no lock to write",
        hints: ["add `lock: \(target.label.name).lock` to it in \(target.label.package)/targets.yaml"])
    }
    _ = try RootfsExecution.version()
    let spread = try await spread(target, in: plan, chosen: [])
    let emulation = Emulation()
    // All that can be resolved here is.
    var failure: (any Error)?
    for target in spread.labels.compactMap({ spread.plan.targets[$0] }) {
      do {
        if let platform = target.platform {
          try emulation.require(target.label, for: platform, host: Workspace.platform, hasChoice: false)
        }
        let (path, count) = try await writeLock(of: target)
        wrote(path, count)
      } catch { failure = failure ?? error }
    }
    if let failure { throw failure }
  }

  private func writeLock(of target: Target) async throws -> (path: String, count: Int) {
    guard let path = RootfsExecution.lockPath(of: target)?.string else {
      throw Diagnostic.error("\(target.label) names no lock to write", cause: .internal)
    }
    // Locking is no action and has no result to be found again; the key is never looked up.
    let key = ActionKey { $0.field(.rule, "lock", target.label.description) }
    let resolved = try await RootfsExecution(
      store: store, target: target, lock: nil, keyring: try RootfsKeyring(of: target, in: workspace), key: key
    ).resolve()
    try workspace.replace(path, with: Array(resolved.text.utf8))
    return (path, resolved.packages.count)
  }
}
