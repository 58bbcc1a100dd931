import AsyncHTTPClient
import Caching
import Diagnostics
import Digests
import Distribution
import FoundationEssentials
import NIOCore
import NIOHTTP1
import NIOSSL
import Synchronization

/// Bazel's simple HTTP cache: `/ac/<sha256>` and `/cas/<sha256>`, read by GET and HEAD, written by PUT.
///
/// The server verifies nothing, so every byte is verified here.
package final class WebCacheServer: RemoteServer {
  package let url: String
  package let batchBytes = 0
  // A HEAD takes as long as a small PUT, and what was just made is seldom there.
  package let giftBytes = 64 << 10
  // Logs, manifests, small layers: to send one alone takes a third of a millisecond of processor time.
  package let carriedBytes = 4 << 10
  private let access: RemoteCacheAccess
  private let client: HTTPClient
  package let executor: (any TaskExecutor)?
  private let headers: HTTPHeaders

  /// - Throws: A diagnostic for certificates that cannot be read.
  package init(_ address: RemoteCacheAddress, _ access: RemoteCacheAccess) throws {
    url = "\(address)"
    self.access = access
    var tls = TLSConfiguration.makeClientConfiguration()
    let identity = try access.identity(for: address)
    do {
      if !identity.authorities.isEmpty {
        tls.trustRoots = .certificates(try identity.authorities.flatMap { try NIOSSLCertificate.fromPEMBytes($0) })
      }
      if let bytes = identity.certificate {
        tls.certificateChain = try NIOSSLCertificate.fromPEMBytes(bytes).map { .certificate($0) }
      }
      if let bytes = identity.key { tls.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: bytes, format: .pem)) }
    } catch { throw RemoteCacheAccess.unreadable(address, error) }
    var configuration = HTTPClient.Configuration(tlsConfiguration: tls)
    configuration.redirectConfiguration = .disallow
    configuration.decompression = .disabled
    configuration.httpVersion = .http1Only
    configuration.connectionPool.retryConnectionEstablishment = false
    configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
    let patience = TimeAmount.nanoseconds(Int64(access.patience.seconds * 1e9))
    configuration.timeout = .init(connect: patience, read: patience, write: patience)
    // One loop: requests are little and many, and what hops between loops wakes each of them.
    let loop = HTTPClient.defaultEventLoopGroup.next()
    client = HTTPClient(eventLoopGroup: loop, configuration: configuration)
    executor = LoopExecutor(loop)
    var headers = HTTPHeaders([("User-Agent", "slipway")])
    switch access.credential {
    case .basic(let user, let password)?:
      headers.add(
        name: "Authorization", value: "Basic " + Data("\(user):\(password)".utf8).base64EncodedString())
    case .bearer(let token)?: headers.add(name: "Authorization", value: "Bearer \(token)")
    case nil: break
    }
    self.headers = headers
  }

  package func close() async { try? await client.shutdown() }

  // MARK: The protocol

  package func result(of action: RemoteBlob) async throws(RemoteFailure) -> [UInt8]? {
    let path = "ac/\(action.digest)"
    let answer = try await exchangeShort(.GET, path)
    if answer.head.status == .notFound { return nil }
    try require(answer.head, .GET, path, [200])
    guard answer.isWhole else {
      throw failure(.content, .GET, path, "the result has more than \(ShortAnswer.limit) bytes")
    }
    return Array(answer.body.readableBytesView)
  }

  package func putResult(_ result: [UInt8], of action: RemoteBlob) async throws(RemoteFailure) {
    try await put("ac/\(action.digest)", ByteBuffer(bytes: result))
  }

  package func missing(_ blobs: [RemoteBlob]) async throws(RemoteFailure) -> [RemoteBlob] {
    var missing: [RemoteBlob] = []
    for blob in blobs {
      let path = "cas/\(blob.digest)"
      let head = try await exchangeShort(.HEAD, path).head
      if head.status != .notFound {
        try require(head, .HEAD, path, [200, 204])
        // Half a file that another client left is to be sent again.
        let length = head.headers.first(name: "Content-Length").flatMap { Int($0) }
        if length == nil || length == blob.size || length == 0 { continue }
      }
      missing.append(blob)
    }
    return missing
  }

  package func fetch(_ blobs: [RemoteBlob], into store: Store) async throws(RemoteFailure) -> Set<RemoteBlob> {
    var came: Set<RemoteBlob> = []
    for blob in blobs where try await fetch(blob, into: store) { came.insert(blob) }
    return came
  }

  private func fetch(_ blob: RemoteBlob, into store: Store) async throws(RemoteFailure) -> Bool {
    let path = "cas/\(blob.digest)"
    let answer = try await exchange(.GET, path, size: blob.size)
    if answer.status == .notFound {
      await Self.discard(answer)
      return false
    }
    try require(answer.head, .GET, path, [200])
    let writer = try locally { try BlobWriter(store) }
    var isTooLong = false
    try await eachPiece(of: answer, .GET, path) { piece throws(RemoteFailure) in
      guard writer.size + piece.count <= blob.size else {
        isTooLong = true
        return
      }
      try locally { try writer.write(piece) }
    }
    // Wrong bytes are as good as none, and are never put under any name.
    guard !isTooLong, writer.size == blob.size, writer.digest == blob.digest else { return false }
    _ = try locally { try writer.finish() }
    return true
  }

  package func upload(_ blobs: [RemoteBlob], from store: Store) async throws(RemoteFailure) {
    for blob in blobs {
      let path = "cas/\(blob.digest)"
      if blob.size <= giftBytes {
        // A stream of one piece goes back and forth between its task and the connection.
        let bytes = try locally { try store.read(blob.digest, limit: giftBytes) }
        try await put(path, ByteBuffer(bytes: bytes))
        continue
      }
      let piece = try locally { try FilePiece(store.path(of: blob.digest, executable: false)) }
      let body = HTTPClientRequest.Body.stream(piece, length: .known(Int64(piece.length)))
      let answer = try await exchange(.PUT, path, body: body, size: piece.length)
      await Self.discard(answer)
      try require(answer.head, .PUT, path, Self.stored)
    }
  }

  package func takes(_ bytes: [UInt8], as digest: Digest) async throws(RemoteFailure) -> Bool {
    let path = "cas/\(digest)"
    return (200..<300).contains(try await exchangeShort(.PUT, path, ByteBuffer(bytes: bytes)).head.status.code)
  }

  // MARK: Exchanges

  private static let stored: Set<Int> = [200, 201, 204]

  private func put(_ path: String, _ body: ByteBuffer) async throws(RemoteFailure) {
    try require(try await exchangeShort(.PUT, path, body).head, .PUT, path, Self.stored)
  }

  /// Beside the time without a byte, which is bounded, a trickle may not last for ever.
  private static func deadline(size: Int) -> NIODeadline { .now() + .seconds(10) + .milliseconds(Int64(size / 1000)) }

  /// An exchange whose bodies fit into memory: by callbacks on the client's loop, at half the processor time of streams.
  private func exchangeShort(
    _ method: HTTPMethod, _ path: String, _ body: ByteBuffer? = nil
  ) async throws(RemoteFailure) -> ShortAnswer {
    do {
      let request = try HTTPClient.Request(
        url: "\(url)/\(path)", method: method, headers: headers, body: body.map { .byteBuffer($0) })
      let exchange = client.execute(
        request: request, delegate: ShortAnswer.Receiver(), deadline: Self.deadline(size: body?.readableBytes ?? 0))
      return try await withTaskCancellationHandler {
        try await exchange.get()
      } onCancel: {
        exchange.cancel()
      }
    } catch { throw failure(error, method, path) }
  }

  private func exchange(
    _ method: HTTPMethod, _ path: String, body: HTTPClientRequest.Body? = nil, size: Int
  ) async throws(RemoteFailure) -> HTTPClientResponse {
    var request = HTTPClientRequest(url: "\(url)/\(path)")
    request.method = method
    request.headers = headers
    request.body = body
    do { return try await client.execute(request, deadline: Self.deadline(size: size)) } catch {
      throw failure(error, method, path)
    }
  }

  private func eachPiece(
    of answer: HTTPClientResponse, _ method: HTTPMethod, _ path: String,
    _ take: (UnsafeRawBufferPointer) throws(RemoteFailure) -> Void
  ) async throws(RemoteFailure) {
    do {
      for try await piece in answer.body {
        try piece.withUnsafeReadableBytes { try take($0) }
      }
      try Task.checkCancellation()
    } catch let failure as RemoteFailure { throw failure } catch { throw failure(error, method, path) }
  }

  private static func discard(_ answer: HTTPClientResponse) async {
    _ = try? await answer.body.collect(upTo: 256 << 10)
  }

  private func require(_ answer: HTTPResponseHead, _ method: HTTPMethod, _ path: String, _ statuses: Set<Int>)
    throws(RemoteFailure)
  {
    let status = Int(answer.status.code)
    let type = answer.headers.first(name: "Content-Type")?.prefix { $0 != ";" } ?? ""
    // A page for people, such as a proxy's, says that nothing here is a cache.
    if statuses.contains(status), status != 200 || type != "text/html" { return }
    let reason: RemoteFailure.Reason =
      switch status {
      case 200..<300: .content
      case 401, 403, 407: .denied
      case 405, 501: .unsupported
      case 413: .tooLarge
      case 429: .throttled
      default: .server
      }
    let text =
      (200..<300).contains(status)
      ? "the answer is a web page, not one of a cache" : "\(status): \(answer.status.reasonPhrase.lowercased())"
    throw failure(reason, method, path, text)
  }

  private func failure(_ reason: RemoteFailure.Reason, _ method: HTTPMethod, _ path: String, _ text: String)
    -> RemoteFailure
  {
    RemoteFailure(reason, "\(method.rawValue) \(url)/\(path): \(text)")
  }

  private func failure(_ error: any Error, _ method: HTTPMethod, _ path: String) -> RemoteFailure {
    guard let (kind, text) = describeExchange(error) else {
      return failure(error is CancellationError ? .cancelled : .server, method, path, "\(error)")
    }
    if Task.isCancelled { return failure(.cancelled, method, path, text) }
    switch kind {
    case .tls: return failure(.tls, method, path, text)
    case .timeout: return failure(.timeout, method, path, text)
    case .connection: return failure(.connection, method, path, text)
    case .content: return failure(.content, method, path, text)
    }
  }
}

