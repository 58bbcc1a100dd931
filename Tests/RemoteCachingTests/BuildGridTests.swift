import Caching
import Digests
import Glibc
import RemoteExecutionAPI
import SystemPackage
import TestServers
import Testing

@testable import RemoteCaching

/// The cache of the Remote Execution API against a real BuildGrid: another implementation, and one that knows its users.
@Suite struct BuildGridTests {
  private let fixture: Fixture

  init() throws { fixture = try Fixture() }

  private func server(_ port: Int, scheme: String = "grpc", _ change: (inout RemoteCacheAccess) -> Void = { _ in })
    throws -> ExecutionCacheServer
  {
    var access = RemoteCacheAccess()
    change(&access)
    // Other tests may take every processor for longer than a second.
    access.patience = .seconds(20)
    return try ExecutionCacheServer(RemoteCacheAddress("\(scheme)://127.0.0.1:\(port)"), access)
  }

  @Test func `results, signatures and blobs of all sizes go and come back`() async throws {
    let grid = try BuildGridServer.start(in: try fixture.sub("grid"))
    let server = try server(grid.port)
    let text = try await fixture.roundTrip(server)
    #expect(text == "whole")
    let blobs = try [1, 1 << 20, (4 << 20) + 1, 9 << 20].map { size in
      let file = try fixture.here.insert((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) })
      return RemoteBlob(file.digest, size: file.size)
    }
    try await server.upload(blobs, from: fixture.here)
    #expect(try await server.fetch(blobs, into: fixture.there) == Set(blobs))
    let absent = RemoteBlob(Digest(of: "nobody's"), size: 8)
    let large = RemoteBlob(Digest(of: "nobody's either"), size: 5 << 20)
    #expect(try await server.fetch([absent, large], into: fixture.there) == [])
    await server.close()
  }

  @Test func `bytes that the server spoilt or cut are none`() async throws {
    let folder = try fixture.sub("grid")
    let grid = try BuildGridServer.start(in: folder)
    let server = try server(grid.port)
    for (size, damage) in [(100, "x"), (100, ""), (5 << 20, "x"), (5 << 20, "")] {
      let file = try fixture.here.insert([UInt8](repeating: UInt8(size % 251) &+ UInt8(damage.count), count: size))
      let blob = RemoteBlob(file.digest, size: size)
      try await server.upload([blob], from: fixture.here)
      let path = BuildGridServer.blob(file.digest.hex, in: folder).string
      // A shorter file; one of the same length with another first byte.
      var bytes = try #require(try Disk.contents(of: path, limit: 1 << 30))
      if damage.isEmpty { bytes.removeLast(size / 2) } else { bytes[0] ^= 1 }
      chmod(path, 0o600)
      let descriptor = try FileDescriptor.open(path, .writeOnly, options: .truncate)
      _ = try descriptor.closeAfter { try descriptor.writeAll(bytes) }
      // Whether the server notices and fails, or gives what it has: nothing of it counts.
      let came = (try? await server.fetch([blob], into: fixture.there)) ?? []
      #expect(came == [] && !fixture.there.contains(file.digest, size: size), "\(size) \(damage)")
    }
    await server.close()
  }

  @Test func `certificates and tokens open it, and nothing else does`() async throws {
    let tls = try Certificates(in: try fixture.sub("tls"))
    let stranger = try Certificates(in: try fixture.sub("stranger"))
    let plain = try BuildGridServer.start(in: try fixture.sub("plain"), .tls(tls))
    let known = try BuildGridServer.start(in: try fixture.sub("known"), .certificate(tls))
    let token = try BuildGridServer.start(in: try fixture.sub("token"), .token(tls))
    let folder = try fixture.sub("tokens")
    let writer = try BuildGridServer.token(in: folder)
    let expired = try BuildGridServer.token(in: folder, lifetime: -60)
    let forged = try BuildGridServer.token(in: folder, secret: "another secret that is long enough for HS256")
    for (name, port, expected, change) in [
      ("tls", plain.port, "whole", { _ in }),
      ("no authority", plain.port, "tls: FindMissing", { $0.authorities = [] }),
      ("wrong authority", plain.port, "tls: FindMissing", { $0.authorities = [FilePath(stranger.authority)] }),
      (
        "certificate", known.port, "whole",
        {
          $0.certificate = FilePath(tls.certificate)
          $0.key = FilePath(tls.key)
        }
      ),
      ("no certificate", known.port, "", { _ in }),
      ("token", token.port, "whole", { $0.credential = .bearer(writer) }),
      ("no token", token.port, "denied: ", { _ in }),
      ("expired", token.port, "denied: ", { $0.credential = .bearer(expired) }),
      ("forged", token.port, "denied: ", { $0.credential = .bearer(forged) }),
      ("password", token.port, "denied: ", { $0.credential = .basic(user: "ann", password: "no-such") }),
    ] as [(String, Int, String, (inout RemoteCacheAccess) -> Void)] {
      let server = try server(port, scheme: "grpcs") { access in
        access.authorities = [FilePath(tls.authority)]
        change(&access)
      }
      // Another machine each time.
      let text = try await fixture.roundTrip(server, to: try Store(root: fixture.folder.appending(name)))
      if expected == "whole" {
        #expect(text == expected, "\(name): \(text)")
      } else {
        #expect(text.hasPrefix(expected.replacing("FindMissing", with: "GetActionResult")), "\(name): \(text)")
        #expect(text.contains(": GetActionResult grpcs://127.0.0.1:\(port): "), "\(name): \(text)")
      }
      for secret in [writer, expired, forged, "no-such"] { #expect(!text.contains(secret)) }
      await server.close()
    }
  }

  @Test func `who may not write reads on, and one warning tells`() async throws {
    let grid = try BuildGridServer.start(in: try fixture.sub("grid"), .token(nil))
    let folder = try fixture.sub("tokens")
    let record = try fixture.record()
    let writer = try BuildGridServer.token(in: folder)
    let giver = RemoteTier(try server(grid.port) { $0.credential = .bearer(writer) }, RemoteTier.Settings())
    giver.offer(record, as: fixture.request(record), from: fixture.here)
    await giver.finish(within: .seconds(60))
    #expect(giver.warning == nil)
    let reader = try BuildGridServer.token(in: folder, subject: "reader")
    let tier = RemoteTier(try server(grid.port) { $0.credential = .bearer(reader) }, RemoteTier.Settings())
    for text in ["one", "two", "three", "four", "five"] {
      let other = try fixture.record(text)
      tier.offer(other, as: fixture.request(other), from: fixture.here)
    }
    while tier.statistics.uploadsLeft < 5 { try await Task.sleep(for: .milliseconds(5)) }
    guard case .hit(let found) = await tier.lookup(fixture.request(record), into: fixture.there) else {
      Issue.record("it reads no more")
      return
    }
    #expect(found == record)
    #expect(await tier.fetch(found.artifacts, into: fixture.there, insteadOf: nil))
    await tier.finish(within: .seconds(60))
    let warning = try #require(tier.warning?.message)
    #expect(warning.hasPrefix("5 results were not uploaded to the remote cache: "), "\(warning)")
  }

  @Test func `an action cache that takes no updates is told as such`() async throws {
    let grid = try BuildGridServer.start(in: try fixture.sub("grid"), takesUpdates: false)
    let server = try server(grid.port)
    let text = try await fixture.roundTrip(server)
    #expect(text.hasPrefix("unsupported: UpdateActionResult grpc://127.0.0.1:\(grid.port): unimplemented: "))
    await server.close()
  }
}
