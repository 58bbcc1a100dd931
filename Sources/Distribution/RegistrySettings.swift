import Diagnostics
import SystemPackage

/// How registries are reached; values only, so that a test can say everything.
package struct RegistrySettings: Sendable {
  /// What `slipway.yaml` says of one registry.
  package struct Registry: Sendable {
    /// Asked before the registry itself when something is pulled, in order: `https://host[:port][/prefix]`. A path is
    /// put before the repository, as proxies for many registries want it.
    package var mirrors: [String]
    /// Plain HTTP is allowed; without it only registries on this machine may be asked so.
    package var insecure: Bool

    package init(mirrors: [String] = [], insecure: Bool = false) {
      self.mirrors = mirrors
      self.insecure = insecure
    }
  }

  /// By `host[:port]`; `docker.io` is Docker Hub's. A mirror's host may have an entry of its own.
  package var registries: [String: Registry] = [:]
  /// PEM files of authorities that are trusted beside the system's.
  package var authorities: [FilePath] = []
  package var credentials = CredentialSource.none
  package var limits = Limits()
  package var retry = RetryPolicy()
  package var time = Time.real
  /// Told of what went wrong but did not stop anything: a mirror that failed.
  package var warn: @Sendable (Diagnostic) -> Void = { _ in }

  package init() {}

  package struct Limits: Sendable {
    /// Bytes of a manifest: what the specification lets a client rely on.
    package var manifest = 4 << 20
    /// Bytes of an error's or a token's answer.
    package var answer = 256 << 10
    /// Bytes of a blob.
    package var blob = 64 << 30
    /// Bytes of a file that is fetched by its URL.
    package var download = 16 << 30
    package var connect = Duration.seconds(10)
    /// Without a byte from the other side, or without one taken by it.
    package var idle = Duration.seconds(30)
    /// A small request from its start to the end of its answer.
    package var request = Duration.seconds(60)
    /// Bytes a second; a transfer has `request`, and its size at this rate, before it counts as hanging.
    package var minimumRate = 32 << 10
    /// Bytes that one request uploads; after a broken connection at most as many are sent again.
    package var chunk = 16 << 20
    /// Requests that are under way at once; the others wait without a time limit.
    package var connections = 16
    /// Blobs of one image that move at once.
    package var transfers = 4
    package var redirects = 5
    /// Tags of one repository.
    package var tags = 100_000

    package init() {}
  }

  /// What the clock and chance say; tests bring their own.
  package struct Time: Sendable {
    package var sleep: @Sendable (Duration) async throws -> Void
    /// Seconds since 1970.
    package var now: @Sendable () -> Int
    /// From 0 up to 1.
    package var random: @Sendable () -> Double

    package init(
      sleep: @escaping @Sendable (Duration) async throws -> Void, now: @escaping @Sendable () -> Int,
      random: @escaping @Sendable () -> Double
    ) {
      self.sleep = sleep
      self.now = now
      self.random = random
    }

    package static let real = Time(
      sleep: { try await Task.sleep(for: $0) }, now: { wallClock() }, random: { Double.random(in: 0..<1) })
  }
}
