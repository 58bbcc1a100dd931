import Diagnostics
import Digests
import Glibc
import Synchronization
import SystemPackage

/// The local content store and action cache: one folder, shared by all checkouts and processes of a user.
///
/// Everything enters by a temporary file or folder and a rename, so whatever is visible is whole; a process killed at
/// any instant leaves no more than a folder under `tmp`, which anyone may remove. Nothing is synced: kill -9 loses no
/// page of the kernel's cache, and after a power cut a file system that orders data before size (ext4, XFS, btrfs)
/// shows a blob that was not written out as too short, which every look-up notices, since names are stored with sizes.
/// A record carries a checksum. Syncing each blob would cost milliseconds a file to protect what can be built again.
package final class Store: Sendable {
  package let root: FilePath
  let base: String
  private let session = Mutex<Session?>(nil)
  private let counter = Atomic<Int>(0)
  /// Roots of directories whose whole content was seen to be there, for the generation that it was seen in.
  let complete = Mutex<(generation: Int, roots: Set<Digest>)>((0, []))

  /// What `evicted.log` said when it was last read, with the change time that it had.
  let evictions = Mutex<(changed: Int64, known: [Fingerprint: Eviction])>((0, [:]))

  private static let sessions = Atomic<Int>(0)

  private struct Session {
    var path: String
    /// Holds the flock that says, also across pid namespaces, that the process lives.
    var lock: FileDescriptor
  }

  /// Makes the folders that are missing.
  package init(root: FilePath) throws {
    self.root = root
    base = root.string
    for name in ["cas", "tree", "layer", "ac", "lock", "tmp"] { try Disk.makeFolders(base + "/" + name) }
  }

  deinit {
    session.withLock { session in
      guard let open = session else { return }
      try? Disk.removeTree(open.path)
      try? open.lock.close()
      session = nil
    }
  }

  // MARK: Paths

  func blobPath(_ digest: Digest, executable: Bool) -> String {
    let hex = digest.hex
    return "\(base)/cas/\(hex.prefix(2))/\(hex)\(executable ? ".x" : "")"
  }

  func treePath(_ root: Digest) -> String { shard("tree", root.hex) }
  package func layerPath(_ diffID: Digest) -> FilePath { FilePath(shard("layer", diffID.hex)) }

  /// Whether the layer is there unpacked.
  package func hasLayer(_ diffID: Digest) -> Bool { access(layerPath(diffID).string, F_OK) == 0 }
  func recordPath(_ key: Fingerprint) -> String { shard("ac", key.description) }
  func failurePath(_ key: Fingerprint) -> String { shard("ac", key.description) + ".failed" }

  private func shard(_ folder: String, _ name: String) -> String { "\(base)/\(folder)/\(name.prefix(2))/\(name)" }

  // MARK: Temporary files

  /// A path in this process's folder under `tmp`, at which nothing is.
  package func temporaryPath() throws -> String {
    let number = counter.add(1, ordering: .relaxed).newValue
    return try sessionPath() + "/\(number)"
  }

  /// An empty folder under `tmp`, on the store's file system; the caller removes it, or whoever finds it once this
  /// process is gone.
  package func makeTemporaryFolder() throws -> FilePath {
    let path = try temporaryPath()
    guard mkdir(path, 0o755) == 0 else { throw Disk.failure("make the folder", path) }
    return FilePath(path)
  }

  private func sessionPath() throws -> String {
    try session.withLock { session in
      if let session { return session.path }
      let number = Store.sessions.add(1, ordering: .relaxed).newValue
      let path = "\(base)/tmp/\(getpid()).\(ProcessIdentity.startTime(of: getpid()) ?? 0).\(number)"
      guard mkdir(path, 0o755) == 0 || errno == EEXIST else { throw Disk.failure("make the folder", path) }
      let lock = try Disk.open(path, O_RDONLY | O_DIRECTORY)
      _ = flock(lock.rawValue, LOCK_SH | LOCK_NB)
      session = Session(path: path, lock: lock)
      return path
    }
  }

  /// Puts a finished temporary file or folder at its place, making the shard's folder where it is missing.
  func move(_ temporary: String, to path: String) throws {
    if Glibc.rename(temporary, path) == 0 { return }
    guard errno == ENOENT else { throw Disk.failure("rename a temporary file to", path) }
    try makeShard(of: path)
    if Glibc.rename(temporary, path) != 0 { throw Disk.failure("rename a temporary file to", path) }
  }

  func makeShard(of path: String) throws {
    guard let slash = path.lastIndex(of: "/") else { return }
    try Disk.makeFolders(String(path[..<slash]))
  }

  /// Puts a finished temporary folder at its place; where another process was first, its folder stays and this one
  /// goes.
  ///
  /// `tree` and `layer` folders are named by their content, so either is as good.
  package func publishFolder(_ temporary: FilePath, at path: FilePath) throws {
    do {
      try move(temporary.string, to: path.string)
    } catch {
      guard let status = try Disk.status(path.string), status.kind == .folder else { throw error }
      try Disk.removeTree(temporary.string)
    }
  }

  /// Replaces a small file of the store whole.
  func replace(_ path: String, with bytes: [UInt8], mode: mode_t = 0o644) throws {
    let temporary = try temporaryPath()
    do {
      let file = try Disk.open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode: mode)
      defer { try? file.close() }
      try bytes.withUnsafeBytes { try Disk.write(file, $0, path: temporary) }
      try move(temporary, to: path)
    } catch {
      unlink(temporary)
      throw error
    }
  }

  /// Notes that something in the store was used: at most one system call beyond a stat, and one write a day.
  ///
  /// The last use is the inode's change time: setting the constant modification time anew moves it to now, without a
  /// sidecar file and without a trace in what a sandbox or a layer can see. Access times would do it for free, but many
  /// hosts mount `noatime`.
  package func noteUse(_ path: String) {
    guard let status = try? Disk.status(path) else { return }
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    let age = Int64(now.tv_sec) - status.changed / 1_000_000_000
    if age > 86_400 { Disk.setModificationTime(path) }
  }
}

/// Whether a process still is the one that it was: pid and start time name one process for as long as the machine runs.
enum ProcessIdentity {
  /// Clock ticks after boot, field 22 of /proc/PID/stat; `nil` when there is no such process.
  static func startTime(of process: Int32) -> UInt64? {
    let fd = Glibc.open("/proc/\(process)/stat", O_RDONLY | O_CLOEXEC)
    guard fd >= 0 else { return nil }
    defer { Glibc.close(fd) }
    let bytes = [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
      count = max(0, Glibc.read(fd, buffer.baseAddress, 4096))
    }
    // The program's name is in parentheses and may hold any byte, so count fields from the last one.
    guard let close = bytes.lastIndex(of: UInt8(ascii: ")")) else { return nil }
    let fields = bytes[(close + 1)...].split(separator: UInt8(ascii: " "))
    guard fields.count > 19 else { return nil }
    return UInt64(String(decoding: fields[19], as: UTF8.self))
  }
}
