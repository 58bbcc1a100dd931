import CAttributes
import Diagnostics
import Digests
import Glibc
import SystemPackage

/// A folder on the disk into the store, normalised: one mode bit, no owners, no times, hard links as files.
///
/// The folder was written by something untrusted that has ended: every step is by descriptor and follows no symlink,
/// only ever one folder and its file are open, and depth and sizes are bounded.
extension Store {
  private struct Found {
    var components: [String]
    var parent: Int
    var entries: [Entry] = []

    var path: String { components.joined(separator: "/") }
  }

  private enum Entry {
    case file(String, executable: Bool)
    case symlink(String, target: String)
    case folder(String, index: Int)
  }

  /// A folder's worth of files, split where it has many.
  private struct Batch: Sendable {
    var folder: Int
    var components: [String]
    var files: [(name: String, executable: Bool, index: Int)]
  }

  /// Where the files of an output lie on the disk: the upper folder of the overlay through which it is seen.
  ///
  /// Every process that could write there is gone. What lies there hides what lower folders have, so a regular file
  /// there is the one that is seen; it is renamed into the store, not copied, and later reads through the overlay miss
  /// it.
  package struct Upper: Sendable {
    var folder: FileDescriptor
    var components: [String]

    /// - Parameters:
    ///   - folder: The upper folder, on the store's file system.
    ///   - path: Of the output, below the overlay's root.
    package init(_ folder: FileDescriptor, path: String) {
      self.folder = folder
      components = path.split(separator: "/").map(String.init)
    }
  }

  /// Stores all that is in an open folder; `name` is what diagnostics call it.
  package func capture(
    directory: FileDescriptor, name: String = "the output", takingFrom upper: Upper? = nil
  ) throws -> DirectoryArtifact {
    let folders = try survey(directory, name: name)
    var batches: [Batch] = []
    for (index, folder) in folders.enumerated() {
      var files: [(name: String, executable: Bool, index: Int)] = []
      for (position, entry) in folder.entries.enumerated() {
        if case .file(let name, let executable) = entry { files.append((name, executable, position)) }
        if files.count == 64 {
          batches.append(Batch(folder: index, components: folder.components, files: files))
          files = []
        }
      }
      if !files.isEmpty { batches.append(Batch(folder: index, components: folder.components, files: files)) }
    }
    let all = batches
    let stored = try concurrently(all.count) { try insert(all[$0], top: directory, name: name, upper) }
    var artifacts: [[(Int, FileArtifact)]] = Array(repeating: [], count: folders.count)
    for (batch, files) in zip(all, stored) {
      artifacts[batch.folder] += zip(batch.files, files).map { ($0.index, $1) }
    }
    return try encode(folders, artifacts)
  }

  /// Finds every folder, parents before children.
  private func survey(_ top: FileDescriptor, name: String) throws -> [Found] {
    var folders = [Found(components: [], parent: -1)]
    var next = 0
    while next < folders.count {
      let components = folders[next].components
      guard components.count < Self.depthLimit else {
        throw Diagnostic.error(
          "`\(name)/\(folders[next].path)` is deeper than \(Self.depthLimit) folders", cause: .build)
      }
      let path = components.isEmpty ? name : name + "/" + folders[next].path
      let fd = try descend(top, components, name: name)
      defer { try? fd.close() }
      for entry in try Disk.names(in: fd, path: path) {
        guard let status = try Disk.status(entry, at: fd.rawValue) else { continue }
        switch status.kind {
        case .file: folders[next].entries.append(.file(entry, executable: status.permissions & 0o100 != 0))
        case .symlink:
          let target = try Disk.linkTarget(entry, at: fd.rawValue, path: path + "/" + entry)
          folders[next].entries.append(.symlink(entry, target: target))
        case .folder:
          folders[next].entries.append(.folder(entry, index: folders.count))
          folders.append(Found(components: components + [entry], parent: next))
        case .other:
          throw Diagnostic.error(
            "`\(path)/\(entry)` is a socket, a FIFO or a device: an output holds only files, folders and symlinks",
            cause: .build)
        }
      }
      next += 1
    }
    return folders
  }

  /// Opens a folder below another one, component by component, following no symlink.
  private func descend(_ top: FileDescriptor, _ components: [String], name: String) throws -> FileDescriptor {
    var fd = try Disk.open(".", O_RDONLY | O_DIRECTORY, at: top.rawValue)
    for component in components {
      let parent = fd
      defer { try? parent.close() }
      fd = try openUnlocking(component, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, at: parent, path: name)
    }
    return fd
  }

  /// Opens what an action may have left without permission to read: the folder is ours.
  private func openUnlocking(_ entry: String, _ flags: Int32, at folder: FileDescriptor, path: String) throws
    -> FileDescriptor
  {
    let fd = openat(folder.rawValue, entry, flags | O_CLOEXEC)
    if fd >= 0 { return FileDescriptor(rawValue: fd) }
    let error = errno
    // Whether it is executable must still show, should it be looked at again.
    let executable = (try? Disk.status(entry, at: folder.rawValue)).flatMap(\.self).map { $0.permissions & 0o100 } ?? 0
    let mode = flags & O_DIRECTORY != 0 ? 0o700 : 0o400 | executable
    if error == EACCES, fchmodat(folder.rawValue, entry, mode, 0) == 0 {
      let fd = openat(folder.rawValue, entry, flags | O_CLOEXEC)
      if fd >= 0 { return FileDescriptor(rawValue: fd) }
    }
    throw Disk.failure("open", path + "/" + entry)
  }

