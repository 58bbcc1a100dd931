import Diagnostics
import Digests
import Glibc
import Synchronization
import SystemPackage

/// The source files that git knows: of a commit, read from its objects, or of the working tree as a commit of it would
/// have them. Each has the id of its content, a git blob's, so that both sorts can be compared without reading a file.
///
/// Submodules are opaque: their content is their commit id.
package final class GitTree: SourceTree, Sendable {
  private let git: Git
  private let index: TreeIndex
  private let table: PackageTable
  /// Of each entry: git's hexadecimal digits, in the arena.
  private let ids: [PathReference]
  /// The files on the disk, where the tree is not a commit's.
  private let disk: FileReader?
  /// Objects that were read, by id; the same files are asked for of many commits.
  private let blobs: GitBlobs

  init(git: Git, files: [GitFile], disk: FileReader?, blobs: GitBlobs) {
    self.git = git
    self.disk = disk
    self.blobs = blobs
    var builder = ArenaBuilder(capacity: files.reduce(0) { $0 + $1.path.count + $1.id.count + 2 })
    var index = TreeIndex()
    var ids: [PathReference] = []
    index.entries.reserveCapacity(files.count)
    ids.reserveCapacity(files.count)
    for file in files {
      index.entries.append(IndexEntry(path: builder.add(file.path), modeBits: file.mode.rawValue))
      ids.append(builder.add(file.id))
    }
    index.arena = builder.finish()
    self.index = index
    self.ids = ids
    table = PackageTable(index)
  }

  package var packages: [WorkspacePath] { table.packages }

  package func forEachFile(
    in package: WorkspacePath, _ body: (UnsafeBufferPointer<UInt8>, SourceFile.Mode) throws -> Void
  ) rethrows {
    guard let position = table.position(of: package) else { return }
    let skipped = package.isRoot ? 0 : package.string.utf8.count + 1
    for entry in table.ranges[position] where table.owners[entry] == position {
      let entry = index.entries[entry]
      try body(UnsafeBufferPointer(rebasing: index.arena.bytes(entry.path)[skipped...]), entry.mode)
    }
  }

  private func position(of path: WorkspacePath) -> Int? {
    var text = path.string
    return text.withUTF8 { index.entry(at: $0) }
  }

  package func mode(of path: WorkspacePath) -> SourceFile.Mode? { position(of: path).map { index.entries[$0].mode } }

  /// A file's mode and its content's id, as git's digits.
  func entry(_ path: WorkspacePath) -> (mode: SourceFile.Mode, id: String)? {
    position(of: path).map { (index.entries[$0].mode, index.arena.string(ids[$0])) }
  }

  /// What a file is, and what it holds: XXH3-128 of its mode class and content id; `nil` for no file of the tree.
  package func content(of path: WorkspacePath) -> Fingerprint? {
    guard let position = position(of: path) else { return nil }
    return Self.content(mode: index.entries[position].mode, id: index.arena.bytes(ids[position]))
  }

  /// - Parameter id: Git's hexadecimal digits.
  static func content(mode: SourceFile.Mode, id: some Collection<UInt8>) -> Fingerprint {
    let hasher = FingerprintHasher()
    hasher.update(UInt64(mode.rawValue))
    if id.withContiguousStorageIfAvailable({ hasher.update(UnsafeRawBufferPointer($0)) }) == nil {
      Array(id).withUnsafeBytes { hasher.update($0) }
    }
    return hasher.finish()
  }

  /// The names of the files that lie right in a folder.
  package func names(inFolder folder: String) -> [String] {
    var folder = folder
    return folder.withUTF8 { bytes in
      let skipped = bytes.isEmpty ? 0 : bytes.count + 1
      return index.entries(below: bytes).compactMap { entry in
        let name = index.arena.bytes(index.entries[entry].path)[skipped...]
        return name.contains(UInt8(ascii: "/")) ? nil : String(decoding: name, as: UTF8.self)
      }
    }
  }

  /// The paths that hold something else in another tree, or are in one alone, sorted.
  package func paths(differingFrom other: GitTree) -> [WorkspacePath] {
    var paths: [WorkspacePath] = []
    var (mine, theirs) = (0, 0)
    while mine < index.entries.count || theirs < other.index.entries.count {
      let path = mine < index.entries.count ? index.arena.bytes(index.entries[mine].path) : nil
      let otherPath =
        theirs < other.index.entries.count ? other.index.arena.bytes(other.index.entries[theirs].path) : nil
      let order = path.map { path in otherPath.map { TreeIndex.compare(path, $0) } ?? -1 } ?? 1
      if order == 0 {
        let isSame =
          index.entries[mine].modeBits == other.index.entries[theirs].modeBits
          && TreeIndex.compare(index.arena.bytes(ids[mine]), other.index.arena.bytes(other.ids[theirs])) == 0
        if !isSame, let path { paths.append(WorkspacePath(unchecked: String(decoding: path, as: UTF8.self))) }
      } else if let lone = order < 0 ? path : otherPath {
        paths.append(WorkspacePath(unchecked: String(decoding: lone, as: UTF8.self)))
      }
      if order <= 0 { mine += 1 }
      if order >= 0 { theirs += 1 }
    }
    return paths
  }

  /// Reads many files by one call of git; `read` then answers at once.
  package func prefetch(_ paths: [WorkspacePath]) throws {
    guard disk == nil else { return }
    let wanted = paths.compactMap { position(of: $0) }.filter { index.entries[$0].mode != .submodule }
    try blobs.fetch(wanted.map { index.arena.string(ids[$0]) }, git)
  }

  package func read(_ path: WorkspacePath, limit: Int) throws -> [UInt8] {
    guard let position = position(of: path) else { throw Diagnostic.error("there is no source file `\(path)`") }
    if let disk { return try path.string.withCString { try disk.read($0, limit: limit) } }
    let bytes = try blobs.bytes(of: index.arena.string(ids[position]), git)
    guard bytes.count <= limit else { throw Diagnostic.error("`\(path)` is larger than \(limit) bytes") }
    return bytes
  }
}

