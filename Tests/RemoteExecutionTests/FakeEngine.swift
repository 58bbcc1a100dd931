import Caching
import Digests
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCProtobuf
import RemoteExecutionAPI
import SwiftProtobuf
import Synchronization
import SystemPackage

@testable import RemoteCaching
@testable import RemoteExecution

/// An engine in this process that does what a test says: real messages on a real connection, and no action is run.
///
/// For what the real ones never do, or only once in a while.
final class FakeEngine: RegistrableRPCService, Sendable {
  /// What a stream about an action does next; at the end of its steps it ends.
  enum Step: Sendable {
    case stage(REAPIExecutionStage.Value)
    /// Names log streams, of output and errors.
    case streams(String, String)
    case pause(Duration)
    case response(REAPIExecuteResponse)
    case failed(Int32)
    case refused(RPCError.Code)
    case forever
  }

  /// What it was asked, in turn.
  enum Call: Equatable, Sendable {
    case execute, wait(String), cancel(String), ping, missing(Int), update(Int), read(Int), stream(String)
  }

  private struct State {
    var executes: [[Step]]
    var waits: [[Step]]
    var calls: [Call] = []
    var blobs: [String: [UInt8]] = [:]
    /// Bytes of blobs as they travelled.
    var travelled = 0
    var isSilent = false
    var logs: [String: [String]] = [:]
  }

  private let state: Mutex<State>
  private let capabilities: REAPIServerCapabilities

  /// - Parameters:
  ///   - executes: Of each call of Execute in turn; the last goes for all further ones.
  ///   - waits: Likewise of WaitExecution.
  ///   - capable: What it says of itself, beside that it knows SHA-256.
  init(
    _ executes: [[Step]] = [[]], waits: [[Step]] = [], capable: (inout REAPIServerCapabilities) -> Void = { _ in }
  ) {
    state = Mutex(State(executes: executes, waits: waits))
    var capabilities = REAPIServerCapabilities()
    capabilities.cacheCapabilities.digestFunctions = [.sha256]
    capable(&capabilities)
    self.capabilities = capabilities
  }

  var calls: [Call] { state.withLock { $0.calls } }

  /// Calls about actions alone.
  var runs: [Call] {
    calls.filter {
      switch $0 {
      case .execute, .wait, .cancel: true
      case .ping, .missing, .update, .read, .stream: false
      }
    }
  }

  /// From now on it answers no question; streams go on.
  func fallSilent(_ isSilent: Bool = true) { state.withLock { $0.isSilent = isSilent } }

  func lose(_ digest: Digest) { state.withLock { $0.blobs[digest.hex] = nil } }

  var travelled: Int { state.withLock { $0.travelled } }

  func bytes(of digest: Digest) -> [UInt8]? { state.withLock { $0.blobs[digest.hex] } }

  /// Takes a blob as it came; false for what is not what its name says.
  private func take(_ bytes: [UInt8], _ digest: REAPIDigest, isCompressed: Bool) -> Bool {
    let plain = isCompressed ? Zstandard.expanded(bytes, size: Int(digest.sizeBytes)) : bytes
    guard let plain, REAPIDigest(of: plain) == digest else { return false }
    state.withLock { state in
      state.travelled += bytes.count
      state.blobs[digest.hash] = plain
    }
    return true
  }

  static func done(_ output: String = "", status: Int32 = 0) -> Step {
    var response = REAPIExecuteResponse()
    response.status.code = status
    response.result.stdoutRaw = Array(output.utf8).withUnsafeBytes { .init($0) }
    return .response(response)
  }

  private func note(_ call: Call) async throws {
    let isSilent = state.withLock { state in
      state.calls.append(call)
      return state.isSilent
    }
    if isSilent { try await Task.sleep(for: .seconds(60)) }
  }

  // MARK: Methods

