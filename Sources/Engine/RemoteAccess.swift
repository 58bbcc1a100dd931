import Caching
import Diagnostics
import Events
import Glibc
import Manifests
import RemoteCaching
import RemoteExecution
import SystemPackage

extension Session {
  /// How long a build waits at its end for what it still has to give to others.
  private static let drainLimit = Duration.seconds(30)

  /// The remote tier that the options, the environment or `slipway.yaml` name; nil where none does.
  ///
  /// It is opened once, and by the first that asks for it.
  func remote(_ options: BuildOptions) throws -> RemoteTier? {
    if let opened { return opened.tier }
    let tier = try openRemote(options)
    opened = OpenedRemote(tier: tier)
    return tier
  }

  /// The engine that the options, the environment or `slipway.yaml` name; nil where none does.
  func openEngine(_ options: BuildOptions) throws -> OpenedEngine? {
    let environment = RegistryAccess.environment()
    let settings = workspace.settings.executor
    guard let url = options.executor ?? environment["SLIPWAY_EXECUTOR"] ?? settings?.url.value, !url.isEmpty else {
      return nil
    }
    var access = try RemoteCacheAccess(environment: environment, ofEngine: true)
    // An engine is asked for work, not for a look-up.
    if environment["SLIPWAY_REMOTE_CACHE_TIMEOUT"] == nil, environment["SLIPWAY_EXECUTOR_TIMEOUT"] == nil {
      access.patience = .seconds(10)
    }
    if let authority = settings?.authority ?? workspace.settings.cache.remote?.authority {
      access.authorities = [workspace.root.pushing(FilePath(authority.value))]
    }
    let address = try RemoteCacheAddress(url)
    guard address.scheme == .grpc || address.scheme == .grpcs else {
      throw Diagnostic.error("the URL of an engine starts with grpc:// or grpcs://, not as `\(address)` does")
    }
    return OpenedEngine(
      client: try ExecutionEngine(address, access, memory: workspace.root.appending(".slipway").appending("engine")),
      settings: settings)
  }

  private func openRemote(_ options: BuildOptions) throws -> RemoteTier? {
    let environment = RegistryAccess.environment()
    let settings = workspace.settings.cache
    guard let url = options.remoteCache ?? environment["SLIPWAY_REMOTE_CACHE"] ?? settings.remote?.url.value,
      !url.isEmpty
    else { return nil }
    var tier = RemoteTier.Settings()
    let mode =
      options.remoteMode ?? environment["SLIPWAY_REMOTE_CACHE_MODE"] ?? settings.remote?.mode.rawValue ?? "read"
    guard let known = RemoteTier.Mode(rawValue: mode) else {
      throw Diagnostic.error("`\(mode)` is no mode of a remote cache", hints: ["read, write or off"])
    }
    guard known != .off else { return nil }
    tier.mode = known
    for text in settings.trust ?? [] {
      guard let key = TrustedKey(text.value) else {
        throw Diagnostic.error(
          "`\(text.value)` is no public key", at: text.span,
          hints: ["`slipway cache keygen` prints one: `ed25519:` and 44 characters"])
      }
      tier.trust.insert(key)
    }
    if let path = environment["SLIPWAY_SIGNING_KEY"], !path.isEmpty {
      guard let bytes = try Disk.contents(of: path, limit: 64 << 10),
        let key = SigningKey(String(decoding: bytes, as: UTF8.self))
      else {
        throw Diagnostic.error(
          "SLIPWAY_SIGNING_KEY names `\(path)`, which holds no signing key", cause: .environment,
          hints: ["make one: slipway cache keygen \(path)"])
      }
      tier.signingKey = key
    }
    var access = try RemoteCacheAccess(environment: environment)
    // A fifth of what an answer may take: 0.2 s, where nothing else is said.
    tier.patience = access.patience / 5
    tier.breaker.budget = max(tier.breaker.budget, access.patience * 2)
    if let authority = settings.remote?.authority {
      access.authorities = [workspace.root.pushing(FilePath(authority.value))]
    }
    return RemoteTier(try Self.server(at: url, access), tier)
  }

