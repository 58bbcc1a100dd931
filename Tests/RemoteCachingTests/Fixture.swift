import Caching
import Digests
import Glibc
import Synchronization
import SystemPackage
import TestServers
import Testing

@testable import RemoteCaching

/// A folder with two stores: of the machine that gave, and of another one.
final class Fixture: Sendable {
  let folder: FilePath
  let here: Store
  let there: Store

  init() throws {
    folder = FilePath("/tmp/slipway-remote.\(getpid()).\(UInt64.random(in: 0 ... .max))")
    try Disk.makeFolders(folder.string)
    here = try Store(root: folder.appending("here"))
    there = try Store(root: folder.appending("there"))
  }

  deinit { try? Disk.removeTree(folder.string) }

  func sub(_ name: String) throws -> FilePath {
    try Disk.makeFolders(folder.appending(name).string)
    return folder.appending(name)
  }

  /// A record with an output of each sort, whose bytes are in the first store.
  func record(_ text: String = "out") throws -> ActionRecord {
    let file = try here.insert(Array(text.utf8), executable: true)
    let data = try here.insert(Array("data of \(text)".utf8))
    let inner = try here.insert(Directory([Directory.Entry("data", .file(data))]))
    let root = try here.insert(
      Directory([
        Directory.Entry("empty", .folder(try here.insert(Directory([])))), Directory.Entry("inner", .folder(inner)),
        Directory.Entry("link", .symlink("inner/data")),
      ]))
    let layer = try here.insert(Array("layer of \(text)".utf8))
    let config = try here.insert(Array("config".utf8))
    let manifest = try here.insert(Array("manifest".utf8))
    let image = ImageArtifact(
      platform: "linux/amd64",
      layers: [.init(diffID: Digest(of: "diff of \(text)"), digest: layer.digest, size: layer.size)],
      config: config.digest, configSize: config.size, manifest: manifest.digest, manifestSize: manifest.size,
      run: .init(environment: ["A=b"], entrypoint: ["/e"], command: ["c"], workingDirectory: "/w", user: "u"))
    var record = ActionRecord(
      key: Fingerprint(of: text), label: "//a:b", rule: "action", verdict: .passed, startedAt: 1_000_001,
      completedAt: 1_000_500, duration: 499, log: try here.insert(Array("log".utf8)),
      junit: try here.insert(Array("<junit/>".utf8)),
      outputs: [
        .init(name: "file", path: "dist/file", artifact: .file(file)),
        .init(name: "tree", path: "tree", artifact: .directory(root)),
        .init(name: "image", path: "", artifact: .image(image)),
      ])
    record.cpuTime = 12
    record.peakMemory = 3456
    return record
  }

  /// Gives a server a record and all that it names, and takes it back; what went through, or the failure's text.
  func roundTrip(_ server: any RemoteServer, to store: Store? = nil) async throws -> String {
    let record = try record()
    let request = request(record)
    let store = store ?? there
    do {
      guard try await server.result(of: request.action) == nil else { return "there before" }
      let blobs = try here.blobs(of: record)
      // Of no bytes at all every server may say that it has them.
      let absent = try await server.missing(blobs)
      guard absent.filter({ $0.size > 0 }) == blobs.filter({ $0.size > 0 }) else { return "blobs there before" }
      try await server.upload(blobs, from: here)
      guard try await server.missing(blobs) == [] else { return "blobs lost" }
      let result = record.actionResult.signed(request.action.digest, by: SigningKey()).canonicalBytes
      try await server.putResult(result, of: request.action)
      guard try await server.result(of: request.action) == result else { return "changed" }
      let came = try await server.fetch(blobs, into: store)
      guard came == Set(blobs) else { return "lost \(Set(blobs).subtracting(came))" }
      return store.firstMissing(of: record) == nil ? "whole" : "not whole"
    } catch let failure as RemoteFailure { return "\(failure.reason): \(failure)" }
  }

