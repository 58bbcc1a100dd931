import Caching
import Diagnostics
import Digests
import Glibc
import SystemPackage
import TestServers
import Testing

@testable import RemoteCaching

/// The HTTP cache against a real nginx.
@Suite struct WebCacheTests {
  private let fixture: Fixture

  init() throws { fixture = try Fixture() }

  private func server(_ port: Int, scheme: String = "http", _ change: (inout RemoteCacheAccess) -> Void = { _ in })
    throws -> WebCacheServer
  {
    var access = RemoteCacheAccess()
    change(&access)
    // Other tests may take every processor for longer than a second.
    access.patience = .seconds(20)
    return try WebCacheServer(RemoteCacheAddress("\(scheme)://127.0.0.1:\(port)"), access)
  }

  @Test func `results and blobs go and come back`() async throws {
    let nginx = try CacheServer.nginx(in: try fixture.sub("nginx"))
    let server = try server(nginx.port)
    #expect(try await fixture.roundTrip(server) == "whole")
    await server.close()
  }

  @Test func `a blob of megabytes is streamed both ways`() async throws {
    let nginx = try CacheServer.nginx(in: try fixture.sub("nginx"))
    let server = try server(nginx.port)
    let large = try fixture.here.insert([UInt8](repeating: 7, count: 9 << 20))
    let blob = RemoteBlob(large.digest, size: large.size)
    try await server.upload([blob], from: fixture.here)
    #expect(try await server.fetch([blob], into: fixture.there) == [blob])
    #expect(fixture.there.contains(large.digest, size: large.size))
    await server.close()
  }

  @Test func `a password, a certificate or a token open it, and nothing else does`() async throws {
    let tls = try Certificates(in: try fixture.sub("tls"))
    let password = try CacheServer.nginx(
      in: try fixture.sub("password"), .password(tls, user: "ann", password: "right"))
    let certificate = try CacheServer.nginx(in: try fixture.sub("certificate"), .certificate(tls))
    let token = try CacheServer.nginx(in: try fixture.sub("token"), .token("sesame"))
    let authority = FilePath(tls.authority)
    for (name, port, scheme, expected, change) in [
      ("password", password.port, "https", "whole", { $0.credential = .basic(user: "ann", password: "right") }),
      ("wrong", password.port, "https", "denied: GET", { $0.credential = .basic(user: "ann", password: "no-such") }),
      ("nobody", password.port, "https", "denied: GET", { _ in }),
      ("no authority", password.port, "https", "tls: GET", { $0.authorities = [] }),
      (
        "certificate", certificate.port, "https", "whole",
        {
          $0.certificate = FilePath(tls.certificate)
          $0.key = FilePath(tls.key)
        }
      ),
      ("no certificate", certificate.port, "https", "server: GET", { _ in }),
      ("token", token.port, "http", "whole", { $0.credential = .bearer("sesame") }),
      ("wrong token", token.port, "http", "denied: GET", { $0.credential = .bearer("no-such") }),
    ] as [(String, Int, String, String, (inout RemoteCacheAccess) -> Void)] {
      let server = try server(port, scheme: scheme) { access in
        access.authorities = [authority]
        change(&access)
      }
      // Another machine each time.
      let text = try await fixture.roundTrip(server, to: try Store(root: fixture.folder.appending(name)))
      #expect(text.hasPrefix(expected), "\(name): \(text)")
      #expect(!text.contains("no-such") && !text.contains("right"), "\(text)")
      await server.close()
    }
  }

  @Test func `wrong bytes are none, whatever the server calls them`() async throws {
    let folder = try fixture.sub("nginx")
    let nginx = try CacheServer.nginx(in: folder)
    let server = try server(nginx.port)
    let file = try fixture.here.insert(Array("right bytes".utf8))
    let blob = RemoteBlob(file.digest, size: file.size)
    let path = "\(folder)/files/cas/\(file.digest)"
    try Disk.makeFolders("\(folder)/files/cas")
    for text in ["wrong bytes", "right", "right bytes and more", "", "<html>"] {
      try ServerProcess.write(text, to: path)
      #expect(try await server.fetch([blob], into: fixture.there) == [], "\(text)")
      #expect(!fixture.there.contains(file.digest, size: file.size))
    }
    // Half of it is sent again, of the whole length nobody can tell without reading.
    try ServerProcess.write("right", to: path)
    #expect(try await server.missing([blob]) == [blob])
    try await server.upload([blob], from: fixture.here)
    #expect(try await server.fetch([blob], into: fixture.there) == [blob])
    await server.close()
  }