/// A file as git lists it.
struct GitFile: Sendable {
  var path: ArraySlice<UInt8>
  var mode: SourceFile.Mode
  var id: ArraySlice<UInt8>

  init(path: ArraySlice<UInt8>, mode: SourceFile.Mode, id: ArraySlice<UInt8>) {
    self.path = path
    self.mode = mode
    self.id = id
  }

  /// From a line of git's that starts with the mode; `nil` for what is no file.
  init?(_ line: ArraySlice<UInt8>, path: Int, id: Range<Int>) {
    guard let mode = SourceFile.Mode(git: line.prefix { $0 != 32 }) else { return nil }
    self.init(path: line[path...], mode: mode, id: line[id])
  }
}

extension SourceFile.Mode {
  /// From git's octal digits.
  init?(git digits: ArraySlice<UInt8>) {
    switch String(decoding: digits, as: UTF8.self) {
    case "100644", "100664": self = .regular
    case "100755": self = .executable
    case "120000": self = .symlink
    case "160000": self = .submodule
    default: return nil
    }
  }
}

/// What was read of a repository's objects, each once.
final class GitBlobs: Sendable {
  private let known = Mutex<[String: [UInt8]]>([:])

  func bytes(of id: String, _ git: Git) throws -> [UInt8] {
    if let bytes = known.withLock({ $0[id] }) { return bytes }
    try fetch([id], git)
    guard let bytes = known.withLock({ $0[id] }) else {
      throw Diagnostic.error(
        "git has no object `\(id)` in `\(git.folder)`", cause: .environment,
        hints: ["fetch what is missing: git fetch --refetch"])
    }
    return bytes
  }

  func fetch(_ ids: [String], _ git: Git) throws {
    let wanted = known.withLock { known in Array(Set(ids.filter { known[$0] == nil })).sorted() }
    if wanted.isEmpty { return }
    let output = try git.output(["cat-file", "--batch"], input: Array(wanted.map { $0 + "\n" }.joined().utf8))
    var rest = output[...]
    var found: [String: [UInt8]] = [:]
    for id in wanted {
      guard let end = rest.firstIndex(of: 10) else { break }
      // `ID blob SIZE`, or `ID missing`.
      let words = rest[..<end].split(separator: 32).map { String(decoding: $0, as: UTF8.self) }
      rest = rest[(end + 1)...]
      guard words.count == 3, words[0] == id, let size = Int(words[2]), size >= 0, size < rest.count else { continue }
      found[id] = Array(rest.prefix(size))
      rest = rest.dropFirst(size + 1)
    }
    known.withLock { $0.merge(found) { old, _ in old } }
  }
}
