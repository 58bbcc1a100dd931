import Caching
import Diagnostics
import Digests
import Distribution
import FoundationEssentials
import RemoteExecutionAPI
import Synchronization

/// The remote tier of the cache: what is asked of a server, what is believed of its answers, and when it is left alone.
///
/// Nothing in here throws. A result counts only under the declared names, within the trusted keys, and with every byte
/// that is asked for verified; anything else is a miss.
package final class RemoteTier: SharedResults {
  package struct Settings: Sendable {
    package var mode = Mode.write
    /// Keys whose results count; with none, unsigned results count as well.
    package var trust: Set<TrustedKey> = []
    package var signingKey: SigningKey?
    /// Questions that are under way at once.
    package var connections = 32
    /// Results that are given to others at once.
    package var uploads = 8
    /// How long results are gathered that are given together: many at once cost half of what each would alone.
    package var gathering = Duration.milliseconds(50)
    package var breaker = CircuitBreaker.Limits()
    /// Without any answer, after which a build goes on beside its questions.
    package var patience = Duration.milliseconds(200)

    package init() {}
  }

  package enum Mode: String, CaseIterable, Sendable {
    case read
    /// Reads, too.
    case write
    case off
  }

  private let server: any RemoteServer
  private let settings: Settings
  private let clock: @Sendable () -> Duration
  private let permits: Permits
  private let uploadPermits: Permits
  /// For what is given to others: whoever waits for an answer does not wait for that.
  private let lanes: Permits

  private struct Offer {
    var record: ActionRecord
    var request: SharedRequest
    var store: Store
  }

  private struct State {
    var breaker: CircuitBreaker
    var statistics = TierStatistics()
    var offers: [Offer] = []
    var isGathering = false
    var uploads: [Int: Task<Void, Never>] = [:]
    var nextUpload = 0
    /// Why the last result was not given away.
    var refusal: RemoteFailure?
    /// The server takes nothing from this client, which may still read.
    var isReadOnly = false
    /// Blobs that the server is known to have.
    var present: Set<Digest> = []
    /// Blobs that it did not give, or not whole, whatever it says that it has.
    var spoilt: Set<Digest> = []
    var estimate = TransferEstimate()
  }

  private let state: Mutex<State>

  /// - Parameter clock: Time since any moment.
  package init(_ server: any RemoteServer, _ settings: Settings, clock: @escaping @Sendable () -> Duration) {
    self.server = server
    self.settings = settings
    self.clock = clock
    permits = Permits(settings.connections)
    uploadPermits = Permits(settings.uploads)
    lanes = Permits(2 * settings.uploads)
    state = Mutex(State(breaker: CircuitBreaker(settings.breaker)))
  }

  package convenience init(_ server: any RemoteServer, _ settings: Settings) {
    let start = ContinuousClock.now
    self.init(server, settings) { ContinuousClock.now - start }
  }

  package var patience: Duration { settings.patience }

  package var statistics: TierStatistics { state.withLock { $0.statistics } }

  // MARK: Asking

  /// One question, if the server is to be asked at the moment; nil when it is not, or failed.
  private func ask<Value: Sendable>(
    givingOn lanes: Permits? = nil, _ question: () async throws(RemoteFailure) -> Value
  ) async -> Value? {
    let permits = lanes ?? permits
    await permits.take()
    defer { permits.giveBack() }
    let start = clock()
    guard state.withLock({ !(lanes != nil && $0.isReadOnly) && $0.breaker.mayAsk(at: start) }) else { return nil }
    do throws(RemoteFailure) {
      let value = try await question()
      state.withLock { $0.breaker.succeeded() }
      return value
    } catch {
      let now = clock()
      state.withLock {
        $0.statistics.failures += 1
        if lanes != nil { $0.refusal = error }
        if lanes != nil, error.reason == .denied || error.reason == .unsupported {
          // It answered, after all.
          $0.isReadOnly = true
          $0.breaker.succeeded()
        } else {
          $0.breaker.failed(error, from: start, at: now)
        }
      }
      return nil
    }
  }

  package func lookup(_ request: SharedRequest, into store: Store) async -> SharedLookup {
    guard settings.mode != .off else { return .miss(nil) }
    let start = clock()
    let server = server
    // What comes of it is looked at elsewhere: a signature takes as long as the question, and there are several processors.
    let answer = await withTaskExecutorPreference(server.executor) {
      await ask { () async throws(RemoteFailure) in try await server.result(of: request.action) }
    }
    let end = clock()
    let (found, carried) = judge(answer, request)
    // What they are not known by is not asked for; what could not be written is asked for like any other.
    for bytes in carried where bytes.count <= Self.carriedLimit { _ = try? store.insert(Array(bytes)) }
    state.withLock { state in
      state.statistics.seconds += (end - start).seconds
      switch found {
      case .hit(let record):
        state.statistics.hits += 1
        state.statistics.savedSeconds += Double(record.duration) / 1000
      case .miss(let reason):
        // What stands behind a comma is of this one result.
        state.statistics.misses[String((reason ?? "").prefix { $0 != "," }), default: 0] += 1
      }
      if answer != nil { state.estimate.noteLatency((end - start).seconds) }
    }
    return found
  }

  /// All that a result may carry.
  private static let carriedLimit = 64 << 10

  private func judge(_ answer: [UInt8]??, _ request: SharedRequest) -> (SharedLookup, carried: [Data]) {
    guard let answer else { return (.miss("not reached"), []) }
    guard let bytes = answer else { return (.miss("no result"), []) }
    guard let result = try? REAPIActionResult(serializedBytes: bytes) else {
      return (.miss("its result is damaged"), [])
    }
    let found = judge(result, request)
    if case .hit = found { return (found, result.details?.carried ?? []) }
    return (found, [])
  }

  private func judge(_ result: REAPIActionResult, _ request: SharedRequest) -> SharedLookup {
    switch result.trust(request.action.digest, among: settings.trust) {
    case .signed: break
    case .forged: return .miss("its result is wrongly signed")
    case .stranger(let key) where !settings.trust.isEmpty:
      return .miss("its result is signed by a key that is not trusted, \(key)")
    case .unsigned where !settings.trust.isEmpty: return .miss("its result is not signed")
    case .stranger, .unsigned:
      if !request.isHermetic { return .miss("its result is not signed by a trusted key, and saw the network") }
    }
    guard let record = ActionRecord(result, for: request) else { return .miss("its result is of another action") }
    return .hit(record)
  }

  // MARK: Bringing

  package func fetch(_ artifacts: [Artifact], into store: Store, insteadOf seconds: Double?) async -> Bool {
    let absent = artifacts.filter { store.firstMissing(of: $0) != nil }
    if absent.isEmpty { return true }
    guard settings.mode != .off else { return false }
    var files: [RemoteBlob] = []
    var folders: [DirectoryArtifact] = []
    for artifact in absent {
      switch artifact {
      case .file(let file): files.append(RemoteBlob(file.digest, size: file.size))
      case .directory(let directory): folders.append(directory)
      case .image(let image):
        files += [
          RemoteBlob(image.manifest, size: image.manifestSize), RemoteBlob(image.config, size: image.configSize),
        ]
        files += image.layers.map { RemoteBlob($0.digest, size: $0.size) }
      }
    }
    // Level by level: a folder's own bytes name what is in it.
    var seen: Set<Digest> = []
    while !folders.isEmpty {
      let level = folders.filter { seen.insert($0.root).inserted }
      guard await bring(level.map { RemoteBlob($0.root, size: $0.size) }, into: store) else { return false }
      folders = []
      for folder in level {
        guard let directory = try? store.directory(folder) else { return false }
        for entry in directory.entries {
          switch entry.node {
          case .file(let file): files.append(RemoteBlob(file.digest, size: file.size))
          case .folder(let inner): folders.append(inner)
          case .symlink: break
          }
        }
      }
      guard seen.count < 1 << 20 else { return false }
    }
    let wanted = Array(Set(files)).filter { !store.contains($0.digest, size: $0.size) }
    if let seconds {
      let bytes = wanted.reduce(0) { $0 + $1.size }
      let estimate = state.withLock { $0.estimate }
      guard estimate.isWorthIt(count: wanted.count, bytes: bytes, insteadOf: seconds, connections: settings.connections)
      else { return false }
    }
    guard await bring(wanted, into: store) else { return false }
    return absent.allSatisfy { store.firstMissing(of: $0) == nil }
  }

  /// All of them, or false; several at once.
  private func bring(_ blobs: [RemoteBlob], into store: Store) async -> Bool {
    let wanted = Array(Set(blobs)).filter { !store.contains($0.digest, size: $0.size) }
      .sorted { $0.digest < $1.digest }
    return await withTaskGroup(of: Bool.self) { group in
      for batch in packed(wanted, limit: server.batchBytes) {
        group.addTask { await self.bringTogether(batch, into: store) }
      }
      var isWhole = true
      for await came in group where !came { isWhole = false }
      return isWhole
    }
  }

  private func bringTogether(_ blobs: [RemoteBlob], into store: Store) async -> Bool {
    let server = server
    let start = clock()
    let came = await ask { () async throws(RemoteFailure) in try await server.fetch(blobs, into: store) }
    let seconds = (clock() - start).seconds
    state.withLock { state in
      state.statistics.seconds += seconds
      guard let came else { return }
      let bytes = came.reduce(0) { $0 + $1.size }
      state.statistics.bytesDown += bytes
      if !came.isEmpty { state.estimate.noteTransfer(bytes: bytes, seconds: seconds) }
      for blob in blobs {
        if came.contains(blob) {
          state.present.insert(blob.digest)
        } else {
          state.statistics.lostBlobs += 1
          state.present.remove(blob.digest)
          state.spoilt.insert(blob.digest)
        }
      }
    }
    return came?.count == blobs.count
  }

  // MARK: Giving

  package func offer(_ record: ActionRecord, as request: SharedRequest, from store: Store) {
    guard settings.mode == .write, record.isSuccess, request.isHermetic || settings.signingKey != nil else { return }
    let isFirst = state.withLock { state in
      state.offers.append(Offer(record: record, request: request, store: store))
      defer { state.isGathering = true }
      return !state.isGathering
    }
    guard isFirst else { return }
    Task {
      repeat { try? await Task.sleep(for: settings.gathering) } while giveOffers()
    }
  }

  /// Begins to give what was gathered; whether there was any.
  @discardableResult
  private func giveOffers() -> Bool {
    state.withLock { state in
      state.isGathering = !state.offers.isEmpty
      for offer in state.offers {
        let number = state.nextUpload
        state.nextUpload += 1
        state.uploads[number] = Task(executorPreference: server.executor) {
          await self.give(offer.record, offer.request, offer.store)
          self.state.withLock { $0.uploads[number] = nil }
        }
      }
      state.offers = []
      return state.isGathering
    }
  }

  private func give(_ record: ActionRecord, _ request: SharedRequest, _ store: Store) async {
    await uploadPermits.take()
    defer { uploadPermits.giveBack() }
    var isGiven = false
    defer { state.withLock { isGiven ? ($0.statistics.uploads += 1) : ($0.statistics.uploadsLeft += 1) } }
    guard !Task.isCancelled, let named = try? store.blobs(of: record) else { return }
    let server = server
    var (blobs, carried, room): ([RemoteBlob], [[UInt8]], Int) = ([], [], Self.carriedLimit)
    for blob in named {
      if server.carriedBytes > 0, blob.size <= min(server.carriedBytes, room),
        let bytes = try? store.read(blob.digest, limit: blob.size)
      {
        carried.append(bytes)
        room -= blob.size
      } else {
        blobs.append(blob)
      }
    }
    let (present, spoilt) = state.withLock { ($0.present, $0.spoilt) }
    let unknown = blobs.filter { !present.contains($0.digest) }
    let asked = unknown.filter { $0.size > server.giftBytes && !spoilt.contains($0.digest) }
    var missing = unknown.filter { $0.size <= server.giftBytes || spoilt.contains($0.digest) }
    if !asked.isEmpty {
      let found = await ask(givingOn: lanes) { () async throws(RemoteFailure) in try await server.missing(asked) }
      guard let found else { return }
      missing += found
    }
    let areThere = await withTaskGroup(of: Bool.self) { group in
      for batch in packed(missing, limit: server.batchBytes) {
        group.addTask {
          await self.ask(givingOn: self.lanes) { () async throws(RemoteFailure) in
            try await server.upload(batch, from: store)
          } != nil
        }
      }
      var all = true
      for await one in group where !one { all = false }
      return all
    }
    guard areThere, !Task.isCancelled else { return }
    var result = record.actionResult(carrying: carried)
    if let key = settings.signingKey { result = result.signed(request.action.digest, by: key) }
    let bytes = result.canonicalBytes
    isGiven =
      await ask(givingOn: lanes) { () async throws(RemoteFailure) in
        try await server.putResult(bytes, of: request.action)
      } != nil
    let sent = missing.reduce(0) { $0 + $1.size }
    state.withLock { state in
      state.statistics.bytesUp += sent
      state.present.formUnion(blobs.map(\.digest))
      state.spoilt.subtract(blobs.map(\.digest))
    }
  }

  /// Waits for what is still to be given, but no longer than that; then closes the server's connections.
  package func finish(within limit: Duration) async {
    giveOffers()
    let uploads = state.withLock { Array($0.uploads.values) }
    if !uploads.isEmpty {
      let watch = Task {
        try? await Task.sleep(for: limit)
        for upload in uploads { upload.cancel() }
      }
      for upload in uploads { await upload.value }
      watch.cancel()
    }
    await server.close()
  }

  /// What was turned off and why, in one line; nil when all went well.
  package var warning: Diagnostic? {
    let (breaker, statistics, refusal) = state.withLock { ($0.breaker, $0.statistics, $0.refusal) }
    let left = statistics.uploadsLeft
    let results = "\(left) \(left == 1 ? "result was" : "results were") not uploaded"
    let help = "slipway cache doctor \(server.url)"
    if breaker.isOpen, let reason = breaker.reason {
      return Diagnostic.warning(
        "the remote cache was left alone: \(reason)" + (left > 0 ? "; \(results)" : ""), hints: reason.hints + [help])
    }
    guard left > 0 else { return nil }
    return Diagnostic.warning(
      "\(results) to the remote cache: \(refusal?.description ?? "no time was left")", hints: [help])
  }
}

