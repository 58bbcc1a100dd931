import CArchive
import Caching
import Diagnostics
import Digests
import SystemPackage

/// Where libarchive takes its bytes from.
///
/// A class, since a C callback gets one pointer; what it cannot throw through C is kept until the caller asks.
private class ByteSource {
  var hasher: DigestHasher?
  private(set) var failure: (any Error)?

  init(hashing: Bool) { hasher = hashing ? DigestHasher() : nil }

  /// The next bytes, valid until the next call; empty at the end.
  func read() throws -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }

  final func next() throws -> UnsafeRawBufferPointer {
    let bytes = try read()
    hasher?.update(bytes)
    return bytes
  }

  /// Reads, and hashes, what libarchive left.
  final func drain() throws { while try next().count > 0 {} }

  /// Opens the archive to read from here; the source must outlive it.
  final func open(_ archive: OpaquePointer) -> Int32 {
    archive_read_open(
      archive, Unmanaged.passUnretained(self).toOpaque(), nil,
      { _, context, buffer in
        guard let context else { return -1 }
        let source = Unmanaged<ByteSource>.fromOpaque(context).takeUnretainedValue()
        do {
          let bytes = try source.next()
          buffer?.pointee = bytes.baseAddress
          return bytes.count
        } catch {
          source.failure = error
          return -1
        }
      }, nil)
  }
}

/// The uncompressed bytes of a file, whatever it is compressed with, a block at a time.
final class InflatingReader {
  private let archive: OpaquePointer
  private let path: String
  /// Hash of the compressed bytes, when it was asked for.
  private let source: Source
  private let limit: Int
  /// Uncompressed bytes so far.
  private(set) var size = 0

  private final class Source: ByteSource {
    private let file: FileDescriptor
    private let path: String
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)

    init(_ file: FileDescriptor, path: String, hashing: Bool) {
      self.file = file
      self.path = path
      super.init(hashing: hashing)
    }

    deinit { buffer.deallocate() }

    override func read() throws -> UnsafeRawBufferPointer {
      UnsafeRawBufferPointer(rebasing: buffer[..<(try Disk.read(file, into: buffer, path: path))])
    }
  }

  init(_ file: FileDescriptor, path: String, hashing: Bool, limit: Int) throws {
    guard let archive = archive_read_new() else { throw Diagnostic.error("out of memory", cause: .internal) }
    self.archive = archive
    self.path = path
    self.limit = limit
    source = Source(file, path: path, hashing: hashing)
    archive_read_support_filter_gzip(archive)
    archive_read_support_filter_zstd(archive)
    archive_read_support_format_raw(archive)
    archive_read_support_format_empty(archive)
    let status = source.open(archive)
    var entry: OpaquePointer?
    // An empty file has no entry, and no bytes.
    guard status == ARCHIVE_OK, archive_read_next_header(archive, &entry) >= ARCHIVE_WARN || isEnd else {
      throw failure()
    }
  }

  private var isEnd: Bool { archive_errno(archive) == 0 }

  deinit { archive_read_free(archive) }

  private func failure() -> any Error {
    source.failure ?? archiveFailure("read `\(path)`", archive, cause: .build)
  }

  /// The next bytes, valid until the next call; empty at the end.
  func next() throws -> UnsafeRawBufferPointer {
    var bytes: UnsafeRawPointer?
    var count = 0
    var offset: Int64 = 0
    repeat {
      let status = archive_read_data_block(archive, &bytes, &count, &offset)
      if status == ARCHIVE_EOF { return UnsafeRawBufferPointer(start: nil, count: 0) }
      guard status >= ARCHIVE_WARN else { throw failure() }
    } while count == 0
    size += count
    guard size <= limit else {
      throw Diagnostic.error("`\(path)` expands to more than the \(limit) bytes allowed", cause: .build)
    }
    return UnsafeRawBufferPointer(start: bytes, count: count)
  }

  /// The digest of the whole compressed file, once its last byte is read; what libarchive left is read now.
  func compressedDigest() throws -> Digest? {
    try source.drain()
    return source.hasher?.finish()
  }
}

/// The entries of a tar, read from another reader, whose bytes it hashes.
final class TarReader {
  private let archive: OpaquePointer
  private let source: Source
  let path: String

  private final class Source: ByteSource {
    private let reader: InflatingReader

    init(_ reader: InflatingReader) {
      self.reader = reader
      super.init(hashing: true)
    }

    override func read() throws -> UnsafeRawBufferPointer { try reader.next() }
  }

  init(_ reader: InflatingReader, path: String) throws {
    guard let archive = archive_read_new() else { throw Diagnostic.error("out of memory", cause: .internal) }
    self.archive = archive
    self.path = path
    source = Source(reader)
    archive_read_support_format_tar(archive)
    archive_read_support_format_empty(archive)
    let status = source.open(archive)
    guard status == ARCHIVE_OK else { throw failure() }
  }

  deinit { archive_read_free(archive) }

  func failure() -> any Error { source.failure ?? archiveFailure("read `\(path)` as a tar", archive, cause: .build) }

  /// The next entry, valid until the next call; `nil` at the end.
  func next() throws -> OpaquePointer? {
    var entry: OpaquePointer?
    let status = archive_read_next_header(archive, &entry)
    if status == ARCHIVE_EOF { return nil }
    // A warning is a tar that says one thing twice, or names that cannot be converted: nothing to build on.
    guard status == ARCHIVE_OK, let entry else { throw failure() }
    return entry
  }

  /// A piece of the entry's content and its offset; `nil` at its end.
  func nextBlock() throws -> (bytes: UnsafeRawBufferPointer, offset: Int64)? {
    var bytes: UnsafeRawPointer?
    var count = 0
    var offset: Int64 = 0
    let status = archive_read_data_block(archive, &bytes, &count, &offset)
    if status == ARCHIVE_EOF { return nil }
    guard status == ARCHIVE_OK else { throw failure() }
    return (UnsafeRawBufferPointer(start: bytes, count: count), offset)
  }

  /// The digest of the whole tar; what follows its last entry is read now.
  func digest() throws -> Digest {
    try source.drain()
    guard let digest = source.hasher?.finish() else { throw Diagnostic.error("a tar is not hashed", cause: .internal) }
    return digest
  }
}
