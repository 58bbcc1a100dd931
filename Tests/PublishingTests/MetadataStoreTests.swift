import Caching
import Diagnostics
import Distribution
import Glibc
import SystemPackage
import TestServers
import Testing

@testable import Publishing

@Suite struct MetadataStoreTests {
  @Test(arguments: ["", "/a", "a//b", "a/", "..", "a/../b", ".hidden", "a/.b", "a b", "a\n", "ä", "a?b", "a%2e", "a#b"])
  func `a path that leads elsewhere, or hides, is refused`(text: String) {
    #expect(throws: Diagnostic.self) { try MetadataPath(text) }
  }

  @Test(arguments: ["a", "metadata/airbyte/source-x/1.2.3-rc.1/metadata.yaml", "localhost:5000/a/b", "a/1.0.0+b"])
  func `a path of names is taken as it is`(text: String) throws {
    #expect(try MetadataPath(text).description == text)
  }

  @Test(arguments: [
    ("ftp://a/b", "`ftp://a/b` is not the URL of a metadata store"),
    ("file://relative", "`file://relative` is not the URL of a folder on this machine"),
    ("file:///a/../b", "`file:///a/../b` is not the URL of a folder on this machine"),
    ("http://example.com/x", "`http://example.com/x` would be asked without TLS, though it is on another machine"),
    ("https://u:secret@example.com/x", "the URL of the metadata store holds credentials"),
    ("https://example.com/x?a=b", "`https://example.com/x?a=b` is not the URL of a folder"),
  ])
  func `a URL that is no store says so, and no secret`(url: String, message: String) async throws {
    let text = await diagnosed { _ = try openMetadataStore(url, settings: RegistrySettings(), environment: [:]) }
    #expect(text?.hasPrefix("error: \(message)") == true, "\(text ?? "")")
    #expect(text?.contains("secret") != true)
  }