/// An answer that is held in memory.
private struct ShortAnswer: Sendable {
  /// Of an encoded `ActionResult`, in bytes.
  static let limit = 16 << 20
  var head: HTTPResponseHead
  var body = ByteBuffer()
  /// Whether `body` is all of it; what passes the limit is left out.
  var isWhole = true

  final class Receiver: HTTPClientResponseDelegate {
    private let answer = Mutex(ShortAnswer(head: HTTPResponseHead(version: .http1_1, status: .internalServerError)))

    func didReceiveHead(task: HTTPClient.Task<ShortAnswer>, _ head: HTTPResponseHead) -> EventLoopFuture<Void> {
      answer.withLock { $0.head = head }
      return task.eventLoop.makeSucceededVoidFuture()
    }

    func didReceiveBodyPart(task: HTTPClient.Task<ShortAnswer>, _ part: ByteBuffer) -> EventLoopFuture<Void> {
      answer.withLock { answer in
        answer.isWhole = answer.isWhole && answer.body.readableBytes + part.readableBytes <= ShortAnswer.limit
        if answer.isWhole { answer.body.writeImmutableBuffer(part) }
      }
      return task.eventLoop.makeSucceededVoidFuture()
    }

    func didFinishRequest(task: HTTPClient.Task<ShortAnswer>) throws -> ShortAnswer { answer.withLock { $0 } }
  }
}

extension HTTPClientResponse {
  fileprivate var head: HTTPResponseHead { HTTPResponseHead(version: version, status: status, headers: headers) }
}

/// Runs tasks on an event loop: what waits for its answers is there already when they come, and keeps none of the threads
/// on which actions are seen to.
private final class LoopExecutor: TaskExecutor {
  private let loop: any EventLoop

  init(_ loop: any EventLoop) { self.loop = loop }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }
}
