import Caching
import Diagnostics
import Distribution
import Glibc
import OCI
import SystemPackage
import TestServers
import Testing

@testable import Publishing

/// Against nginx with WebDAV, on loopback.
@Suite struct MetadataHTTPTests {
  private let scratch: MetadataScratch
  private var files: FilePath { scratch.folder.appending("files") }

  init() throws { scratch = try MetadataScratch() }

  private func settings(attempts: Int = 2) -> RegistrySettings {
    var settings = RegistrySettings()
    settings.retry.attempts = attempts
    settings.time = RegistrySettings.Time(sleep: { _ in }, now: { 1_000_000_000 }, random: { 0 })
    return settings
  }

  private func open(_ server: ServerProcess, environment: [String: String] = [:]) throws -> any MetadataStore {
    try openMetadataStore("http://127.0.0.1:\(server.port)/", settings: settings(), environment: environment)
  }

  @Test func `files are written, compared, read and removed`() async throws {
    let server = try MetadataServer.nginx(in: scratch.folder)
    let store = try open(server)
    let path = try MetadataPath("metadata/localhost:5000/a/1.0.0+b/metadata.yaml")
    #expect(try await store.read(path, limit: 100) == nil)
    #expect(try await store.writeIfChanged([1, 2], to: path, contentType: "application/yaml"))
    #expect(try await !store.writeIfChanged([1, 2], to: path, contentType: "application/yaml"))
    #expect(try await store.writeIfChanged([3], to: path, contentType: "application/yaml"))
    #expect(try await store.read(path, limit: 1) == [3])
    #expect(try Disk.contents(of: files.string + "/" + path.description, limit: 10) == [3])
    #expect(try await store.list(below: try MetadataPath("metadata")) == nil)
    try await store.remove(path)
    try await store.remove(path)
    #expect(try await store.read(path, limit: 1) == nil)
    let large = [UInt8](repeating: 65, count: 5 << 20)
    try await store.write(large, to: path, contentType: "a/b")
    #expect(try await store.read(path, limit: 5 << 20) == large)
    let text = await diagnosed { _ = try await store.read(path, limit: (5 << 20) - 1) }
    #expect(text?.contains("the answer has more than the 5242879 bytes allowed") == true, "\(text ?? "")")
    await store.close()
  }

  @Test func `a publish with index and registries is the same on the web as in a folder`() async throws {
    let server = try MetadataServer.nginx(in: scratch.folder)
    let web = try open(server)
    let publicURL = "https://files.example"
    for store in [web, scratch.store] as [any MetadataStore] {
      for version in ["1.0.0", "1.1.0-rc.1", "1.1.0"] {
        let outcome = try await MetadataUpload(to: store).upload(
          try connectorFiles("a/source-x", version, icon: version == "1.0.0" ? "<svg/>" : nil),
          repository: "a/source-x", version: version)
        let channel = try #require(outcome.channel)
        let update = try await ConnectorRegistryUpdate(store, publicURL: publicURL).update([
          MetadataIndex.Change(repository: "a/source-x", channel: channel, entry: outcome.entry)
        ])
        #expect(update.problems == [])
      }
      let repaired = try await ConnectorRegistryUpdate(store, publicURL: publicURL).repair(repositories: [])
      #expect(repaired.written == ["metadata/index.json"] && repaired.problems == [])
    }
    let (status, output) = try MetadataServer.run(
      ["diff", "-r", "--exclude=.tmp", files.string, scratch.store.root.string], in: scratch.folder)
    #expect(status == 0, "\(output)")
    await web.close()
  }

