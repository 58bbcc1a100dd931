import Diagnostics
import Distribution
import FoundationEssentials
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCProtobuf
import RemoteExecutionAPI
import SwiftProtobuf
import Synchronization

/// A connection to a server of the Remote Execution API: calls with a deadline, and failures with their reason.
///
/// gRPC itself sets no deadline and verifies no content.
package final class ExecutionChannel: Sendable {
  /// As it is named in messages.
  package let url: String
  /// What the server calls the part of it that is meant; mostly empty.
  package let instance: String
  private let client: GRPCClient<HTTP2ClientTransport.Posix>
  private let connections: Task<Void, Never>
  private let metadata: Metadata
  private let patience: Duration
  /// Of one message, whatever the server says; gRPC's own is 4 MiB.
  static let messageLimit = 4 << 20
  /// That a server is trusted to move at least, in bytes per second.
  private static let minimumRate = 1_000_000

  /// Connects with the first call.
  ///
  /// - Throws: A diagnostic for certificates that cannot be read.
  package init(_ address: RemoteCacheAddress, _ access: RemoteCacheAccess) throws {
    url = "\(address)"
    instance = address.path
    patience = access.patience
    let target: any ResolvableTarget
    if address.host.hasPrefix("[") {
      target = .ipv6(address: String(address.host.dropFirst().dropLast()), port: address.port)
    } else if address.host.utf8.allSatisfy({ (48...57).contains($0) || $0 == UInt8(ascii: ".") }) {
      target = .ipv4(address: address.host, port: address.port)
    } else {
      target = .dns(host: address.host, port: address.port)
    }
    var security = HTTP2ClientTransport.Posix.TransportSecurity.plaintext
    if address.scheme.isSecure {
      let identity = try access.identity(for: address)
      security = .tls { tls in
        if !identity.authorities.isEmpty {
          tls.trustRoots = .certificates(identity.authorities.map { .bytes($0, format: .pem) })
        }
        tls.certificateChain = identity.certificate.map { [.bytes($0, format: .pem)] } ?? []
        tls.privateKey = identity.key.map { .bytes($0, format: .pem) }
      }
    }
    let transport: HTTP2ClientTransport.Posix
    do {
      transport = try HTTP2ClientTransport.Posix(
        target: target, transportSecurity: security,
        config: .defaults { config in
          // A lost connection is looked for again soon; whether anybody still asks is the circuit breaker's to say.
          config.backoff = .init(initial: .milliseconds(200), max: .seconds(5), multiplier: 1.6, jitter: 0.2)
        })
    } catch { throw RemoteCacheAccess.unreadable(address, error) }
    let client = GRPCClient(transport: transport)
    self.client = client
    connections = Task { try? await client.runConnections() }
    metadata = Self.metadata(access.credential)
  }

  package func close() {
    client.beginGracefulShutdown()
    // Whoever closes waits for no answer any more. The connection's end is not waited for either: a server that refused a
    // call, or hangs, draws it out for seconds.
    connections.cancel()
  }

  private static func metadata(_ credential: RemoteCacheAccess.Credential?) -> Metadata {
    var metadata = Metadata()
    var request = REAPIRequestMetadata()
    request.toolDetails.toolName = "slipway"
    metadata.addBinary(request.canonicalBytes, forKey: "build.bazel.remote.execution.v2.requestmetadata-bin")
    switch credential {
    case .basic(let user, let password)?:
      metadata.addString("Basic " + Data("\(user):\(password)".utf8).base64EncodedString(), forKey: "authorization")
    case .bearer(let token)?: metadata.addString("Bearer \(token)", forKey: "authorization")
    case nil: break
    }
    return metadata
  }

  // MARK: Calls

  /// One question and one answer.
  ///
  /// - Parameter size: Bytes that travel, about.
  package func ask<Request: Message, Answer: Message>(
    _ method: MethodDescriptor, _ request: Request, size: Int = 0
  ) async throws(RemoteFailure) -> Answer {
    try await described(method) {
      try await self.client.unary(
        request: ClientRequest(message: request, metadata: self.metadata), descriptor: method,
        serializer: ProtobufSerializer<Request>(), deserializer: ProtobufDeserializer<Answer>(),
        options: self.options(size)
      ) { try $0.message }
    }
  }

  /// One question and many answers, which `take` sees in turn; a pause of more than the patience ends it.
  ///
  /// - Parameters:
  ///   - patience: Where it is not the channel's own.
  ///   - limit: Of the whole, where it is not that of so many bytes.
  ///   - silence: Called after each such pause; the stream goes on if it returns.
  package func stream<Request: Message, Answer: Message, Value: Sendable>(
    _ method: MethodDescriptor, _ request: Request, size: Int, patience: Duration? = nil, limit: Duration? = nil,
    silence: @escaping @Sendable () async throws -> Void = { throw Progress.Stalled() },
    _ take: @escaping @Sendable (RPCAsyncSequence<Answer, any Error>, Progress) async throws -> Value
  ) async throws(RemoteFailure) -> Value {
    try await described(method) {
      try await Progress.watched(patience: patience ?? self.patience, silence: silence) { progress in
        var options = self.options(size)
        if let limit { options.timeout = limit }
        return try await self.client.serverStreaming(
          request: ClientRequest(message: request, metadata: self.metadata), descriptor: method,
          serializer: ProtobufSerializer<Request>(), deserializer: ProtobufDeserializer<Answer>(),
          options: options
        ) { try await take($0.messages, progress) }
      }
    }
  }

  /// Many messages and one answer; a pause of more than the patience ends it.
  func send<Request: Message, Answer: Message>(
    _ method: MethodDescriptor, size: Int,
    _ produce: @escaping @Sendable (RPCWriter<Request>, Progress) async throws -> Void
  ) async throws(RemoteFailure) -> Answer {
    try await described(method) {
      try await Progress.watched(patience: self.patience) { progress in
        try await self.client.clientStreaming(
          request: StreamingClientRequest(metadata: self.metadata) { try await produce($0, progress) },
          descriptor: method, serializer: ProtobufSerializer<Request>(), deserializer: ProtobufDeserializer<Answer>(),
          options: self.options(size)
        ) { try $0.message }
      }
    }
  }

  private func options(_ size: Int) -> CallOptions {
    var options = CallOptions.defaults
    options.timeout = patience + .milliseconds(size / (Self.minimumRate / 1000))
    // The transport reads the one where the other is meant, for what it receives.
    options.maxRequestMessageBytes = Self.messageLimit
    options.maxResponseMessageBytes = Self.messageLimit
    return options
  }

  // MARK: Failures

  private func described<Value>(_ method: MethodDescriptor, _ body: () async throws -> Value)
    async throws(RemoteFailure) -> Value
  {
    do { return try await body() } catch { throw failure(error, method) }
  }

  func failure(_ reason: RemoteFailure.Reason, _ method: MethodDescriptor, _ text: String) -> RemoteFailure {
    RemoteFailure(reason, "\(method.method) \(url): \(text)")
  }

  private func failure(_ error: any Error, _ method: MethodDescriptor) -> RemoteFailure {
    switch error {
    case let failure as RemoteFailure: return failure
    case is Progress.Stalled: return failure(.timeout, method, "no answer within the time limit")
    case is CancellationError: return failure(.cancelled, method, "cancelled")
    case let error as RPCError: return failure(error, method)
    default: return failure(Task.isCancelled ? .cancelled : .connection, method, "\(error)")
    }
  }

  private func failure(_ error: RPCError, _ method: MethodDescriptor) -> RemoteFailure {
    if Task.isCancelled { return failure(.cancelled, method, "cancelled") }
    // A wrong certificate, a refused connection and an unknown host all are `unavailable`; the cause tells them apart.
    var cause = error.cause
    while let current = cause {
      if let (kind, text) = describeExchange(current) {
        switch kind {
        case .tls: return failure(.tls, method, text)
        case .timeout: return failure(.timeout, method, text)
        case .connection, .content: return failure(.connection, method, text)
        }
      }
      cause = (current as? RPCError)?.cause
    }
    let text = "\(error.code): \(error.message)"
    switch error.code {
    case .unauthenticated, .permissionDenied: return failure(.denied, method, text)
    case .unimplemented: return failure(.unsupported, method, text)
    case .notFound: return failure(.absent, method, text)
    case .deadlineExceeded: return failure(.timeout, method, "no answer within the time limit")
    case .unavailable: return failure(.connection, method, text)
    case .resourceExhausted: return failure(.throttled, method, text)
    case .cancelled: return failure(.connection, method, text)
    default: return failure(.server, method, text)
    }
  }
}

/// That a stream moves.
package final class Progress: Sendable {
  package struct Stalled: Error {
    package init() {}
  }

  private let steps = Atomic<Int>(0)

  package func step() { steps.add(1, ordering: .relaxed) }

  /// Runs `body` as long as it makes a step within each `patience`, or `silence` lets it go on without one.
  static func watched<Value: Sendable>(
    patience: Duration, silence: @escaping @Sendable () async throws -> Void = { throw Stalled() },
    _ body: @escaping @Sendable (Progress) async throws -> Value
  ) async throws -> Value {
    let progress = Progress()
    return try await withThrowingTaskGroup(of: Value?.self) { group in
      group.addTask { try await body(progress) }
      group.addTask {
        var seen = -1
        while true {
          try await Task.sleep(for: patience)
          let now = progress.steps.load(ordering: .relaxed)
          if now == seen { try await silence() }
          seen = now
        }
      }
      defer { group.cancelAll() }
      while let value = try await group.next() { if let value { return value } }
      throw Stalled()
    }
  }
}
