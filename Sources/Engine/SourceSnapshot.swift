import Caching
import Diagnostics
import Digests
import Files
import Glibc
import Synchronization
import SystemPackage

/// A source file was not what its key says when it was copied; the key has to be computed again.
struct SourceChanged: Error {
  var path: WorkspacePath
  var package: WorkspacePath
}

/// Copies of source files in the content store: what an action sees is what was fingerprinted.
final class SourceSnapshot: Sendable {
  private let store: Store
  private let tree: WorkingTree
  private let known = Mutex<[Fingerprint: FileArtifact]>([:])

  init(store: Store, tree: WorkingTree) {
    self.store = store
    self.tree = tree
  }

  /// The file's copy; throws `SourceChanged` when its bytes are no longer those of `file.fingerprint`.
  func artifact(of file: SourceFile) throws -> FileArtifact {
    let executable = file.mode == .executable
    if var copy = known.withLock({ $0[file.fingerprint] }) {
      copy.isExecutable = executable
      return copy
    }
    // Equal fingerprints are equal bytes, so what was digested to ask others for a result need not be again.
    let digest = tree.digest(of: file)
    let temporary = try store.temporaryPath()
    let destination = try Disk.open(temporary, O_RDWR | O_CREAT | O_EXCL)
    var reading: FileReading
    do {
      defer { try? destination.close() }
      reading = try tree.reader.copy(file.path, to: destination, wantsDigest: digest == nil)
    } catch {
      unlink(temporary)
      throw error
    }
    guard reading.isStable, reading.fingerprint == file.fingerprint, let digest = digest ?? reading.digest else {
      unlink(temporary)
      throw SourceChanged(path: file.path, package: tree.package(containing: file.path) ?? .root)
    }
    let artifact = FileArtifact(digest: digest, size: Int(reading.size), isExecutable: executable)
    try store.insert(movingFrom: FilePath(temporary), artifact)
    known.withLock { $0[file.fingerprint] = artifact }
    return artifact
  }
}
