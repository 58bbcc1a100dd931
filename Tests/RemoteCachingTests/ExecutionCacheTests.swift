import Caching
import Digests
import Glibc
import RemoteExecutionAPI
import SystemPackage
import TestServers
import Testing

@testable import RemoteCaching

/// The cache of the Remote Execution API against a real buildbox-casd.
@Suite struct ExecutionCacheTests {
  private let fixture: Fixture

  init() throws { fixture = try Fixture() }

  private func server(_ port: Int, patience: Duration = .seconds(20)) throws -> ExecutionCacheServer {
    var access = RemoteCacheAccess()
    // Other tests may take every processor for longer than a second.
    access.patience = patience
    return try ExecutionCacheServer(RemoteCacheAddress("grpc://127.0.0.1:\(port)"), access)
  }

  @Test func `results, signatures and blobs go and come back`() async throws {
    let casd = try CacheServer.casd(in: try fixture.sub("casd"))
    let server = try server(casd.port)
    let text = try await fixture.roundTrip(server)
    #expect(text == "whole")
    await server.close()
  }

  @Test(arguments: [0, 1, (1 << 20) - 128, 1 << 20, (1 << 20) + 1, 9 << 20])
  func `a blob of any size goes in one message or in a stream`(size: Int) async throws {
    let casd = try CacheServer.casd(in: try fixture.sub("casd"))
    let server = try server(casd.port)
    let file = try fixture.here.insert((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) })
    let blob = RemoteBlob(file.digest, size: size)
    try await server.upload([blob], from: fixture.here)
    #expect(try await server.missing([blob]) == [])
    #expect(try await server.fetch([blob], into: fixture.there) == [blob])
    #expect(fixture.there.contains(file.digest, size: size))
    // What is there is given again without a word.
    try await server.upload([blob], from: fixture.here)
    await server.close()
  }

  @Test func `hundreds of blobs share messages, and those that nobody has are told`() async throws {
    let casd = try CacheServer.casd(in: try fixture.sub("casd"))
    let server = try server(casd.port)
    let blobs = try (0..<300).map { number in
      let file = try fixture.here.insert([UInt8](repeating: UInt8(number % 256), count: 10_000 + number))
      return RemoteBlob(file.digest, size: file.size)
    }
    try await server.upload(Array(blobs.prefix(250)), from: fixture.here)
    #expect(try await server.missing(blobs) == Array(blobs.suffix(50)))
    #expect(try await server.fetch(blobs, into: fixture.there) == Set(blobs.prefix(250)))
    await server.close()
  }

  @Test func `wrong bytes are refused by the server`() async throws {
    let casd = try CacheServer.casd(in: try fixture.sub("casd"))
    let server = try server(casd.port)
    let text = Array("right".utf8)
    #expect(try await server.takes(text, as: Digest(of: text)))
    #expect(try await !server.takes(text, as: Digest(of: "wrong")))
    await server.close()
  }

  @Test func `a server that dies and comes again is found again`() async throws {
    let folder = try fixture.sub("casd")
    let casd = try CacheServer.casd(in: folder)
    let server = try server(casd.port)
    #expect(try await server.result(of: RemoteBlob(Digest.empty, size: 0)) == nil)
    casd.stop()
    do {
      let found = try await server.result(of: RemoteBlob(Digest.empty, size: 0))
      Issue.record("\(String(describing: found))")
    } catch {
      #expect(error.reason == .connection, "\(error)")
      #expect("\(error)".hasPrefix("GetActionResult grpc://127.0.0.1:\(casd.port): "), "\(error)")
    }
    let again = try CacheServer.casd(in: folder, port: casd.port)
    var isBack = false
    for _ in 0..<200 where !isBack {
      try await Task.sleep(for: .milliseconds(50))
      do {
        isBack = try await server.result(of: RemoteBlob(Digest.empty, size: 0)) == nil
      } catch {}
    }
    #expect(isBack)
    await server.close()
    again.stop()
  }

  @Test func `nobody at the port, one that never answers, and one that speaks otherwise, are told`() async throws {
    let action = RemoteBlob(Digest.empty, size: 0)
    func reason(_ port: Int, within patience: Duration = .seconds(20)) async throws -> (RemoteFailure.Reason?, String) {
      let server = try server(port, patience: patience)
      defer { Task { await server.close() } }
      do {
        _ = try await server.result(of: action)
        return (nil, "")
      } catch { return (error.reason, "\(error)") }
    }
    let nobody = try await reason(try ServerProcess.freePort())
    #expect(nobody.0 == .connection && nobody.1.hasSuffix(": connection refused"), "\(nobody)")
    let silent = try SilentServer()
    let none = try await reason(silent.port, within: .milliseconds(300))
    #expect(none.0 == .timeout, "\(none)")
    let nginx = try CacheServer.nginx(in: try fixture.sub("nginx"))
    let web = try await reason(nginx.port, within: .seconds(3))
    #expect(web.0 == .connection || web.0 == .timeout, "\(web)")
  }
}
