import Caching
import Diagnostics
import Digests
import Glibc
import SystemPackage

/// A metadata store in a folder of this machine.
///
/// Every file is written under another name, synced and renamed. No symlink below the root is followed.
package struct FileMetadataStore: MetadataStore {
  package let root: FilePath
  package var url: String { "file://" + root.string }

  package init(root: FilePath) { self.root = root }

  package func close() async {}

  /// `nil` where this process cannot change the store.
  package func lock(_ repository: String?) async throws -> PublishLock? {
    // Beside the store's own: to lock a repository's folder, it would have to be made before it holds anything.
    let name = repository.map { ".lock-" + Digest(of: $0).hex } ?? ".lock"
    do { return try await PublishLock.take(root.appending(name)) { _ in } } catch let error as CancellationError {
      throw error
    } catch { return nil }
  }

  package func read(_ path: MetadataPath, limit: Int) async throws -> [UInt8]? {
    guard let (folder, name) = try parent(of: path, make: false) else { return nil }
    defer { try? folder.close() }
    // To open a FIFO that nobody writes to would wait for ever.
    let fd = openat(folder.rawValue, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    if fd < 0 {
      if errno == ENOENT { return nil }
      throw failure("open", path)
    }
    let file = FileDescriptor(rawValue: fd)
    defer { try? file.close() }
    let status = try Disk.status(of: file, path: shown(path))
    guard status.kind == .file else {
      throw Diagnostic.error("`\(shown(path))` is not a file", cause: .environment)
    }
    guard status.size <= limit else {
      throw Diagnostic.error(
        "`\(shown(path))` holds \(status.size) bytes, more than the \(limit) allowed", cause: .environment)
    }
    return try [UInt8](unsafeUninitializedCapacity: status.size) { buffer, count in
      count = try Disk.read(file, into: UnsafeMutableRawBufferPointer(buffer), path: shown(path))
    }
  }

  package func write(_ bytes: [UInt8], to path: MetadataPath, contentType: String) async throws {
    guard let (folder, name) = try parent(of: path, make: true) else {
      throw failure("make the folder of", path, ENOENT)
    }
    defer { try? folder.close() }
    sweep(folder)
    let temporary = ".\(name).\(UInt64.random(in: 0 ... .max)).tmp"
    let fd = openat(folder.rawValue, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard fd >= 0 else { throw failure("write", path) }
    let file = FileDescriptor(rawValue: fd)
    defer { try? file.close() }
    do {
      try write(bytes, to: file, path)
      // What is announced as published must outlive a power cut.
      guard fdatasync(fd) == 0 else { throw failure("write", path) }
      guard renameat(folder.rawValue, temporary, folder.rawValue, name) == 0 else { throw failure("write", path) }
    } catch {
      unlinkat(folder.rawValue, temporary, 0)
      throw error
    }
  }

  private func write(_ bytes: [UInt8], to file: FileDescriptor, _ path: MetadataPath) throws {
    try bytes.withUnsafeBytes { buffer in
      var written = 0
      while written < buffer.count, let base = buffer.baseAddress {
        let count = Glibc.write(file.rawValue, base + written, buffer.count - written)
        if count >= 0 { written += count } else if errno != EINTR { throw failure("write", path) }
      }
    }
  }

  package func remove(_ path: MetadataPath) async throws {
    guard let (folder, name) = try parent(of: path, make: false) else { return }
    defer { try? folder.close() }
    guard unlinkat(folder.rawValue, name, 0) == 0 || errno == ENOENT else { throw failure("remove", path) }
  }

  package func list(below path: MetadataPath) async throws -> [MetadataPath]? {
    guard let (folder, name) = try parent(of: path, make: false) else { return [] }
    defer { try? folder.close() }
    var found: [MetadataPath] = []
    try collect(name, in: folder, path.description, &found)
    return found.sorted()
  }

  private func collect(_ name: String, in parent: FileDescriptor, _ path: String, _ found: inout [MetadataPath]) throws
  {
    let fd = openat(parent.rawValue, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    if fd < 0 {
      if errno == ENOENT || errno == ENOTDIR || errno == ELOOP { return }
      throw Disk.failure("open the folder", root.string + "/" + path)
    }
    let folder = FileDescriptor(rawValue: fd)
    defer { try? folder.close() }
    for entry in try Disk.names(in: folder, path: root.string + "/" + path) {
      // Somebody else's files, and temporary ones.
      guard let inner = try? MetadataPath(path + "/" + entry) else { continue }
      guard let status = try Disk.status(entry, at: folder.rawValue) else { continue }
      if status.kind == .file { found.append(inner) }
      if status.kind == .folder { try collect(entry, in: folder, inner.description, &found) }
    }
  }

  /// Removes what writers that were killed an hour ago or more have left.
  private func sweep(_ folder: FileDescriptor) {
    guard let names = try? Disk.names(in: folder, path: root.string) else { return }
    for name in names where name.hasPrefix(".") && name.hasSuffix(".tmp") {
      var status = stat()
      guard fstatat(folder.rawValue, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { continue }
      if time(nil) - status.st_mtim.tv_sec > 3600 { unlinkat(folder.rawValue, name, 0) }
    }
  }

  /// The folder of a path, reached through no symlink, and the name in it; `nil` where there is no such folder.
  private func parent(of path: MetadataPath, make: Bool) throws -> (FileDescriptor, String)? {
    if make, let code = Self.makeFolders(root.string) { throw failure("make the folder of", path, code) }
    let top = Glibc.open(root.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if top < 0 {
      if errno == ENOENT { return nil }
      throw failure("open the folder of", path)
    }
    var fd = top
    let names = path.names
    for name in names.dropLast() {
      if make, mkdirat(fd, name, 0o755) != 0, errno != EEXIST {
        let code = errno
        Glibc.close(fd)
        throw failure("make the folder of", path, code)
      }
      let next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
      let code = errno
      Glibc.close(fd)
      if next < 0 {
        if code == ENOENT { return nil }
        throw failure("open the folder of", path, code)
      }
      fd = next
    }
    return (FileDescriptor(rawValue: fd), names.last ?? "")
  }

  /// Makes a folder and its missing parents; the error's number, if there is one.
  private static func makeFolders(_ path: String) -> Int32? {
    if mkdir(path, 0o755) == 0 || errno == EEXIST { return nil }
    guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return errno }
    if let code = makeFolders(String(path[..<slash])) { return code }
    return mkdir(path, 0o755) == 0 || errno == EEXIST ? nil : errno
  }

  private func shown(_ path: MetadataPath) -> String { root.string + "/" + path.description }

  /// Not `Disk.failure`: its hints are about the cache.
  private func failure(_ doing: String, _ path: MetadataPath, _ code: Int32 = errno) -> Diagnostic {
    let reason = Errno(rawValue: code).description
    let hints: [String]
    switch code {
    case ENOSPC, EDQUOT: hints = ["free some space there, and publish again: it goes on where it stopped"]
    case EROFS, EACCES, EPERM: hints = ["the metadata store must be one that you can write"]
    default: hints = []
    }
    return .error(
      "cannot \(doing) `\(shown(path))`: \(reason.prefix(1).lowercased() + reason.dropFirst())", cause: .environment,
      hints: hints)
  }
}
