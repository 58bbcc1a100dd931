import Caching
import Diagnostics

extension Session {
  /// Brings the store below `cache.max-size` of `slipway.yaml`; without that setting nothing is ever removed by itself.
  ///
  /// Call it when no lease is held. It gives `nil` where nothing was to be done or another build uses the store: the next
  /// build collects then. A store that cannot be collected costs disk space, never a build, so errors are warnings.
  @discardableResult
  package func collectGarbageIfNeeded() -> Diagnostic? {
    guard let limit = workspace.settings.cache.maxSize else { return nil }
    do {
      _ = try store.gcIfLarger(than: limit)
      return nil
    } catch {
      let reason = (error as? Diagnostic)?.message ?? "\(error)"
      return .warning(
        "cannot shrink the cache to `cache.max-size`: \(reason)", hints: ["slipway cache verify", "slipway cache gc"])
    }
  }
}
