import Caching
import Diagnostics
import Digests
import Glibc
import OCI
import Synchronization
import SystemPackage
import TestServers

@testable import Distribution

typealias ServerProcess = TestServers.ServerProcess
typealias ServerFailure = TestServers.ServerFailure

/// A folder, a store in it, and the servers of one test; all gone at its end.
final class Fixture: Sendable {
  let folder: FilePath
  let store: Store
  private let servers = Mutex<[ServerProcess]>([])

  init() throws {
    var template = Array("/tmp/slipway-registry-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw ServerFailure("no folder") }
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    folder = FilePath(path)
    store = try Store(root: FilePath(path + "/store"))
  }

  deinit {
    servers.withLock { list in
      for server in list { server.stop() }
      list = []
    }
    try? Disk.removeTree(folder.string)
  }

  func makeFolder(_ name: String) throws -> FilePath {
    let path = folder.appending("\(name)-\(UInt32.random(in: 0 ... .max))")
    try Disk.makeFolders(path.string)
    return path
  }

  func keep(_ server: ServerProcess) -> ServerProcess {
    servers.withLock { $0.append(server) }
    return server
  }

  /// docker-registry; lines of YAML are added to its configuration.
  func registry(tls: String = "", auth: String = "") throws -> ServerProcess {
    let folder = try makeFolder("registry")
    let port = try ServerProcess.freePort()
    try ServerProcess.write(
      """
      version: 0.1
      log: {level: error, accesslog: {disabled: true}}
      storage: {filesystem: {rootdirectory: "\(folder)/data"}, delete: {enabled: true}}
      http: {addr: "127.0.0.1:\(port)", secret: tests\(tls)}
      \(auth)
      """, to: folder.string + "/config.yml")
    return keep(
      try ServerProcess(["docker-registry", "serve", folder.string + "/config.yml"], port: port, folder: folder))
  }

  /// A new store in the same folder, as another machine would have.
  func anotherStore() throws -> Store {
    try Store(root: folder.appending("store-\(UInt32.random(in: 0 ... .max))"))
  }

  /// An image of some layers of pseudorandom bytes, which no compressor makes smaller.
  func image(layers: [Int], seed: UInt64 = 1, in store: Store? = nil) throws -> PushableImage {
    let store = store ?? self.store
    var seed = seed
    var descriptors: [Descriptor] = []
    for size in layers {
      let file = try store.insert(Self.bytes(size, seed: &seed))
      descriptors.append(Descriptor(mediaType: MediaType.layerGzip, digest: file.digest, size: file.size))
    }
    let config = try store.insert(
      JSON.object([
        "architecture": .string("amd64"), "os": .string("linux"), "config": .object([:]),
        "rootfs": .object([
          "type": .string("layers"), "diff_ids": .strings(descriptors.map { $0.digest.oci }),
        ]),
      ]).encoded)
    let manifest = try store.insert(
      Self.manifest(Descriptor(mediaType: MediaType.config, digest: config.digest, size: config.size), descriptors))
    return try PushableImage(manifest: manifest.digest, in: store)
  }

  static func manifest(_ config: Descriptor, _ layers: [Descriptor]) -> [UInt8] {
    func json(_ descriptor: Descriptor) -> JSON {
      .object([
        "mediaType": .string(descriptor.mediaType), "digest": .string(descriptor.digest.oci),
        "size": .number(descriptor.size),
      ])
    }
    return JSON.object([
      "schemaVersion": .number(2), "mediaType": .string(MediaType.manifest), "config": json(config),
      "layers": .array(layers.map(json)),
    ]).encoded
  }

  static func bytes(_ count: Int, seed: inout UInt64) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, used in
      for index in 0..<count {
        seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        buffer[index] = UInt8(truncatingIfNeeded: seed >> 56)
      }
      used = count
    }
  }

  /// Settings that wait for nothing, and note what they would have waited.
  func settings(_ waits: Waits = Waits()) -> RegistrySettings {
    var settings = RegistrySettings()
    settings.time = RegistrySettings.Time(
      sleep: { waits.note($0) }, now: { 1_000_000_000 }, random: { 0.5 })
    settings.warn = { waits.note($0) }
    return settings
  }

  func client(_ settings: RegistrySettings) -> RegistryClient { RegistryClient(settings) }
}

/// What a client waited for and warned of.
final class Waits: Sendable {
  private let state = Mutex<(durations: [Duration], warnings: [Diagnostic])>(([], []))
  func note(_ duration: Duration) { state.withLock { $0.durations.append(duration) } }
  func note(_ warning: Diagnostic) { state.withLock { $0.warnings.append(warning) } }
  var durations: [Duration] { state.withLock { $0.durations } }
  var warnings: [Diagnostic] { state.withLock { $0.warnings } }
}
