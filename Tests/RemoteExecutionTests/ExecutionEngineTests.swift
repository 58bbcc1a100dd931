import Caching
import Digests
import GRPCCore
import Glibc
import RemoteCaching
import RemoteExecutionAPI
import Synchronization
import SystemPackage
import Testing

@testable import RemoteExecution

/// How a client attends to an action on an engine that does all that it should not.
@Suite final class ExecutionEngineTests {
  private let folder: FilePath
  private let store: Store
  private let action: EngineAction

  init() throws {
    folder = FilePath("/tmp/slipway-execution.\(getpid()).\(UInt64.random(in: 0 ... .max))")
    store = try Store(root: folder)
    let file = try store.insert(Array("in".utf8))
    let inner = try store.insert(Directory([Directory.Entry("file", .file(file))]))
    let root = try store.insert(
      Directory([Directory.Entry("one", .folder(inner)), Directory.Entry("two", .folder(inner))]))
    var command = REAPICommand()
    command.arguments = ["true"]
    action = try EngineAction(command, inputRoot: root, timeout: 10, into: store)
  }

  deinit { try? Disk.removeTree(folder.string) }

  private static var hasty: ExecutionEngine.Limits {
    var limits = ExecutionEngine.Limits()
    limits.pause = .milliseconds(1)
    limits.silence = .milliseconds(150)
    return limits
  }

  /// What a client makes of an engine: an answer's output, `timed out`, or the reason of a failure.
  private func outcome(_ engine: FakeEngine, patience: Duration = .seconds(5)) async throws -> String {
    let (action, store) = (action, store)
    let outcome = Mutex("")
    try await engine.serve(Self.hasty, patience: patience) { client in
      let text: String
      do throws(RemoteFailure) {
        switch try await client.run(action, from: store, time: .seconds(10)) {
        case .completed(let result): text = String(decoding: result.stdoutRaw, as: UTF8.self)
        case .timedOut(let result): text = "timed out" + String(decoding: result.stdoutRaw, as: UTF8.self)
        }
      } catch { text = "\(error.reason)" }
      outcome.withLock { $0 = text }
    }
    return outcome.withLock { $0 }
  }

  @Test func `an action that runs to its end is asked for once`() async throws {
    let engine = FakeEngine([[.stage(.queued), .stage(.executing), FakeEngine.done("out")]])
    #expect(try await outcome(engine) == "out")
    #expect(engine.runs == [.execute])
    // Its command, its input root, the folder and the file in it once each, and itself.
    #expect(engine.calls.contains(.missing(5)))
  }

  @Test func `an engine that tells nothing of a long action is waited for as long as it answers`() async throws {
    let engine = FakeEngine(
      [[.stage(.queued), .forever]],
      waits: [[.forever], [.forever], [.forever], [.pause(.milliseconds(200)), FakeEngine.done("late")]])
    #expect(try await outcome(engine) == "late")
    #expect(engine.runs.count == 5 && engine.runs[1...].allSatisfy { $0 == .wait("operation-1") }, "\(engine.runs)")
  }

  @Test func `an engine that tells nothing before an action is done is not asked to run it twice`() async throws {
    let engine = FakeEngine([[.pause(.seconds(1)), FakeEngine.done("late")]])
    #expect(try await outcome(engine) == "late")
    #expect(engine.runs == [.execute])
    #expect(engine.calls.contains(.ping))
  }

  @Test func `an engine that answers no more is given up`() async throws {
    let engine = FakeEngine([[.stage(.executing), .forever]], waits: [[.forever]])
    let outcome = Mutex("")
    let (action, store) = (action, store)
    try await engine.serve(Self.hasty, patience: .milliseconds(200)) { client in
      do throws(RemoteFailure) {
        _ = try await client.run(action, from: store, time: .seconds(10)) { _ in engine.fallSilent() }
      } catch { outcome.withLock { $0 = "\(error.reason)" } }
    }
    #expect(outcome.withLock { $0 } == "timeout")
    #expect(engine.runs.count { $0 == .execute } == 1)
  }

  @Test func `a stream that breaks is taken up again, however often`() async throws {
    let engine = FakeEngine(
      [[.stage(.executing), .refused(.unavailable)]],
      waits: Array(repeating: [.stage(.executing)], count: 20) + [[.stage(.executing), FakeEngine.done("out")]])
    #expect(try await outcome(engine) == "out")
    #expect(engine.runs.count == 22 && engine.runs.count { $0 == .execute } == 1)
  }