  @Test func `a user and a password open a store, from the environment or netrc, and no others do`() async throws {
    let hash = try MetadataServer.run(["htpasswd", "-nbm", "me", "p a#s"], in: scratch.folder).output
    let server = try MetadataServer.nginx(in: scratch.folder, users: hash)
    let path = try MetadataPath("metadata/a")
    let store = try open(
      server,
      environment: ["SLIPWAY_METADATA_USER": "me", "SLIPWAY_METADATA_PASSWORD": "p a#s", "HOME": "/nonexistent"])
    try await store.write([1], to: path, contentType: "a/b")
    #expect(try await store.read(path, limit: 1) == [1])
    await store.close()
    let address = "http://127.0.0.1:\(server.port)"
    for environment in [[:], ["SLIPWAY_METADATA_USER": "me", "SLIPWAY_METADATA_PASSWORD": "wrong-secret"]] {
      let store = try open(server, environment: environment)
      let text = await diagnosed { try await store.write([2], to: path, contentType: "a/b") }
      #expect(
        text == """
          error: cannot write `metadata/a`: PUT \(address)/metadata/a: 401 UNAUTHORIZED
          hint: set SLIPWAY_METADATA_USER and SLIPWAY_METADATA_PASSWORD, or write them to ~/.netrc for 127.0.0.1

          """)
      await store.close()
    }
    #expect(try Disk.contents(of: files.string + "/metadata/a", limit: 10) == [1])
    // A password without spaces: netrc cannot hold one with them.
    let other = try MetadataServer.run(["htpasswd", "-nbm", "you", "p#2"], in: scratch.folder).output
    try ServerProcess.write(other, to: scratch.folder.string + "/users")
    try ServerProcess.write(
      "machine elsewhere login me password x\nmachine 127.0.0.1\n login you\n password p#2\n",
      to: scratch.folder.string + "/.netrc")
    let third = try open(server, environment: ["HOME": scratch.folder.string])
    try await third.write([3], to: path, contentType: "a/b")
    #expect(try await third.read(path, limit: 1) == [3])
    await third.close()
  }

  @Test func `a store behind TLS is one with an authority that is named, and none without`() async throws {
    let made = try Certificates(in: scratch.folder)
    let server = try MetadataServer.nginx(in: scratch.folder, tls: made)
    let url = "https://127.0.0.1:\(server.port)"
    let path = try MetadataPath("metadata/a")
    var settings = settings()
    let untrusted = try openMetadataStore(url, settings: settings, environment: [:])
    let text = await diagnosed { try await untrusted.write([1], to: path, contentType: "a/b") }
    #expect(
      text?.contains("PUT \(url)/metadata/a: the certificate is not signed by a trusted authority") == true,
      "\(text ?? "")")
    await untrusted.close()
    settings.authorities = [FilePath(made.authority)]
    let store = try openMetadataStore(url, settings: settings, environment: [:])
    try await store.write([1], to: path, contentType: "a/b")
    #expect(try await store.read(path, limit: 1) == [1])
    await store.close()
  }

  @Test(arguments: [
    ("limit_except GET { deny all; }", "403 DENIED", "the credentials for 127.0.0.1:PORT do not allow this"),
    ("dav_methods off;", "405 UNSUPPORTED", "the server must take PUT and DELETE below http://127.0.0.1:PORT"),
    ("create_full_put_path off;", "500 INTERNAL_SERVER_ERROR (2 attempts)", "or it must make missing folders"),
    ("return 503;", "503 UNAVAILABLE (2 attempts)", ""), ("return 302 https://other.example/;", "302 ", ""),
    ("return 507;", "507 ", "the server's disk is full"),
  ])
  func `a server that does not take the file says why`(line: String, message: String, hint: String) async throws {
    let folder = scratch.folder.appending("other")
    try Disk.makeFolders(folder.string)
    let server = try MetadataServer.nginx(in: folder, location: line)
    let store = try open(server)
    let text = await diagnosed { try await store.write([1], to: try MetadataPath("metadata/a"), contentType: "a/b") }
    let expected = "error: cannot write `metadata/a`: PUT http://127.0.0.1:\(server.port)/metadata/a: \(message)"
    #expect(text?.hasPrefix(expected) == true, "\(text ?? "")")
    let wanted = hint.replacing("PORT", with: "\(server.port)")
    #expect(text?.contains(wanted) == true, "\(text ?? "")")
    await store.close()
  }

  @Test func `nobody at the port is said at once`() async throws {
    let port = try ServerProcess.freePort()
    let store = try openMetadataStore("http://127.0.0.1:\(port)/x", settings: settings(), environment: [:])
    let text = await diagnosed { _ = try await store.read(try MetadataPath("metadata/index.json"), limit: 10) }
    #expect(
      text == """
        error: cannot read `metadata/index.json`: GET http://127.0.0.1:\(port)/x/metadata/index.json: \
        connection refused \
        (2 attempts)
        hint: is a server running at 127.0.0.1:\(port)?

        """)
    await store.close()
  }
}
