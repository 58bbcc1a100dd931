import Diagnostics
import Glibc
import SystemPackage

/// What the file system says about a file without its content: equal means unchanged, once it is `isSettled`.
package struct FileStat: Hashable, Sendable {
  /// Bytes.
  package var size: Int64 = 0
  /// Nanoseconds since 1970, like `ctime`.
  package var mtime: Int64 = 0
  package var ctime: Int64 = 0
  package var inode: UInt64 = 0
  package var device: UInt64 = 0

  init() {}

  init(_ raw: stat) {
    size = Int64(raw.st_size)
    mtime = Self.nanoseconds(raw.st_mtim)
    ctime = Self.nanoseconds(raw.st_ctim)
    inode = UInt64(raw.st_ino)
    device = UInt64(raw.st_dev)
  }

  private static func nanoseconds(_ time: timespec) -> Int64 {
    Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
  }

  /// Whether every change made after `moment` is bound to show in `ctime`.
  ///
  /// Git's "racy" rule, on `ctime` instead of `mtime`: nobody can set it, and every change of content moves it. A file
  /// system that keeps whole seconds (or FAT's two) may give the same time to a change up to that much later.
  package func isSettled(at moment: ObservationTime) -> Bool {
    let granularity: Int64 = ctime % 1_000_000_000 == 0 ? 2_000_000_000 : ObservationTime.tick
    return ctime < moment.nanoseconds - granularity
  }
}

/// When something was looked at, on the clock that stamps inodes.
package struct ObservationTime: Hashable, Comparable, Sendable {
  /// Nanoseconds since 1970.
  package var nanoseconds: Int64

  package static let never = ObservationTime(nanoseconds: 0)
  /// The kernel stamps inodes with the time of its last timer tick: at most 10 ms ago (HZ=100).
  static let tick: Int64 = 10_000_000

  package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  /// Take it before the first look: what changes later has a later time.
  package static func now() -> ObservationTime {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME_COARSE, &time)
    return ObservationTime(nanoseconds: Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec))
  }

  package static func < (a: ObservationTime, b: ObservationTime) -> Bool { a.nanoseconds < b.nanoseconds }
}

extension SourceFile.Mode {
  /// The class of a file that can be a source; `nil` for folders, devices, sockets and pipes.
  init?(_ mode: mode_t) {
    switch mode & S_IFMT {
    case S_IFREG: self = mode & 0o100 != 0 ? .executable : .regular
    case S_IFLNK: self = .symlink
    default: return nil
    }
  }
}

extension Diagnostic {
  /// A system call failed: `cannot ACT PATH: REASON`.
  static func cannot(_ act: String, _ path: String, _ errno: Errno, hints: [String] = []) -> Diagnostic {
    .error("cannot \(act) `\(path)`: \(errno.description.lowercased())", cause: .environment, hints: hints)
  }
}

extension Errno {
  /// Of the last system call of this thread.
  static var last: Errno { Errno(rawValue: errno) }
}
