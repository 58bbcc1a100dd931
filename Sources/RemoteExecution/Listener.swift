import GRPCCore
import RemoteCaching
import RemoteExecutionAPI
import SwiftProtobuf
import Synchronization

/// Reads what an action prints while it prints it, from the log streams that an engine names in an operation's metadata
/// (`stdout_stream_name`, `stderr_stream_name`), each by ByteStream's Read.
///
/// It is for people alone: what fails here is in the result all the same.
final class Listener: Sendable {
  private let channel: ExecutionChannel
  private let patience: Duration
  private let cache: ExecutionCacheServer
  private let output: @Sendable ([UInt8]) -> Void
  private let tasks = Mutex<[String: Task<Void, Never>]>([:])

  init(
    _ channel: ExecutionChannel, patience: Duration, _ cache: ExecutionCacheServer,
    _ output: @escaping @Sendable ([UInt8]) -> Void
  ) {
    (self.channel, self.patience, self.cache, self.output) = (channel, patience, cache, output)
  }

  /// Begins to read what is not read yet; an empty name is none.
  func listen(to names: [String]) {
    tasks.withLock { tasks in
      for name in names where !name.isEmpty && tasks[name] == nil { tasks[name] = Task { await self.read(name) } }
    }
  }

  /// Waits until the streams have ended, no longer than that.
  func end(within limit: Duration) async {
    let tasks = tasks.withLock { Array($0.values) }
    if tasks.isEmpty { return }
    let watch = Task {
      if limit > .zero { try? await Task.sleep(for: limit) }
      for task in tasks { task.cancel() }
    }
    for task in tasks { await task.value }
    watch.cancel()
  }

  private func read(_ name: String) async {
    var request = ByteStreamReadRequest()
    request.resourceName = name
    // A command may be silent for as long as its engine is there.
    let silence: @Sendable () async throws -> Void = { [cache] in try await cache.ping() }
    try? await channel.stream(
      ByteStreamByteStream.Method.Read.descriptor, request, size: 0, patience: patience, limit: .seconds(86_400),
      silence: silence
    ) { [output] (pieces: RPCAsyncSequence<ByteStreamReadResponse, any Error>, progress) in
      for try await piece in pieces {
        progress.step()
        output(piece.data.withUnsafeBytes { Array($0) })
      }
    }
  }
}
