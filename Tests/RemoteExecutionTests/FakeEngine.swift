import Caching
import Digests
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import GRPCProtobuf
import RemoteCaching
import RemoteExecutionAPI
import SwiftProtobuf
import Synchronization

@testable import RemoteExecution

/// An engine in this process that does what a test says: real messages on a real connection, and no action is run.
///
/// For what the real ones never do, or only once in a while.
final class FakeEngine: RegistrableRPCService, Sendable {
  /// What a stream about an action does next; at the end of its steps it ends.
  enum Step: Sendable {
    case stage(REAPIExecutionStage.Value)
    case pause(Duration)
    case response(REAPIExecuteResponse)
    case failed(Int32)
    case refused(RPCError.Code)
    case forever
  }

  /// What it was asked, in turn.
  enum Call: Equatable, Sendable { case execute, wait(String), cancel(String), ping, missing(Int), update(Int) }

  private struct State {
    var executes: [[Step]]
    var waits: [[Step]]
    var calls: [Call] = []
    var blobs: Set<String> = []
    var isSilent = false
  }

  private let state: Mutex<State>

  /// - Parameters:
  ///   - executes: Of each call of Execute in turn; the last goes for all further ones.
  ///   - waits: Likewise of WaitExecution.
  init(_ executes: [[Step]], waits: [[Step]] = []) { state = Mutex(State(executes: executes, waits: waits)) }

  var calls: [Call] { state.withLock { $0.calls } }

  /// Calls about actions alone.
  var runs: [Call] {
    calls.filter {
      switch $0 {
      case .execute, .wait, .cancel: true
      case .ping, .missing, .update: false
      }
    }
  }

  /// From now on it answers no question; streams go on.
  func fallSilent() { state.withLock { $0.isSilent = true } }

  func lose(_ digest: Digest) { state.withLock { _ = $0.blobs.remove(digest.hex) } }

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
      var capabilities = REAPIServerCapabilities()
      capabilities.cacheCapabilities.digestFunctions = [.sha256]
      return capabilities
    }
    answer(&router, REAPIContentAddressableStorage.Method.FindMissingBlobs.descriptor) {
      (request: REAPIFindMissingBlobsRequest) -> REAPIFindMissingBlobsResponse in
      try await self.note(.missing(request.blobDigests.count))
      var answer = REAPIFindMissingBlobsResponse()
      answer.missingBlobDigests = self.state.withLock { state in
        request.blobDigests.filter { !state.blobs.contains($0.hash) }
      }
      return answer
    }
    answer(&router, REAPIContentAddressableStorage.Method.BatchUpdateBlobs.descriptor) {
      (request: REAPIBatchUpdateBlobsRequest) -> REAPIBatchUpdateBlobsResponse in
      try await self.note(.update(request.requests.count))
      var answer = REAPIBatchUpdateBlobsResponse()
      self.state.withLock { state in
        for blob in request.requests {
          state.blobs.insert(blob.digest.hash)
          var one = REAPIBatchUpdateBlobsResponse.Response()
          one.digest = blob.digest
          answer.responses.append(one)
        }
      }
      return answer
    }
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

  /// Runs the engine as long as `body` does, with a client of it.
  func serve(
    _ limits: ExecutionEngine.Limits, patience: Duration = .seconds(5),
    _ body: @escaping @Sendable (ExecutionEngine) async throws -> Void
  ) async throws {
    let transport = HTTP2ServerTransport.Posix(
      address: .ipv4(host: "127.0.0.1", port: 0), transportSecurity: .plaintext)
    let server = GRPCServer(transport: transport, services: [self])
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await server.serve() }
      let port = try await transport.listeningAddress.ipv4!.port
      var access = RemoteCacheAccess()
      access.patience = patience
      let engine = try ExecutionEngine(RemoteCacheAddress("grpc://127.0.0.1:\(port)"), access, limits: limits)
      defer {
        engine.close()
        group.cancelAll()
      }
      try await body(engine)
    }
  }
}
