import Caching
import Digests
import Distribution
import FoundationEssentials
import GRPCCore
import RemoteExecutionAPI
import SwiftProtobuf
import Synchronization

/// The cache part of the Remote Execution API: ActionCache, ContentAddressableStorage, ByteStream and Capabilities
/// (bazelbuild/remote-apis, `remote_execution.proto`).
package final class ExecutionCacheServer: RemoteServer {
  private typealias Storage = REAPIContentAddressableStorage.Method
  private typealias Stream = ByteStreamByteStream.Method

  private let channel: ExecutionChannel
  private let limits = Mutex<Task<Result<Int, RemoteFailure>, Never>?>(nil)
  /// Of one message of a ByteStream.
  private static let pieceSize = 1 << 20
  /// Digests in one question: some 80 bytes each.
  private static let questionLimit = 10_000

  package var url: String { channel.url }
  package let batchBytes = 1 << 20
  package let giftBytes = 0
  package let carriedBytes = 0

  /// - Throws: A diagnostic for certificates that cannot be read.
  package init(_ address: RemoteCacheAddress, _ access: RemoteCacheAccess) throws {
    channel = try ExecutionChannel(address, access)
  }

  /// On a connection that is used for more than a cache.
  package init(_ channel: ExecutionChannel) { self.channel = channel }

  package func close() async { channel.close() }

  /// Whether the server answers at all.
  package func ping() async throws(RemoteFailure) { _ = try await askCapabilities().get() }

  // MARK: Capabilities

  /// How many bytes of blobs one message may hold.
  ///
  /// Asked for with the first blob; whoever only looks up results needs no answer.
  private func batchLimit() async throws(RemoteFailure) -> Int {
    let task = limits.withLock { limits in
      if let limits { return limits }
      let task = Task { await self.askCapabilities() }
      limits = task
      return task
    }
    switch await task.value {
    case .success(let limit): return limit
    case .failure(let failure):
      limits.withLock { $0 = nil }
      throw failure
    }
  }

  private func askCapabilities() async -> Result<Int, RemoteFailure> {
    let method = REAPICapabilities.Method.GetCapabilities.descriptor
    var request = REAPIGetCapabilitiesRequest()
    request.instanceName = channel.instance
    do throws(RemoteFailure) {
      let found: REAPIServerCapabilities = try await channel.ask(method, request)
      let cache = found.cacheCapabilities
      guard cache.digestFunctions.isEmpty || cache.digestFunctions.contains(.sha256) else {
        throw channel.failure(.server, method, "the server knows no SHA-256 digests")
      }
      guard found.lowApiVersion.major <= 2 else {
        throw channel.failure(.server, method, "the server speaks only version \(found.lowApiVersion.major) of the API")
      }
      let limit = Int(clamping: cache.maxBatchTotalSizeBytes)
      return .success(limit > 0 ? min(limit, batchBytes) : batchBytes)
    } catch { return .failure(error) }
  }

  // MARK: Results

  package func result(of action: RemoteBlob) async throws(RemoteFailure) -> [UInt8]? {
    var request = REAPIGetActionResultRequest()
    request.instanceName = channel.instance
    request.actionDigest = REAPIDigest(action.digest, size: action.size)
    do throws(RemoteFailure) {
      let result: REAPIActionResult = try await channel.ask(
        REAPIActionCache.Method.GetActionResult.descriptor, request)
      return result.canonicalBytes
    } catch {
      if error.reason == .absent { return nil }
      throw error
    }
  }

  package func putResult(_ result: [UInt8], of action: RemoteBlob) async throws(RemoteFailure) {
    let method = REAPIActionCache.Method.UpdateActionResult.descriptor
    var request = REAPIUpdateActionResultRequest()
    request.instanceName = channel.instance
    request.actionDigest = REAPIDigest(action.digest, size: action.size)
    do { request.actionResult = try REAPIActionResult(serializedBytes: result) } catch {
      throw channel.failure(.content, method, "the result is none: \(error)")
    }
    let _: REAPIActionResult = try await channel.ask(method, request, size: result.count)
  }

  // MARK: Blobs

  package func missing(_ blobs: [RemoteBlob]) async throws(RemoteFailure) -> [RemoteBlob] {
    var missing: Set<String> = []
    var rest = blobs[...]
    while !rest.isEmpty {
      var request = REAPIFindMissingBlobsRequest()
      request.instanceName = channel.instance
      request.blobDigests = rest.prefix(Self.questionLimit).map { REAPIDigest($0.digest, size: $0.size) }
      let answer: REAPIFindMissingBlobsResponse = try await channel.ask(
        Storage.FindMissingBlobs.descriptor, request, size: request.blobDigests.count * 80)
      missing.formUnion(answer.missingBlobDigests.map(\.hash))
      rest = rest.dropFirst(Self.questionLimit)
    }
    return blobs.filter { missing.contains($0.digest.hex) }
  }

  package func fetch(_ blobs: [RemoteBlob], into store: Store) async throws(RemoteFailure) -> Set<RemoteBlob> {
    let limit = try await batchLimit()
    var came: Set<RemoteBlob> = []
    for batch in packed(blobs, limit: limit) {
      if batch.count == 1, let blob = batch.first, blob.size > limit {
        if try await stream(blob, into: store) { came.insert(blob) }
      } else {
        came.formUnion(try await fetchTogether(batch, into: store))
      }
    }
    return came
  }

  private func fetchTogether(_ blobs: [RemoteBlob], into store: Store) async throws(RemoteFailure) -> Set<RemoteBlob> {
    let method = Storage.BatchReadBlobs.descriptor
    var request = REAPIBatchReadBlobsRequest()
    request.instanceName = channel.instance
    request.digests = blobs.map { REAPIDigest($0.digest, size: $0.size) }
    let answer: REAPIBatchReadBlobsResponse = try await channel.ask(
      method, request, size: blobs.reduce(0) { $0 + $1.size })
    let wanted = Dictionary(blobs.map { ($0.digest.hex, $0) }) { first, _ in first }
    var came: Set<RemoteBlob> = []
    for response in answer.responses {
      guard let blob = wanted[response.digest.hash] else { continue }
      guard response.status.code == 0 else {
        if response.status.code == Self.notFound { continue }
        throw channel.failure(.server, method, "status \(response.status.code): \(response.status.message)")
      }
      let bytes = response.data
      // Wrong bytes are as good as none, and are never put under any name.
      guard response.compressor == .identity, bytes.count == blob.size,
        bytes.withUnsafeBytes({ Digest(of: $0) }) == blob.digest
      else { continue }
      try locally {
        let writer = try BlobWriter(store)
        try bytes.withUnsafeBytes { try writer.write($0) }
        _ = try writer.finish()
      }
      came.insert(blob)
    }
    return came
  }

  private func stream(_ blob: RemoteBlob, into store: Store) async throws(RemoteFailure) -> Bool {
    var request = ByteStreamReadRequest()
    request.resourceName = path("blobs/\(blob.digest)/\(blob.size)")
    do throws(RemoteFailure) {
      return try await channel.stream(Stream.Read.descriptor, request, size: blob.size) {
        (pieces: RPCAsyncSequence<ByteStreamReadResponse, any Error>, progress) in
        let writer = try locally { try BlobWriter(store) }
        for try await piece in pieces {
          progress.step()
          guard writer.size + piece.data.count <= blob.size else { return false }
          try locally { try piece.data.withUnsafeBytes { try writer.write($0) } }
        }
        guard writer.size == blob.size, writer.digest == blob.digest else { return false }
        _ = try locally { try writer.finish() }
        return true
      }
    } catch {
      if error.reason == .absent { return false }
      throw error
    }
  }

  package func upload(_ blobs: [RemoteBlob], from store: Store) async throws(RemoteFailure) {
    let limit = try await batchLimit()
    for batch in packed(blobs, limit: limit) {
      if batch.count == 1, let blob = batch.first, blob.size > limit {
        try await stream(blob, from: store)
      } else {
        var request = REAPIBatchUpdateBlobsRequest()
        for blob in batch {
          let bytes = try locally { try store.read(blob.digest, limit: limit) }
          request.requests.append(Self.entry(REAPIDigest(blob.digest, size: blob.size), bytes))
        }
        for response in try await uploadTogether(request) where response.status.code != 0 {
          throw channel.failure(
            response.status.code == Self.resourceExhausted ? .throttled : .server, Storage.BatchUpdateBlobs.descriptor,
            "status \(response.status.code): \(response.status.message)")
        }
      }
    }
  }

  private func uploadTogether(_ request: REAPIBatchUpdateBlobsRequest) async throws(RemoteFailure)
    -> [REAPIBatchUpdateBlobsResponse.Response]
  {
    var request = request
    request.instanceName = channel.instance
    let answer: REAPIBatchUpdateBlobsResponse = try await channel.ask(
      Storage.BatchUpdateBlobs.descriptor, request, size: request.requests.reduce(0) { $0 + $1.data.count })
    return answer.responses
  }

  private static func entry(_ digest: REAPIDigest, _ bytes: [UInt8]) -> REAPIBatchUpdateBlobsRequest.Request {
    var entry = REAPIBatchUpdateBlobsRequest.Request()
    entry.digest = digest
    entry.data = .init(bytes)
    return entry
  }

  private func stream(_ blob: RemoteBlob, from store: Store) async throws(RemoteFailure) {
    let method = Stream.Write.descriptor
    let piece = try locally { try FilePiece(store.path(of: blob.digest, executable: false), window: Self.pieceSize) }
    let name = path("uploads/\(Self.uploadName())/blobs/\(blob.digest)/\(blob.size)")
    let answer: ByteStreamWriteResponse = try await channel.send(method, size: blob.size) {
      (writer: RPCWriter<ByteStreamWriteRequest>, progress) in
      var offset = 0
      for try await bytes in piece {
        var request = ByteStreamWriteRequest()
        if offset == 0 { request.resourceName = name }
        request.writeOffset = Int64(offset)
        request.data = bytes.withUnsafeReadableBytes { Data($0) }
        offset += bytes.readableBytes
        request.finishWrite = offset == piece.length
        try await writer.write(request)
        progress.step()
      }
    }
    guard answer.committedSize == blob.size else {
      throw channel.failure(.content, method, "\(answer.committedSize) of \(blob.size) bytes were taken")
    }
  }

  package func takes(_ bytes: [UInt8], as digest: Digest) async throws(RemoteFailure) -> Bool {
    var request = REAPIBatchUpdateBlobsRequest()
    request.requests = [Self.entry(REAPIDigest(digest, size: bytes.count), bytes)]
    return try await uploadTogether(request).allSatisfy { $0.status.code == 0 }
  }

  // MARK: Names

  /// `google.rpc.Code`.
  private static let notFound = 5
  private static let resourceExhausted = 8

  private func path(_ name: String) -> String { channel.instance.isEmpty ? name : "\(channel.instance)/\(name)" }

  /// Any name that no other upload has: a UUID (RFC 9562, version 4).
  private static func uploadName() -> String {
    let high = UInt64.random(in: 0 ... .max) & ~0xf000 | 0x4000
    let low = UInt64.random(in: 0 ... .max) & ~(3 << 62) | 2 << 62
    func hex(_ value: UInt64) -> String {
      let digits = String(value, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }
    let digits = hex(high) + hex(low)
    var parts: [Substring] = []
    var rest = digits[...]
    for count in [8, 4, 4, 4, 12] {
      parts.append(rest.prefix(count))
      rest = rest.dropFirst(count)
    }
    return parts.joined(separator: "-")
  }
}
