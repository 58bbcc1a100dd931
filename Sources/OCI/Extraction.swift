import CArchive
import Caching
import Diagnostics
import Glibc
import SystemPackage

/// One tar into one folder.
struct Extraction {
  private let top: FileDescriptor
  private let limits: LayerUnpacker.Limits
  private var entries = 0
  private var bytes = 0
  /// The folder that the last entry was in: the next one mostly is in it too.
  private var last: (components: [String], fd: FileDescriptor)?
  /// Times of folders, set last, since making what is in them changes them.
  private var folderTimes: [(components: [String], time: timespec)] = []

  init(into folder: FilePath, limits: LayerUnpacker.Limits) throws {
    top = try Disk.open(folder.string, O_RDONLY | O_DIRECTORY)
    self.limits = limits
  }

  mutating func close() {
    if let last { try? last.fd.close() }
    last = nil
    try? top.close()
  }

  mutating func extract(_ tar: TarReader) throws {
    while let entry = try tar.next() {
      entries += 1
      guard entries <= limits.entries else {
        throw Diagnostic.error("\(tar.path) has more than the \(limits.entries) entries allowed", cause: .build)
      }
      guard let raw = archive_entry_pathname(entry), let path = String(validatingCString: raw) else {
        throw Diagnostic.error("\(tar.path) has a name that is not UTF-8", cause: .build)
      }
      let components = try self.components(path, tar)
      if components.first == "dev", components.count > 1 { continue }
      do { try extract(entry, components, path: path, tar: tar) } catch var problem as Diagnostic {
        if problem.cause == .environment { problem.notes.append(Diagnostic.Note("while \(tar.path) was unpacked")) }
        throw problem
      }
    }
    for (components, time) in folderTimes.reversed() {
      guard let fd = try? descend(components, make: false) else { continue }
      defer { try? fd.close() }
      setTimes(of: fd, time)
    }
  }

  // MARK: Names

  private func components(_ path: String, _ tar: TarReader) throws -> [String] {
    guard !path.hasPrefix("/") else { throw evil(tar, path, "is absolute") }
    guard path.utf8.count <= 4096 else { throw evil(tar, path.prefix(80) + "…", "is too long") }
    var components: [String] = []
    for part in path.utf8.split(separator: UInt8(ascii: "/")) {
      let component = String(decoding: part, as: UTF8.self)
      if component == "." { continue }
      if component == ".." { throw evil(tar, path, "leads out of the layer") }
      guard component.utf8.count <= 255 else {
        throw evil(tar, path.prefix(80) + "…", "has a component that is too long")
      }
      components.append(component)
    }
    guard components.count <= 256 else { throw evil(tar, path.prefix(80) + "…", "is too deep") }
    return components
  }

  private func evil(_ tar: TarReader, _ path: some StringProtocol, _ why: String) -> Diagnostic {
    .error("\(tar.path) is refused: its entry `\(path)` \(why)", cause: .build)
  }

  // MARK: Entries

