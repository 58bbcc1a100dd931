import Diagnostics
import Digests
import Glibc
import SystemPackage

/// Digest to bytes.
///
/// A blob is at `cas/ab/<sha256>` with mode 0444, its executable twin at `.x` with 0555, since hard links share modes;
/// either one holds the bytes, and the other is made from it when it is first needed.
extension Store {
  private static let window = 256 << 10

  /// Copies what remains to be read of an open file into the store, hashing it in the same pass.
  package func insert(contentsOf file: FileDescriptor, executable: Bool, path: String = "a file") throws
    -> FileArtifact
  {
    try copy(file, executable: executable, path: path, fingerprint: nil)
  }

  /// As `insert(contentsOf:)`, with the fingerprint of the same bytes: one read serves the key and the store, so an
  /// action sees what its key says even while somebody edits the file.
  package func insertFingerprinting(contentsOf file: FileDescriptor, executable: Bool, path: String = "a file") throws
    -> (artifact: FileArtifact, fingerprint: Fingerprint)
  {
    let hasher = FingerprintHasher()
    let artifact = try copy(file, executable: executable, path: path, fingerprint: hasher)
    return (artifact, hasher.finish())
  }

  private func copy(
    _ file: FileDescriptor, executable: Bool, path: String, fingerprint: FingerprintHasher?
  ) throws -> FileArtifact {
    let size = try Disk.status(of: file, path: path).size
    let room = min(max(size + 1, 1), Store.window)
    return try withUnsafeTemporaryAllocation(byteCount: room, alignment: 16) { buffer in
      var count = try Disk.read(file, into: buffer, path: path)
      if count < room {
        // The whole file is in memory: most are small, and most of those are in the store already.
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        fingerprint?.update(bytes)
        return try insert(bytes, executable: executable)
      }
      let writer = try BlobWriter(self)
      while count > 0 {
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        fingerprint?.update(bytes)
        try writer.write(bytes)
        count = try Disk.read(file, into: buffer, path: path)
      }
      return try writer.finish(executable: executable)
    }
  }

  package func insert(_ bytes: UnsafeRawBufferPointer, executable: Bool = false) throws -> FileArtifact {
    let digest = Digest(of: bytes)
    if hasBlob(digest, size: bytes.count, executable: executable) {
      noteUse(blobPath(digest, executable: executable))
    } else {
      try writeBlob(bytes, digest: digest, executable: executable)
    }
    return FileArtifact(digest: digest, size: bytes.count, isExecutable: executable)
  }

  package func insert(_ bytes: [UInt8], executable: Bool = false) throws -> FileArtifact {
    try bytes.withUnsafeBytes { try insert($0, executable: executable) }
  }

  private func writeBlob(_ bytes: UnsafeRawBufferPointer, digest: Digest, executable: Bool) throws {
    let temporary = try temporaryPath()
    do {
      let file = try Disk.open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
      defer { try? file.close() }
      try Disk.write(file, bytes, path: temporary)
      guard fchmod(file.rawValue, executable ? 0o555 : 0o444) == 0 else {
        throw Disk.failure("set the mode of", temporary)
      }
      Disk.setModificationTime(of: file)
      try move(temporary, to: blobPath(digest, executable: executable))
    } catch {
      unlink(temporary)
      throw error
    }
  }

  /// Takes over a file that nobody else can write, whose digest and size the caller has just computed.
  ///
  /// Another hard link of it, or another file system, makes it a copy whose digest is computed anew.
  package func insert(movingFrom path: FilePath, _ artifact: FileArtifact) throws {
    if hasBlob(artifact.digest, size: artifact.size, executable: artifact.isExecutable) {
      unlink(path.string)
      return
    }
    let file = try Disk.open(path.string, O_RDONLY | O_NOFOLLOW)
    defer { try? file.close() }
    let status = try Disk.status(of: file, path: path.string)
    guard status.kind == .file, status.size == artifact.size else {
      throw Diagnostic.error("`\(path)` is not the file that was hashed", cause: .build)
    }
    if status.links == 1, fchmod(file.rawValue, artifact.isExecutable ? 0o555 : 0o444) == 0 {
      Disk.setModificationTime(of: file)
      let place = blobPath(artifact.digest, executable: artifact.isExecutable)
      if Glibc.rename(path.string, place) == 0 { return }
      if errno == ENOENT {
        try move(path.string, to: place)
        return
      }
      guard errno == EXDEV else { throw Disk.failure("rename `\(path)` to", place) }
    }
    let copied = try insert(contentsOf: file, executable: artifact.isExecutable, path: path.string)
    guard copied.digest == artifact.digest else {
      throw Diagnostic.error("`\(path)` changed after it was hashed", cause: .build)
    }
    unlink(path.string)
  }

  /// Whether the bytes are there, under either mode.
  package func contains(_ digest: Digest, size: Int) -> Bool {
    hasBlob(digest, size: size, executable: false) || hasBlob(digest, size: size, executable: true)
  }

  /// Whether the very twin is there, of the size that it must have.
  func hasBlob(_ digest: Digest, size: Int, executable: Bool) -> Bool {
    guard let status = try? Disk.status(blobPath(digest, executable: executable)) else { return false }
    return status.kind == .file && status.size == size
  }

  /// Where the bytes are, with the mode asked for; the twin is made when only the other one is there.
  package func path(of digest: Digest, executable: Bool) throws -> FilePath {
    let path = blobPath(digest, executable: executable)
    if access(path, F_OK) != 0 { try makeTwin(digest, executable: executable) }
    return FilePath(path)
  }

  package func path(of file: FileArtifact) throws -> FilePath {
    try path(of: file.digest, executable: file.isExecutable)
  }

  func makeTwin(_ digest: Digest, executable: Bool) throws {
    let other = Glibc.open(blobPath(digest, executable: !executable), O_RDONLY | O_CLOEXEC)
    guard other >= 0 else { throw missing(digest) }
    let source = FileDescriptor(rawValue: other)
    defer { try? source.close() }
    let made = try insert(contentsOf: source, executable: executable)
    if made.digest != digest { throw damaged(digest) }
  }

  /// An open descriptor on the bytes.
  package func open(_ digest: Digest) throws -> FileDescriptor {
    for executable in [false, true] {
      let fd = Glibc.open(blobPath(digest, executable: executable), O_RDONLY | O_CLOEXEC)
      if fd >= 0 { return FileDescriptor(rawValue: fd) }
      if errno != ENOENT { throw Disk.failure("open", blobPath(digest, executable: executable)) }
    }
    throw missing(digest)
  }

  /// The bytes, at most `limit` of them.
  package func read(_ digest: Digest, limit: Int) throws -> [UInt8] {
    for executable in [false, true] {
      if let bytes = try Disk.contents(of: blobPath(digest, executable: executable), limit: limit) { return bytes }
    }
    throw missing(digest)
  }

  func missing(_ digest: Digest) -> Diagnostic {
    .error(
      "the blob `\(digest)` is not in the store `\(base)`", cause: .environment,
      hints: ["run `slipway cache verify`, then build again"])
  }

  func damaged(_ digest: Digest) -> Diagnostic {
    .error(
      "the blob `\(digest)` in the store `\(base)` is damaged", cause: .environment,
      hints: ["run `slipway cache verify`, then build again"])
  }
}
