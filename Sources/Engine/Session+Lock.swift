import Caching
import Diagnostics
import Planning

extension Session {
  /// Resolves the packages of a `rootfs` target and writes its lock; gives the lock's path in the workspace and how many
  /// packages it has.
  package func lock(_ text: String) async throws -> (path: String, count: Int) {
    let lease = try await store.lease()
    defer { withExtendedLifetime(lease) {} }
    let (plan, target) = try target(text)
    guard target.rule == .rootfs else {
      throw Diagnostic.error(
        "\(target.label) has the rule `\(target.rule.rawValue)`; slipway writes locks of `rootfs` targets only",
        hints: plan.targets.values.filter { $0.rule == .rootfs && $0.label.package == target.label.package }
          .map(\.label).sorted().prefix(1).map { "slipway lock \($0)" })
    }
    guard let lock = target.declaration.rootfs?.lock else {
      throw Diagnostic.error(
        "\(target.label) names no lock to write",
        hints: ["add `lock: \(target.label.name).lock` to it in \(target.label.package)/targets.yaml"])
    }
    _ = try RootfsExecution.version()
    // Locking is no action and has no result to be found again; the key is never looked up.
    let key = ActionKey { $0.field(.rule, "lock", target.label.description) }
    let resolved = try await RootfsExecution(
      store: store, target: target, lock: nil, keyring: try RootfsKeyring(of: target, in: workspace), key: key
    ).resolve()
    let path = target.label.package.appending(lock.value).string
    try workspace.replace(path, with: Array(resolved.text.utf8))
    return (path, resolved.packages.count)
  }
}
