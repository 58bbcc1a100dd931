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
  private let known = Mutex<Task<Result<Capabilities, RemoteFailure>, Never>?>(nil)
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

  package struct Capabilities: Sendable {
    /// How many bytes of blobs one message may hold.
    package var batchBytes: Int
    /// Whether blobs may travel in Zstandard frames: one by one, or read together; and written together.
    package var compresses = false
    package var compressesUpdates = false
    /// Whether it runs actions; nil of one that does not tell.
    package var executes: Bool?
    /// Whether version 2.0 of the API is its newest, which knows no `output_paths`.
    package var isOfFirstVersion = false
  }

  /// Asked for with the first blob; whoever only looks up results needs no answer.
  package func capabilities() async throws(RemoteFailure) -> Capabilities {
    let task = known.withLock { known in
      if let known { return known }
      let task = Task { await self.askCapabilities() }
      known = task
      return task
    }
    switch await task.value {
    case .success(let capabilities): return capabilities
    case .failure(let failure):
      known.withLock { $0 = nil }
      throw failure
    }
  }

  private func askCapabilities() async -> Result<Capabilities, RemoteFailure> {
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
      var capabilities = Capabilities(batchBytes: limit > 0 ? min(limit, batchBytes) : batchBytes)
      capabilities.compresses = cache.supportedCompressors.contains(.zstd) && Zstandard.isThere
      capabilities.compressesUpdates = cache.supportedBatchUpdateCompressors.contains(.zstd) && Zstandard.isThere
      if found.hasExecutionCapabilities { capabilities.executes = found.executionCapabilities.execEnabled }
      capabilities.isOfFirstVersion = found.highApiVersion.major == 2 && found.highApiVersion.minor == 0
      return .success(capabilities)
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
    let capabilities = try await capabilities()
    let limit = capabilities.batchBytes
    var came: Set<RemoteBlob> = []
    for batch in packed(blobs, limit: limit) {
      if batch.count == 1, let blob = batch.first, blob.size > limit {
        if try await stream(blob, into: store, compressed: capabilities.compresses) { came.insert(blob) }
      } else {
        came.formUnion(try await fetchTogether(batch, into: store, compressed: capabilities.compresses))
      }
    }
    return came
  }

  private func fetchTogether(_ blobs: [RemoteBlob], into store: Store, compressed: Bool)
    async throws(RemoteFailure) -> Set<RemoteBlob>
  {
    let method = Storage.BatchReadBlobs.descriptor
    var request = REAPIBatchReadBlobsRequest()
    request.instanceName = channel.instance
    request.digests = blobs.map { REAPIDigest($0.digest, size: $0.size) }
    if compressed { request.acceptableCompressors = [.zstd] }
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
      // Wrong bytes are as good as none, and are never put under any name.
      guard let bytes = Self.bytes(response, size: blob.size), bytes.count == blob.size,
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

  private static func bytes(_ response: REAPIBatchReadBlobsResponse.Response, size: Int) -> Data? {
    switch response.compressor {
    case .identity: response.data
    case .zstd: Zstandard.expanded(response.data, size: size).map { Data($0) }
    default: nil
    }
  }

  private func stream(_ blob: RemoteBlob, into store: Store, compressed: Bool) async throws(RemoteFailure) -> Bool {
    var request = ByteStreamReadRequest()
    request.resourceName = path("\(compressed ? "compressed-blobs/zstd" : "blobs")/\(blob.digest)/\(blob.size)")
    // A frame of what does not get smaller is larger by a little.
    let limit = compressed ? blob.size + blob.size / 64 + 4096 : blob.size
    do throws(RemoteFailure) {
      return try await channel.stream(Stream.Read.descriptor, request, size: blob.size) {
        (pieces: RPCAsyncSequence<ByteStreamReadResponse, any Error>, progress) in
        let received = try locally { try BlobWriter(store) }
        for try await piece in pieces {
          progress.step()
          guard received.size + piece.data.count <= limit else { return false }
          try locally { try piece.data.withUnsafeBytes { try received.write($0) } }
        }
        let writer =
          try compressed ? locally { try Self.expanded(received, size: blob.size, into: store) } : Optional(received)
        guard let writer, writer.size == blob.size, writer.digest == blob.digest else { return false }
        _ = try locally { try writer.finish() }
        return true
      }
    } catch {
      if error.reason == .absent { return false }
      throw error
    }
  }

  /// What is in the frame that came; nil where that is damaged, or too much.
  private static func expanded(_ frame: BlobWriter, size: Int, into store: Store) throws -> BlobWriter? {
    let writer = try BlobWriter(store)
    return try frame.withFile { try Zstandard.expand(file: $0, size: size, writer.write) } ? writer : nil
  }

  package func upload(_ blobs: [RemoteBlob], from store: Store) async throws(RemoteFailure) {
    let capabilities = try await capabilities()
    let limit = capabilities.batchBytes
    for batch in packed(blobs, limit: limit) {
      if batch.count == 1, let blob = batch.first, blob.size > limit {
        try await stream(blob, from: store, compressed: capabilities.compresses)
      } else {
        var request = REAPIBatchUpdateBlobsRequest()
        for blob in batch {
          let bytes = try locally { try store.read(blob.digest, limit: limit) }
          request.requests.append(
            Self.entry(
              REAPIDigest(blob.digest, size: blob.size), bytes, compressed: capabilities.compressesUpdates))
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

  private static func entry(_ digest: REAPIDigest, _ bytes: [UInt8], compressed: Bool = false)
    -> REAPIBatchUpdateBlobsRequest.Request
  {
    var entry = REAPIBatchUpdateBlobsRequest.Request()
    entry.digest = digest
    if compressed, let frame = Zstandard.compressed(bytes) {
      entry.data = .init(frame)
      entry.compressor = .zstd
    } else {
      entry.data = .init(bytes)
    }
    return entry
  }

  private func stream(_ blob: RemoteBlob, from store: Store, compressed: Bool) async throws(RemoteFailure) {
    let method = Stream.Write.descriptor
    let piece = try locally { try FilePiece(store.path(of: blob.digest, executable: false), window: Self.pieceSize) }
    let form = compressed ? "compressed-blobs/zstd" : "blobs"
    let name = path("uploads/\(Self.uploadName())/\(form)/\(blob.digest)/\(blob.size)")
    let answer: ByteStreamWriteResponse = try await channel.send(method, size: blob.size) {
      (writer: RPCWriter<ByteStreamWriteRequest>, progress) in
      var offset = 0
      func send(_ data: Data, isLast: Bool) async throws {
        var request = ByteStreamWriteRequest()
        if offset == 0 { request.resourceName = name }
        request.writeOffset = Int64(offset)
        request.data = data
        request.finishWrite = isLast
        offset += data.count
        try await writer.write(request)
        progress.step()
      }
      guard compressed else {
        var length = 0
        for try await bytes in piece {
          length += bytes.readableBytes
          try await send(bytes.withUnsafeReadableBytes { Data($0) }, isLast: length == piece.length)
        }
        return
      }
      let failure = RemoteFailure(.local, "cannot compress \(blob.digest) for \(self.url)")
      guard let encoder = Zstandard.Encoder() else { throw failure }
      for try await bytes in piece {
        guard bytes.withUnsafeReadableBytes({ encoder.write($0) }) else { throw failure }
        let frame = encoder.take()
        if !frame.isEmpty { try await send(Data(frame), isLast: false) }
        progress.step()
      }
      guard let rest = encoder.finish() else { throw failure }
      try await send(Data(rest), isLast: true)
    }
    // Of a compressed one it counts what it took of the frame, or gives -1 if it had the blob.
    guard compressed || answer.committedSize == blob.size else {
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
