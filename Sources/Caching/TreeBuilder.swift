import Diagnostics
import Digests

/// Where a tree's folders go, and where those that it is made of come from.
package protocol DirectoryStore {
  func insert(_ directory: Directory) throws -> DirectoryArtifact
  func directory(_ artifact: DirectoryArtifact) throws -> Directory
}

extension Store: DirectoryStore {}

/// Folders that are named, and kept nowhere.
package struct NamedDirectories: DirectoryStore {
  private let store: Store

  /// Reads from a store, for a folder in which others are put.
  package init(reading store: Store) { self.store = store }

  package func insert(_ directory: Directory) -> DirectoryArtifact {
    let bytes = directory.encoded
    return DirectoryArtifact(root: Digest(of: bytes), size: bytes.count)
  }

  package func directory(_ artifact: DirectoryArtifact) throws -> Directory { try store.directory(artifact) }
}

/// Builds a directory from files, symlinks and whole directories at paths: the input tree of an action, or a layer.
///
/// Directories merge; equal entries at one path are one; anything else at one path is an error.
package struct TreeBuilder {
  /// A folder under construction; names are keyed by their bytes.
  private final class Folder {
    var children: [[UInt8]: Child] = [:]
  }

  private enum Child {
    case leaf(String, Directory.Node)
    case folder(String, Folder)
  }

  private let store: any DirectoryStore
  private let top = Folder()
  /// What is put last hides what was there, as the upper folder of an overlay does.
  package var hides = false

  package init(_ store: any DirectoryStore) { self.store = store }

  /// Puts an entry at a `/`-separated relative path; a directory may be put at the empty path, which is the root.
  package mutating func add(_ path: String, _ node: Directory.Node) throws {
    if path.isEmpty {
      guard case .folder(let directory) = node else {
        throw Diagnostic.error("an input needs a path of its own below the root", cause: .input)
      }
      return try merge(directory, into: top, path: "")
    }
    let (folder, name) = try place(of: path)
    try put(name, node, into: folder, path: path)
  }

  /// Puts a folder in place of all that is at its path, as a mount does; not at the empty path.
  package mutating func mount(_ directory: DirectoryArtifact, at path: String) throws {
    let (folder, name) = try place(of: path)
    folder.children[Array(name.utf8)] = .leaf(name, .folder(directory))
  }

  /// Makes sure of a folder, empty unless something else is put into it.
  package mutating func addFolder(_ path: String) throws {
    guard !path.isEmpty else { return }
    try add(path, .folder(store.insert(Directory([]))))
  }

  package consuming func finish() throws -> DirectoryArtifact { try close(top) }

  /// The folder that a path lies in, made where there is none, and the name in it.
  private func place(of path: String) throws -> (folder: Folder, name: String) {
    var components = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map {
      String(decoding: $0, as: UTF8.self)
    }
    guard components.allSatisfy(Directory.isSound), components.count < Store.depthLimit else {
      throw Diagnostic.error("`\(path)` is not a path inside a tree", cause: .input)
    }
    let name = components.removeLast()
    var folder = top
    var walked = ""
    for component in components {
      walked += walked.isEmpty ? component : "/" + component
      folder = try subfolder(component, of: folder, path: walked)
    }
    return (folder, name)
  }

  private func subfolder(_ name: String, of parent: Folder, path: String) throws -> Folder {
    switch parent.children[Array(name.utf8)] {
    case .folder(_, let folder)?: return folder
    case .leaf(_, .folder(let directory))?:
      let folder = Folder()
      for entry in try store.directory(directory).entries {
        folder.children[Array(entry.name.utf8)] = .leaf(entry.name, entry.node)
      }
      parent.children[Array(name.utf8)] = .folder(name, folder)
      return folder
    case .leaf? where !hides: throw conflict(path, "one input is a file there, another puts a file below it")
    case .leaf?, nil:
      let folder = Folder()
      parent.children[Array(name.utf8)] = .folder(name, folder)
      return folder
    }
  }

  private func put(_ name: String, _ node: Directory.Node, into folder: Folder, path: String) throws {
    let key = Array(name.utf8)
    switch (folder.children[key], node) {
    case (nil, _): folder.children[key] = .leaf(name, node)
    case (.leaf(_, let there)?, _) where Self.isSame(there, node): break
    case (.leaf(_, .folder)?, .folder(let directory)), (.folder?, .folder(let directory)):
      try merge(directory, into: subfolder(name, of: folder, path: path), path: path)
    case _ where hides: folder.children[key] = .leaf(name, node)
    case (.leaf(_, .folder)?, _), (.folder?, _), (.leaf?, .folder):
      throw conflict(path, "one input is a folder there, another is not")
    case (.leaf?, _): throw conflict(path, "two inputs differ there")
    }
  }

  private static func isSame(_ a: Directory.Node, _ b: Directory.Node) -> Bool {
    if case (.symlink(let a), .symlink(let b)) = (a, b) { return a.utf8.elementsEqual(b.utf8) }
    return a == b
  }

  private func merge(_ directory: DirectoryArtifact, into folder: Folder, path: String) throws {
    for entry in try store.directory(directory).entries {
      try put(entry.name, entry.node, into: folder, path: path.isEmpty ? entry.name : path + "/" + entry.name)
    }
  }

  private func close(_ folder: Folder) throws -> DirectoryArtifact {
    // The order of the dictionary does not matter: `Directory` sorts.
    let entries = try folder.children.values.map { child in
      switch child {
      case .leaf(let name, let node): return Directory.Entry(name, node)
      case .folder(let name, let inner): return Directory.Entry(name, .folder(try close(inner)))
      }
    }
    return try store.insert(Directory(entries))
  }

  private func conflict(_ path: String, _ reason: String) -> Diagnostic {
    .error("inputs collide at `\(path)`: \(reason)", cause: .input)
  }
}
