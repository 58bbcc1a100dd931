import Glibc

/// A regular file that is read where the kernel keeps it; whoever changes it must replace it, never cut it short.
final class MappedFile: @unchecked Sendable {
  let bytes: UnsafeRawBufferPointer

  /// - Returns: Nil when there is no such file, or it is empty or larger than `limit` bytes.
  init?(_ path: String, limit: Int) {
    let raw = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard raw >= 0 else { return nil }
    defer { close(raw) }
    var status = stat()
    guard fstat(raw, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    let size = Int(status.st_size)
    guard size > 0, size <= limit, let base = mmap(nil, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, raw, 0),
      base != MAP_FAILED
    else { return nil }
    bytes = UnsafeRawBufferPointer(start: base, count: size)
  }

  deinit { munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count) }
}
