import CArchive
import Caching
import Diagnostics
import Glibc
import SystemPackage

/// What layers show together, as an overlay of them does: where a path of an image leads.
///
/// A tar that has a folder where a lower layer has a symlink puts the folder in the link's place. On Debian `/lib` is
/// such a link, and an image without its `ld.so` cannot run anything; so what goes into a layer is placed behind the
/// links of what is below it, as COPY does.
package struct LayerStack: Sendable {
  private enum Layer: Sendable {
    /// An unpacked layer.
    case folder(String)
    /// A layer that was made of these and is not unpacked.
    case items([LayerItem])
  }

  private enum Entry {
    case folder
    case symlink(String)
    case other
  }

  /// What one layer says of a path.
  private enum Word {
    case entry(Entry)
    /// Nothing is there, whatever lower layers have.
    case hidden
    case silent
  }

  private let store: Store
  /// Topmost first.
  private var layers: [Layer]

  /// `folders` are unpacked layers, topmost first.
  package init(_ store: Store, folders: [String]) {
    self.store = store
    layers = folders.map(Layer.folder)
  }

  /// Puts unpacked layers on top, the topmost first.
  package mutating func push(folders: [String]) { layers = folders.map(Layer.folder) + layers }

  package mutating func push(items: [LayerItem]) { layers.insert(.items(items), at: 0) }

  /// The items at the places where they are seen: behind every symlink to a folder that the stack has on their way.
  package func placed(_ items: [LayerItem]) throws -> [LayerItem] {
    if layers.isEmpty { return items }
    var folders: [String: String] = [:]
    /// Of a file, which itself takes the place of whatever is there.
    func behind(_ path: String) throws -> String {
      let components = Self.components(path)
      guard let name = components.last else { return path }
      let parent = components.dropLast().joined(separator: "/")
      let place = try folders[parent] ?? resolve(components.dropLast())
      folders[parent] = place
      return place == "/" ? "/" + name : place + "/" + name
    }
    return try items.flatMap { item -> [LayerItem] in
      switch item {
      case .file(let file, let path): [.file(file, at: try behind(path))]
      case .symlink(let target, let path): [.symlink(target, at: try behind(path))]
      case .directory(let directory, let path): try spread(directory, at: resolve(Self.components(path)[...]), depth: 0)
      case .folder(let path): [.folder(at: try resolve(Self.components(path)[...]))]
      case .whiteout, .opaque: [item]
      }
    }
  }

  /// A directory in pieces, where the stack has links to folders inside of it.
  private func spread(_ directory: DirectoryArtifact, at path: String, depth: Int) throws -> [LayerItem] {
    let whole: [LayerItem] = [.directory(directory, at: path)]
    guard depth < Store.depthLimit, case .folder? = try entry(Self.components(path)) else { return whole }
    var items: [LayerItem] = []
    var isWhole = true
    for entry in try store.directory(directory).entries {
      let inner = (path == "/" ? "" : path) + "/" + entry.name
      switch entry.node {
      case .file(let file): items.append(.file(file, at: inner))
      case .symlink(let target): items.append(.symlink(target, at: inner))
      case .folder(let folder):
        var place = inner
        if case .symlink? = try self.entry(Self.components(inner)) {
          let behind = try resolve(Self.components(inner)[...])
          if case .folder? = try self.entry(Self.components(behind)) { place = behind }
        }
        let pieces = try spread(folder, at: place, depth: depth + 1)
        if place != inner || pieces.count != 1 { isWhole = false }
        items += pieces
      }
    }
    return isWhole ? whole : items
  }

  /// Follows every symlink of a path, within the image; what is not there stays as it is written.
  private func resolve(_ path: ArraySlice<String>) throws -> String {
    var pending = Array(path.reversed())
    var done: [String] = []
    var links = 0
    while let name = pending.popLast() {
      if name == ".." {
        _ = done.popLast()
        continue
      }
      guard case .symlink(let target)? = try entry(done + [name]) else {
        done.append(name)
        continue
      }
      links += 1
      guard links <= 40 else {
        throw Diagnostic.error(
          "`/\(path.joined(separator: "/"))` leads round in circles of symlinks in the base", cause: .input)
      }
      if target.hasPrefix("/") { done = [] }
      pending += Self.components(target).reversed()
    }
    return "/" + done.joined(separator: "/")
  }

  private static func components(_ path: String) -> [String] {
    path.split(separator: "/").map(String.init).filter { $0 != "." }
  }

  // MARK: Looking

  /// What is at a path whose folders are no symlinks; `nil` where nothing is.
  private func entry(_ components: [String]) throws -> Entry? {
    if components.isEmpty { return .folder }
    for layer in layers {
      let word: Word =
        switch layer {
        case .folder(let folder): try look(components, in: folder)
        case .items(let items): try look(components, in: items)
        }
      switch word {
      case .entry(let entry): return entry
      case .hidden: return nil
      case .silent: continue
      }
    }
    return nil
  }

  private func look(_ components: [String], in layer: String) throws -> Word {
    var path = layer
    var isOpaque = false
    for (index, name) in components.enumerated() {
      path += "/" + name
      guard let status = try Disk.status(path) else { return isOpaque ? .hidden : .silent }
      let isLast = index == components.count - 1
      switch status.kind {
      case .folder:
        if isLast { return .entry(.folder) }
        if Self.hasAttribute("user.overlay.opaque", "y", path) { isOpaque = true }
      case .symlink: return isLast ? .entry(.symlink(try Disk.linkTarget(path, path: path))) : .hidden
      case .file:
        if Self.hasAttribute("user.overlay.whiteout", "y", path) { return .hidden }
        return isLast ? .entry(.other) : .hidden
      // A whiteout: unpacking makes no other devices.
      case .other: return .hidden
      }
    }
    return .silent
  }

  private static func hasAttribute(_ name: String, _ value: String, _ path: String) -> Bool {
    var buffer = [UInt8](repeating: 0, count: 8)
    let count = lgetxattr(path, name, &buffer, buffer.count)
    return count > 0 && buffer.prefix(count).elementsEqual(value.utf8)
  }

  private func look(_ components: [String], in items: [LayerItem]) throws -> Word {
    var isFolder = false
    for item in items {
      switch item {
      case .symlink(let target, let path) where Self.components(path) == components: return .entry(.symlink(target))
      case .file(_, let path) where Self.components(path) == components: return .entry(.other)
      case .directory(let directory, let path):
        let top = Self.components(path)
        if top.starts(with: components) { isFolder = true }
        guard components.starts(with: top), components.count > top.count else { break }
        switch try look(components[top.count...], in: directory) {
        case .entry(.folder): isFolder = true
        case .silent: break
        case let word: return word
        }
      case .symlink(_, let path), .file(_, let path), .folder(let path):
        // The folders on the way to an item, and an empty one.
        if Self.components(path).starts(with: components) { isFolder = true }
      case .whiteout, .opaque: break
      }
    }
    return isFolder ? .entry(.folder) : .silent
  }

  private func look(_ components: ArraySlice<String>, in directory: DirectoryArtifact) throws -> Word {
    guard let name = components.first else { return .entry(.folder) }
    let found = try store.directory(directory).entries.first { $0.name.utf8.elementsEqual(name.utf8) }
    let isLast = components.count == 1
    switch found?.node {
    case .folder(let inner)?: return isLast ? .entry(.folder) : try look(components.dropFirst(), in: inner)
    case .symlink(let target)?: return isLast ? .entry(.symlink(target)) : .hidden
    case .file?: return isLast ? .entry(.other) : .hidden
    case nil: return .silent
    }
  }
}
