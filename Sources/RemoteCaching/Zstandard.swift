import CArchive

/// Blobs in Zstandard frames (RFC 8878), as the Remote Execution API sends them: libarchive's filter around nothing else.
///
/// A server cannot make it costly: what comes out is bounded by the size that was asked for.
enum Zstandard {
  /// Below it a frame's own bytes are what is saved.
  static let leastSize = 512

  /// Whether this machine's libarchive has it.
  static let isThere = Encoder() != nil

  /// The bytes in one frame; nil where that is no smaller.
  static func compressed(_ bytes: [UInt8]) -> [UInt8]? {
    guard bytes.count >= leastSize, let encoder = Encoder() else { return nil }
    guard bytes.withUnsafeBytes({ encoder.write($0) }), let frame = encoder.finish() else { return nil }
    return frame.count < bytes.count ? frame : nil
  }

  /// What is in a frame; nil unless it is that many bytes.
  static func expanded(_ frame: some Collection<UInt8>, size: Int) -> [UInt8]? {
    let frame = Array(frame)
    var result: [UInt8] = []
    result.reserveCapacity(size)
    let isWhole = frame.withUnsafeBytes { frame in
      expand(size: size, { archive_read_open_memory($0, frame.baseAddress, frame.count) }) { result += $0 }
    }
    return isWhole ? result : nil
  }

  /// Gives what is in a file's frame piece by piece; false unless it is that many bytes.
  static func expand(
    file: Int32, size: Int, _ take: (UnsafeRawBufferPointer) throws -> Void
  ) rethrows -> Bool {
    try expand(size: size, { archive_read_open_fd($0, file, 64 << 10) }, take)
  }

  private static func expand(
    size: Int, _ open: (OpaquePointer) -> Int32, _ take: (UnsafeRawBufferPointer) throws -> Void
  ) rethrows -> Bool {
    guard let archive = archive_read_new() else { return false }
    defer { archive_read_free(archive) }
    var entry: OpaquePointer?
    // Nothing but this filter: no other format is looked for in what a server sent.
    guard archive_read_support_filter_zstd(archive) == ARCHIVE_OK,
      archive_read_support_format_raw(archive) == ARCHIVE_OK, open(archive) == ARCHIVE_OK,
      archive_read_next_header(archive, &entry) == ARCHIVE_OK, archive_filter_code(archive, 0) == ARCHIVE_FILTER_ZSTD
    else { return false }
    var total = 0
    while true {
      var (bytes, count, offset): (UnsafeRawPointer?, Int, Int64) = (nil, 0, 0)
      let status = archive_read_data_block(archive, &bytes, &count, &offset)
      if status == ARCHIVE_EOF { return total == size }
      guard status == ARCHIVE_OK, total + count <= size else { return false }
      total += count
      try take(UnsafeRawBufferPointer(start: bytes, count: count))
    }
  }

  /// A frame that is made as bytes come.
  final class Encoder {
    private let archive: OpaquePointer
    private var frame: [UInt8] = []

    /// Nil where libarchive was built without it: it would start a program of that name.
    init?() {
      guard let archive = archive_write_new() else { return nil }
      self.archive = archive
      guard archive_write_add_filter_zstd(archive) == ARCHIVE_OK, archive_write_set_format_raw(archive) == ARCHIVE_OK,
        archive_write_set_bytes_per_block(archive, 0) == ARCHIVE_OK,
        archive_write_set_bytes_in_last_block(archive, 1) == ARCHIVE_OK, let entry = archive_entry_new()
      else { return nil }
      defer { archive_entry_free(entry) }
      let opened = archive_write_open(
        archive, Unmanaged.passUnretained(self).toOpaque(), nil,
        { _, encoder, bytes, count in
          let encoder = Unmanaged<Encoder>.fromOpaque(encoder!).takeUnretainedValue()
          encoder.frame.append(contentsOf: UnsafeRawBufferPointer(start: bytes, count: count))
          return count
        }, nil)
      archive_entry_set_filetype(entry, UInt32(S_IFREG))
      guard opened == ARCHIVE_OK, archive_write_header(archive, entry) == ARCHIVE_OK else { return nil }
    }

    deinit { archive_write_free(archive) }

    func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
      bytes.isEmpty || archive_write_data(archive, bytes.baseAddress, bytes.count) == bytes.count
    }

    /// What there is of the frame since the last call.
    func take() -> [UInt8] {
      defer { frame = [] }
      return frame
    }

    /// The rest of the frame.
    func finish() -> [UInt8]? { archive_write_close(archive) == ARCHIVE_OK ? take() : nil }
  }
}
