import Diagnostics
import Digests
import Glibc
import SystemPackage

/// Streams bytes into the content store, hashing them on the way; what is not finished leaves nothing behind.
package final class BlobWriter {
  private let store: Store
  private let temporary: String
  private let file: FileDescriptor
  private var hasher = DigestHasher()
  private var isOpen = true
  /// Bytes so far.
  package private(set) var size = 0

  package init(_ store: Store) throws {
    self.store = store
    temporary = try store.temporaryPath()
    file = try Disk.open(temporary, O_RDWR | O_CREAT | O_EXCL, mode: 0o600)
  }

  deinit {
    guard isOpen else { return }
    try? file.close()
    unlink(temporary)
  }

  package func write(_ bytes: UnsafeRawBufferPointer) throws {
    guard bytes.count > 0 else { return }
    hasher.update(bytes)
    try Disk.write(file, bytes, path: temporary)
    size += bytes.count
  }

  /// The file of what was written so far, at its start.
  package func withFile<Value>(_ body: (Int32) throws -> Value) throws -> Value {
    guard lseek(file.rawValue, 0, SEEK_SET) == 0 else { throw Disk.failure("read", temporary) }
    return try body(file.rawValue)
  }

  /// Of what was written so far.
  package var digest: Digest { hasher.finish() }

  /// Puts the blob in its place, unless it is there already.
  package func finish(executable: Bool = false) throws -> FileArtifact {
    let artifact = FileArtifact(digest: hasher.finish(), size: size, isExecutable: executable)
    if store.hasBlob(artifact.digest, size: size, executable: executable) { return artifact }
    guard fchmod(file.rawValue, executable ? 0o555 : 0o444) == 0 else {
      throw Disk.failure("set the mode of", temporary)
    }
    Disk.setModificationTime(of: file)
    try store.move(temporary, to: store.blobPath(artifact.digest, executable: executable))
    isOpen = false
    try? file.close()
    return artifact
  }
}
