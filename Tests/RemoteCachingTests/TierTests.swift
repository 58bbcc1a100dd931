import Caching
import Digests
import SeededRandom
import Synchronization
import Testing

@testable import RemoteCaching

/// What a server of a test decides by.
final class Chance: Sendable {
  private let random: Mutex<SeededGenerator>
  let isQuiet = Mutex(true)

  init(_ seed: Int) { random = Mutex(SeededGenerator(seed: UInt64(seed))) }

  @Sendable func draw(_ count: Int) -> Int { random.withLock { Int.random(in: 0..<count, using: &$0) } }
}

/// What is believed, what is asked, and when a server is left alone.
@Suite struct TierTests {
  private let fixture: Fixture

  init() throws { fixture = try Fixture() }

  private func tier(_ server: MemoryServer, _ change: (inout RemoteTier.Settings) -> Void = { _ in }) -> RemoteTier {
    var settings = RemoteTier.Settings()
    change(&settings)
    return RemoteTier(server, settings, clock: server.clock)
  }

  /// A server that was given one record.
  private func filled(_ change: (inout RemoteTier.Settings) -> Void = { _ in }) async throws -> (
    MemoryServer, ActionRecord, SharedRequest
  ) {
    let server = MemoryServer()
    let record = try fixture.record()
    let request = fixture.request(record)
    let giver = tier(server, change)
    giver.offer(record, as: request, from: fixture.here)
    await giver.finish(within: .seconds(30))
    #expect(giver.statistics.uploads == 1 && giver.statistics.uploadsLeft == 0)
    return (server, record, request)
  }

  private func reason(_ lookup: SharedLookup) -> String? {
    if case .miss(let reason) = lookup { return reason }
    return "a hit"
  }

