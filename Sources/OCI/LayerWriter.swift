import CArchive
import Caching
import Diagnostics
import Digests
import Glibc

/// What a new layer holds.
package enum LayerItem: Sendable {
  /// All of a directory, at an absolute path of the image.
  case directory(DirectoryArtifact, at: String)
  case file(FileArtifact, at: String)
  case symlink(String, at: String)
  /// An empty folder, unless something else is put there.
  case folder(at: String)
  /// Removes what lower layers have at the path.
  case whiteout(String)
  /// Hides what lower layers have in the folder.
  case opaque(String)
}

/// Writes deterministic layers: equal items give equal bytes, whoever writes them, where and when.
///
/// A pax-restricted tar (ustar, pax headers only where needed) of byte-sorted names, parents first; every time is the
/// store's constant, every mode 0644 or 0755, every owner the one given.
package struct LayerWriter: Sendable {
  private let store: Store
  private let owner: (user: Int64, group: Int64)

  package init(_ store: Store, user: Int = 0, group: Int = 0) {
    self.store = store
    owner = (Int64(user), Int64(group))
  }

  package func write(_ items: [LayerItem]) throws -> ImageArtifact.Layer {
    var builder = TreeBuilder(store)
    var markers: Set<[UInt8]> = []
    let empty = try store.insert([])
    func marker(_ path: String) throws {
      try builder.add(path, .file(empty))
      markers.insert(Array(path.utf8))
    }
    for item in items {
      switch item {
      case .directory(let directory, let path):
        try builder.add(relative(path), .folder(directory))
      case .file(let file, let path): try builder.add(relative(path), .file(file))
      case .symlink(let target, let path): try builder.add(relative(path), .symlink(target))
      case .folder(let path): try builder.addFolder(relative(path))
      case .opaque(let path): try marker(relative(path) + (relative(path).isEmpty ? "" : "/") + Whiteout.opaque)
      case .whiteout(let path):
        var components = relative(path).split(separator: "/")
        guard let name = components.popLast() else {
          throw Diagnostic.error("the root of an image cannot be removed", cause: .input)
        }
        try marker((components + [Whiteout.prefix + name]).joined(separator: "/"))
      }
    }
    return try write(builder.finish(), markers: markers)
  }

  /// Without leading and trailing slashes; what is not sound is refused by the tree builder.
  private func relative(_ path: String) -> String {
    var text = path[...]
    while text.hasPrefix("/") { text = text.dropFirst() }
    while text.hasSuffix("/") { text = text.dropLast() }
    return String(text)
  }

  private func write(_ tree: DirectoryArtifact, markers: Set<[UInt8]>) throws -> ImageArtifact.Layer {
    let sink = try LayerSink(store)
    try inTarLocale {
      let tar = try TarWriter(owner: owner) { try sink.write($0) }
      try store.walk(tree) { path, node in
        let name = path.utf8.lastIndex(of: UInt8(ascii: "/")).map { path[path.index(after: $0)...] } ?? path[...]
        if name.hasPrefix(Whiteout.prefix), !markers.contains(Array(path.utf8)) {
          throw Diagnostic.error(
            "`/\(path)` cannot be in a layer: OCI gives names that start with `\(Whiteout.prefix)` a meaning of their own",
            cause: .input)
        }
        try tar.add(path, node, from: store)
      }
      try tar.close()
    }
    return try sink.finish()
  }
}

/// OCI's markers of what a layer removes (image-spec, layer.md).
enum Whiteout {
  static let prefix = ".wh."
  static let opaque = ".wh..wh..opq"
}

/// libarchive's tar writer, with what makes its tars deterministic.
final class TarWriter {
  private let archive: OpaquePointer
  private let entry: OpaquePointer
  private let sink: (UnsafeRawBufferPointer) throws -> Void
  private let owner: (user: Int64, group: Int64)
  private var failure: (any Error)?

  init(owner: (user: Int64, group: Int64), sink: @escaping (UnsafeRawBufferPointer) throws -> Void) throws {
    guard let archive = archive_write_new() else { throw Diagnostic.error("out of memory", cause: .internal) }
    guard let entry = archive_entry_new() else {
      archive_write_free(archive)
      throw Diagnostic.error("out of memory", cause: .internal)
    }
    self.archive = archive
    self.entry = entry
    self.sink = sink
    self.owner = owner
    archive_write_set_format_pax_restricted(archive)
    archive_write_add_filter_none(archive)
    archive_write_set_bytes_per_block(archive, 64 << 10)
    archive_write_set_bytes_in_last_block(archive, 512)
    let status = archive_write_open(
      archive, Unmanaged.passUnretained(self).toOpaque(), nil,
      { _, context, bytes, count in
        guard let context else { return -1 }
        let writer = Unmanaged<TarWriter>.fromOpaque(context).takeUnretainedValue()
        do {
          try writer.sink(UnsafeRawBufferPointer(start: bytes, count: count))
          return count
        } catch {
          writer.failure = error
          return -1
        }
      }, nil)
    try check(status)
  }

  deinit {
    archive_entry_free(entry)
    // After an error the archive must not try to finish itself through this half-gone object.
    archive_write_fail(archive)
    archive_write_free(archive)
  }

  private func check(_ status: Int32) throws {
    if status == ARCHIVE_OK { return }
    throw failure ?? archiveFailure("write a layer", archive)
  }

  func add(_ path: String, _ node: Directory.Node, from store: Store) throws {
    archive_entry_clear(entry)
    archive_entry_set_mtime(entry, time_t(Disk.modificationTime), 0)
    archive_entry_set_uid(entry, owner.user)
    archive_entry_set_gid(entry, owner.group)
    switch node {
    case .file(let file):
      archive_entry_set_pathname(entry, path)
      archive_entry_set_filetype(entry, FileType.regular)
      archive_entry_set_perm(entry, file.isExecutable ? 0o755 : 0o644)
      archive_entry_set_size(entry, Int64(file.size))
      try check(archive_write_header(archive, entry))
      try copy(file, from: store)
    case .folder:
      archive_entry_set_pathname(entry, path + "/")
      archive_entry_set_filetype(entry, FileType.folder)
      archive_entry_set_perm(entry, 0o755)
      archive_entry_set_size(entry, 0)
      try check(archive_write_header(archive, entry))
    case .symlink(let target):
      archive_entry_set_pathname(entry, path)
      archive_entry_set_filetype(entry, FileType.symlink)
      archive_entry_set_perm(entry, 0o777)
      archive_entry_set_size(entry, 0)
      archive_entry_set_symlink(entry, target)
      try check(archive_write_header(archive, entry))
    }
  }

  private func copy(_ file: FileArtifact, from store: Store) throws {
    guard file.size > 0 else { return }
    let source = try store.open(file.digest)
    defer { try? source.close() }
    try withUnsafeTemporaryAllocation(byteCount: min(file.size, 128 << 10), alignment: 16) { buffer in
      var rest = file.size
      while rest > 0 {
        let count = try Disk.read(source, into: buffer, path: file.digest.hex)
        guard count > 0, count <= rest else {
          throw Diagnostic.error("the blob `\(file.digest)` does not have \(file.size) bytes", cause: .environment)
        }
        var written = 0
        while written < count, let base = buffer.baseAddress {
          let step = archive_write_data(archive, base + written, count - written)
          guard step > 0 else { throw failure ?? archiveFailure("write a layer", archive) }
          written += step
        }
        rest -= count
      }
    }
  }

  func close() throws { try check(archive_write_close(archive)) }
}