/// What an answer takes, and how many bytes come in a second: moving averages.
struct TransferEstimate {
  private var latency: Double?
  private var rate: Double?

  mutating func noteLatency(_ seconds: Double) { latency = latency.map { $0 * 0.8 + seconds * 0.2 } ?? seconds }

  mutating func noteTransfer(bytes: Int, seconds: Double) {
    // Of little blobs, latency is all.
    guard bytes > 64 << 10, seconds > 0 else { return noteLatency(seconds) }
    let now = Double(bytes) / seconds
    rate = rate.map { $0 * 0.8 + now * 0.2 } ?? now
  }

  /// Whether to bring so many blobs is expected to take less time than to make them again.
  func isWorthIt(count: Int, bytes: Int, insteadOf seconds: Double, connections: Int) -> Bool {
    let rounds = Double((count + connections - 1) / max(1, connections))
    let expected = (latency ?? 0) * rounds + (rate.map { Double(bytes) / $0 } ?? 0)
    // What takes no time either way is not worth a decision.
    return expected <= max(seconds, 0.1)
  }
}

extension Store {
  /// Every blob that a result names; throws where one is not here.
  func blobs(of record: ActionRecord) throws -> [RemoteBlob] {
    var blobs: Set<RemoteBlob> = []
    for artifact in record.artifacts {
      switch artifact {
      case .file(let file): blobs.insert(RemoteBlob(file.digest, size: file.size))
      case .image(let image):
        blobs.insert(RemoteBlob(image.manifest, size: image.manifestSize))
        blobs.insert(RemoteBlob(image.config, size: image.configSize))
        for layer in image.layers { blobs.insert(RemoteBlob(layer.digest, size: layer.size)) }
      case .directory(let directory):
        blobs.insert(RemoteBlob(directory.root, size: directory.size))
        try walk(directory) { _, node in
          switch node {
          case .file(let file): blobs.insert(RemoteBlob(file.digest, size: file.size))
          case .folder(let inner): blobs.insert(RemoteBlob(inner.root, size: inner.size))
          case .symlink: break
          }
        }
      }
    }
    return blobs.sorted { $0.digest < $1.digest }
  }
}
