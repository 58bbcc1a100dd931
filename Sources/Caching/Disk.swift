import Diagnostics
import Glibc
import SystemPackage

/// The calls to the kernel that the store makes, each of which says what it was doing to which path when it fails.
package enum Disk {
  /// The modification time of everything in the store: 1980-01-01, the first that zip files can hold.
  package static let modificationTime = 315_532_800

  package struct Status {
    package enum Kind { case file, folder, symlink, other }

    package var kind: Kind
    /// A FIFO: one of the things that `other` stands for.
    package var isPipe: Bool
    package var permissions: UInt32
    /// Bytes.
    package var size: Int
    package var links: Int
    /// Nanoseconds since 1970 at which the inode last changed: for what is in the store, its last use.
    package var changed: Int64

    init(_ raw: stat) {
      switch raw.st_mode & S_IFMT {
      case S_IFREG: kind = .file
      case S_IFDIR: kind = .folder
      case S_IFLNK: kind = .symlink
      default: kind = .other
      }
      isPipe = raw.st_mode & S_IFMT == S_IFIFO
      permissions = raw.st_mode & 0o7777
      size = Int(raw.st_size)
      links = Int(raw.st_nlink)
      changed = Int64(raw.st_ctim.tv_sec) * 1_000_000_000 + Int64(raw.st_ctim.tv_nsec)
    }
  }

  package static let roomHint = "free some space there, or run `slipway cache gc --max-size SIZE`"

  /// A diagnostic such as `cannot write /x/y: no space left on device`.
  package static func failure(_ doing: String, _ path: String, _ code: Int32 = errno) -> Diagnostic {
    let reason = Errno(rawValue: code).description
    var hints: [String] = []
    switch code {
    case ENOSPC, EDQUOT: hints = [roomHint]
    case EROFS: hints = ["set XDG_CACHE_HOME to a folder that can be written"]
    case EMFILE, ENFILE: hints = ["raise the limit of open files (`ulimit -n`)"]
    default: break
    }
    return .error(
      "cannot \(doing) `\(path)`: \(reason.prefix(1).lowercased() + reason.dropFirst())", cause: .environment,
      hints: hints)
  }

  /// Bytes that an ordinary user may still write on the disk of a path; `nil` where nobody tells.
  package static func room(_ path: String) -> Int? {
    var space = statvfs()
    return statvfs(path, &space) == 0 ? Int(space.f_bavail) * Int(space.f_frsize) : nil
  }

  package static func open(_ path: String, _ flags: Int32, mode: mode_t = 0o644, at folder: Int32 = AT_FDCWD) throws
    -> FileDescriptor
  {
    while true {
      let fd = Glibc.openat(folder, path, flags | O_CLOEXEC, mode)
      if fd >= 0 { return FileDescriptor(rawValue: fd) }
      if errno != EINTR { throw failure("open", path) }
    }
  }

  /// The status of what is at the path, a symlink not followed; `nil` where nothing is.
  package static func status(_ path: String, at folder: Int32 = AT_FDCWD) throws -> Status? {
    var raw = stat()
    if fstatat(folder, path, &raw, AT_SYMLINK_NOFOLLOW) == 0 { return Status(raw) }
    if errno == ENOENT || errno == ENOTDIR { return nil }
    throw failure("look at", path)
  }

  package static func status(of fd: FileDescriptor, path: String) throws -> Status {
    var raw = stat()
    guard fstat(fd.rawValue, &raw) == 0 else { throw failure("look at", path) }
    return Status(raw)
  }

  /// Fills as much of the buffer as there are bytes; the count read.
  package static func read(_ fd: FileDescriptor, into buffer: UnsafeMutableRawBufferPointer, path: String) throws -> Int
  {
    var filled = 0
    while filled < buffer.count, let base = buffer.baseAddress {
      let count = Glibc.read(fd.rawValue, base + filled, buffer.count - filled)
      if count > 0 {
        filled += count
      } else if count == 0 {
        break
      } else if errno != EINTR {
        throw failure("read", path)
      }
    }
    return filled
  }

  package static func write(_ fd: FileDescriptor, _ bytes: UnsafeRawBufferPointer, path: String) throws {
    var written = 0
    while written < bytes.count, let base = bytes.baseAddress {
      let count = Glibc.write(fd.rawValue, base + written, bytes.count - written)
      if count >= 0 { written += count } else if errno != EINTR { throw failure("write", path) }
    }
  }

  /// All bytes of a file of at most `limit` bytes; `nil` where no file is.
  package static func contents(of path: String, limit: Int) throws -> [UInt8]? {
    // To open a FIFO that nobody writes to would wait for ever.
    let fd: Int32 = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    if fd < 0 {
      if errno == ENOENT { return nil }
      throw failure("open", path)
    }
    let file = FileDescriptor(rawValue: fd)
    defer { try? file.close() }
    let found = try status(of: file, path: path)
    // A device is as good as an empty file: who wants no netrc says `/dev/null`.
    if found.isPipe { throw Diagnostic.error("`\(path)` is a FIFO; a file is needed there", cause: .environment) }
    let size = found.size
    guard size <= limit else {
      throw Diagnostic.error("`\(path)` holds \(size) bytes, more than the \(limit) allowed", cause: .environment)
    }
    return try [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = try read(file, into: UnsafeMutableRawBufferPointer(buffer), path: path)
    }
  }

  /// Makes the folder and its missing parents.
  package static func makeFolders(_ path: String) throws {
    if mkdir(path, 0o755) == 0 || errno == EEXIST { return }
    guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else {
      throw failure("make the folder", path)
    }
    try makeFolders(String(path[..<slash]))
    if mkdir(path, 0o755) != 0, errno != EEXIST { throw failure("make the folder", path) }
  }

  package static func rename(_ from: String, _ to: String) throws {
    if Glibc.rename(from, to) != 0 { throw failure("rename `\(from)` to", to) }
  }

  /// Replaces a file whole, outside of a store: a reader sees the old bytes or the new ones.
  package static func replace(_ path: FilePath, with bytes: [UInt8]) throws {
    let temporary = "\(path.string).\(getpid())"
    do {
      let file = try open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
      defer { try? file.close() }
      try bytes.withUnsafeBytes { try write(file, $0, path: temporary) }
      try rename(temporary, path.string)
    } catch {
      unlink(temporary)
      throw error
    }
  }

  /// Sets the store's one modification time, which also notes a use: the inode's change time becomes now.
  @discardableResult
  package static func setModificationTime(_ path: String, at folder: Int32 = AT_FDCWD) -> Bool {
    var times = (timespec(tv_sec: modificationTime, tv_nsec: 0), timespec(tv_sec: modificationTime, tv_nsec: 0))
    return withUnsafePointer(to: &times) {
      $0.withMemoryRebound(to: timespec.self, capacity: 2) { utimensat(folder, path, $0, AT_SYMLINK_NOFOLLOW) == 0 }
    }
  }

  package static func setModificationTime(of fd: FileDescriptor) {
    var times = (timespec(tv_sec: modificationTime, tv_nsec: 0), timespec(tv_sec: modificationTime, tv_nsec: 0))
    _ = withUnsafePointer(to: &times) {
      $0.withMemoryRebound(to: timespec.self, capacity: 2) { futimens(fd.rawValue, $0) }
    }
  }

  /// The names in an open folder, byte-sorted; a name that is not UTF-8 is an error.
  package static func names(in folder: FileDescriptor, path: String) throws -> [String] {
    let copy = openat(folder.rawValue, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard copy >= 0 else { throw failure("open the folder", path) }
    guard let stream = fdopendir(copy) else {
      defer { Glibc.close(copy) }
      throw failure("read the folder", path)
    }
    defer { closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else {
        if errno != 0 { throw failure("read the folder", path) }
        break
      }
      let name: String? = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(validatingCString: $0) }
      }
      guard let name else {
        throw Diagnostic.error("a name in the folder `\(path)` is not UTF-8", cause: .build)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// As `names(in:path:)`; no names where there is no folder.
  package static func names(inFolder path: String) throws -> [String] {
    let fd = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if fd < 0 {
      if errno == ENOENT { return [] }
      throw failure("open the folder", path)
    }
    let folder = FileDescriptor(rawValue: fd)
    defer { try? folder.close() }
    return try names(in: folder, path: path)
  }

  /// The text of a symlink.
  package static func linkTarget(_ name: String, at folder: Int32 = AT_FDCWD, path: String) throws -> String {
    let bytes = [UInt8](unsafeUninitializedCapacity: 4097) { buffer, count in
      count = buffer.withMemoryRebound(to: CChar.self) { text in
        guard let base = text.baseAddress else { return 0 }
        return max(0, readlinkat(folder, name, base, 4097))
      }
    }
    guard bytes.count > 0, bytes.count <= 4096 else { throw failure("read the symlink", path) }
    guard let target = String(validating: bytes, as: UTF8.self) else {
      throw Diagnostic.error("the target of the symlink `\(path)` is not UTF-8", cause: .build)
    }
    return target
  }
}
