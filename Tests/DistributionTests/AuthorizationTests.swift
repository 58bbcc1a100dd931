import Caching
import Diagnostics
import Digests
import OCI
import Synchronization
import SystemPackage
import TestServers
import Testing

@testable import Distribution

/// Registries that want to know who asks.
@Suite struct AuthorizationTests {
  private let fixture: Fixture
  private let waits = Waits()

  init() throws { fixture = try Fixture() }

  private static let secret = "corr3ct-h0rse"

  private func settings(_ credential: Credential?) -> RegistrySettings {
    var settings = fixture.settings(waits)
    settings.credentials = CredentialSource { _ in credential }
    return settings
  }

  private func roundTrip(_ settings: RegistrySettings, _ name: Reference) async throws {
    let client = RegistryClient(settings)
    let image = try fixture.image(layers: [1000, 200_000])
    try await client.push(image, to: name, tag: "1")
    let pulled = try await client.pull(try name.tagged("1"), platform: "linux/amd64", into: try fixture.anotherStore())
    #expect(pulled.manifest == image.manifest.descriptor)
    await client.close()
  }

  // MARK: TLS and Basic

  private func secured(user: String = "me") throws -> (registry: ServerProcess, authority: FilePath) {
    let made = try Certificates(in: try fixture.makeFolder("tls"))
    let hashed = try ServerProcess.run(["htpasswd", "-Bbn", "-C", "4", user, Self.secret], folder: fixture.folder)
    let file = fixture.folder.string + "/htpasswd"
    try ServerProcess.write(hashed, to: file)
    let registry = try fixture.registry(
      tls: ", tls: {certificate: \"\(made.certificate)\", key: \"\(made.key)\"}",
      auth: "auth: {htpasswd: {realm: tests, path: \"\(file)\"}}")
    return (registry, FilePath(made.authority))
  }

  @Test func `a registry with its own authority and a password file is pushed to and pulled from`() async throws {
    let (registry, authority) = try secured()
    let asked = Mutex(0)
    var settings = settings(nil)
    settings.credentials = CredentialSource { _ in
      asked.withLock { $0 += 1 }
      return .basic(user: "me", password: Self.secret)
    }
    settings.authorities = [authority]
    try await roundTrip(settings, try Reference("127.0.0.1:\(registry.port)/a/b"))
    #expect(asked.withLock { $0 } == 1, "a helper is not started for each request")
    try await roundTrip(settings, try Reference("localhost:\(registry.port)/c/d"))
  }

