import Caching
import Diagnostics
import Glibc
import SystemPackage

/// Files that are there whole and on disk, or not at all.
enum DurableFile {
  /// Puts bytes under a name, in place of what has it: written beside it, synced, renamed.
  static func replace(_ path: String, with bytes: [UInt8]) throws {
    let beside = "\(path).\(getpid()).\(UInt32.random(in: 0 ... .max))"
    do {
      let file = try Disk.open(beside, O_WRONLY | O_CREAT | O_EXCL)
      defer { try? file.close() }
      try bytes.withUnsafeBytes { try Disk.write(file, $0, path: path) }
      while fsync(file.rawValue) != 0 {
        if errno != EINTR { throw Disk.failure("write", path) }
      }
      try Disk.rename(beside, path)
    } catch {
      unlink(beside)
      throw error
    }
  }
}