  private func insert(_ batch: Batch, top: FileDescriptor, name: String, _ upper: Upper?) throws -> [FileArtifact] {
    // Without it, where a part of the path is a lower folder's or a symlink, the files are copied.
    let source = upper.flatMap { try? descend($0.folder, $0.components + batch.components, name: name) }
    defer { try? source?.close() }
    let folder = try descend(top, batch.components, name: name)
    defer { try? folder.close() }
    let path = ([name] + batch.components).joined(separator: "/")
    return try batch.files.map { file in
      if let source, let taken = try take(file.name, from: source, executable: file.executable, path: path) {
        return taken
      }
      // O_NONBLOCK: should a FIFO have taken the file's place, this must not wait for its writer.
      let fd = try openUnlocking(file.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, at: folder, path: path)
      defer { try? fd.close() }
      guard try Disk.status(of: fd, path: path).kind == .file else {
        throw Diagnostic.error("`\(path)/\(file.name)` changed while it was read", cause: .build)
      }
      return try insert(contentsOf: fd, executable: file.executable, path: path + "/" + file.name)
    }
  }

  /// Moves a file into the store; `nil` where it is none that this may be done with.
  private func take(_ name: String, from folder: FileDescriptor, executable: Bool, path: String) throws -> FileArtifact?
  {
    guard let status = try Disk.status(name, at: folder.rawValue), status.kind == .file, status.links == 1 else {
      return nil
    }
    let file = try openUnlocking(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, at: folder, path: path)
    defer { try? file.close() }
    let artifact = try hash(file, executable: executable, path: path + "/" + name)
    let place = blobPath(artifact.digest, executable: executable)
    if hasBlob(artifact.digest, size: artifact.size, executable: executable) {
      noteUse(place)
      return artifact
    }
    // An overlay's own attributes, and those that an action set, are no part of a blob.
    guard removeAttributes(of: file), fchmod(file.rawValue, executable ? 0o555 : 0o444) == 0 else { return nil }
    Disk.setModificationTime(of: file)
    if renameat(folder.rawValue, name, AT_FDCWD, place) == 0 { return artifact }
    guard errno == ENOENT else { return nil }
    try makeShard(of: place)
    return renameat(folder.rawValue, name, AT_FDCWD, place) == 0 ? artifact : nil
  }

  private func hash(_ file: FileDescriptor, executable: Bool, path: String) throws -> FileArtifact {
    try withUnsafeTemporaryAllocation(byteCount: 256 << 10, alignment: 16) { buffer in
      var hasher = DigestHasher()
      var size = 0
      while true {
        let count = try Disk.read(file, into: buffer, path: path)
        hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        size += count
        if count < buffer.count { break }
      }
      return FileArtifact(digest: hasher.finish(), size: size, isExecutable: executable)
    }
  }

  private func removeAttributes(of file: FileDescriptor) -> Bool {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { names in
      let count = flistxattr(file.rawValue, names.baseAddress, names.count)
      if count == 0 || (count < 0 && errno == ENOTSUP) { return true }
      guard count > 0 else { return false }
      return names[..<count].split(separator: 0).allSatisfy { name in
        (Array(name) + [0]).withUnsafeBufferPointer { text in
          text.baseAddress.map { fremovexattr(file.rawValue, $0) == 0 } ?? false
        }
      }
    }
  }

  private func encode(_ folders: [Found], _ artifacts: [[(Int, FileArtifact)]]) throws -> DirectoryArtifact {
    var roots: [DirectoryArtifact?] = Array(repeating: nil, count: folders.count)
    for index in folders.indices.reversed() {
      var files = artifacts[index].makeIterator()
      var entries: [Directory.Entry] = []
      for entry in folders[index].entries {
        switch entry {
        case .file(let name, _): if let (_, file) = files.next() { entries.append(.init(name, .file(file))) }
        case .symlink(let name, let target): entries.append(.init(name, .symlink(target)))
        case .folder(let name, let inner): if let root = roots[inner] { entries.append(.init(name, .folder(root))) }
        }
      }
      roots[index] = try insert(Directory(entries))
    }
    guard let root = roots.first ?? nil else { throw Diagnostic.error("a folder without a root", cause: .internal) }
    return root
  }

  /// Stores an open regular file; its owner's execute bit is the one that counts.
  package func capture(
    file: FileDescriptor, name: String = "the output", takingFrom upper: Upper? = nil
  ) throws -> FileArtifact {
    let status = try Disk.status(of: file, path: name)
    guard status.kind == .file else {
      throw Diagnostic.error("`\(name)` is not a regular file", cause: .build)
    }
    if let upper, let last = upper.components.last,
      let folder = try? descend(upper.folder, upper.components.dropLast(), name: name)
    {
      defer { try? folder.close() }
      if let taken = try take(last, from: folder, executable: status.permissions & 0o100 != 0, path: name) {
        return taken
      }
    }
    return try insert(contentsOf: file, executable: status.permissions & 0o100 != 0, path: name)
  }
}
