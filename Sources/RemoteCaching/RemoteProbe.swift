import Caching
import Digests
import RemoteExecutionAPI

/// What a remote cache is like, found out by using it: `slipway cache doctor`.
package struct RemoteProbe: Sendable {
  /// Seconds: the median of ten questions.
  package var latency = 0.0
  /// Bytes a second.
  package var upload = 0.0
  package var download = 0.0
  /// It took bytes under a digest that is not theirs. Whoever reads verifies them, but has to bring them for that.
  package var takesWrongBytes = false
  /// A signed result came back with its signature.
  package var keepsSignatures = false

  private static let size = 8 << 20

  /// Leaves a blob of 8 MiB and a result behind, which nobody will ask for.
  ///
  /// - Throws: What failed first.
  package init(_ server: any RemoteServer, through store: Store) async throws {
    let clock = ContinuousClock()
    func seconds(_ body: () async throws -> Void) async rethrows -> Double {
      try await clock.measure { try await body() }.seconds
    }
    var words = SystemRandomNumberGenerator()
    func random(_ count: Int) -> [UInt8] {
      var bytes: [UInt8] = []
      bytes.reserveCapacity(count)
      while bytes.count < count { withUnsafeBytes(of: words.next()) { bytes += $0 } }
      return bytes
    }
    var times: [Double] = []
    for _ in 0..<10 {
      let nowhere = RemoteBlob(Digest(of: random(32)), size: 32)
      times.append(try await seconds { _ = try await server.result(of: nowhere) })
    }
    latency = times.sorted()[5]

    let bytes = random(Self.size)
    let file = try store.insert(bytes)
    let blob = RemoteBlob(file.digest, size: file.size)
    let up = try await seconds { try await server.upload([blob], from: store) }
    upload = Double(Self.size) / max(up, 1e-9)
    let elsewhere = try Store(root: store.makeTemporaryFolder().appending("store"))
    let down = try await seconds {
      guard try await server.fetch([blob], into: elsewhere) == [blob] else {
        throw RemoteFailure(.content, "GET \(server.url): what was just uploaded did not come back")
      }
    }
    download = Double(Self.size) / max(down, 1e-9)

    let action = RemoteBlob(Digest(of: random(32)), size: 32)
    let key = SigningKey()
    var result = REAPIActionResult()
    result.stdoutDigest = REAPIDigest(file.digest, size: file.size)
    try await server.putResult(result.signed(action.digest, by: key).canonicalBytes, of: action)
    let back = try await server.result(of: action) ?? []
    let kept = try? REAPIActionResult(serializedBytes: back)
    keepsSignatures = kept?.trust(action.digest, among: [key.trusted]) == .signed(by: key.trusted)
    takesWrongBytes = try await server.takes(random(64), as: Digest(of: random(32)))
  }
}
