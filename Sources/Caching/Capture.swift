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

  /// Stores all that is in an open folder; `name` is what diagnostics call it.
  package func capture(directory: FileDescriptor, name: String = "the output") throws -> DirectoryArtifact {
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
    let stored = try concurrently(all.count) { try insert(all[$0], top: directory, name: name) }
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
    if errno == EACCES, fchmodat(folder.rawValue, entry, 0o700, 0) == 0 {
      let fd = openat(folder.rawValue, entry, flags | O_CLOEXEC)
      if fd >= 0 { return FileDescriptor(rawValue: fd) }
    }
    throw Disk.failure("open", path + "/" + entry)
  }

  private func insert(_ batch: Batch, top: FileDescriptor, name: String) throws -> [FileArtifact] {
    let folder = try descend(top, batch.components, name: name)
    defer { try? folder.close() }
    let path = ([name] + batch.components).joined(separator: "/")
    return try batch.files.map { file in
      // O_NONBLOCK: should a FIFO have taken the file's place, this must not wait for its writer.
      let fd = try openUnlocking(file.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, at: folder, path: path)
      defer { try? fd.close() }
      guard try Disk.status(of: fd, path: path).kind == .file else {
        throw Diagnostic.error("`\(path)/\(file.name)` changed while it was read", cause: .build)
      }
      return try insert(contentsOf: fd, executable: file.executable, path: path + "/" + file.name)
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
  package func capture(file: FileDescriptor, name: String = "the output") throws -> FileArtifact {
    let status = try Disk.status(of: file, path: name)
    guard status.kind == .file else {
      throw Diagnostic.error("`\(name)` is not a regular file", cause: .build)
    }
    return try insert(contentsOf: file, executable: status.permissions & 0o100 != 0, path: name)
  }
}
