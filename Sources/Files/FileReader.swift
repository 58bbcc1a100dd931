import Diagnostics
import Digests
import Glibc
import SystemPackage

/// What one pass over a file's bytes gave.
package struct FileReading: Hashable, Sendable {
  /// Taken before the first look at the file.
  package var time: ObservationTime
  package var before: FileStat
  package var after: FileStat
  package var mode: SourceFile.Mode
  /// The bytes that were read.
  package var size: Int64
  package var fingerprint: Fingerprint
  /// `nil` unless it was asked for.
  package var digest: Digest?

  /// Whether the bytes are those of one moment: no change showed while they were read.
  package var isStable: Bool { before == after && (mode == .symlink || size == before.size) }
}

/// Reads source files below a folder: each once, without following a link at the path's end.
package struct FileReader: Sendable {
  private static let bufferSize = 128 << 10

  /// Of the folder that paths start from.
  let root: Int32

  /// Reads a file once; computes its fingerprint, and its digest if wanted; and writes the bytes to `destination`.
  ///
  /// When the reading is not `isStable` the caller empties the destination and tries again. Throws a `Diagnostic` when
  /// the file vanished, changed its type or cannot be read, or the destination cannot be written.
  package func copy(
    _ path: WorkspacePath, to destination: FileDescriptor, wantsDigest: Bool = true
  ) throws -> FileReading {
    try path.string.withCString { try pass($0, wantsDigest: wantsDigest, destination: destination) }
  }

  /// Fingerprint, and digest if wanted, of the bytes of one moment; tries again while the file changes.
  func hash(_ path: UnsafePointer<CChar>, wantsDigest: Bool = false) throws -> FileReading {
    for _ in 0..<5 {
      let reading = try pass(path, wantsDigest: wantsDigest, destination: nil)
      if reading.isStable { return reading }
      usleep(2_000)
    }
    throw Diagnostic.error(
      "`\(String(cString: path))` kept changing while it was read", cause: .environment,
      hints: ["build again when nothing writes to it"])
  }

  /// All bytes of a file, or a link's text.
  func read(_ path: UnsafePointer<CChar>, limit: Int) throws -> [UInt8] {
    for _ in 0..<5 {
      var bytes: [UInt8] = []
      var tooLarge = false
      let reading = try visit(path, wantsDigest: false) { chunk in
        if bytes.count + chunk.count > limit { tooLarge = true } else { bytes.append(contentsOf: chunk) }
        return !tooLarge
      }
      if tooLarge {
        throw Diagnostic.error("`\(String(cString: path))` is larger than \(limit) bytes")
      }
      if reading.isStable { return bytes }
      usleep(2_000)
    }
    throw Diagnostic.error("`\(String(cString: path))` kept changing while it was read", cause: .environment)
  }

  private func pass(_ path: UnsafePointer<CChar>, wantsDigest: Bool, destination: FileDescriptor?) throws
    -> FileReading
  {
    try visit(path, wantsDigest: wantsDigest) { chunk in
      guard let destination else { return true }
      do { try destination.writeAll(chunk) } catch let error as Errno {
        throw Diagnostic.cannot(
          "write the copy of", String(cString: path), error,
          hints: error == .noSpace
            ? ["free some space on the disk of the cache, or run `slipway cache gc --max-size SIZE`"] : [])
      }
      return true
    }
  }

  /// Calls `body` with each chunk until it returns false.
  private func visit(
    _ path: UnsafePointer<CChar>, wantsDigest: Bool, _ body: (UnsafeRawBufferPointer) throws -> Bool
  ) throws -> FileReading {
    let time = ObservationTime.now()
    // O_NONBLOCK: a pipe that took the file's place must not block the open.
    let raw = openat(root, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    if raw < 0 {
      let error = Errno.last
      if error == .tooManySymbolicLinkLevels { return try visitLink(path, time, wantsDigest: wantsDigest, body) }
      throw Self.unreadable(path, error)
    }
    defer { close(raw) }
    var status = stat()
    guard fstat(raw, &status) == 0 else { throw Self.unreadable(path, .last) }
    let before = FileStat(status)
    guard let mode = SourceFile.Mode(status.st_mode) else {
      throw Diagnostic.error(
        "`\(String(cString: path))` is no longer a file", cause: .environment, hints: ["build again"])
    }
    var sink = HashSink(wantsDigest: wantsDigest, isSmall: before.size <= Self.bufferSize)
    try withUnsafeTemporaryAllocation(byteCount: Self.bufferSize, alignment: 64) { buffer in
      while true {
        let count = Glibc.read(raw, buffer.baseAddress, buffer.count)
        if count < 0 {
          if errno == EINTR { continue }
          throw Self.unreadable(path, .last)
        }
        if count == 0 { break }
        let chunk = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        // One read that gives the expected size saves the streaming hasher's set-up.
        sink.add(chunk, isWhole: Int64(count) == before.size)
        if try !body(chunk) { break }
        // A file that grows for ever would never end.
        if sink.size > before.size { break }
      }
    }
    guard fstat(raw, &status) == 0 else { throw Self.unreadable(path, .last) }
    let (fingerprint, digest) = sink.finish()
    return FileReading(
      time: time, before: before, after: FileStat(status), mode: mode, size: sink.size, fingerprint: fingerprint,
      digest: digest)
  }

  private func visitLink(
    _ path: UnsafePointer<CChar>, _ time: ObservationTime, wantsDigest: Bool,
    _ body: (UnsafeRawBufferPointer) throws -> Bool
  ) throws -> FileReading {
    var before = stat()
    var after = stat()
    guard fstatat(root, path, &before, AT_SYMLINK_NOFOLLOW) == 0 else { throw Self.unreadable(path, .last) }
    return try withUnsafeTemporaryAllocation(byteCount: Int(PATH_MAX) + 1, alignment: 1) { buffer in
      guard let text = buffer.bindMemory(to: CChar.self).baseAddress else { throw Self.unreadable(path, .noMemory) }
      let count = readlinkat(root, path, text, buffer.count)
      guard count >= 0 else { throw Self.unreadable(path, .last) }
      guard fstatat(root, path, &after, AT_SYMLINK_NOFOLLOW) == 0 else { throw Self.unreadable(path, .last) }
      let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
      _ = try body(bytes)
      return FileReading(
        time: time, before: FileStat(before), after: FileStat(after), mode: .symlink, size: Int64(count),
        fingerprint: Fingerprint(of: bytes), digest: wantsDigest ? Digest(of: bytes) : nil)
    }
  }

  private static func unreadable(_ path: UnsafePointer<CChar>, _ error: Errno) -> Diagnostic {
    let name = String(cString: path)
    if error == .noSuchFileOrDirectory || error == .notDirectory {
      return .error("`\(name)` vanished while it was read", cause: .environment, hints: ["build again"])
    }
    return .cannot("read", name, error)
  }
}

/// Both hashes of one stream.
private struct HashSink {
  private(set) var size: Int64 = 0
  private var whole: Fingerprint?
  private var stream: FingerprintHasher?
  private var digester: DigestHasher?

  init(wantsDigest: Bool, isSmall: Bool) {
    if wantsDigest { digester = DigestHasher() }
    if !isSmall { stream = FingerprintHasher() }
  }

  mutating func add(_ chunk: UnsafeRawBufferPointer, isWhole: Bool) {
    digester?.update(chunk)
    if size == 0, isWhole, stream == nil {
      whole = Fingerprint(of: chunk)
    } else {
      // Only a file that changes under the reader comes here without a stream: the reading is not stable then.
      let stream = self.stream ?? FingerprintHasher()
      stream.update(chunk)
      self.stream = stream
      whole = nil
    }
    size += Int64(chunk.count)
  }

  func finish() -> (Fingerprint, Digest?) {
    let empty = UnsafeRawBufferPointer(start: nil, count: 0)
    return (whole ?? stream?.finish() ?? Fingerprint(of: empty), digester?.finish())
  }
}