  func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
    answer(&router, REAPICapabilities.Method.GetCapabilities.descriptor) {
      (_: REAPIGetCapabilitiesRequest) -> REAPIServerCapabilities in
      try await self.note(.ping)
      return self.capabilities
    }
    answer(&router, REAPIContentAddressableStorage.Method.FindMissingBlobs.descriptor) {
      (request: REAPIFindMissingBlobsRequest) -> REAPIFindMissingBlobsResponse in
      try await self.note(.missing(request.blobDigests.count))
      var answer = REAPIFindMissingBlobsResponse()
      answer.missingBlobDigests = self.state.withLock { state in
        request.blobDigests.filter { state.blobs[$0.hash] == nil }
      }
      return answer
    }
    answer(&router, REAPIContentAddressableStorage.Method.BatchUpdateBlobs.descriptor) {
      (request: REAPIBatchUpdateBlobsRequest) -> REAPIBatchUpdateBlobsResponse in
      try await self.note(.update(request.requests.count))
      var answer = REAPIBatchUpdateBlobsResponse()
      for blob in request.requests {
        var one = REAPIBatchUpdateBlobsResponse.Response()
        one.digest = blob.digest
        if !self.take(Array(blob.data), blob.digest, isCompressed: blob.compressor == .zstd) { one.status.code = 3 }
        answer.responses.append(one)
      }
      return answer
    }
    answer(&router, REAPIContentAddressableStorage.Method.BatchReadBlobs.descriptor) {
      (request: REAPIBatchReadBlobsRequest) -> REAPIBatchReadBlobsResponse in
      try await self.note(.read(request.digests.count))
      var answer = REAPIBatchReadBlobsResponse()
      for digest in request.digests {
        var one = REAPIBatchReadBlobsResponse.Response()
        one.digest = digest
        if let bytes = self.state.withLock({ $0.blobs[digest.hash] }) {
          let frame = request.acceptableCompressors.contains(.zstd) ? Zstandard.compressed(bytes) : nil
          one.compressor = frame == nil ? .identity : .zstd
          one.data = .init(frame ?? bytes)
          self.state.withLock { $0.travelled += one.data.count }
        } else {
          one.status.code = 5
        }
        answer.responses.append(one)
      }
      return answer
    }
    registerStreams(&router)
    answer(&router, LongRunningOperations.Method.CancelOperation.descriptor) {
      (request: LongRunningCancelOperationRequest) -> Google_Protobuf_Empty in
      try await self.note(.cancel(request.name))
      return Google_Protobuf_Empty()
    }
    tell(&router, REAPIExecution.Method.Execute.descriptor) { (_: REAPIExecuteRequest) in
      let (steps, number) = self.state.withLock { state in
        state.calls.append(.execute)
        let number = state.calls.count { $0 == .execute }
        return (state.executes.count > 1 ? state.executes.removeFirst() : state.executes[0], number)
      }
      return (steps, "operation-\(number)")
    }
    tell(&router, REAPIExecution.Method.WaitExecution.descriptor) { (request: REAPIWaitExecutionRequest) in
      let steps = self.state.withLock { state in
        state.calls.append(.wait(request.name))
        return state.waits.count > 1 ? state.waits.removeFirst() : state.waits.first ?? [.refused(.notFound)]
      }
      return (steps, request.name)
    }
  }

  /// What a log stream tells: pieces, with a pause between them; one that is not there is not found.
  func log(_ name: String, _ pieces: [String]) { state.withLock { $0.logs[name] = pieces } }

  /// Write for what is too large for a batch, and Read of log streams alone.
  private func registerStreams<Transport: ServerTransport>(_ router: inout RPCRouter<Transport>) {
    router.registerHandler(
      forMethod: ByteStreamByteStream.Method.Read.descriptor,
      deserializer: ProtobufDeserializer<ByteStreamReadRequest>(),
      serializer: ProtobufSerializer<ByteStreamReadResponse>()
    ) { request, _ in
      var name = ""
      for try await message in request.messages { name = message.resourceName }
      // blobs/HASH/SIZE, or compressed-blobs/zstd/HASH/SIZE.
      let parts = name.split(separator: "/").map(String.init)
      if parts.count > 2, let bytes = self.state.withLock({ $0.blobs[parts[parts.count - 2]] }) {
        try await self.note(.stream(parts[0]))
        let sent = parts[0] == "compressed-blobs" ? Self.frame(of: bytes) : bytes
        self.state.withLock { $0.travelled += sent.count }
        return StreamingServerResponse { writer in
          for start in stride(from: 0, to: sent.count, by: 1 << 20) {
            var answer = ByteStreamReadResponse()
            answer.data = .init(sent[start..<min(start + 1 << 20, sent.count)])
            try await writer.write(answer)
          }
          return [:]
        }
      }
      guard let pieces = self.state.withLock({ $0.logs[name] }) else { throw RPCError(code: .notFound, message: name) }
      return StreamingServerResponse { writer in
        for piece in pieces {
          var answer = ByteStreamReadResponse()
          answer.data = Array(piece.utf8).withUnsafeBytes { .init($0) }
          try await writer.write(answer)
          try await Task.sleep(for: .milliseconds(20))
        }
        return [:]
      }
    }
    router.registerHandler(
      forMethod: ByteStreamByteStream.Method.Write.descriptor,
      deserializer: ProtobufDeserializer<ByteStreamWriteRequest>(),
      serializer: ProtobufSerializer<ByteStreamWriteResponse>()
    ) { request, _ in
      var (name, bytes, isDone) = ("", [UInt8](), false)
      for try await message in request.messages {
        guard !isDone, message.writeOffset == bytes.count else { throw RPCError(code: .invalidArgument, message: name) }
        if bytes.isEmpty { name = message.resourceName }
        bytes += message.data
        isDone = message.finishWrite
      }
      // uploads/UUID/blobs/HASH/SIZE, or uploads/UUID/compressed-blobs/zstd/HASH/SIZE.
      let parts = name.split(separator: "/").map(String.init)
      guard isDone, parts.count >= 5, let size = Int64(parts[parts.count - 1]) else {
        throw RPCError(code: .invalidArgument, message: name)
      }
      try await self.note(.stream(parts[2]))
      var digest = REAPIDigest()
      (digest.hash, digest.sizeBytes) = (parts[parts.count - 2], size)
      guard self.take(bytes, digest, isCompressed: parts[2] == "compressed-blobs") else {
        throw RPCError(code: .invalidArgument, message: "no such bytes")
      }
      var answer = ByteStreamWriteResponse()
      answer.committedSize = Int64(bytes.count)
      return StreamingServerResponse { [answer] writer in
        try await writer.write(answer)
        return [:]
      }
    }
  }

  /// Larger than the bytes, where those do not get smaller.
  private static func frame(of bytes: [UInt8]) -> [UInt8] {
    guard let encoder = Zstandard.Encoder(), bytes.withUnsafeBytes({ encoder.write($0) }) else { return [] }
    return encoder.finish() ?? []
  }

  /// From now on the server gives other bytes for a blob.
  func spoil(_ digest: Digest, _ bytes: [UInt8]) { state.withLock { $0.blobs[digest.hex] = bytes } }

  private func answer<Transport: ServerTransport, Request: Message, Answer: Message>(
    _ router: inout RPCRouter<Transport>, _ method: MethodDescriptor,
    _ body: @escaping @Sendable (Request) async throws -> Answer
  ) {
    router.registerHandler(
      forMethod: method, deserializer: ProtobufDeserializer<Request>(), serializer: ProtobufSerializer<Answer>()
    ) { request, _ in
      var messages = request.messages.makeAsyncIterator()
      guard let message = try await messages.next() else { throw RPCError(code: .internalError, message: "no request") }
      let answer = try await body(message)
      return StreamingServerResponse { writer in
        try await writer.write(answer)
        return [:]
      }
    }
  }

  private func tell<Transport: ServerTransport, Request: Message>(
    _ router: inout RPCRouter<Transport>, _ method: MethodDescriptor,
    _ steps: @escaping @Sendable (Request) -> ([Step], name: String)
  ) {
    router.registerHandler(
      forMethod: method, deserializer: ProtobufDeserializer<Request>(),
      serializer: ProtobufSerializer<LongRunningOperation>()
    ) { request, _ in
      var messages = request.messages.makeAsyncIterator()
      guard let message = try await messages.next() else { throw RPCError(code: .internalError, message: "no request") }
      let (steps, name) = steps(message)
      return StreamingServerResponse { writer in
        var operation = LongRunningOperation()
        operation.name = name
        for step in steps {
          switch step {
          case .stage(let stage):
            var metadata = REAPIExecuteOperationMetadata()
            metadata.stage = stage
            operation.metadata = try Google_Protobuf_Any(message: metadata)
            try await writer.write(operation)
          case .streams(let output, let errors):
            var metadata = REAPIExecuteOperationMetadata()
            (metadata.stage, metadata.stdoutStreamName, metadata.stderrStreamName) = (.executing, output, errors)
            operation.metadata = try Google_Protobuf_Any(message: metadata)
            try await writer.write(operation)
          case .pause(let time): try await Task.sleep(for: time)
          case .response(let response):
            operation.done = true
            operation.response = try Google_Protobuf_Any(message: response)
            try await writer.write(operation)
          case .failed(let code):
            operation.done = true
            operation.error.code = code
            try await writer.write(operation)
          case .refused(let code): throw RPCError(code: code, message: "so it is told to")
          case .forever: try await Task.sleep(for: .seconds(60))
          }
        }
        return [:]
      }
    }
  }

  // MARK: Running

  static func client(
    of url: String, _ limits: ExecutionEngine.Limits, patience: Duration = .seconds(5), memory: FilePath? = nil
  ) throws -> ExecutionEngine {
    var access = RemoteCacheAccess()
    access.patience = patience
    return try ExecutionEngine(RemoteCacheAddress(url), access, memory: memory, limits: limits)
  }

  /// Runs the engine as long as `body` does, with a client of it.
  func serve(
    _ limits: ExecutionEngine.Limits, patience: Duration = .seconds(5), memory: FilePath? = nil,
    _ body: @escaping @Sendable (ExecutionEngine) async throws -> Void
  ) async throws {
    let transport = HTTP2ServerTransport.Posix(
      address: .ipv4(host: "127.0.0.1", port: 0), transportSecurity: .plaintext)
    let server = GRPCServer(transport: transport, services: [self])
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await server.serve() }
      let port = try await transport.listeningAddress.ipv4!.port
      let engine = try Self.client(of: "grpc://127.0.0.1:\(port)", limits, patience: patience, memory: memory)
      defer {
        engine.close()
        group.cancelAll()
      }
      try await body(engine)
    }
  }
}