  func request(_ record: ActionRecord, isHermetic: Bool = true) -> SharedRequest {
    SharedRequest(
      action: RemoteBlob(Digest(of: record.key.description), size: 100), key: record.key, label: record.label,
      rule: record.rule,
      outputs: record.outputs.map { ($0.name, $0.path) }, isHermetic: isHermetic)
  }
}

/// A server in memory, which does what it is told to.
final class MemoryServer: RemoteServer {
  enum Fault: Sendable { case none, fails(RemoteFailure.Reason), forgets, corrupts, hangs(Duration) }

  struct State {
    var results: [Digest: [UInt8]] = [:]
    var blobs: [Digest: [UInt8]] = [:]
    var questions = 0
    var now = Duration.zero
  }

  let url = "memory://"
  let batchBytes: Int
  let giftBytes = 0
  let carriedBytes: Int
  let state = Mutex(State())
  private let fault: @Sendable () -> Fault
  /// Why it takes nothing.
  private let gifts: RemoteFailure.Reason?

  init(
    batchBytes: Int = 0, carriedBytes: Int = 0, gifts: RemoteFailure.Reason? = nil,
    _ fault: @escaping @Sendable () -> Fault = { .none }
  ) {
    self.batchBytes = batchBytes
    self.carriedBytes = carriedBytes
    self.fault = fault
    self.gifts = gifts
  }

  var questions: Int { state.withLock { $0.questions } }
  /// Time passes only while a question hangs.
  var clock: @Sendable () -> Duration { { self.state.withLock { $0.now } } }

  private func ask() throws(RemoteFailure) -> Fault {
    state.withLock { $0.questions += 1 }
    let fault = fault()
    switch fault {
    case .fails(let reason): throw RemoteFailure(reason, "GET memory://: told to fail")
    case .hangs(let time):
      state.withLock { $0.now += time }
      throw RemoteFailure(.timeout, "GET memory://: no answer within the time limit")
    default: return fault
    }
  }

  func result(of action: RemoteBlob) async throws(RemoteFailure) -> [UInt8]? {
    let fault = try ask()
    let bytes = state.withLock { $0.results[action.digest] }
    switch fault {
    case .forgets: return nil
    case .corrupts: return bytes?.map { $0 ^ 0x55 }
    default: return bytes
    }
  }

  func putResult(_ result: [UInt8], of action: RemoteBlob) async throws(RemoteFailure) {
    _ = try ask()
    if let gifts { throw RemoteFailure(gifts, "PUT memory://: it takes nothing") }
    state.withLock { $0.results[action.digest] = result }
  }

  func missing(_ wanted: [RemoteBlob]) async throws(RemoteFailure) -> [RemoteBlob] {
    _ = try ask()
    return state.withLock { state in wanted.filter { state.blobs[$0.digest] == nil } }
  }

  func fetch(_ blobs: [RemoteBlob], into store: Store) async throws(RemoteFailure) -> Set<RemoteBlob> {
    var blobs = blobs
    switch try ask() {
    case .forgets: return []
    case .corrupts: blobs.removeLast()
    default: break
    }
    var came: Set<RemoteBlob> = []
    for blob in blobs {
      guard let bytes = state.withLock({ $0.blobs[blob.digest] }),
        RemoteBlob(Digest(of: bytes), size: bytes.count) == blob
      else { continue }
      do { _ = try store.insert(bytes) } catch { throw RemoteFailure(.local, "\(error)") }
      came.insert(blob)
    }
    return came
  }

  func upload(_ blobs: [RemoteBlob], from store: Store) async throws(RemoteFailure) {
    _ = try ask()
    if let gifts { throw RemoteFailure(gifts, "PUT memory://: it takes nothing") }
    for blob in blobs {
      do {
        let bytes = try store.read(blob.digest, limit: 1 << 30)
        state.withLock { $0.blobs[blob.digest] = bytes }
      } catch { throw RemoteFailure(.local, "\(error)") }
    }
  }

  func takes(_ bytes: [UInt8], as digest: Digest) async throws(RemoteFailure) -> Bool { false }

  func close() async {}
}