  @Test func `an unknown authority is said, once, and nothing is sent`() async throws {
    let (registry, _) = try secured()
    let asked = Mutex(0)
    var settings = settings(nil)
    settings.credentials = CredentialSource { _ in
      asked.withLock { $0 += 1 }
      return .basic(user: "me", password: Self.secret)
    }
    let name = try Reference("127.0.0.1:\(registry.port)/a/b:1")
    let client = RegistryClient(settings)
    let text = await diagnosed { _ = try await client.resolve(name) }
    #expect(
      text == """
        error: cannot pull \(name): HEAD https://127.0.0.1:\(registry.port)/v2/a/b/manifests/1: \
        the certificate is not signed by a trusted authority, or has expired
        hint: if its authority is one of your own, name its PEM file in slipway.yaml: \
        registries: {127.0.0.1:\(registry.port): {ca: FILE}}

        """)
    #expect(asked.withLock { $0 } == 0)
    #expect(waits.durations.isEmpty)
    await client.close()
  }

  @Test func `a file of authorities that is none is an error with its path`() async throws {
    let (registry, _) = try secured()
    var settings = settings(nil)
    settings.authorities = [FilePath("/etc/hostname-that-is-not"), FilePath("/dev/null")]
    let client = RegistryClient(settings)
    let text = await diagnosed { _ = try await client.resolve(try Reference("127.0.0.1:\(registry.port)/a:1")) }
    #expect(text?.contains("cannot read the certificates in `/etc/hostname-that-is-not`") == true)
    await client.close()
  }

  @Test func `wrong and missing credentials give 401 with a hint, and no secret`() async throws {
    let (registry, authority) = try secured()
    let image = try fixture.image(layers: [10])
    let name = try Reference("127.0.0.1:\(registry.port)/a/b")
    for credential in [nil, Credential.basic(user: "me", password: "wr0ng-secret")] {
      var settings = settings(credential)
      settings.authorities = [authority]
      let client = RegistryClient(settings)
      let text = await diagnosed { try await client.push(image, to: name, tag: "1") }
      let lines = text?.split(separator: "\n") ?? []
      #expect(
        lines.first?.hasPrefix(
          "error: cannot push \(name): HEAD https://127.0.0.1:\(registry.port)/v2/a/b/blobs/sha256:") == true)
      #expect(lines.first?.hasSuffix(": 401 UNAUTHORIZED") == true)
      let host = "127.0.0.1:\(registry.port)"
      let variable = "SLIPWAY_REGISTRY_USER_127_0_0_1_\(registry.port)"
      #expect(
        text?.hasSuffix(
          "\nhint: set credentials for \(host) in ~/.docker/config.json (`docker login \(host)`), or \(variable) and "
            + "…_PASSWORD_…\n") == true)
      #expect(text?.contains("wr0ng") == false)
      await client.close()
    }
    #expect(waits.durations.isEmpty, "401 is not asked again")
  }

  // MARK: Tokens

  private func tokenRegistry(lifetime: Int = 300, realmPort: Int? = nil) throws -> (
    registry: ServerProcess, tokens: TokenServer
  ) {
    let tokens = try TokenServer(
      in: try fixture.makeFolder("tokens"), password: Self.secret, lifetime: lifetime, realmPort: realmPort)
    _ = fixture.keep(tokens.process)
    return (try fixture.registry(auth: tokens.auth), tokens)
  }

  @Test func `a token is asked for once a scope, with password or identity token`() async throws {
    let (registry, tokens) = try tokenRegistry()
    let name = try Reference("127.0.0.1:\(registry.port)/a/b")
    try await roundTrip(settings(.basic(user: "me", password: Self.secret)), name)
    #expect(try tokens.grants() == ["me repository:a/b:pull,push", "me repository:a/b:pull"])
    try await roundTrip(settings(.identityToken("refresh-" + Self.secret)), try Reference(name.name + "/c"))
    #expect(try tokens.grants().suffix(2) == ["me repository:a/b/c:pull,push", "me repository:a/b/c:pull"])
  }

  @Test func `a mount asks for both repositories`() async throws {
    let (registry, tokens) = try tokenRegistry()
    let client = RegistryClient(settings(.basic(user: "me", password: Self.secret)))
    let image = try fixture.image(layers: [1000])
    try await client.push(image, to: try Reference("127.0.0.1:\(registry.port)/base"))
    let pushed = try await client.push(
      image, to: try Reference("127.0.0.1:\(registry.port)/a/b"), mountFrom: { _ in ["base"] })
    #expect(pushed == Array(repeating: .mounted(from: "base"), count: 2))
    #expect(try tokens.grants().contains("me repository:a/b:pull,push repository:base:pull"))
    await client.close()
  }

  @Test func `anybody pulls what is public, with a token of nobody`() async throws {
    let (registry, tokens) = try tokenRegistry()
    let name = try Reference("127.0.0.1:\(registry.port)/public/x:1")
    let writer = RegistryClient(settings(.basic(user: "me", password: Self.secret)))
    try await writer.push(try fixture.image(layers: [10]), to: name, tag: "1")
    await writer.close()
    let reader = RegistryClient(settings(nil))
    _ = try await reader.pull(name, platform: "linux/amd64", into: try fixture.anotherStore())
    #expect(try tokens.grants().last == "- repository:public/x:pull")
    let text = await diagnosed { try await reader.push(try fixture.image(layers: [20]), to: name, tag: "2") }
    #expect(text?.contains(": 401 UNAUTHORIZED") == true)
    await reader.close()
  }

  @Test func `a refused password is said by the token server's address`() async throws {
    let (registry, tokens) = try tokenRegistry()
    let name = try Reference("127.0.0.1:\(registry.port)/a/b:1")
    let client = RegistryClient(settings(.basic(user: "me", password: "wr0ng-secret")))
    let text = await diagnosed { _ = try await client.resolve(name) }
    #expect(
      text?.hasPrefix(
        "error: cannot pull \(name): GET http://127.0.0.1:\(tokens.process.port)/token: 401 UNAUTHORIZED: "
          + "incorrect username or password (the credentials were refused)\nhint: set credentials for") == true)
    await client.close()
  }

  @Test func `a token that has ended is renewed, once`() async throws {
    // The registry allows a minute of leeway, so the token is one that the proxy's rule refuses instead.
    let (registry, tokens) = try tokenRegistry()
    let image = try fixture.image(layers: [10])
    let realm = "Bearer realm=\\\"http://127.0.0.1:\(tokens.process.port)/token\\\",service=\\\"tests\\\""
    let proxy = try fixture.faults(
      before: registry,
      """
      [{"method": "HEAD", "path": "blobs", "skip": 2, "times": 1, "status": 401, "headers": {"WWW-Authenticate": "\(realm)"}},
       {"method": "GET", "path": "v2/never/manifests", "times": 0, "status": 401, "headers": {"WWW-Authenticate": "\(realm)"}}]
      """)
    var settings = settings(.basic(user: "me", password: Self.secret))
    settings.limits.transfers = 1
    let client = RegistryClient(settings)
    try await client.push(image, to: try Reference("127.0.0.1:\(proxy.port)/a/b"), tag: "1")
    #expect(try tokens.grants().count { $0 == "me repository:a/b:pull,push" } == 2)
    let text = await diagnosed { _ = try await client.manifest(try Reference("127.0.0.1:\(proxy.port)/never:1")) }
    #expect(text?.contains("401 UNAUTHORIZED") == true)
    #expect(try tokens.grants().count { $0 == "me repository:never:pull" } <= 2, "not for ever")
    await client.close()
  }

  @Test func `short tokens are asked for again when their time is over`() async throws {
    let (registry, tokens) = try tokenRegistry(lifetime: 1)
    let client = RegistryClient(settings(.basic(user: "me", password: Self.secret)))
    let name = try Reference("127.0.0.1:\(registry.port)/a/b:1")
    #expect(try await client.resolve(name) == nil)
    try await Task.sleep(for: .milliseconds(1100))
    #expect(try await client.resolve(name) == nil)
    #expect(try tokens.grants() == ["me repository:a/b:pull", "me repository:a/b:pull"])
    await client.close()
  }

  // MARK: Where secrets go

  @Test func `a redirect to another host does not take the authorization along`() async throws {
    let storage = try fixture.faults(
      #"[{"path": "stored", "times": 0, "status": 200, "body": "0123456789", "headers": {"Content-Type": "x/y"}}]"#)
    let proxy = try fixture.faults(
      """
      [{"path": "blobs", "times": 1, "status": 401, "headers": {"WWW-Authenticate": "Basic realm=x"}},
       {"path": "blobs", "times": 0, "status": 307,
        "headers": {"Location": "http://127.0.0.1:\(storage.port)/stored?X-Amz-Signature=abc"}}]
      """)
    let client = RegistryClient(settings(.basic(user: "me", password: Self.secret)))
    let blob = Descriptor(mediaType: "x/y", digest: Digest(of: "0123456789"), size: 10)
    try await client.pullBlob(blob, of: try Reference("127.0.0.1:\(proxy.port)/a/b:1"), into: fixture.store)
    let asked = try proxy.requests().filter { $0.path.contains("blobs") }
    #expect(asked.map(\.authorization) == ["", "Basic"])
    #expect(try storage.requests().filter { $0.path.contains("stored") }.map(\.authorization) == [""])
    await client.close()
  }

  @Test func `a failure behind a redirect does not show the address's signature`() async throws {
    let storage = try fixture.faults(#"[{"path": "stored", "times": 0, "status": 403}]"#)
    let proxy = try fixture.faults(
      """
      [{"path": "blobs", "times": 0, "status": 307,
        "headers": {"Location": "http://127.0.0.1:\(storage.port)/stored?X-Amz-Signature=abc"}}]
      """)
    let client = RegistryClient(settings(nil))
    let blob = Descriptor(mediaType: "x/y", digest: Digest(of: "0123456789"), size: 10)
    let text = await diagnosed {
      try await client.pullBlob(blob, of: try Reference("127.0.0.1:\(proxy.port)/a/b:1"), into: fixture.store)
    }
    #expect(text?.contains("GET http://127.0.0.1:\(storage.port)/stored: 403 DENIED") == true)
    #expect(text?.contains("Signature") == false)
    await client.close()
  }

  @Test func `redirects without end are given up`() async throws {
    let proxy = try fixture.faults(
      #"[{"path": "blobs", "times": 0, "status": 302, "headers": {"Location": "/v2/a/b/blobs/again"}}]"#)
    let client = RegistryClient(settings(nil))
    let blob = Descriptor(mediaType: "x/y", digest: Digest(of: "0123456789"), size: 10)
    let text = await diagnosed {
      try await client.pullBlob(blob, of: try Reference("127.0.0.1:\(proxy.port)/a/b:1"), into: fixture.store)
    }
    #expect(text?.contains("more than 5 redirects") == true)
    await client.close()
  }

  @Test(arguments: ["http://registry.example/token", "http://10.0.0.1/token"])
  func `credentials are not sent to a token server without TLS on another machine`(realm: String) async throws {
    let proxy = try fixture.faults(
      """
      [{"path": "manifests", "times": 0, "status": 401,
        "headers": {"WWW-Authenticate": "Bearer realm=\\"\(realm)\\",service=\\"x\\""}}]
      """)
    let asked = Mutex(0)
    var settings = settings(nil)
    settings.credentials = CredentialSource { _ in
      asked.withLock { $0 += 1 }
      return .basic(user: "me", password: Self.secret)
    }
    let client = RegistryClient(settings)
    let text = await diagnosed { _ = try await client.resolve(try Reference("127.0.0.1:\(proxy.port)/a/b:1")) }
    #expect(text?.contains("it wants credentials sent to \(realm.dropLast(6)), which would be without TLS") == true)
    #expect(asked.withLock { $0 } == 0)
    await client.close()
  }

  @Test(arguments: [
    (200, #"{"token": ""}"#, "the answer holds no token"), (200, "<html>", "the answer holds no token"),
    (200, #"{"token": "a b\r\nX: y"}"#, "the answer holds no token"),
    (403, "{}", "403 DENIED (the credentials were refused)"), (302, "", "302 UNEXPECTED_STATUS"),
  ])
  func `a token server that gives no token is an error`(status: Int, body: String, reason: String) async throws {
    let text = String(decoding: JSON.string(body).encoded, as: UTF8.self)
    let proxy = try fixture.faults(
      """
      [{"path": "manifests", "times": 0, "status": 401, "headers": {"WWW-Authenticate": "Bearer realm=\\"/token\\""}},
       {"path": "token", "times": 0, "status": \(status), "body": \(text), "headers": {"Location": "/elsewhere"}}]
      """)
    let client = RegistryClient(settings(.basic(user: "me", password: Self.secret)))
    let said = await diagnosed { _ = try await client.resolve(try Reference("127.0.0.1:\(proxy.port)/a/b:1")) }
    #expect(said?.contains("/token: \(reason)") == true, "\(said ?? "no failure")")
    #expect(try proxy.requests().allSatisfy { $0.path != "/elsewhere" })
    await client.close()
  }

  // MARK: Plain HTTP

  @Test func `a registry on another machine is never asked without TLS unless it is configured so`() throws {
    var settings = RegistrySettings()
    #expect(try !settings.origin(of: "registry.example:5000").mayBePlain)
    #expect(try settings.origin(of: "localhost:5000").mayBePlain)
    #expect(try !settings.origin(of: "docker.io").mayBePlain)
    #expect(try settings.origin(of: "docker.io").address.text == "https://registry-1.docker.io/")
    settings.registries["registry.example:5000"] = .init(insecure: true)
    #expect(try settings.origin(of: "registry.example:5000").mayBePlain)
    settings.registries["docker.io"] = .init(mirrors: ["http://mirror.example:5000"])
    let error = #expect(throws: Diagnostic.self) { try settings.mirrors(of: "docker.io") }
    #expect(error?.message.contains("is asked without TLS, though it is on another machine") == true)
  }

  // MARK: Mirrors

  @Test func `mirrors are asked in order, and the registry when they fail, with one warning each`() async throws {
    let registry = try fixture.registry()
    let mirror = try fixture.registry()
    let image = try fixture.image(layers: [1000, 2000])
    let plain = RegistryClient(settings(nil))
    try await plain.push(image, to: try Reference("127.0.0.1:\(mirror.port)/cache/a/b"), tag: "1")
    let nobody = try ServerProcess.freePort()
    let spy = try fixture.faults(before: registry, "[]")
    var settings = settings(nil)
    settings.registries["127.0.0.1:\(spy.port)"] = .init(
      mirrors: ["http://127.0.0.1:\(nobody)", "http://127.0.0.1:\(mirror.port)/cache"])
    let client = RegistryClient(settings)
    let name = try Reference("127.0.0.1:\(spy.port)/a/b:1")
    let pulled = try await client.pull(name, platform: "linux/amd64", into: try fixture.anotherStore())
    #expect(pulled.manifest == image.manifest.descriptor)
    #expect(try spy.requests().isEmpty, "the second mirror had everything")
    #expect(waits.warnings.count == 1)
    #expect(
      waits.warnings.first?.rendered == """
        warning: cannot pull \(name) from the mirror http://127.0.0.1:\(nobody): \
        GET http://127.0.0.1:\(nobody)/v2/a/b/manifests/1: connection refused (2 attempts)
        hint: 127.0.0.1:\(spy.port) is asked itself from here on

        """)
    // What only the registry has comes from there, and whoever pushes asks no mirror.
    let other = try fixture.image(layers: [3000], seed: 9)
    try await client.push(other, to: name, tag: "2")
    #expect(try await client.resolve(try name.tagged("2")) == other.manifest.descriptor)
    #expect(try await client.resolve(name, direct: true) == nil)
    #expect(waits.warnings.count == 1, "what a mirror does not have is no failure")
    await client.close()
    await plain.close()
  }

  @Test func `a mirror that lies about bytes is passed over`() async throws {
    let registry = try fixture.registry()
    let image = try fixture.image(layers: [50_000])
    let plain = RegistryClient(settings(nil))
    try await plain.push(image, to: try Reference("127.0.0.1:\(registry.port)/a/b"), tag: "1")
    let liar = try fixture.faults(before: registry, #"[{"method": "GET", "path": "blobs", "times": 0, "flip": 7}]"#)
    var settings = settings(nil)
    settings.registries["127.0.0.1:\(registry.port)"] = .init(mirrors: ["http://127.0.0.1:\(liar.port)"])
    let client = RegistryClient(settings)
    let store = try fixture.anotherStore()
    let name = try Reference("127.0.0.1:\(registry.port)/a/b:1")
    _ = try await client.pull(name, platform: "linux/amd64", into: store)
    #expect(store.contains(image.blobs[1].descriptor.digest, size: 50_000))
    #expect(waits.warnings.count == 1)
    #expect(waits.warnings.first?.message.contains("do not have the digest") == true)
    await client.close()
    await plain.close()
  }

  // MARK: Tags

  @Test func `tags go on where the link says, on the same server only`() async throws {
    let proxy = try fixture.faults(
      """
      [{"path": "tags/list\\\\?n=1000$", "times": 0, "status": 200, "body": "{\\"tags\\": [\\"b\\", \\"a\\"]}",
        "headers": {"Link": "</v2/a/b/tags/list?last=b>; rel=\\"next\\""}},
       {"path": "last=b", "times": 0, "status": 200, "body": "{\\"tags\\": [\\"c\\", \\"no tag!\\"]}",
        "headers": {"Link": "<http://192.0.2.1/v2/a/b/tags/list?last=c>; rel=\\"next\\""}}]
      """)
    let client = RegistryClient(settings(nil))
    #expect(try await client.tags(try Reference("127.0.0.1:\(proxy.port)/a/b")) == ["a", "b", "c"])
    await client.close()
  }

  @Test func `a list of tags that goes round in a circle ends`() async throws {
    let proxy = try fixture.faults(
      """
      [{"path": "tags/list", "times": 0, "status": 200, "body": "{\\"tags\\": null}",
        "headers": {"Link": "</v2/a/b/tags/list?n=1000>; rel=\\"next\\""}}]
      """)
    let client = RegistryClient(settings(nil))
    #expect(try await client.tags(try Reference("127.0.0.1:\(proxy.port)/a/b")) == [])
    await client.close()
  }
}
