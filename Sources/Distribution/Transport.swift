import AsyncHTTPClient
import Caching
import Diagnostics
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization
import SystemPackage

/// The one HTTP client: made when it is first needed, shut down by `close`.
///
/// Plain requests have one of their own, since to read a file of authorities takes ten milliseconds. It follows no
/// redirect, decompresses nothing and retries nothing: all three are decided above it.
final class Transport: Sendable {
  private let settings: RegistrySettings
  private let state = Mutex(State())

  private struct State {
    var plain: HTTPClient?
    var secure: HTTPClient?
    var isClosed = false

    mutating func take() -> [HTTPClient] {
      defer { (plain, secure) = (nil, nil) }
      return [plain, secure].compactMap(\.self)
    }
  }

  init(_ settings: RegistrySettings) { self.settings = settings }

  /// Whoever forgets to close, or throws before, must not be punished by the client's own trap.
  deinit {
    let clients = state.withLock { $0.take() }
    if !clients.isEmpty { Task.detached { for client in clients { try? await client.shutdown() } } }
  }

  func close() async {
    let clients = state.withLock { state in
      state.isClosed = true
      return state.take()
    }
    for client in clients { try? await client.shutdown() }
  }

  private func client(isSecure: Bool) throws -> HTTPClient {
    try state.withLock { state in
      if state.isClosed { throw Diagnostic.error("the registry client is closed", cause: .internal) }
      if let client = isSecure ? state.secure : state.plain { return client }
      let client = try makeClient(authorities: isSecure ? settings.authorities : [])
      if isSecure { state.secure = client } else { state.plain = client }
      return client
    }
  }