  @Test func `a repository is locked by itself`() async throws {
    let scratch = try MetadataScratch()
    let store = scratch.store
    try await store.write([1], to: MetadataPath("metadata/a/latest/spec.json"), contentType: "application/json")
    let first = try #require(try await store.lock("airbyte/source-a"))
    let (other, whole) = (try await store.lock("airbyte/source-b"), try await store.lock(nil))
    #expect(other != nil && whole != nil)
    let second = Task { try await store.lock("airbyte/source-a") != nil }
    second.cancel()
    await #expect(throws: CancellationError.self) { try await second.value }
    withExtendedLifetime((first, other, whole)) {}
    #expect(
      try await store.list(below: MetadataPath("metadata"))?.map(\.description) == ["metadata/a/latest/spec.json"])
  }

  @Test func `a folder gives back what was written, lists it, and removes it`() async throws {
    let scratch = try MetadataScratch()
    let store = try openMetadataStore("file://\(scratch.folder)/store", settings: RegistrySettings(), environment: [:])
    let path = try MetadataPath("metadata/airbyte/source-x/latest/metadata.yaml")
    #expect(try await store.read(path, limit: 10) == nil)
    #expect(try await store.list(below: try MetadataPath("metadata")) == [])
    #expect(try await store.writeIfChanged([1, 2, 3], to: path, contentType: "a/b"))
    #expect(try await !store.writeIfChanged([1, 2, 3], to: path, contentType: "a/b"))
    #expect(try await store.writeIfChanged([], to: path, contentType: "a/b"))
    #expect(try await store.read(path, limit: 10) == [])
    let other = try MetadataPath("metadata/a")
    try await store.write([9], to: other, contentType: "a/b")
    #expect(try await store.list(below: try MetadataPath("metadata")) == [other, path])
    try await store.remove(path)
    try await store.remove(path)
    #expect(try await store.read(path, limit: 10) == nil)
    #expect(try await store.list(below: try MetadataPath("metadata")) == [other])
    #expect(await diagnosed { _ = try await store.read(other, limit: 0) }?.contains("more than the 0 allowed") == true)
  }

  @Test func `a symlink in a store leads nowhere, for reading and for writing`() async throws {
    let scratch = try MetadataScratch()
    let store = scratch.store
    let outside = scratch.folder.appending("outside").string
    try Disk.makeFolders(outside)
    try Disk.makeFolders(store.root.string + "/metadata")
    #expect(symlink(outside, store.root.string + "/metadata/link") == 0)
    #expect(symlink("/etc/passwd", store.root.string + "/metadata/file") == 0)
    let through = try MetadataPath("metadata/link/x")
    #expect(await diagnosed { try await store.write([1], to: through, contentType: "") } != nil)
    #expect(await diagnosed { _ = try await store.read(through, limit: 10) } != nil)
    #expect(await diagnosed { _ = try await store.read(try MetadataPath("metadata/file"), limit: 10) } != nil)
    // A write puts a file in the link's place.
    try await store.write([1], to: try MetadataPath("metadata/file"), contentType: "")
    #expect(try await store.read(try MetadataPath("metadata/file"), limit: 10) == [1])
    #expect(try Disk.names(inFolder: outside) == [])
    #expect(try await store.list(below: try MetadataPath("metadata"))?.map(\.description) == ["metadata/file"])
  }

  @Test func `a pipe in a store, or where a journal or certificates are looked for, keeps nobody waiting`() async throws
  {
    let scratch = try MetadataScratch()
    try Disk.makeFolders(scratch.store.root.string + "/metadata")
    let (pipe, other) = (scratch.store.root.string + "/metadata/a", scratch.folder.string + "/pipe")
    #expect(mkfifo(pipe, 0o644) == 0 && mkfifo(other, 0o644) == 0)
    let path = try MetadataPath("metadata/a")
    #expect(await diagnosed { _ = try await scratch.store.read(path, limit: 10) } == "error: `\(pipe)` is not a file\n")
    #expect(try await scratch.store.list(below: try MetadataPath("metadata")) == [])
    let told = "error: `\(other)` is a FIFO; a file is needed there\n"
    #expect(await diagnosed { _ = try PublishJournal(path: FilePath(other)) } == told)
    var settings = RegistrySettings()
    settings.authorities = [FilePath(other)]
    let secure = try openMetadataStore("https://127.0.0.1:1/x", settings: settings, environment: [:])
    #expect(await diagnosed { _ = try await secure.read(path, limit: 10) } == told)
    await secure.close()
    // A write puts a file in the pipe's place.
    try await scratch.store.write([1], to: path, contentType: "")
    #expect(try await scratch.store.read(path, limit: 10) == [1])
  }

  @Test func `a full disk is said, and leaves what was there`() async throws {
    let scratch = try MetadataScratch()
    let store = scratch.store
    let path = try MetadataPath("metadata/a")
    try await store.write([1], to: path, contentType: "")
    // A limit on the size of files is a full disk that needs no mount: EFBIG instead of ENOSPC, at the same call.
    var old = rlimit()
    getrlimit(__rlimit_resource_t(1), &old)
    signal(SIGXFSZ, SIG_IGN)
    var small = rlimit(rlim_cur: 64 << 20, rlim_max: old.rlim_max)
    setrlimit(__rlimit_resource_t(1), &small)
    let text = await diagnosed {
      try await store.write([UInt8](repeating: 7, count: 65 << 20), to: path, contentType: "")
    }
    setrlimit(__rlimit_resource_t(1), &old)
    #expect(text == "error: cannot write `\(store.root)/metadata/a`: file too large\n")
    #expect(try scratch.tree() == ["metadata/a": [1]])
  }

  @Test func `a store that cannot be written says so`() async throws {
    let store = try openMetadataStore("file:///sys/kernel/store", settings: RegistrySettings(), environment: [:])
    let text = await diagnosed { try await store.write([1], to: try MetadataPath("metadata/a"), contentType: "") }
    #expect(
      text?.hasPrefix("error: cannot make the folder of `/sys/kernel/store/metadata/a`: ") == true, "\(text ?? "")")
    #expect(text?.hasSuffix("hint: the metadata store must be one that you can write\n") == true, "\(text ?? "")")
    #expect(try await store.read(try MetadataPath("metadata/a"), limit: 1) == nil)
  }

  @Test func `what a killed writer left long ago is swept away, and not what is fresh`() async throws {
    let scratch = try MetadataScratch()
    let store = scratch.store
    try Disk.makeFolders(store.root.string + "/metadata")
    for (name, age) in [(".a.1.tmp", 7200), (".a.2.tmp", 10)] {
      let path = store.root.string + "/metadata/" + name
      close(creat(path, 0o644))
      var times = [timespec(tv_sec: time(nil) - age, tv_nsec: 0), timespec(tv_sec: time(nil) - age, tv_nsec: 0)]
      utimensat(AT_FDCWD, path, &times, 0)
    }
    try await store.write([1], to: try MetadataPath("metadata/a"), contentType: "")
    #expect(try scratch.tree().keys.sorted() == ["metadata/.a.2.tmp", "metadata/a"])
    #expect(try await store.list(below: try MetadataPath("metadata"))?.map(\.description) == ["metadata/a"])
  }

  @Test(arguments: [
    ("machine a.example login me password p#1", "a.example:443", "me", "p#1"),
    ("# machine a.example login x password y\nmachine a.example\n  login me\n  password p", "a.example", "me", "p"),
    ("machine b login x password y machine a.example password p account q login me", "a.example:8443", "me", "p"),
    ("machine [::1] login me password p", "[::1]", "me", "p"),
  ])
  func `netrc gives the credentials of a host`(text: String, host: String, user: String, password: String) {
    #expect(HTTPMetadataStore.netrc(text, host: host) == .basic(user: user, password: password))
  }

  @Test(arguments: [
    "default login me password p", "machine b login me password p", "machine a.example login me", "machine", "",
  ])
  func `netrc gives nothing for a host that it does not name`(text: String) {
    #expect(HTTPMetadataStore.netrc(text, host: "a.example") == nil)
  }

  @Test func `no netrc at all is /dev/null`() throws {
    #expect(try HTTPMetadataStore.credential(for: "a.example", environment: ["NETRC": "/dev/null"]) == nil)
  }
}