  @Test func `an engine that is away for a while is waited for if it has the action, and not for ever`() async throws {
    let away = Array(repeating: [FakeEngine.Step.refused(.unavailable)], count: 30)
    let engine = FakeEngine([[.stage(.executing)]], waits: away + [[FakeEngine.done("out")]])
    #expect(try await outcome(engine) == "out")
    #expect(engine.runs.count == 32)
    let gone = FakeEngine([[.stage(.executing)]], waits: [[.refused(.unavailable)]])
    var limits = Self.hasty
    limits.outage = .milliseconds(100)
    let (action, store) = (action, store)
    try await gone.serve(limits) { client in
      await #expect(throws: RemoteFailure.self) {
        _ = try await client.run(action, from: store, time: .seconds(10))
      }
    }
  }

  @Test func `an operation that the engine forgot is begun anew`() async throws {
    let engine = FakeEngine(
      [[.stage(.executing), .refused(.unavailable)], [.stage(.executing), FakeEngine.done("out")]],
      waits: [[.refused(.notFound)]])
    #expect(try await outcome(engine) == "out")
    #expect(engine.runs == [.execute, .wait("operation-1"), .execute])
  }

  @Test(arguments: [RPCStatusCode.unavailable, .resourceExhausted, .internalError, .aborted])
  func `what passes is tried again`(_ code: RPCStatusCode) async throws {
    let engine = FakeEngine([
      [.refused(code.rpc)], [.stage(.executing), .failed(code.rawValue)],
      [FakeEngine.done(status: code.rawValue)], [FakeEngine.done("out")],
    ])
    #expect(try await outcome(engine) == "out")
    #expect(engine.runs == [.execute, .execute, .execute, .execute])
  }

  @Test func `what does not pass is given up after so many times`() async throws {
    let engine = FakeEngine([[FakeEngine.done(status: 13)]])
    #expect(try await outcome(engine) == "server")
    #expect(engine.runs.count == ExecutionEngine.Limits().failures + 1)
  }

  @Test(arguments: [
    (RPCStatusCode.unauthenticated, "denied"), (.permissionDenied, "denied"), (.unimplemented, "unsupported"),
  ])
  func `what is final is not tried again`(_ code: RPCStatusCode, _ reason: String) async throws {
    for steps in [[FakeEngine.Step.refused(code.rpc)], [FakeEngine.done(status: code.rawValue)]] {
      let engine = FakeEngine([steps])
      #expect(try await outcome(engine) == reason)
      #expect(engine.runs == [.execute])
    }
  }

  @Test func `an action whose time is up is told apart from an engine that is slow`() async throws {
    for (step, outcome) in [
      (FakeEngine.done(status: 4), "timed out"), (FakeEngine.done(" begun", status: 4), "timed out begun"),
      (.failed(4), "timed out"),
    ] { #expect(try await self.outcome(FakeEngine([[.stage(.executing), step]])) == outcome) }
  }

  @Test func `blobs that an engine lost are given once more`() async throws {
    let engine = FakeEngine([[FakeEngine.done("one")], [FakeEngine.done(status: 9)], [FakeEngine.done("two")]])
    let (action, store) = (action, store)
    try await engine.serve(Self.hasty) { client in
      _ = try await client.run(action, from: store, time: .seconds(10))
      engine.lose(action.inputRoot.root)
      guard case .completed(let result) = try await client.run(action, from: store, time: .seconds(10)) else {
        Issue.record("it timed out")
        return
      }
      #expect(String(decoding: result.stdoutRaw, as: UTF8.self) == "two")
    }
    // The second time only the action and its command are sent, until the engine complains.
    let sent = engine.calls.filter { if case .missing = $0 { true } else if case .update = $0 { true } else { false } }
    #expect(sent == [.missing(5), .update(5), .update(2), .missing(5), .update(1)])
  }

  @Test func `what several actions need at once is given once`() async throws {
    let engine = FakeEngine([[FakeEngine.done()]])
    let (action, store) = (action, store)
    let actions = try actions(8)
    try await engine.serve(Self.hasty) { client in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for action in actions {
          group.addTask { _ = try await client.run(action, from: store, time: .seconds(10)) }
        }
        try await group.waitForAll()
      }
    }
    let sent = engine.calls.reduce(0) { if case .update(let count) = $1 { $0 + count } else { $0 } }
    #expect(sent == 8 * 2 + 3, "\(engine.calls)")
  }

  /// Actions with the same inputs.
  private func actions(_ count: Int) throws -> [EngineAction] {
    try (0..<count).map { number in
      var command = REAPICommand()
      command.arguments = ["echo", "\(number)"]
      return try EngineAction(command, inputRoot: action.inputRoot, timeout: 10, into: store)
    }
  }

  @Test func `an engine that goes silent is not waited for by one batch of actions after the other`() async throws {
    let engine = FakeEngine([[FakeEngine.done()]])
    let (action, store) = (action, store)
    let actions = try actions(48)
    try await engine.serve(Self.hasty, patience: .seconds(1)) { client in
      _ = try await client.run(action, from: store, time: .seconds(10))
      engine.fallSilent()
      let start = ContinuousClock.now
      let tasks = actions.map { action in Task { try await client.run(action, from: store, time: .seconds(10)) } }
      for task in tasks { await #expect(throws: RemoteFailure.self) { _ = try await task.value } }
      // Twice a second; batch by batch it was six.
      #expect(ContinuousClock.now - start < .seconds(5))
      engine.fallSilent(false)
      _ = try await client.run(action, from: store, time: .seconds(10))
    }
  }

  @Test
  func `actions whose inputs an engine has are given in growing batches, and that one was cancelled harms no other`()
    async throws
  {
    let engine = FakeEngine([[FakeEngine.done()]])
    let (action, store) = (action, store)
    let actions = try actions(48)
    try await engine.serve(Self.hasty, patience: .seconds(30)) { client in
      _ = try await client.run(action, from: store, time: .seconds(10))
      engine.fallSilent()
      let tasks = actions.map { action in Task { try await client.run(action, from: store, time: .seconds(10)) } }
      try await Task.sleep(for: .milliseconds(200))
      engine.fallSilent(false)
      // One that waits with others, or that all wait for.
      tasks[0].cancel()
      for task in tasks.dropFirst() { _ = try await task.value }
    }
    let sizes = engine.calls.compactMap { if case .update(let count) = $0 { count } else { nil } }
    #expect((sizes.dropFirst().first ?? 0) <= 8 && sizes.count < 24, "\(sizes)")
    for action in actions.dropFirst() { #expect(engine.bytes(of: action.command.digest) != nil) }
  }

  @Test func `folders that an engine has are known in the next build, until it complains`() async throws {
    let path = folder.appending("state/engine")
    let now = time(nil)
    var folders = KnownFolders(path, url: "grpc://a:1", now: now)
    folders.insert([Digest(of: "a"), Digest(of: "b")])
    folders.save()
    let here = KnownFolders(path, url: "grpc://a:1", now: now + 86_399)
    #expect(here.digests == [Digest(of: "a"), Digest(of: "b")])
    for (url, time) in [("grpc://b:1", now), ("grpc://a:1", now + 86_400), ("grpc://a:1", now - 1)] {
      #expect(KnownFolders(path, url: url, now: time).digests == [])
    }
    folders.forget()
    folders.save()
    #expect(KnownFolders(path, url: "grpc://a:1", now: now).digests == [])
    // Whatever else is in the file.
    for text in ["", "x", "slipway engine folders 1\ngrpc://a:1\n\(now)", "\0\u{ff}\n\n\n"] {
      let file = try FileDescriptor.open(path, .writeOnly, options: .truncate)
      try file.closeAfter { _ = try file.writeAll(Array(text.utf8)) }
      #expect(KnownFolders(path, url: "grpc://a:1", now: now).digests == [])
    }
  }

  @Test func `of what an engine had in the last build nothing is asked, and all is given again if it is gone`()
    async throws
  {
    let engine = FakeEngine([
      [FakeEngine.done("one")], [FakeEngine.done("two")], [FakeEngine.done(status: 9)], [FakeEngine.done("three")],
    ])
    let (action, store, memory) = (action, store, folder.appending("engine"))
    // Each its own process, as far as an engine can tell; the port is a part of the URL that is remembered.
    try await engine.serve(Self.hasty, memory: memory) { client in
      _ = try await client.run(action, from: store, time: .seconds(10))
      client.close()
      let again = try FakeEngine.client(of: client.url, Self.hasty, memory: memory)
      _ = try await again.run(action, from: store, time: .seconds(10))
      again.close()
      engine.lose(action.inputRoot.root)
      let third = try FakeEngine.client(of: client.url, Self.hasty, memory: memory)
      guard case .completed(let result) = try await third.run(action, from: store, time: .seconds(10)) else {
        Issue.record("it timed out")
        return
      }
      #expect(String(decoding: result.stdoutRaw, as: UTF8.self) == "three")
      third.close()
    }
    let sent = engine.calls.filter { if case .missing = $0 { true } else if case .update = $0 { true } else { false } }
    #expect(sent == [.missing(5), .update(5), .update(2), .update(2), .missing(5), .update(1)])
  }

  @Test func `a task that is cancelled cancels its operation`() async throws {
    let engine = FakeEngine([[.stage(.executing), .forever]])
    let (action, store) = (action, store)
    try await engine.serve(ExecutionEngine.Limits()) { client in
      await withTaskGroup(of: Void.self) { group in
        let told = AsyncStream<Void>.makeStream()
        group.addTask {
          do throws(RemoteFailure) {
            _ = try await client.run(action, from: store, time: .seconds(10)) { _ in told.continuation.yield() }
            Issue.record("it ran to its end")
          } catch { #expect(error.reason == .cancelled) }
        }
        for await _ in told.stream { break }
        group.cancelAll()
      }
    }
    #expect(engine.runs == [.execute, .cancel("operation-1")])
  }

  @Test func `blobs travel in frames where the engine takes them, and arrive as they were`() async throws {
    let small = try store.insert(Array(String(repeating: "small ", count: 2000).utf8))
    let large = try store.insert(Array(String(repeating: "large enough for a stream ", count: 200_000).utf8))
    let tiny = try store.insert(Array("tiny".utf8))
    let blobs = [small, large, tiny].map { RemoteBlob($0.digest, size: $0.size) }
    let plain = blobs.reduce(0) { $0 + $1.size }
    for compresses in [false, true] {
      let there = try Store(root: folder.appending("there-\(compresses)"))
      let engine = FakeEngine { capabilities in
        guard compresses else { return }
        capabilities.cacheCapabilities.supportedCompressors = [.zstd]
        capabilities.cacheCapabilities.supportedBatchUpdateCompressors = [.zstd]
      }
      let store = store
      try await engine.serve(Self.hasty) { client in
        try await client.cache.upload(blobs, from: store)
        let came = try await client.cache.fetch(blobs, into: there)
        #expect(came.count == 3)
      }
      for blob in blobs {
        #expect(try engine.bytes(of: blob.digest) == store.read(blob.digest, limit: blob.size))
        #expect(try there.read(blob.digest, limit: blob.size) == store.read(blob.digest, limit: blob.size))
      }
      #expect(engine.calls.count { $0 == .stream(compresses ? "compressed-blobs" : "blobs") } == 2)
      if compresses {
        #expect(engine.travelled < plain / 100, "\(engine.travelled)")
      } else {
        #expect(engine.travelled == 2 * plain)
      }
    }
  }

  @Test func `a large frame of noise arrives, and of other bytes, more or fewer, nothing does`() async throws {
    var random = SystemRandomNumberGenerator()
    let noise = (0..<600_000).flatMap { _ in withUnsafeBytes(of: random.next()) { Array($0) } }
    let file = try store.insert(noise)
    let blob = RemoteBlob(file.digest, size: file.size)
    let engine = FakeEngine { $0.cacheCapabilities.supportedCompressors = [.zstd] }
    let (store, root) = (store, folder)
    try await engine.serve(Self.hasty) { client in
      try await client.cache.upload([blob], from: store)
      let there = try Store(root: root.appending("there"))
      #expect(try await client.cache.fetch([blob], into: there) == [blob])
      #expect(try there.read(blob.digest, limit: blob.size) == noise)
      let others = [
        Array(noise.dropLast()), noise + [0], Array(noise.reversed()), [UInt8](repeating: 0, count: 1 << 28),
      ]
      for (index, bytes) in others.enumerated() {
        engine.spoil(blob.digest, bytes)
        let other = try Store(root: root.appending("other-\(index)"))
        #expect(try await client.cache.fetch([blob], into: other) == [])
        #expect(!other.contains(blob.digest, size: blob.size))
      }
    }
  }

  @Test func `a server that says that it runs no actions is not asked to`() async throws {
    let engine = FakeEngine { $0.executionCapabilities.execEnabled = false }
    try await engine.serve(Self.hasty) { client in
      await #expect(throws: RemoteFailure.self) { _ = try await client.worded(REAPICommand()) }
    }
    #expect(engine.runs == [])
  }

  @Test func `output paths are files for an engine of version 2.0, which knows nothing else`() async throws {
    var command = REAPICommand()
    command.outputPaths = ["a", "b"]
    for (minor, files) in [(0, ["a", "b"]), (1, []), (12, [])] {
      let engine = FakeEngine { ($0.highApiVersion.major, $0.highApiVersion.minor) = (2, Int32(minor)) }
      try await engine.serve(Self.hasty) { [command] client in
        let worded = try await client.worded(command)
        #expect(worded.outputFiles == files && worded.outputPaths == ["a", "b"])
      }
    }
  }

  @Test func `a task that is cancelled while its inputs go there ends at once, and others that need them go on`()
    async throws
  {
    let engine = FakeEngine([[FakeEngine.done("out")]])
    let (action, store) = (action, store)
    engine.fallSilent()
    try await engine.serve(Self.hasty, patience: .seconds(30)) { client in
      let first = Task { try await client.run(action, from: store, time: .seconds(10)) }
      while engine.calls.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
      let second = Task { try await client.run(action, from: store, time: .seconds(10)) }
      try await Task.sleep(for: .milliseconds(100))
      let start = ContinuousClock.now
      engine.fallSilent(false)
      first.cancel()
      await #expect(throws: RemoteFailure.self) { _ = try await first.value }
      #expect(ContinuousClock.now - start < .seconds(5))
      guard case .completed(let result) = try await second.value else {
        Issue.record("it timed out")
        return
      }
      #expect(String(decoding: result.stdoutRaw, as: UTF8.self) == "out")
      #expect(ContinuousClock.now - start < .seconds(10))
    }
  }

  @Test func `what an action prints is told while it prints it, by each of its streams once`() async throws {
    let engine = FakeEngine([
      [
        .streams("logs/out", "logs/err"), .streams("logs/out", "logs/err"), .pause(.milliseconds(200)),
        FakeEngine.done("all of it"),
      ]
    ])
    engine.log("logs/out", ["one\n", "two"])
    engine.log("logs/err", ["careful\n"])
    let told = Mutex<[String]>([])
    let (action, store) = (action, store)
    try await engine.serve(Self.hasty) { client in
      let answer = try await client.run(action, from: store, time: .seconds(10)) { _ in
      } output: { bytes in
        told.withLock { $0.append(String(decoding: bytes, as: UTF8.self)) }
      }
      guard case .completed(let result) = answer else { return #expect(Bool(false), "\(answer)") }
      #expect(result.stdoutRaw.elementsEqual("all of it".utf8))
    }
    #expect(told.withLock { $0.sorted() } == ["careful\n", "one\n", "two"])
  }

  @Test func `a stream of output that is not there, or has no end, keeps nobody`() async throws {
    let engine = FakeEngine([[.streams("logs/none", "logs/long"), FakeEngine.done("done")]])
    engine.log("logs/long", [String](repeating: "x", count: 10_000))
    let (action, store) = (action, store)
    let start = ContinuousClock.now
    try await engine.serve(Self.hasty) { client in
      _ = try await client.run(action, from: store, time: .seconds(10), output: { _ in })
    }
    #expect(ContinuousClock.now - start < .seconds(8))
  }

  @Test func `stages are told as they come`() async throws {
    let engine = FakeEngine([
      [.stage(.cacheCheck), .stage(.queued), .stage(.executing), .stage(.completed), FakeEngine.done()]
    ])
    let stages = Mutex<[REAPIExecutionStage.Value]>([])
    let (action, store) = (action, store)
    try await engine.serve(Self.hasty) { client in
      _ = try await client.run(action, from: store, time: .seconds(10)) { stage in stages.withLock { $0.append(stage) }
      }
    }
    #expect(stages.withLock { $0.prefix(4) } == [.cacheCheck, .queued, .executing, .completed])
  }
}

/// `google.rpc.Code`, as a number in a message and as gRPC's own.
enum RPCStatusCode: Int32, Sendable {
  case permissionDenied = 7
  case resourceExhausted = 8
  case aborted = 10
  case unimplemented = 12
  case internalError = 13
  case unavailable = 14
  case unauthenticated = 16

  var rpc: RPCError.Code { RPCError.Code(Status.Code(rawValue: Int(rawValue))!)! }
}