  @Test(arguments: [
    ("return 500;", RemoteFailure.Reason.server, "500"), ("return 403;", .denied, "403"),
    ("return 429;", .throttled, "429"),
    ("return 401;", .denied, "401"), ("return 413;", .tooLarge, "413"),
    ("default_type text/html; return 200 '<html>hello</html>';", .content, "the answer is a web page"),
    ("return 444;", .connection, "closed before the answer"),
  ])
  func `an answer that says no is a failure with its reason`(
    location: String, reason: RemoteFailure.Reason, text: String
  )
    async throws
  {
    let nginx = try CacheServer.nginx(in: try fixture.sub("nginx"), location: location)
    let server = try server(nginx.port)
    do {
      let found = try await server.result(of: RemoteBlob(Digest.empty, size: 0))
      Issue.record("no failure: \(String(describing: found))")
    } catch {
      #expect(error.reason == reason && "\(error)".contains(text), "\(error)")
      #expect("\(error)".hasPrefix("GET http://127.0.0.1:\(nginx.port)/ac/\(Digest.empty): "), "\(error)")
    }
    await server.close()
  }

  @Test func `nobody at the port, and one that never answers, are told within the patience`() async throws {
    var access = RemoteCacheAccess()
    access.patience = .milliseconds(300)
    let nobody = try WebCacheServer(RemoteCacheAddress("http://127.0.0.1:\(try ServerProcess.freePort())"), access)
    await #expect(throws: RemoteFailure.self) { try await nobody.result(of: RemoteBlob(Digest.empty, size: 0)) }
    await nobody.close()
    let listener = try SilentServer()
    let silent = try WebCacheServer(RemoteCacheAddress("http://127.0.0.1:\(listener.port)"), access)
    do {
      _ = try await silent.result(of: RemoteBlob(Digest.empty, size: 0))
      Issue.record("it answered")
    } catch { #expect(error.reason == .timeout, "\(error)") }
    await silent.close()
  }

  @Test func `the environment opens it, and a time that is none is an error`() throws {
    let access = try RemoteCacheAccess(environment: [
      "SLIPWAY_REMOTE_CACHE_TOKEN": "t", "SLIPWAY_REMOTE_CACHE_USER": "u", "SLIPWAY_REMOTE_CACHE_PASSWORD": "p",
      "SLIPWAY_REMOTE_CACHE_KEY": "/k", "SLIPWAY_REMOTE_CACHE_CERTIFICATE": "", "SLIPWAY_REMOTE_CACHE_TIMEOUT": "5s",
    ])
    guard case .bearer("t")? = access.credential else {
      Issue.record("the token counts before the password")
      return
    }
    #expect(access.key == "/k" && access.certificate == nil && access.patience == .seconds(5))
    for text in ["0s", "1", "1h", "soon", "-1s"] {
      #expect(throws: Diagnostic.self) {
        try RemoteCacheAccess(environment: ["SLIPWAY_REMOTE_CACHE_TIMEOUT": text])
      }
    }
  }

  @Test(arguments: [
    ("http://a", "http://a"), ("https://a:443/x//y/", "https://a/x/y"), ("grpc://a:1/inst", "grpc://a:1/inst"),
    ("grpcs://[::1]:9/", "grpcs://[::1]:9"), ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
  ])
  func `a URL is read`(text: String, shown: String) throws { #expect("\(try RemoteCacheAddress(text))" == shown) }

  @Test(arguments: [
    "", "a", "ftp://a", "http://", "http://a:b", "http://a:0", "http://a:70000", "http://u:secret@a", "http://a b/",
    "http://a/?secret", "http://a/\n",
  ])
  func `whatever is no URL of a cache says so, and no secret`(text: String) {
    do {
      let address = try RemoteCacheAddress(text)
      Issue.record("\(address)")
    } catch { #expect(!"\(error)".contains("u:secret")) }
  }
}
