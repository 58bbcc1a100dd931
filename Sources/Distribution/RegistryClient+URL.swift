import Caching
import Diagnostics
import Digests
import NIOHTTP1

extension RegistryClient {
  /// Brings the file at any URL into the store, if it has the digest; the same client, as it bounds, retries and
  /// redirects alike.
  ///
  /// Plain HTTP is allowed: the digest decides, and nothing secret is sent.
  ///
  /// - Throws: A diagnostic that names the URL.
  package func download(_ url: String, digest: Digest, executable: Bool = false, into store: Store) async throws
    -> FileArtifact
  {
    guard let address = WebAddress(url) else {
      throw Diagnostic.error("`\(url)` is not a URL that can be fetched", cause: .input)
    }
    var origin = address
    origin.target = "/"
    let endpoint = Endpoint(
      registry: address.authority, address: origin, prefix: "", isMirror: false, mayBePlain: false)
    do {
      return try await perform(endpoint, scopes: []) {
        Call(
          method: .GET, address: address, headers: [("Accept-Encoding", "identity")], size: settings.limits.download,
          accepts: [200])
      } receive: { answer, address in
        let writer = try BlobWriter(store)
        try await answer.forEachPiece { piece in
          guard writer.size + piece.count <= self.settings.limits.download else {
            throw self.exchange.failed(
              .GET, address, .content, "the file has more than the \(self.settings.limits.download) bytes allowed")
          }
          try writer.write(piece)
        }
        guard writer.digest == digest else {
          throw self.exchange.failed(
            .GET, address, .content, "the file has the SHA-256 \(writer.digest.hex), not \(digest.hex)")
        }
        return try writer.finish(executable: executable)
      }
    } catch let failure as RegistryFailure {
      throw failure.diagnostic("fetch \(url)")
    }
  }
}
