import CArchive
import Caching
import Diagnostics
import Digests
import Glibc
import SystemPackage

/// All files of an image as one tree: what a worker of an engine takes for its root.
///
/// As with an output, one mode bit is all that is kept of a file beside its bytes.
package struct ImageTree {
  private final class Folder {
    var children: [[UInt8]: Child] = [:]
  }

  private enum Child {
    /// A file of an unpacked layer.
    case file(String, path: String, isExecutable: Bool)
    case symlink(String, target: String)
    case folder(String, Folder)
  }

  private struct Found {
    var path: String
    var isExecutable: Bool
  }

  private let store: Store
  private let top = Folder()

  private init(_ store: Store) { self.store = store }

  /// Of unpacked layers, the topmost first; every file is put into the store.
  package static func insert(layers: [String], into store: Store) throws -> DirectoryArtifact {
    let tree = ImageTree(store)
    for layer in layers.reversed() { try tree.add(layer, to: tree.top, depth: 0) }
    var files: [Found] = []
    tree.list(tree.top, &files)
    let found = files
    let stored = try concurrently(found.count) { index in
      let file = try Disk.open(found[index].path, O_RDONLY | O_NOFOLLOW)
      defer { try? file.close() }
      return try store.insert(contentsOf: file, executable: found[index].isExecutable, path: found[index].path)
    }
    var position = 0
    return try tree.close(tree.top, stored, &position)
  }

  private func add(_ path: String, to folder: Folder, depth: Int) throws {
    guard depth < Store.depthLimit else {
      throw Diagnostic.error("`\(path)` lies deeper than \(Store.depthLimit) folders", cause: .build)
    }
    for name in try Disk.names(inFolder: path) {
      let place = "\(path)/\(name)"
      let key = Array(name.utf8)
      guard let status = try Disk.status(place) else { continue }
      switch status.kind {
      case .file:
        let isWhiteout = Self.attribute("user.overlay.whiteout", of: place) != nil
        folder.children[key] =
          isWhiteout ? nil : .file(name, path: place, isExecutable: status.permissions & 0o100 != 0)
      case .symlink: folder.children[key] = .symlink(name, target: try Disk.linkTarget(place, path: place))
      case .folder:
        var inner = Folder()
        if case .folder(_, let there)? = folder.children[key], Self.attribute("user.overlay.opaque", of: place) != "y" {
          inner = there
        }
        folder.children[key] = .folder(name, inner)
        try add(place, to: inner, depth: depth + 1)
      // A whiteout; the unpacker makes no other devices.
      case .other: folder.children[key] = nil
      }
    }
  }

  private static func attribute(_ name: String, of path: String) -> Character? {
    var value: UInt8 = 0
    return lgetxattr(path, name, &value, 1) == 1 ? Character(UnicodeScalar(value)) : nil
  }

  private static func sorted(_ folder: Folder) -> [Child] {
    folder.children.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.value)
  }

  private func list(_ folder: Folder, _ files: inout [Found]) {
    for child in Self.sorted(folder) {
      switch child {
      case .file(_, let path, let isExecutable): files.append(Found(path: path, isExecutable: isExecutable))
      case .folder(_, let inner): list(inner, &files)
      case .symlink: break
      }
    }
  }

  /// In the order of `list`.
  private func close(_ folder: Folder, _ files: [FileArtifact], _ position: inout Int) throws -> DirectoryArtifact {
    var entries: [Directory.Entry] = []
    for child in Self.sorted(folder) {
      switch child {
      case .file(let name, _, _):
        entries.append(Directory.Entry(name, .file(files[position])))
        position += 1
      case .symlink(let name, let target): entries.append(Directory.Entry(name, .symlink(target)))
      case .folder(let name, let inner):
        entries.append(Directory.Entry(name, .folder(try close(inner, files, &position))))
      }
    }
    return try store.insert(Directory(entries))
  }
}
