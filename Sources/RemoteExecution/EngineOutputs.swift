import Caching
import Digests
import RemoteCaching
import RemoteExecutionAPI

/// What an action gave on an engine, brought into the store and looked at: nothing that an engine says is believed.
package struct EngineOutputs: Sendable {
  /// By the path that was asked for.
  package var artifacts: [String: Artifact] = [:]
  package var standardOutput: [UInt8] = []
  package var standardError: [UInt8] = []

  package init() {}

  private static let treeLimit = 256 << 20
  private static let textLimit = 256 << 20

  /// - Throws: A failure of reason `.content` for what is damaged, missing or no output at all.
  package init(_ result: REAPIActionResult, of engine: ExecutionEngine, into store: Store) async throws(RemoteFailure) {
    func wrong(_ text: String) -> RemoteFailure { RemoteFailure(.content, "Execute \(engine.url): \(text)") }
    var files: Set<RemoteBlob> = []
    for file in result.outputFiles {
      guard let digest = file.digest.value else { throw wrong("the output `\(file.path)` has no digest") }
      let artifact = FileArtifact(digest: digest, size: Int(file.digest.sizeBytes), isExecutable: file.isExecutable)
      artifacts[file.path] = .file(artifact)
      files.insert(RemoteBlob(artifact.digest, size: artifact.size))
    }
    for directory in result.outputDirectories {
      guard let digest = directory.treeDigest.value, directory.treeDigest.sizeBytes <= Self.treeLimit else {
        throw wrong("the output `\(directory.path)` has no tree")
      }
      let blob = RemoteBlob(digest, size: Int(directory.treeDigest.sizeBytes))
      let bytes = try await Self.bytes(of: blob, engine, store)
      guard let bytes, let tree = try? REAPITree(serializedBytes: bytes) else {
        throw wrong("the tree of the output `\(directory.path)` is missing or damaged")
      }
      guard let root = try locally({ try Self.insert(tree, into: store, &files) }) else {
        throw wrong("the tree of the output `\(directory.path)` is none")
      }
      artifacts[directory.path] = .directory(root)
    }
    let absent = files.filter { !store.contains($0.digest, size: $0.size) }.sorted { $0.digest < $1.digest }
    if !absent.isEmpty {
      let came = try await engine.fetch(absent, into: store)
      guard came.count == absent.count else {
        throw wrong("\(absent.count - came.count) of its outputs' blobs are missing or damaged")
      }
    }
    standardOutput = try await Self.text(result.stdoutRaw, result.stdoutDigest, result.hasStdoutDigest, engine, store)
    standardError = try await Self.text(result.stderrRaw, result.stderrDigest, result.hasStderrDigest, engine, store)
  }

  private static func bytes(of blob: RemoteBlob, _ engine: ExecutionEngine, _ store: Store)
    async throws(RemoteFailure) -> [UInt8]?
  {
    if !store.contains(blob.digest, size: blob.size), try await engine.fetch([blob], into: store).isEmpty {
      return nil
    }
    return try locally { try store.read(blob.digest, limit: blob.size) }
  }

  private static func text(
    _ raw: some Sequence<UInt8>, _ digest: REAPIDigest, _ hasDigest: Bool, _ engine: ExecutionEngine, _ store: Store
  ) async throws(RemoteFailure) -> [UInt8] {
    let inline = Array(raw)
    guard inline.isEmpty, hasDigest, digest.sizeBytes > 0, digest.sizeBytes <= textLimit, let value = digest.value
    else {
      return inline
    }
    guard let bytes = try await bytes(of: RemoteBlob(value, size: Int(digest.sizeBytes)), engine, store) else {
      throw RemoteFailure(.content, "Execute \(engine.url): what the action printed is missing or damaged")
    }
    return bytes
  }

  /// The folders of a tree in their canonical form, whatever else the engine noted of them; nil for one with a hole, a
  /// loop or unsound names.
  private static func insert(_ tree: REAPITree, into store: Store, _ files: inout Set<RemoteBlob>) throws
    -> DirectoryArtifact?
  {
    var children: [String: REAPIDirectory] = [:]
    for child in tree.children { children[REAPIDigest(of: child.canonicalBytes).hash] = child }
    var done: [String: DirectoryArtifact] = [:]
    func insert(_ directory: REAPIDirectory, depth: Int) throws -> DirectoryArtifact? {
      guard depth < Store.depthLimit else { return nil }
      var entries: [Directory.Entry] = []
      for file in directory.files {
        guard let digest = file.digest.value else { return nil }
        let size = Int(file.digest.sizeBytes)
        files.insert(RemoteBlob(digest, size: size))
        entries.append(
          .init(file.name, .file(FileArtifact(digest: digest, size: size, isExecutable: file.isExecutable))))
      }
      for link in directory.symlinks {
        guard !link.target.isEmpty else { return nil }
        entries.append(.init(link.name, .symlink(link.target)))
      }
      for folder in directory.directories {
        let known = done[folder.digest.hash]
        guard let child = children[folder.digest.hash], let inner = try known ?? insert(child, depth: depth + 1) else {
          return nil
        }
        done[folder.digest.hash] = inner
        entries.append(.init(folder.name, .folder(inner)))
      }
      let names = Set(entries.map { Array($0.name.utf8) })
      guard names.count == entries.count, entries.allSatisfy({ Directory.isSound($0.name) }) else { return nil }
      return try store.insert(Directory(entries))
    }
    return try insert(tree.root, depth: 0)
  }
}
