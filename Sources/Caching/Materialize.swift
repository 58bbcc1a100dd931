import Diagnostics
import Digests
import Glibc
import SystemPackage

extension Store {
  /// A folder that holds the directory, made of hard links into the content store: only ever a read-only lower.
  package func materialize(_ directory: DirectoryArtifact) throws -> FilePath {
    let place = treePath(directory.root)
    if access(place, F_OK) == 0 {
      noteUse(place)
      return FilePath(place)
    }
    let temporary = try makeTemporaryFolder()
    do {
      let top = try Disk.open(temporary.string, O_RDONLY | O_DIRECTORY)
      defer { try? top.close() }
      let blobs = try Disk.open(base + "/cas", O_RDONLY | O_DIRECTORY)
      defer { try? blobs.close() }
      try link(directory, into: top, blobs: blobs, depth: 0)
      try publishFolder(temporary, at: FilePath(place))
    } catch {
      try? Disk.removeTree(temporary.string)
      throw error
    }
    return FilePath(place)
  }

  private func link(_ directory: DirectoryArtifact, into folder: FileDescriptor, blobs: FileDescriptor, depth: Int)
    throws
  {
    guard depth < Self.depthLimit else { throw Diagnostic.error("a tree is too deep", cause: .build) }
    for entry in try self.directory(directory).entries {
      switch entry.node {
      case .file(let file):
        try link(file, to: entry.name, in: folder, blobs: blobs)
      case .symlink(let target):
        guard symlinkat(target, folder.rawValue, entry.name) == 0 else { throw Disk.failure("link", entry.name) }
        Disk.setModificationTime(entry.name, at: folder.rawValue)
      case .folder(let inner):
        guard mkdirat(folder.rawValue, entry.name, 0o755) == 0 else {
          throw Disk.failure("make the folder", entry.name)
        }
        let child = try Disk.open(entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, at: folder.rawValue)
        defer { try? child.close() }
        try link(inner, into: child, blobs: blobs, depth: depth + 1)
      }
    }
    // The mask of the process must not decide what an action sees.
    fchmod(folder.rawValue, 0o755)
    Disk.setModificationTime(of: folder)
  }

  private func link(_ file: FileArtifact, to name: String, in folder: FileDescriptor, blobs: FileDescriptor) throws {
    let hex = file.digest.hex
    let blob = hex.prefix(2) + "/" + hex + (file.isExecutable ? ".x" : "")
    for attempt in 0..<8 {
      if linkat(blobs.rawValue, blob, folder.rawValue, name, 0) == 0 { return }
      switch errno {
      case ENOENT where attempt < 7:
        // Also when another writer of the same blob renamed its copy over the one that was about to be linked: the
        // kernel links no inode whose last name just went.
        if faccessat(blobs.rawValue, blob, F_OK, 0) != 0 {
          try makeTwin(file.digest, executable: file.isExecutable)
        }
      case EMLINK where attempt < 7: try renewBlob(file)
      case EPERM, EXDEV, EMLINK:
        // No hard links here (or, by policy, none to files of another owner).
        let temporary = try copyOfBlob(file)
        guard renameat(AT_FDCWD, temporary, folder.rawValue, name) == 0 else { throw Disk.failure("rename", name) }
        return
      default: throw Disk.failure("link a blob to", name)
      }
    }
    throw Disk.failure("link a blob to", name)
  }

  /// Puts a fresh copy in the place of a blob that has as many links as the file system allows (65,000 on ext4, which
  /// the empty `__init__.py` reaches); the old one lives on in its trees.
  private func renewBlob(_ file: FileArtifact) throws {
    try move(copyOfBlob(file), to: blobPath(file.digest, executable: file.isExecutable))
  }

  private func copyOfBlob(_ file: FileArtifact) throws -> String {
    let temporary = try temporaryPath()
    try copyBlob(file, to: temporary, mode: file.isExecutable ? 0o555 : 0o444, at: AT_FDCWD)
    Disk.setModificationTime(temporary)
    return temporary
  }

  /// Copies a blob to a path at which nothing is.
  func copyBlob(_ file: FileArtifact, to path: String, mode: mode_t, at folder: Int32) throws {
    let source = try open(file.digest)
    defer { try? source.close() }
    let target = try Disk.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600, at: folder)
    defer { try? target.close() }
    guard try copyBytes(source, target, path: path) == file.size else { throw damaged(file.digest) }
    guard fchmod(target.rawValue, mode) == 0 else { throw Disk.failure("set the mode of", path) }
  }

  private func copyBytes(_ source: FileDescriptor, _ target: FileDescriptor, path: String) throws -> Int {
    try withUnsafeTemporaryAllocation(byteCount: 128 << 10, alignment: 16) { buffer in
      var total = 0
      while true {
        let count = try Disk.read(source, into: buffer, path: path)
        if count == 0 { return total }
        try Disk.write(target, UnsafeRawBufferPointer(rebasing: buffer[..<count]), path: path)
        total += count
      }
    }
  }

  // MARK: Export

  /// Copies a file or directory to a path outside the store, in place of what is there, as files that the user may
  /// write.
  ///
  /// Never hard links: an edit of an output must not reach the store. The copy is made beside the path and put in its
  /// place by a rename. Images are written by OCI's layout writer.
  package func export(_ artifact: Artifact, to path: FilePath) throws {
    guard let name = path.lastComponent?.string else {
      throw Diagnostic.error("`\(path)` cannot be written as an output", cause: .input)
    }
    let parent = path.removingLastComponent()
    try Disk.makeFolders(parent.string.isEmpty ? "." : parent.string)
    let beside = parent.appending(".\(name).\(getpid()).\(UInt32.random(in: 0 ... .max))").string
    do {
      switch artifact {
      case .file(let file): try copyBlob(file, to: beside, mode: file.isExecutable ? 0o755 : 0o644, at: AT_FDCWD)
      case .directory(let directory):
        guard mkdir(beside, 0o755) == 0 else { throw Disk.failure("make the folder", beside) }
        try walk(directory) { inner, node in
          let place = beside + "/" + inner
          switch node {
          case .file(let file): try copyBlob(file, to: place, mode: file.isExecutable ? 0o755 : 0o644, at: AT_FDCWD)
          case .folder: if mkdir(place, 0o755) != 0 { throw Disk.failure("make the folder", place) }
          case .symlink(let target): if symlink(target, place) != 0 { throw Disk.failure("link", place) }
          }
        }
      case .image: throw Diagnostic.error("an image is exported as an OCI layout", cause: .internal)
      }
      try Disk.putInPlace(beside, at: path.string)
    } catch {
      try? Disk.removeTree(beside)
      throw error
    }
  }
}

extension Disk {
  /// Renames to a path, whatever is there: a file over a file in one step; a folder is first moved aside, so that a
  /// kill between the two leaves the path empty, but never half old and half new.
  package static func putInPlace(_ temporary: String, at path: String) throws {
    if Glibc.rename(temporary, path) == 0 { return }
    guard [EEXIST, ENOTEMPTY, EISDIR, ENOTDIR].contains(errno) else { throw failure("rename a finished copy to", path) }
    let aside = temporary + ".old"
    try rename(path, aside)
    try rename(temporary, path)
    try removeTree(aside)
  }
}
