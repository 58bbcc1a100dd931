import Caching
import Diagnostics
import Glibc
import SystemPackage

/// Held by the one publish of a workspace that may write the journal; the kernel releases it when the process ends.
package final class PublishLock: Sendable {
  private let file: FileDescriptor

  private init(_ file: FileDescriptor) { self.file = file }

  deinit { try? file.close() }

  /// Waits for whoever holds it.
  ///
  /// - Parameter waiting: Told once, with the process that is waited for, if it is known.
  package static func take(_ path: FilePath, waiting: (Int?) -> Void) async throws -> PublishLock {
    var isTold = false
    while true {
      let file = try Disk.open(path.string, O_RDWR | O_CREAT | O_NOFOLLOW)
      if flock(file.rawValue, LOCK_EX | LOCK_NB) == 0 {
        let text = Array("\(getpid())\n".utf8)
        ftruncate(file.rawValue, 0)
        // Only for whoever waits to name; a full disk hides the number and nothing else.
        _ = try? text.withUnsafeBytes { try Disk.write(file, $0, path: path.string) }
        return PublishLock(file)
      }
      let code = errno
      defer { try? file.close() }
      guard code == EWOULDBLOCK || code == EINTR else { throw Disk.failure("lock", path.string, code) }
      if !isTold {
        isTold = true
        let bytes = (try? Disk.contents(of: path.string, limit: 32)) ?? []
        waiting(Int(String(decoding: bytes.filter { $0 != UInt8(ascii: "\n") }, as: UTF8.self)))
      }
      try await Task.sleep(for: .milliseconds(50))
    }
  }
}
