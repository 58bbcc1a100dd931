import Caching
import Diagnostics
import Digests

/// A server that keeps results and blobs for others: a protocol, and no policy.
package protocol RemoteServer: Sendable {
  /// As it is named in messages, without credentials.
  var url: String { get }

  /// How many bytes of small blobs are brought or given at once; 0 where each is asked for alone.
  var batchBytes: Int { get }

  /// Up to how many bytes a blob is given sooner than asked about.
  var giftBytes: Int { get }

  /// Up to how many bytes a blob travels in the result that names it; 0 where many are given and brought at once.
  var carriedBytes: Int { get }

  /// Where what is around its calls had best run; nil for wherever tasks run.
  var executor: (any TaskExecutor)? { get }

  /// The encoded REAPI `ActionResult` of an action; nil where there is none.
  func result(of action: RemoteBlob) async throws(RemoteFailure) -> [UInt8]?

  func putResult(_ result: [UInt8], of action: RemoteBlob) async throws(RemoteFailure)

  /// Those that the server lacks.
  func missing(_ blobs: [RemoteBlob]) async throws(RemoteFailure) -> [RemoteBlob]

  /// Brings blobs into the store, digest and size verified; gives those that came. Of the others the server has none,
  /// or other bytes.
  func fetch(_ blobs: [RemoteBlob], into store: Store) async throws(RemoteFailure) -> Set<RemoteBlob>

  func upload(_ blobs: [RemoteBlob], from store: Store) async throws(RemoteFailure)

  /// Whether the server keeps bytes under a digest that is not theirs.
  func takes(_ bytes: [UInt8], as digest: Digest) async throws(RemoteFailure) -> Bool

  func close() async
}

extension RemoteServer {
  package var executor: (any TaskExecutor)? { nil }
}

/// Blobs in groups of at most `limit` bytes each; what is larger is alone, and with a limit of 0 each is.
func packed(_ blobs: [RemoteBlob], limit: Int) -> [[RemoteBlob]] {
  var groups: [[RemoteBlob]] = []
  var size = Int.max
  for blob in blobs {
    // A digest and what is around it in a message.
    let weight = blob.size + 128
    if size > limit - weight || groups.isEmpty {
      groups.append([])
      size = 0
    }
    groups[groups.count - 1].append(blob)
    size += weight
  }
  return groups
}

/// Runs what can fail only for the local disk's sake.
package func locally<Value>(_ body: () throws -> Value) throws(RemoteFailure) -> Value {
  do { return try body() } catch {
    throw RemoteFailure(.local, (error as? Diagnostic)?.message ?? "\(error)")
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
    /// It does not do this (405, 501).
    case unsupported
    /// It takes no blob as large as this (413).
    case tooLarge
    /// It is busy (429).
    case throttled
    /// It failed itself (5xx), or is no cache at all.
    case server
    /// It has none (404).
    case absent
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
  package var isFinal: Bool { reason == .denied || reason == .tls || reason == .unsupported }
}
