import Glibc
import SystemPackage

extension Disk {
  /// Removes a file, or a folder with all in it, following no symlink; nothing there is no error.
  ///
  /// Folders without permissions (overlay leaves `work/work` at mode 000) are opened up first. However deep the tree,
  /// at most 32 descriptors are open: what lies deeper is first moved to the top.
  package static func removeTree(_ path: String) throws {
    if unlink(path) == 0 || errno == ENOENT { return }
    guard errno == EISDIR || errno == EPERM, let status = try status(path), status.kind == .folder else {
      throw failure("remove", path)
    }
    let top = try openForRemoval(path, at: AT_FDCWD)
    defer { try? top.close() }
    var moved = 0
    repeat {
      moved = 0
      try clear(top, top: top, depth: 0, moved: &moved, path: path)
    } while moved > 0
    if rmdir(path) != 0, errno != ENOENT { throw failure("remove the folder", path) }
  }

  private static func openForRemoval(_ name: String, at folder: Int32) throws -> FileDescriptor {
    let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    let fd = openat(folder, name, flags)
    if fd >= 0 {
      let opened = FileDescriptor(rawValue: fd)
      if let status = try? status(of: opened, path: name), status.permissions & 0o700 != 0o700 {
        _ = fchmod(fd, 0o700)
      }
      return opened
    }
    guard errno == EACCES, fchmodat(folder, name, 0o700, 0) == 0 else { throw failure("open the folder", name) }
    return try open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, at: folder)
  }

  private static func clear(
    _ folder: FileDescriptor, top: FileDescriptor, depth: Int, moved: inout Int, path: String
  ) throws {
    let copy = openat(folder.rawValue, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard copy >= 0, let stream = fdopendir(copy) else { throw failure("open the folder", path) }
    defer { closedir(stream) }
    while let entry = readdir(stream) {
      try withUnsafePointer(to: &entry.pointee.d_name) {
        try $0.withMemoryRebound(to: CChar.self, capacity: 256) { name in
          if strcmp(name, ".") == 0 || strcmp(name, "..") == 0 { return }
          if entry.pointee.d_type != DT_DIR {
            if unlinkat(folder.rawValue, name, 0) == 0 || errno == ENOENT { return }
            if errno != EISDIR { throw failure("remove", path + "/" + String(cString: name)) }
          }
          let text = String(cString: name)
          if depth == 32 {
            moved += 1
            let place = "deep.\(moved).\(depth).\(UInt32.random(in: 0 ... .max))"
            guard renameat(folder.rawValue, name, top.rawValue, place) == 0 else { throw failure("move", text) }
            return
          }
          let inner = try openForRemoval(text, at: folder.rawValue)
          defer { try? inner.close() }
          try clear(inner, top: top, depth: depth + 1, moved: &moved, path: path + "/" + text)
          if unlinkat(folder.rawValue, name, AT_REMOVEDIR) != 0, errno != ENOENT {
            throw failure("remove the folder", path + "/" + text)
          }
        }
      }
    }
  }
}
