import Diagnostics
import NIOHTTP1

/// A folder of files on a web server that takes PUT and DELETE, such as one with WebDAV.
///
/// It shares everything with the registry client: connections, credentials, retries, bounds, redirects. Plain HTTP only
/// reaches this machine, or hosts that the settings call insecure.
package final class WebFolder: Sendable {
  /// As given, without a slash at its end.
  package let url: String
  private let client: RegistryClient
  private let endpoint: Endpoint
  private let base: WebAddress

  /// - Throws: A diagnostic for what is no `https://` URL, holds credentials or a query, or would be asked without TLS.
  package init(_ url: String, settings: RegistrySettings) throws {
    // Not quoted in the message: it may hold a password.
    guard !url.prefix(while: { $0 != "?" }).contains("@") else {
      throw Diagnostic.error(
        "the URL of the metadata store holds credentials", cause: .input,
        hints: ["set SLIPWAY_METADATA_USER and SLIPWAY_METADATA_PASSWORD, or write them to ~/.netrc"])
    }
    guard let address = WebAddress(url), !address.target.contains("?"), !url.contains("#") else {
      throw Diagnostic.error("`\(RegistryFailure.bounded(url, 200))` is not the URL of a folder", cause: .input)
    }
    guard address.isSecure || settings.allowsPlain(address.host, port: address.port) else {
      throw Diagnostic.error(
        "`\(url)` would be asked without TLS, though it is on another machine", cause: .input, hints: ["use `https://`"]
      )
    }
    let path = address.target.split(separator: "/").map { "/" + $0 }.joined()
    base = address.at(path.isEmpty ? "/" : path)
    self.url = address.origin + path
    endpoint = Endpoint(
      registry: address.authority, address: address.at("/"), prefix: "", isMirror: false, mayBePlain: false)
    client = RegistryClient(settings)
  }

  package func close() async { await client.close() }

  /// The bytes of a file; `nil` where there is none.
  package func get(_ path: String, limit: Int) async throws -> [UInt8]? {
    try await exchange(.GET, path, doing: "read", size: limit, accepts: [200, 404]) { answer, address in
      if answer.status == 404 {
        await answer.discard()
        return nil
      }
      return try await self.client.exchange.body(answer, .GET, address, limit: limit)
    }
  }

  /// Writes a file whole, in place of what is there.
  package func put(_ bytes: [UInt8], to path: String, contentType: String) async throws {
    try await exchange(
      .PUT, path, doing: "write", headers: [("Content-Type", contentType)], payload: .bytes(bytes), size: bytes.count,
      accepts: [200, 201, 204]
    ) { answer, _ in await answer.discard() }
  }

  /// Removes a file; none being there is as good.
  package func delete(_ path: String) async throws {
    try await exchange(.DELETE, path, doing: "remove", accepts: [200, 202, 204, 404, 410]) { answer, _ in
      await answer.discard()
    }
  }

  private func exchange<Value>(
    _ method: HTTPMethod, _ path: String, doing: String, headers: [(String, String)] = [], payload: Payload = .none,
    size: Int = 0, accepts: Set<Int>, receive: (Transport.Answer, WebAddress) async throws -> Value
  ) async throws -> Value {
    let escaped = path.split(separator: "/").map { "/" + WebAddress.escape(String($0)) }.joined()
    let address = base.at((base.target == "/" ? "" : base.target) + escaped)
    let call = RegistryClient.Call(
      method: method, address: address, headers: headers, payload: payload, size: size, accepts: accepts)
    do {
      return try await client.perform(endpoint, scopes: [], { call }, receive: receive)
    } catch let failure as RegistryFailure {
      throw diagnostic(failure, "\(doing) `\(path)`")
    }
  }

  private func diagnostic(_ failure: RegistryFailure, _ doing: String) -> Diagnostic {
    var failure = failure
    // A web server explains itself in HTML; the number of attempts, if any, comes after that.
    if let html = failure.text.firstRange(of: ": the answer is `text/html`, not one of a registry") {
      failure.text.removeSubrange(html)
    }
    switch failure.reason {
    case .status(401):
      failure.hints.append(
        "set SLIPWAY_METADATA_USER and SLIPWAY_METADATA_PASSWORD, or write them to ~/.netrc for \(base.host)")
    case .status(403): failure.hints.append("the credentials for \(base.authority) do not allow this")
    case .status(405): failure.hints.append("the server must take PUT and DELETE below \(url)")
    case .status(409) where failure.method == "PUT":
      failure.hints.append("the server must make missing folders")
    case .status(500) where failure.method == "PUT":
      // nginx says no more than this for either.
      failure.hints.append(
        "the server's log says why: its disk is full, or it must make missing folders (nginx: "
          + "`create_full_put_path on`)")
    case .status(507): failure.hints.append("the server's disk is full")
    case .connection where failure.text.hasPrefix("connection refused"):
      failure.hints.append("is a server running at \(base.authority)?")
    default: break
    }
    return failure.diagnostic(doing)
  }
}
