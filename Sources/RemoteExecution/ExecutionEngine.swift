import Caching
import Digests
import GRPCCore
import RemoteCaching
import RemoteExecutionAPI
import SwiftProtobuf
import Synchronization
import SystemPackage

/// An engine that runs actions: Execute, WaitExecution and CancelOperation of the Remote Execution API
/// (bazelbuild/remote-apis, `remote_execution.proto`, service `Execution`).
///
/// A stream that breaks is taken up again, an engine that is busy is asked again later, and blobs that it lost are given
/// once more. What is thrown is never the action's fault.
package final class ExecutionEngine: Sendable {
  package struct Limits: Sendable {
    /// Failures in a row after which an engine is given up.
    package var failures = 5
    /// Before the first repetition; twice as long before each further one.
    package var pause = Duration.milliseconds(200)
    /// That an engine may be away which has taken an action: a restart costs no more than its time.
    package var outage = Duration.seconds(30)
    /// Without a word from a stream, after which the engine is asked whether it is there.
    package var silence = Duration.seconds(20)
    /// Messages that the first batch has at most, two an action; each further one has twice as many.
    package var batch = 8
    /// That an action may wait for a worker, beside its own time.
    package var queueing = Duration.seconds(3600)

    package init() {}
  }

  /// What an engine said of an action.
  package enum Answer: Sendable {
    case completed(REAPIActionResult)
    /// Its time was up; with what it had printed, if the engine tells.
    case timedOut(REAPIActionResult)
  }

  package let cache: ExecutionCacheServer
  private let channel: ExecutionChannel
  private let limits: Limits
  /// What the engine is known to have.
  private struct Known {
    /// A folder with all that is in it.
    var blobs: Set<Digest> = []
    var folders: KnownFolders?
    private var isRead = false
    /// What is being given, by each of its blobs.
    var flights: [Digest: Flight] = [:]
    /// Messages of actions that wait for the batch before theirs to be sent, by the batch's number.
    var messages: [Int: [RemoteBlob]] = [:]
    /// How many there have been; the last has this number.
    var batches = 0
    /// The one that ends last.
    var lastBatch: (number: Int, flight: Flight)?

    mutating func blobs(_ memory: FilePath?, _ url: String, again: Bool) -> Set<Digest> {
      if !isRead {
        isRead = true
        folders = memory.map { KnownFolders($0, url: url) }
        blobs = folders?.digests ?? []
      }
      if again {
        folders?.forget()
        blobs = []
      }
      return blobs
    }
  }
  private typealias Flight = Task<Result<Int, RemoteFailure>, Never>
  private let known = Mutex(Known())
  private let memory: FilePath?

  package var url: String { channel.url }

  /// - Parameter memory: The file that keeps which folders the engine has, for the next build.
  /// - Throws: A diagnostic for certificates that cannot be read.
  package init(
    _ address: RemoteCacheAddress, _ access: RemoteCacheAccess, memory: FilePath? = nil, limits: Limits = Limits()
  ) throws {
    self.memory = memory
    channel = try ExecutionChannel(address, access)
    cache = ExecutionCacheServer(channel)
    self.limits = limits
  }

  package func close() {
    known.withLock { $0.folders?.save() }
    channel.close()
  }

  // MARK: Asking

  /// The command in the words that the engine knows.
  package func worded(_ command: REAPICommand) async throws(RemoteFailure) -> REAPICommand {
    var failures = 0
    var found: ExecutionCacheServer.Capabilities?
    try await retrying(&failures) { () async throws(RemoteFailure) in found = try await self.cache.capabilities() }
    if found?.executes == false { throw failure(.unsupported, "the server runs no actions") }
    guard found?.isOfFirstVersion == true else { return command }
    var command = command
    command.outputFiles = command.outputPaths
    return command
  }

  // MARK: Giving

  /// Sees to it that the engine has an action, its command and its input root; gives the bytes that were sent for it.
  ///
  /// - Parameter again: Whether to ask for all of them, whatever was known.
  @discardableResult
  package func give(_ action: EngineAction, from store: Store, again: Bool = false) async throws(RemoteFailure) -> Int {
    let own = [action.action, action.command]
    let known = known.withLock { $0.blobs(memory, url, again: again) }
    let (files, folders) = try locally { try Self.unknown(below: action.inputRoot, known, store) }
    if files.isEmpty && folders.isEmpty {
      try await giveMessages(own, from: store)
      return own.reduce(0) { $0 + $1.size }
    }
    // What another action is giving already is waited for, and not sent twice.
    let (flight, others) = self.known.withLock { known -> (Flight, Set<Flight>) in
      let blobs = own + files + folders.map { RemoteBlob($0.root, size: $0.size) }
      let others = Set(blobs.compactMap { known.flights[$0.digest] })
      let free = blobs.filter { known.flights[$0.digest] == nil }
      let flight = Flight { await self.send(free, from: store) }
      for blob in free { known.flights[blob.digest] = flight }
      return (flight, others)
    }
    let sent = try await end(of: flight)
    for other in others { try await end(ofAnother: other) }
    self.known.withLock { known in
      known.blobs.formUnion(files.map(\.digest))
      known.blobs.formUnion(folders.map(\.root))
      known.folders?.insert(folders.map(\.root))
    }
    return sent
  }

  /// Sends what is new to the engine wherever all else is not, and so not worth a question.
  ///
  /// What comes while a batch is on its way goes together. The first batches are small, and each waits for the one before:
  /// an engine that was handed all actions at once begins none of them for a while.
  private func giveMessages(_ blobs: [RemoteBlob], from store: Store) async throws(RemoteFailure) {
    let (flight, isOwn) = known.withLock { known -> (Flight, Bool) in
      if let last = known.lastBatch, let waiting = known.messages[last.number],
        waiting.count < limits.batch << min(last.number - 1, 10)
      {
        known.messages[last.number] = waiting + blobs
        return (last.flight, false)
      }
      known.batches += 1
      let (before, number) = (known.lastBatch?.flight, known.batches)
      let flight = Flight {
        let end = await before?.value
        let messages = self.known.withLock { $0.messages.removeValue(forKey: number) ?? [] }
        defer { self.known.withLock { known in if known.lastBatch?.number == number { known.lastBatch = nil } } }
        // An engine that does not answer is waited for once, and not by one batch after the other.
        if case .failure(let failure)? = end, failure.reason == .timeout { return .failure(failure) }
        do throws(RemoteFailure) {
          try await self.cache.upload(messages, from: store)
          return .success(messages.reduce(0) { $0 + $1.size })
        } catch { return .failure(error) }
      }
      known.messages[number] = blobs
      known.lastBatch = (number, flight)
      return (flight, true)
    }
    if isOwn { _ = try await end(of: flight) } else { try await end(ofAnother: flight) }
  }

  private func end(of flight: Flight) async throws(RemoteFailure) -> Int {
    let end = await withTaskCancellationHandler {
      await flight.value
    } onCancel: {
      flight.cancel()
    }
    return try end.get()
  }

  private func end(ofAnother flight: Flight) async throws(RemoteFailure) {
    let end = await flight.value
    // That another action was cancelled is for this one no more than a connection that broke.
    if case .failure(let failure) = end, failure.reason == .cancelled, !Task.isCancelled {
      throw self.failure(.connection, "what it needs was not sent to the end")
    }
    _ = try end.get()
  }

  private func send(_ blobs: [RemoteBlob], from store: Store) async -> Result<Int, RemoteFailure> {
    defer { known.withLock { known in for blob in blobs { known.flights[blob.digest] = nil } } }
    do throws(RemoteFailure) {
      let missing = try await cache.missing(blobs)
      if !missing.isEmpty { try await cache.upload(missing, from: store) }
      return .success(missing.reduce(0) { $0 + $1.size })
    } catch { return .failure(error) }
  }

  /// The files and folders of a tree, each once, without those of folders that are known.
  private static func unknown(below root: DirectoryArtifact, _ known: Set<Digest>, _ store: Store) throws
    -> (files: [RemoteBlob], folders: [DirectoryArtifact])
  {
    var (files, folders): ([RemoteBlob], [DirectoryArtifact]) = ([], [])
    var unfinished = [root]
    var seen: Set<Digest> = []
    while let folder = unfinished.popLast() {
      guard !known.contains(folder.root), seen.insert(folder.root).inserted else { continue }
      folders.append(folder)
      for entry in try store.directory(folder).entries {
        switch entry.node {
        case .file(let file) where !known.contains(file.digest) && seen.insert(file.digest).inserted:
          files.append(RemoteBlob(file.digest, size: file.size))
        case .folder(let inner): unfinished.append(inner)
        case .file, .symlink: break
        }
      }
    }
    return (files, folders)
  }

  /// Brings blobs into the store, and tries again: the work that made them is done.
  ///
  /// - Returns: Those that came; of the others the engine has nothing, or something else.
  func fetch(_ blobs: [RemoteBlob], into store: Store) async throws(RemoteFailure) -> Set<RemoteBlob> {
    var failures = 0
    var came: Set<RemoteBlob> = []
    try await retrying(&failures) { () async throws(RemoteFailure) in
      came = try await self.cache.fetch(blobs, into: store)
    }
    return came
  }

  // MARK: Running

  private enum End {
    case response(REAPIExecuteResponse)
    case failed(RPCStatus)
    /// The stream ended, or told nothing for a while; the operation goes on.
    case open
  }

  private struct Operation {
    var name = ""
    /// Whether the current stream has told anything, or the engine has answered while it did not.
    var isAlive = false
  }

  /// Runs an action whose blobs are in the store; cancelling the task cancels it there.
  ///
  /// - Parameters:
  ///   - time: What the action itself may take.
  ///   - stage: Called with each stage that the engine tells of.
  ///   - output: Called with what the action prints, as far as the engine streams that.
  package func run(
    _ action: EngineAction, from store: Store, time: Duration,
    stage: @escaping @Sendable (REAPIExecutionStage.Value) -> Void = { _ in },
    output: (@Sendable ([UInt8]) -> Void)? = nil
  ) async throws(RemoteFailure) -> Answer {
    let operation = Mutex(Operation())
    let listener = output.map { Listener(channel, patience: limits.silence, cache, $0) }
    do throws(RemoteFailure) {
      let answer = try await follow(action, from: store, time: time, operation) { metadata in
        stage(metadata.stage)
        listener?.listen(to: [metadata.stdoutStreamName, metadata.stderrStreamName])
      }
      await listener?.end(within: .seconds(1))
      return answer
    } catch {
      await listener?.end(within: .zero)
      let name = operation.withLock { $0.name }
      if Task.isCancelled, !name.isEmpty {
        // The task is over; what the engine does with it is not waited for long.
        await Task.detached { await self.cancel(name) }.value
      }
      throw error
    }
  }

  private func follow(
    _ action: EngineAction, from store: Store, time: Duration, _ operation: borrowing Mutex<Operation>,
    _ told: @escaping @Sendable (REAPIExecuteOperationMetadata) -> Void
  ) async throws(RemoteFailure) -> Answer {
    let deadline = ContinuousClock.now + time + limits.queueing
    var failures = 0
    var isGivenAgain = false
    var lost: ContinuousClock.Instant?
    try await retrying(&failures) { () async throws(RemoteFailure) in try await self.give(action, from: store) }
    while true {
      if Task.isCancelled { throw failure(.cancelled, "cancelled") }
      guard ContinuousClock.now < deadline else { throw failure(.timeout, "no worker took the action in time") }
      var last: RemoteFailure
      do throws(RemoteFailure) {
        switch try await attend(action, operation, deadline - ContinuousClock.now, told) {
        case .open:
          if operation.withLock({ $0.isAlive }) {
            (failures, lost) = (0, nil)
            try await pause(1)
            continue
          }
          last = failure(.timeout, "the engine tells nothing")
        case .response(let response) where response.status.code == Self.ok: return .completed(response.result)
        case .response(let response) where response.status.code == Self.deadlineExceeded:
          return .timedOut(response.result)
        case .response(let response): last = failure(of: response.status)
        case .failed(let status):
          if status.code == Self.deadlineExceeded { return .timedOut(REAPIActionResult()) }
          last = failure(of: status)
        }
      } catch {
        last = error
        if error.reason == .absent, operation.withLock({ !$0.name.isEmpty }) {
          // It was restarted, and knows nothing of the operation.
          operation.withLock { $0.name = "" }
          failures += 1
          if failures <= limits.failures { continue }
        }
      }
      guard !last.isFinal, last.reason != .cancelled, last.reason != .local else { throw last }
      if last.reason == .connection, operation.withLock({ !$0.name.isEmpty }) {
        let since = lost ?? ContinuousClock.now
        lost = since
        if ContinuousClock.now - since < limits.outage {
          try await pause(2)
          continue
        }
      }
      if last.reason != .connection, last.reason != .timeout {
        operation.withLock { $0.name = "" }
        if !isGivenAgain {
          // Whatever it lacks: servers tell it in different ways.
          isGivenAgain = true
          _ = try? await give(action, from: store, again: true)
        }
      }
      failures += Self.weight(of: last)
      guard failures <= limits.failures else { throw last }
      try await pause(failures)
    }
  }

  private func retrying(
    _ failures: inout Int, _ body: () async throws(RemoteFailure) -> Void
  ) async throws(RemoteFailure) {
    while true {
      do throws(RemoteFailure) { return try await body() } catch {
        failures += Self.weight(of: error)
        guard failures <= limits.failures, !error.isFinal, error.reason != .cancelled, error.reason != .local else {
          throw error
        }
        try await pause(failures)
      }
    }
  }

  /// Who is silent has taken its time already.
  private static func weight(of failure: RemoteFailure) -> Int { failure.reason == .timeout ? 3 : 1 }

  private func pause(_ failures: Int) async throws(RemoteFailure) {
    let time = limits.pause * (1 << min(failures - 1, 6))
    do { try await Task.sleep(for: time) } catch { throw failure(.cancelled, "cancelled") }
  }

  /// One stream about the action: a new operation, or the one that is under way.
  private func attend(
    _ action: EngineAction, _ operation: borrowing Mutex<Operation>, _ limit: Duration,
    _ tell: @escaping @Sendable (REAPIExecuteOperationMetadata) -> Void
  ) async throws(RemoteFailure) -> End {
    let name = operation.withLock { operation in
      operation.isAlive = false
      return operation.name
    }
    let told = Told(name)
    defer {
      let (name, isAlive) = told.state.withLock { $0 }
      operation.withLock { operation in
        if !name.isEmpty { operation.name = name }
        operation.isAlive = isAlive
      }
    }
    // Engines need not tell anything while an action waits or runs (casd does not). That they are there is asked apart, and
    // the stream taken up anew then: it may have been lost on the way.
    let silence: @Sendable () async throws -> Void = {
      try await self.cache.ping()
      let isNamed = told.state.withLock { state in
        state.isAlive = true
        return !state.name.isEmpty
      }
      if isNamed { throw Progress.Stalled() }
    }
    let take: @Sendable (RPCAsyncSequence<LongRunningOperation, any Error>, Progress) async throws -> End = {
      operations, progress in
      for try await operation in operations {
        progress.step()
        told.state.withLock { $0 = (operation.name, true) }
        if let metadata = try? REAPIExecuteOperationMetadata(unpackingAny: operation.metadata) { tell(metadata) }
        guard operation.done else { continue }
        switch operation.result {
        case .response(let packed)?: return .response(try REAPIExecuteResponse(unpackingAny: packed))
        case .error(let status)?: return .failed(status)
        case nil: return .open
        }
      }
      return .open
    }
    do throws(RemoteFailure) {
      if name.isEmpty {
        var request = REAPIExecuteRequest()
        request.instanceName = channel.instance
        request.actionDigest = REAPIDigest(action.action.digest, size: action.action.size)
        // Its own action cache is nobody's here.
        request.skipCacheLookup = true
        return try await channel.stream(
          REAPIExecution.Method.Execute.descriptor, request, size: 0, patience: limits.silence, limit: limit,
          silence: silence,
          take)
      }
      var request = REAPIWaitExecutionRequest()
      request.name = name
      return try await channel.stream(
        REAPIExecution.Method.WaitExecution.descriptor, request, size: 0, patience: limits.silence, limit: limit,
        silence: silence,
        take)
    } catch {
      if error.reason == .timeout { return .open }
      throw error
    }
  }

  private final class Told: Sendable {
    let state: Mutex<(name: String, isAlive: Bool)>

    init(_ name: String) { state = Mutex((name, false)) }
  }

  private func cancel(_ name: String) async {
    var request = LongRunningCancelOperationRequest()
    request.name = name
    let _: Google_Protobuf_Empty? = try? await channel.ask(
      LongRunningOperations.Method.CancelOperation.descriptor, request)
  }

  // MARK: Failures

  /// `google.rpc.Code`.
  private static let ok = 0
  private static let deadlineExceeded = 4
  private static let unauthenticated: Set<Int32> = [7, 16]
  private static let unimplemented = 12

  private func failure(_ reason: RemoteFailure.Reason, _ text: String) -> RemoteFailure {
    RemoteFailure(reason, "Execute \(url): \(text)")
  }

  private func failure(of status: RPCStatus) -> RemoteFailure {
    let reason: RemoteFailure.Reason =
      Self.unauthenticated.contains(status.code)
      ? .denied : status.code == Self.unimplemented ? .unsupported : .server
    return failure(reason, "status \(status.code): \(status.message)")
  }
}

/// An action as one engine is to run it; its folders and files are in the store, and so are its messages.
package struct EngineAction: Sendable {
  package var action: RemoteBlob
  package var command: RemoteBlob
  package var inputRoot: DirectoryArtifact

  /// - Parameter timeout: Seconds.
  package init(_ command: REAPICommand, inputRoot: DirectoryArtifact, timeout: Int, into store: Store) throws {
    self.inputRoot = inputRoot
    let commandBytes = command.canonicalBytes
    var action = REAPIAction()
    action.commandDigest = REAPIDigest(of: commandBytes)
    action.inputRootDigest = REAPIDigest(inputRoot.root, size: inputRoot.size)
    action.timeout.seconds = Int64(timeout)
    // Its result counts under the shared key alone, once it has been looked at.
    action.doNotCache = true
    action.platform = command.platform
    let (actionFile, commandFile) = (try store.insert(action.canonicalBytes), try store.insert(commandBytes))
    self.action = RemoteBlob(actionFile.digest, size: actionFile.size)
    self.command = RemoteBlob(commandFile.digest, size: commandFile.size)
  }
}