  private mutating func extract(_ entry: OpaquePointer, _ components: [String], path: String, tar: TarReader) throws {
    let mode = archive_entry_mode(entry)
    let time = timespec(tv_sec: archive_entry_mtime(entry), tv_nsec: Int(archive_entry_mtime_nsec(entry)))
    guard let name = components.last else {
      // The root itself.
      guard mode & FileType.mask == FileType.folder else { throw evil(tar, path, "takes the place of the root") }
      fchmod(top.rawValue, mode & 0o1777 | 0o700)
      return
    }
    let parent = try folder(Array(components.dropLast()), path: path, tar: tar)
    if let link = archive_entry_hardlink(entry) {
      guard let target = String(validatingCString: link) else { throw evil(tar, path, "links to no UTF-8 name") }
      return try hardLink(name, in: parent, to: self.components(target, tar), path: path, tar: tar)
    }
    if name.hasPrefix(Whiteout.prefix) { return try whiteout(name, in: parent, path: path, tar: tar) }
    switch mode & FileType.mask {
    case FileType.regular: try file(name, in: parent, entry, mode: mode, time: time, path: path, tar: tar)
    case FileType.folder:
      if mkdirat(parent.rawValue, name, 0o700) != 0 {
        guard errno == EEXIST else { throw Disk.failure("make the folder", path) }
        if let there = try Disk.status(name, at: parent.rawValue), there.kind != .folder {
          let isWhiteout = there.kind == .other
          try remove(name, in: parent, path: path, tar: tar)
          guard mkdirat(parent.rawValue, name, 0o700) == 0 else { throw Disk.failure("make the folder", path) }
          if isWhiteout { try makeOpaque(name, in: parent, path: path) }
        }
      }
      let fd = try Disk.open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, at: parent.rawValue)
      defer { try? fd.close() }
      fchmod(fd.rawValue, mode & 0o1777 | 0o700)
      folderTimes.append((components, time))
    case FileType.symlink:
      guard let raw = archive_entry_symlink(entry), let target = String(validatingCString: raw), !target.isEmpty else {
        throw evil(tar, path, "links to no UTF-8 name")
      }
      try remove(name, in: parent, path: path, tar: tar)
      guard symlinkat(target, parent.rawValue, name) == 0 else { throw Disk.failure("link", path) }
      setTimes(name, in: parent, time)
    default:
      // Devices and FIFOs: an ordinary user can make no device, and the sandbox has its own `/dev`.
      break
    }
  }

  private mutating func file(
    _ name: String, in parent: FileDescriptor, _ entry: OpaquePointer, mode: UInt32, time: timespec, path: String,
    tar: TarReader
  ) throws {
    let declared = archive_entry_size(entry)
    guard declared >= 0, declared <= Int64(limits.bytes - bytes) else {
      throw evil(tar, path, "makes the layer larger than the \(limits.bytes) bytes allowed")
    }
    bytes += Int(declared)
    try remove(name, in: parent, path: path, tar: tar)
    let fd = try Disk.open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600, at: parent.rawValue)
    defer { try? fd.close() }
    var end: Int64 = 0
    while let (content, offset) = try tar.nextBlock() {
      guard offset >= end, offset <= declared, Int64(content.count) <= declared - offset else {
        throw evil(tar, path, "has more content than its size")
      }
      if offset > end { lseek(fd.rawValue, off_t(offset), SEEK_SET) }
      try Disk.write(fd, content, path: path)
      end = offset + Int64(content.count)
    }
    // The end of a sparse file may be a hole.
    if end < declared, ftruncate(fd.rawValue, off_t(declared)) != 0 { throw Disk.failure("write", path) }
    fchmod(fd.rawValue, mode & 0o777 | 0o600)
    setTimes(of: fd, time)
  }

  private mutating func hardLink(
    _ name: String, in parent: FileDescriptor, to target: [String], path: String, tar: TarReader
  ) throws {
    guard let targetName = target.last else { throw evil(tar, path, "links to the root") }
    let folder: FileDescriptor
    do {
      folder = try descend(Array(target.dropLast()), make: false)
    } catch {
      throw evil(tar, path, "is a hard link to what is not in the layer")
    }
    defer { try? folder.close() }
    guard let status = try Disk.status(targetName, at: folder.rawValue), status.kind == .file || status.kind == .symlink
    else { throw evil(tar, path, "is a hard link to what is not a file of the layer") }
    var (a, b) = (stat(), stat())
    if fstatat(folder.rawValue, targetName, &a, AT_SYMLINK_NOFOLLOW) == 0,
      fstatat(parent.rawValue, name, &b, AT_SYMLINK_NOFOLLOW) == 0, a.st_ino == b.st_ino
    {
      return
    }
    try remove(name, in: parent, path: path, tar: tar)
    guard linkat(folder.rawValue, targetName, parent.rawValue, name, 0) == 0 else { throw Disk.failure("link", path) }
  }

  private mutating func whiteout(_ name: String, in parent: FileDescriptor, path: String, tar: TarReader) throws {
    if name == Whiteout.opaque {
      return try setAttribute("user.overlay.opaque", "y", of: parent, path: path)
    }
    let hidden = String(name.dropFirst(Whiteout.prefix.count))
    // `.wh..wh.plnk` and the like are aufs's own.
    if hidden.hasPrefix(Whiteout.prefix) { return }
    guard Directory.isSound(hidden) else { throw evil(tar, path, "removes no name") }
    if let there = try Disk.status(hidden, at: parent.rawValue) {
      // The layer has the name itself, so it hides the lower one already, except that folders merge.
      if there.kind == .folder { try makeOpaque(hidden, in: parent, path: path) }
      return
    }
    // Character device 0:0 is overlayfs's whiteout; since Linux 5.8 anyone may make it.
    if mknodat(parent.rawValue, hidden, mode_t(0o020000), 0) == 0 { return }
    // Since 6.7 an empty file with this attribute serves too, in a folder that says it holds such files.
    let fd = try Disk.open(hidden, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600, at: parent.rawValue)
    defer { try? fd.close() }
    try setAttribute("user.overlay.whiteout", "y", of: fd, path: path)
    try setAttribute("user.overlay.opaque", "x", of: parent, path: path)
  }

  private func makeOpaque(_ name: String, in parent: FileDescriptor, path: String) throws {
    let fd = try Disk.open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, at: parent.rawValue)
    defer { try? fd.close() }
    try setAttribute("user.overlay.opaque", "y", of: fd, path: path)
  }

  private func setAttribute(_ name: String, _ value: String, of fd: FileDescriptor, path: String) throws {
    guard fsetxattr(fd.rawValue, name, value, value.utf8.count, 0) == 0 else {
      throw Disk.failure("set the attribute `\(name)` of", path)
    }
  }

  /// Makes way for an entry that comes again; a folder makes way only when it is empty.
  private func remove(_ name: String, in parent: FileDescriptor, path: String, tar: TarReader) throws {
    if unlinkat(parent.rawValue, name, 0) == 0 || errno == ENOENT { return }
    guard errno == EISDIR || errno == EPERM, unlinkat(parent.rawValue, name, AT_REMOVEDIR) == 0 else {
      throw evil(tar, path, "takes the place of a folder")
    }
  }

  // MARK: Folders

  /// The folder of an entry, made where the tar did not; the descriptor stays ours.
  private mutating func folder(_ components: [String], path: String, tar: TarReader) throws -> FileDescriptor {
    if let last {
      if last.components == components { return last.fd }
      try? last.fd.close()
      self.last = nil
    }
    let fd: FileDescriptor
    do {
      fd = try descend(components, make: true)
    } catch {
      let code = errno
      if code == ELOOP || code == ENOTDIR { throw evil(tar, path, "goes through a symlink or a file") }
      throw error
    }
    last = (components, fd)
    return fd
  }

  /// Opens a folder component by component, through no symlink.
  private func descend(_ components: [String], make: Bool) throws -> FileDescriptor {
    var fd = try Disk.open(".", O_RDONLY | O_DIRECTORY, at: top.rawValue)
    for component in components {
      let parent = fd
      var next = openat(parent.rawValue, component, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
      if next < 0, errno == ENOENT, make {
        mkdirat(parent.rawValue, component, 0o755)
        next = openat(parent.rawValue, component, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
      }
      let code = errno
      try? parent.close()
      errno = code
      guard next >= 0 else { throw Disk.failure("open the folder", components.joined(separator: "/"), code) }
      fd = FileDescriptor(rawValue: next)
    }
    return fd
  }

  private func setTimes(of fd: FileDescriptor, _ time: timespec) {
    withUnsafePointer(to: (time, time)) {
      _ = $0.withMemoryRebound(to: timespec.self, capacity: 2) { futimens(fd.rawValue, $0) }
    }
  }

  private func setTimes(_ name: String, in folder: FileDescriptor, _ time: timespec) {
    withUnsafePointer(to: (time, time)) {
      _ = $0.withMemoryRebound(to: timespec.self, capacity: 2) {
        utimensat(folder.rawValue, name, $0, AT_SYMLINK_NOFOLLOW)
      }
    }
  }
}