  @Test func `small blobs travel in the result that names them`() async throws {
    let server = MemoryServer(carriedBytes: 40)
    let record = try fixture.record()
    let request = fixture.request(record)
    let giver = tier(server)
    giver.offer(record, as: request, from: fixture.here)
    await giver.finish(within: .seconds(30))
    let named = try fixture.here.blobs(of: record)
    let small = named.filter { $0.size <= 40 }
    #expect(!small.isEmpty && small.count < named.count)
    let sent = server.state.withLock { Set($0.blobs.keys) }
    #expect(sent == Set(named.map(\.digest)).subtracting(small.map(\.digest)))
    let (tier, store) = (tier(server), fixture.there)
    guard case .hit(let found) = await tier.lookup(request, into: store) else {
      Issue.record("no hit")
      return
    }
    for blob in named { #expect(store.contains(blob.digest, size: blob.size) == (blob.size <= 40)) }
    #expect(await tier.fetch(found.artifacts, into: store, insteadOf: nil))
    #expect(store.firstMissing(of: found) == nil)
  }

  @Test func `a hit brings no bytes; they come when somebody needs them`() async throws {
    let (server, record, request) = try await filled()
    let tier = tier(server)
    guard case .hit(let found) = await tier.lookup(request, into: fixture.there) else {
      Issue.record("no hit")
      return
    }
    #expect(found == record && server.questions > 0)
    let store = fixture.there
    #expect(store.firstMissing(of: found) != nil && tier.statistics.bytesDown == 0)
    #expect(await tier.fetch(found.artifacts, into: store, insteadOf: nil))
    #expect(store.firstMissing(of: found) == nil)
    let asked = server.questions
    #expect(await tier.fetch(found.artifacts, into: store, insteadOf: nil))
    #expect(server.questions == asked, "what is here is not asked for")
  }

  @Test func `bytes that are gone are told, and what is given again has them`() async throws {
    let (server, record, request) = try await filled()
    server.state.withLock { $0.blobs = [:] }
    let tier = tier(server)
    #expect(await !tier.fetch(record.artifacts, into: fixture.there, insteadOf: nil))
    #expect(tier.statistics.lostBlobs > 0)
    tier.offer(record, as: request, from: fixture.here)
    await tier.finish(within: .seconds(30))
    #expect(await tier.fetch(record.artifacts, into: fixture.there, insteadOf: nil))
  }

  @Test func `whose results count is decided by signature`() async throws {
    let (ours, others) = (SigningKey(), SigningKey())
    for (signer, trust, isHermetic, expected) in [
      (nil, [], true, "a hit"), (nil, [], false, "is not signed by a trusted key"),
      (nil, [ours.trusted], true, "is not signed"), (ours, [ours.trusted], false, "a hit"),
      (others, [ours.trusted], true, "signed by a key that is not trusted, \(others.trusted)"),
      (others, [], true, "a hit"),
    ] as [(SigningKey?, Set<TrustedKey>, Bool, String)] {
      let (server, _, request) = try await filled { $0.signingKey = signer }
      var asked = request
      asked.isHermetic = isHermetic
      let answer = await tier(server) { $0.trust = trust }.lookup(asked, into: fixture.there)
      #expect(reason(answer)?.contains(expected) == true, "\(reason(answer) ?? ""): \(expected)")
    }
  }

  @Test func `whoever only reads gives nothing, and what saw the network is given signed or not at all`() async throws {
    let record = try fixture.record()
    let server = MemoryServer()
    for (mode, isHermetic, key, given) in [
      (.read, true, nil, 0), (.off, true, nil, 0), (.write, false, nil, 0), (.write, false, SigningKey(), 1),
    ] as [(RemoteTier.Mode, Bool, SigningKey?, Int)] {
      let tier = tier(server) { settings in
        settings.mode = mode
        settings.signingKey = key
      }
      tier.offer(record, as: fixture.request(record, isHermetic: isHermetic), from: fixture.here)
      await tier.finish(within: .seconds(30))
      #expect(tier.statistics.uploads == given)
    }
    var failed = record
    failed.exitCode = 1
    let tier = tier(server)
    tier.offer(failed, as: fixture.request(record), from: fixture.here)
    await tier.finish(within: .seconds(30))
    #expect(tier.statistics.uploads == 0)
  }

  @Test func `a blob of other bytes that the server calls right is given again`() async throws {
    let (server, record, request) = try await filled()
    let log = try #require(record.log)
    server.state.withLock { $0.blobs[log.digest] = [UInt8](repeating: 0, count: log.size) }
    let tier = tier(server)
    #expect(await !tier.fetch(record.artifacts, into: fixture.there, insteadOf: nil))
    // As a build does that made the result again.
    tier.offer(record, as: request, from: fixture.here)
    await tier.finish(within: .seconds(30))
    #expect(tier.statistics.lostBlobs == 1 && tier.statistics.uploads == 1)
    #expect(server.state.withLock { $0.blobs[log.digest] } == Array("log".utf8))
  }

  @Test func `whoever may not write reads on`() async throws {
    let (full, record, request) = try await filled()
    for reason in [RemoteFailure.Reason.denied, .unsupported] {
      let server = MemoryServer(gifts: reason)
      server.state.withLock { $0 = full.state.withLock { $0 } }
      let tier = tier(server) { $0.connections = 1 }
      for text in ["a", "b", "c", "d", "e"] {
        let other = try fixture.record(text)
        tier.offer(other, as: fixture.request(other), from: fixture.here)
      }
      while tier.statistics.uploadsLeft < 5 { try await Task.sleep(for: .milliseconds(1)) }
      guard case .hit = await tier.lookup(request, into: fixture.there) else {
        Issue.record("left alone after \(reason)")
        continue
      }
      #expect(await tier.fetch(record.artifacts, into: try Store(root: fixture.sub("\(reason)")), insteadOf: nil))
      await tier.finish(within: .seconds(30))
      #expect(tier.warning?.message.hasPrefix("5 results were not uploaded") == true)
    }
  }

  @Test func `a server that refuses is left alone at once, one that fails after three times`() async throws {
    for (reason, questions) in [(RemoteFailure.Reason.denied, 1), (.tls, 1), (.connection, 3), (.server, 3)] {
      let server = MemoryServer { .fails(reason) }
      let tier = tier(server) { $0.connections = 1 }
      let request = fixture.request(try fixture.record())
      for _ in 0..<20 { _ = await tier.lookup(request, into: fixture.there) }
      #expect(server.questions == questions, "\(reason)")
      #expect(tier.warning?.message.contains("GET memory://: told to fail") == true)
    }
  }

  @Test func `a server that hangs costs two seconds of a build, however often it is asked`() async throws {
    let server = MemoryServer { .hangs(.seconds(1)) }
    let tier = tier(server) { $0.connections = 1 }
    let request = fixture.request(try fixture.record())
    for _ in 0..<200 {
      _ = await tier.lookup(request, into: fixture.there)
      server.state.withLock { $0.now += .milliseconds(500) }
    }
    #expect(server.questions == 2)
  }

  @Test func `a server that comes back is asked again after a pause`() async throws {
    let chance = Chance(0)
    let server = MemoryServer { chance.isQuiet.withLock { $0 } ? .fails(.connection) : .none }
    let tier = tier(server) { $0.connections = 1 }
    let request = fixture.request(try fixture.record())
    for _ in 0..<5 { _ = await tier.lookup(request, into: fixture.there) }
    chance.isQuiet.withLock { $0 = false }
    #expect(reason(await tier.lookup(request, into: fixture.there)) == "not reached")
    server.state.withLock { $0.now += .seconds(6) }
    #expect(reason(await tier.lookup(request, into: fixture.there)) == "no result")
    #expect(tier.warning == nil)
  }

  @Test func `what takes longer to bring than to make is not brought`() {
    var estimate = TransferEstimate()
    #expect(estimate.isWorthIt(count: 1, bytes: 1 << 40, insteadOf: 1, connections: 8), "nothing is known yet")
    estimate.noteLatency(0.01)
    estimate.noteTransfer(bytes: 10 << 20, seconds: 10)
    #expect(estimate.isWorthIt(count: 10, bytes: 5 << 20, insteadOf: 10, connections: 8))
    #expect(!estimate.isWorthIt(count: 10, bytes: 50 << 20, insteadOf: 10, connections: 8))
    #expect(!estimate.isWorthIt(count: 10_000, bytes: 0, insteadOf: 1, connections: 8))
  }

  /// Whatever a server does, at any moment: no wrong byte in the store, no wrong result, and an end.
  @Test(arguments: 0..<12)
  func `under any faults nothing wrong is believed`(seed: Int) async throws {
    let chance = Chance(seed)
    let draw = chance.draw
    let server = MemoryServer(batchBytes: seed % 2 * 1000) {
      if chance.isQuiet.withLock({ $0 }) || draw(15) > 0 { return .none }
      return [.fails(.connection), .fails(.throttled), .forgets, .corrupts, .hangs(.milliseconds(300))][draw(5)]
    }
    let records = try (0..<6).map { try fixture.record("out \(seed) \($0)") }
    let giver = tier(server)
    for record in records.dropLast() { giver.offer(record, as: fixture.request(record), from: fixture.here) }
    await giver.finish(within: .seconds(60))
    chance.isQuiet.withLock { $0 = false }
    var hits = 0
    var brought = 0
    for round in 0..<40 {
      // A server loses this and that.
      if draw(4) == 0, let lost = records[draw(5)].log {
        server.state.withLock { state in _ = state.blobs.removeValue(forKey: lost.digest) }
      }
      let tier = tier(server) { $0.breaker.pause = .milliseconds(500) }
      for record in records {
        let store = try Store(root: fixture.folder.appending("store-\(round % 5)"))
        let lookup = await tier.lookup(fixture.request(record), into: store)
        guard case .hit(let found) = lookup else { continue }
        #expect(found == record && record != records.last)
        hits += 1
        guard await tier.fetch(found.artifacts, into: store, insteadOf: nil) else {
          // Run again, as a build would.
          tier.offer(record, as: fixture.request(record), from: fixture.here)
          continue
        }
        brought += 1
        for blob in try store.blobs(of: found) {
          let bytes = try store.read(blob.digest, limit: 1 << 20)
          #expect(Digest(of: bytes) == blob.digest && bytes.count == blob.size)
        }
        if draw(3) == 0 { tier.offer(found, as: fixture.request(record), from: store) }
      }
      await tier.finish(within: .seconds(60))
    }
    #expect(hits > 20 && brought > 5, "\(hits) hits, \(brought) brought")
  }
}
