import Caching
import Digests

/// A server that keeps results and blobs for others: a protocol, and no policy.
package protocol RemoteServer: Sendable {
  /// As it is named in messages, without credentials.
  var url: String { get }

  /// The encoded REAPI `ActionResult` under an action's digest; nil where there is none.
  func result(of action: Digest) async throws(RemoteFailure) -> [UInt8]?

  func putResult(_ result: [UInt8], of action: Digest) async throws(RemoteFailure)

  /// Those that the server lacks.
  func missing(_ blobs: [RemoteBlob]) async throws(RemoteFailure) -> [RemoteBlob]

  /// Brings a blob into the store, its digest and size verified; false where the server has none, or another one.
  func fetch(_ blob: RemoteBlob, into store: Store) async throws(RemoteFailure) -> Bool

  func upload(_ blob: RemoteBlob, from store: Store) async throws(RemoteFailure)

  /// Whether the server keeps bytes under a digest that is not theirs.
  func takes(_ bytes: [UInt8], as digest: Digest) async throws(RemoteFailure) -> Bool

  func close() async
}

package struct RemoteBlob: Hashable, Sendable {
  package var digest: Digest
  /// Bytes.
  package var size: Int

  package init(_ digest: Digest, size: Int) {
    self.digest = digest
    self.size = size
  }
}

/// Why a remote cache did not do what it was asked for.
package struct RemoteFailure: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Reason: Hashable, Sendable {
    /// No connection, or one that broke.
    case connection
    case timeout
    case tls
    /// It wants other credentials (401), or does not allow this (403).
    case denied
    /// It takes no blob as large as this (413).
    case tooLarge
    /// It is busy (429).
    case throttled
    /// It failed itself (5xx), or is no cache at all.
    case server
    /// Bytes that are not what they should be.
    case content
    /// The local disk, not the server.
    case local
    case cancelled
  }

  package var reason: Reason
  /// `METHOD URL: status CODE: message`, without secrets.
  package var description: String

  package init(_ reason: Reason, _ description: String) {
    self.reason = reason
    self.description = description
  }

  /// What to do about it.
  package var hints: [String] {
    switch reason {
    case .denied:
      ["set SLIPWAY_REMOTE_CACHE_USER and SLIPWAY_REMOTE_CACHE_PASSWORD, or SLIPWAY_REMOTE_CACHE_TOKEN"]
    case .tls: ["name its authority's PEM file in slipway.yaml: cache: {remote: {url: URL, ca: FILE}}"]
    default: []
    }
  }

  /// Whether the next question would fail as well.
  package var isFinal: Bool { reason == .denied || reason == .tls }
}
