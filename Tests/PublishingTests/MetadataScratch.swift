import Caching
import Diagnostics
import Digests
import Glibc
import Manifests
import Synchronization
import SystemPackage

@testable import Publishing

/// A folder that goes with the test.
final class MetadataScratch: Sendable {
  let folder: FilePath

  init() throws {
    var template = Array("/tmp/slipway-metadata-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Disk.failure("make a folder like", "/tmp/slipway-metadata-XXXXXX") }
    folder = FilePath(String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
  }

  deinit { try? Disk.removeTree(folder.string) }

  var store: FileMetadataStore { FileMetadataStore(root: folder.appending("store")) }

  /// All files below the store, by path, temporary ones included.
  func tree() throws -> [String: [UInt8]] { try Self.tree(folder.string + "/store", "") }

  private static func tree(_ folder: String, _ prefix: String) throws -> [String: [UInt8]] {
    var found: [String: [UInt8]] = [:]
    for name in try Disk.names(inFolder: folder) {
      let path = folder + "/" + name
      if try Disk.status(path)?.kind == .folder {
        found.merge(try tree(path, prefix + name + "/")) { $1 }
      } else {
        found[prefix + name] = try Disk.contents(of: path, limit: 1 << 26)
      }
    }
    return found
  }
}

/// A store in memory that notes what is asked, and may die at a write.
final class MemoryMetadataStore: MetadataStore {
  struct Killed: Error {}

  private struct State {
    var files: [MetadataPath: [UInt8]] = [:]
    var reads: [String] = []
    var writes: [String] = []
    var left: Int?
    var unreadable: String?
  }

  private let state = Mutex(State())
  let url = "memory://store"
  let lists: Bool

  init(lists: Bool = true) { self.lists = lists }

  /// Changes that succeed before each further one throws; `nil` for no end.
  func dies(after count: Int?) { state.withLock { $0.left = count } }
  var files: [MetadataPath: [UInt8]] { state.withLock { $0.files } }
  func text(_ path: String) -> String? {
    state.withLock { state in
      (try? MetadataPath(path)).flatMap { state.files[$0] }.map { String(decoding: $0, as: UTF8.self) }
    }
  }
  func set(_ path: String, _ text: String) throws {
    let path = try MetadataPath(path)
    state.withLock { $0.files[path] = Array(text.utf8) }
  }
  /// What was asked since the last call.
  func takeLog() -> (reads: [String], writes: [String]) {
    state.withLock { state in
      defer {
        state.reads = []
        state.writes = []
      }
      return (state.reads, state.writes)
    }
  }

  /// Reads of this path throw; `nil` for none.
  func refuses(_ path: String?) { state.withLock { $0.unreadable = path } }

  func read(_ path: MetadataPath, limit: Int) async throws -> [UInt8]? {
    try state.withLock {
      if $0.unreadable == path.description { throw Killed() }
      $0.reads.append(path.description)
      return $0.files[path]
    }
  }

  func write(_ bytes: [UInt8], to path: MetadataPath, contentType: String) async throws { try change(path, bytes) }
  func remove(_ path: MetadataPath) async throws { try change(path, nil) }

  private func change(_ path: MetadataPath, _ bytes: [UInt8]?) throws {
    try state.withLock { state in
      if let left = state.left {
        guard left > 0 else { throw Killed() }
        state.left = left - 1
      }
      state.writes.append(path.description)
      state.files[path] = bytes
    }
  }

  func list(below path: MetadataPath) async throws -> [MetadataPath]? {
    lists ? files.keys.filter { $0.description.hasPrefix(path.description + "/") }.sorted() : nil
  }

  func close() async {}
}

/// A UUID of the connector's own.
func definitionID(_ repository: String) -> String {
  let hex = Digest(of: repository).hex
  let cuts = [0, 8, 12, 16, 20, 32]
  return zip(cuts, cuts.dropFirst()).map { String(hex.dropFirst($0).prefix($1 - $0)) }.joined(separator: "-")
}

/// Metadata as small as it can be, and whatever else a test adds below `data`.
func connectorMetadata(
  _ repository: String, _ version: String, overrides: String = "{oss: {enabled: true}, cloud: {enabled: true}}",
  more: String = ""
) throws -> Node {
  let type = repository.contains("destination-") ? "destination" : "source"
  let text = """
    metadataSpecVersion: "1.0"
    data:
      name: \(repository.split(separator: "/").last ?? "")
      definitionId: \(definitionID(repository))
      connectorType: \(type)
      connectorSubtype: api
      dockerRepository: \(repository)
      dockerImageTag: \(version)
      documentationUrl: https://docs.example.com/\(repository)
      githubIssueLabel: x
      license: MIT
      releaseStage: alpha
      registryOverrides: \(overrides)
      \(more.split(separator: "\n").joined(separator: "\n  "))
    """
  return try YAMLParser.parse(SourceText(file: "metadata.yaml", text: text, role: .data))
}

func connectorFiles(
  _ repository: String, _ version: String, spec: String = "{\"connectionSpecification\":{}}", icon: String? = "<svg/>",
  overrides: String = "{oss: {enabled: true}, cloud: {enabled: true}}", more: String = ""
) throws -> MetadataFiles {
  try MetadataFiles(
    document: try connectorMetadata(repository, version, overrides: overrides, more: more), spec: Array(spec.utf8),
    icon: icon.map { Array($0.utf8) }, documentation: Array("# \(version)\n".utf8),
    dependencies: [("airbyte-cdk", "7.39.1"), ("attrs", "23.1.0")])
}