  /// - Throws: A diagnostic for what is no URL of a cache.
  static func server(at url: String, _ access: RemoteCacheAccess) throws -> any RemoteServer {
    let address = try RemoteCacheAddress(url)
    switch address.scheme {
    case .http, .https: return try WebCacheServer(address, access)
    case .grpc, .grpcs: return try ExecutionCacheServer(address, access)
    }
  }

  /// Gives others what is still to be given, and says what was turned off; what the tier did, if there was one.
  @discardableResult
  func closeRemote(_ events: EventStream) async -> TierStatistics? {
    guard let tier = opened?.tier else { return nil }
    opened = nil
    await tier.finish(within: Self.drainLimit)
    if let warning = tier.warning { events.emit(Event(.cacheWarning, message: warning.rendered)) }
    return tier.statistics
  }

  /// Closes the remote tier after a walk, and notes what the cache did; nil where it was not asked.
  func closeCache(_ build: Build, _ events: EventStream) async -> CacheStatistics? {
    let statistics = CacheStatistics(local: build.localStatistics, remote: await closeRemote(events))
    guard statistics.local != TierStatistics() else { return nil }
    // It only tells: a store that takes nothing more fails what needs it.
    try? await store.addToTotals(statistics)
    return statistics
  }

  /// Brings what artifacts lack of their bytes from the remote tier; false where there is none, or it has them not.
  func bring(_ artifacts: [Artifact]) async throws -> Bool {
    if artifacts.allSatisfy({ store.firstMissing(of: $0) == nil }) { return true }
    guard let tier = try remote(BuildOptions()) else { return false }
    let isWhole = await tier.fetch(artifacts, into: store, insteadOf: nil)
    await closeRemote(EventStream(sinks: []))
    return isWhole
  }
}

extension Session {
  /// Uses a remote cache once.
  ///
  /// - Throws: What failed first, with what to do about it.
  package static func examineRemoteCache(_ url: String, store: Store) async throws -> [(name: String, value: String)] {
    let server = try server(at: url, try RemoteCacheAccess(environment: RegistryAccess.environment()))
    let probe: RemoteProbe
    do { probe = try await RemoteProbe(server, through: store) } catch let failure as RemoteFailure {
      await server.close()
      throw Diagnostic.error("the remote cache does not work: \(failure)", cause: .environment, hints: failure.hints)
    }
    await server.close()
    func rate(_ bytes: Double) -> String { "\(ByteText.short(Int(min(bytes, 1e15))))/s" }
    let milliseconds = (probe.latency * 10_000).rounded() / 10
    let address = try RemoteCacheAddress(url)
    var findings = [
      ("latency", "\(milliseconds) ms"), ("upload", rate(probe.upload)), ("download", rate(probe.download)),
      ("signatures", probe.keepsSignatures ? "kept" : "lost: with `cache.trust`, every result would be a miss"),
      (
        "wrong bytes",
        probe.takesWrongBytes ? "taken: whoever writes can cost others time, but not give them wrong bytes" : "refused"
      ),
    ]
    if !address.isLocal, !address.scheme.isSecure {
      findings.append(("transport", "without TLS: who is on the way can read what is cached"))
    }
    return findings.map { (name: $0.0, value: $0.1) }
  }

  /// Makes a signing key in a new file that only its owner can read; gives the public key's text.
  package static func makeSigningKey(at path: String) throws -> String {
    let key = SigningKey()
    let file = try Disk.open(path, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
    defer { try? file.close() }
    try Array("\(key.secret)\n".utf8).withUnsafeBytes { try Disk.write(file, $0, path: path) }
    return "\(key.trusted)"
  }
}

/// An engine that runs actions.
package struct OpenedEngine {
  var client: ExecutionEngine
  /// What `slipway.yaml` says of engines.
  var settings: WorkspaceSettings.Executor?
}

/// That the remote tier was asked for, and what was found.
struct OpenedRemote {
  var tier: RemoteTier?
}