  private func makeClient(authorities: [FilePath]) throws -> HTTPClient {
    var tls = TLSConfiguration.makeClientConfiguration()
    for path in authorities {
      // Not by OpenSSL, which waits at a FIFO and reads without an end.
      guard let bytes = try Disk.contents(of: path.string, limit: 16 << 20),
        let certificates = try? NIOSSLCertificate.fromPEMBytes(bytes)
      else { throw Diagnostic.error("cannot read the certificates in `\(path)`", cause: .environment) }
      tls.additionalTrustRoots.append(.certificates(certificates))
    }
    var configuration = HTTPClient.Configuration(tlsConfiguration: tls)
    configuration.redirectConfiguration = .disallow
    configuration.decompression = .disabled
    configuration.httpVersion = .http1Only
    configuration.connectionPool.retryConnectionEstablishment = false
    configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = max(1, settings.limits.connections)
    configuration.timeout = .init(
      connect: .nanoseconds(settings.limits.connect.nanoseconds), read: .nanoseconds(settings.limits.idle.nanoseconds),
      write: .nanoseconds(settings.limits.idle.nanoseconds))
    return HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: configuration)
  }

  struct Answer {
    var status: Int
    var headers: HTTPHeaders
    var body: HTTPClientResponse.Body
    var deadline: ContinuousClock.Instant

    /// Each piece of the body as it comes; between two of them the deadline is looked at, and a silent peer ends by
    /// the idle timeout.
    func forEachPiece(_ take: (UnsafeRawBufferPointer) throws -> Void) async throws {
      for try await piece in body {
        try piece.withUnsafeReadableBytes(take)
        if ContinuousClock.now > deadline { throw HTTPClientError.deadlineExceeded }
      }
      // A cancelled body just ends.
      try Task.checkCancellation()
    }

    /// The body, or `nil` if it has more than `limit` bytes.
    func bytes(limit: Int) async throws -> [UInt8]? {
      if let length = headers.first(name: "Content-Length").flatMap(Int.init), length > limit { return nil }
      var bytes: [UInt8] = []
      for try await piece in body {
        guard bytes.count + piece.readableBytes <= limit else { return nil }
        bytes += piece.readableBytesView
        if ContinuousClock.now > deadline { throw HTTPClientError.deadlineExceeded }
      }
      try Task.checkCancellation()
      return bytes
    }

    /// Reads what is left of a small body, so that the connection can serve again.
    func discard() async {
      _ = try? await bytes(limit: 64 << 10)
    }
  }

  /// - Parameter size: Bytes that move either way: they lengthen the time that the exchange has.
  func send(
    _ method: HTTPMethod, _ address: WebAddress, headers: [(String, String)], payload: Payload, size: Int
  ) async throws -> Answer {
    var request = HTTPClientRequest(url: address.text)
    request.method = method
    request.headers = HTTPHeaders(headers)
    request.headers.replaceOrAdd(name: "User-Agent", value: "slipway")
    switch payload {
    case .none: break
    case .bytes(let bytes): request.body = .bytes(ByteBuffer(bytes: bytes))
    case .file(let piece): request.body = .stream(piece, length: .known(Int64(piece.length)))
    }
    let limits = settings.limits
    let time = limits.request + .seconds(size / max(1, limits.minimumRate))
    let response = try await client(isSecure: address.isSecure).execute(
      request, deadline: .now() + .nanoseconds(time.nanoseconds))
    return Answer(
      status: Int(response.status.code), headers: response.headers, body: response.body,
      deadline: ContinuousClock.now + time)
  }

  /// What an error of the client means, in words; `nil` for one that is no failure of the exchange.
  static func describe(_ error: any Error) -> (RegistryFailure.Reason, text: String, isTransient: Bool)? {
    switch error {
    case let error as HTTPClientError:
      switch error {
      case .connectTimeout: return (.timeout, "no connection within the time limit", true)
      case .tlsHandshakeTimeout: return (.timeout, "no TLS handshake within the time limit", true)
      case .readTimeout, .writeTimeout, .deadlineExceeded, .getConnectionFromPoolTimeout:
        return (.timeout, "no answer within the time limit", true)
      case .cancelled: return Task.isCancelled ? nil : (.connection, "the connection broke", true)
      case .remoteConnectionClosed, .requestStreamCancelled, .uncleanShutdown:
        return (.connection, "the connection was closed before the answer was whole", true)
      default: return (.content, "not an exchange in HTTP: \(error.shortDescription.lowercased())", true)
      }
    case let error as NIOConnectionError:
      let refused = error.connectionErrors.contains {
        ($0.error as? IOError)?.errnoCode == Errno.connectionRefused.rawValue
      }
      if refused { return (.connection, "connection refused", true) }
      if error.dnsAError != nil || error.dnsAAAAError != nil {
        return (.connection, "the host `\(error.host)` was not found", true)
      }
      return (.connection, "no connection", true)
    case let error as IOError:
      let reason = Errno(rawValue: error.errnoCode).description
      return (.connection, reason.prefix(1).lowercased() + reason.dropFirst(), true)
    case let error as NIOSSLError:
      if case .handshakeFailed(let inner) = error { return (.tls, tlsText("\(inner)"), false) }
      return (.tls, tlsText("\(error)"), true)
    case is NIOSSLExtraError:
      return (.tls, "the certificate is not one for this host", false)
    case is HTTPParserError: return (.content, "the answer is not HTTP, or broke off", true)
    case let error as ChannelError:
      if case .connectTimeout = error { return (.timeout, "no connection within the time limit", true) }
      return (.connection, "the connection broke", true)
    default: return nil
    }
  }

  private static func tlsText(_ text: String) -> String {
    // Which of both it is, the library does not tell.
    if text.contains("CERTIFICATE_VERIFY_FAILED") {
      return "the certificate is not signed by a trusted authority, or has expired"
    }
    if text.contains("WRONG_VERSION_NUMBER") || text.contains("HTTP_REQUEST") { return "the server does not speak TLS" }
    return "the TLS handshake failed"
  }
}

/// What kind of thing went wrong in an exchange over HTTP, and in words; nil for an error of another kind.
package func describeExchange(_ error: any Error) -> (kind: ExchangeFailure, text: String)? {
  guard let (reason, text, _) = Transport.describe(error) else { return nil }
  switch reason {
  case .tls: return (.tls, text)
  case .timeout: return (.timeout, text)
  case .connection: return (.connection, text)
  default: return (.content, text)
  }
}

package enum ExchangeFailure: Sendable { case connection, tls, timeout, content }

extension Duration {
  var nanoseconds: Int64 {
    let (seconds, attoseconds) = components
    return Int64(
      clamping: seconds.multipliedReportingOverflow(by: 1_000_000_000).partialValue + attoseconds / 1_000_000_000)
  }
}
