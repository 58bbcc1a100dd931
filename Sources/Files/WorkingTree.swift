import Diagnostics
import Digests
import Glibc
import Synchronization
import SystemPackage

/// The source files on disk, and an index that makes it cheap to see that nothing changed.
///
/// `refresh` looks at the disk; everything else answers from what it saw. All calls are safe from any thread and
/// serialised.
package final class WorkingTree: SourceTree {
  package enum Scope: Sendable {
    case all
    /// Only these packages (all folders below them too) are looked at: enough to build only them.
    case packages([WorkspacePath])
  }

  struct State {
    var index = TreeIndex()
    var table = PackageTable()
    /// Whether `index` holds a listing that this process may go on from.
    var isListed = false
    var isDirty = false
    /// Whether the next refresh has been made already.
    var isAhead = false
    /// Who helps with the refresh that is being made.
    var crew: Crew?

    init(_ loaded: (index: TreeIndex, table: PackageTable)?) {
      guard let loaded else { return }
      index = loaded.index
      table = loaded.table
      isListed = true
    }
  }

  /// Absolute, without symlinks.
  package let root: FilePath
  package let reader: FileReader
  let ignore: [Glob]
  let folders: FolderReader
  let settings: Fingerprint
  private let rootDescriptor: FileDescriptor
  private let stateFile: FilePath
  /// The index file's; it is read while the caller reads its settings.
  private let loaded: Background<(TreeIndex, PackageTable)?>
  private let state = Mutex<State?>(nil)

  /// Opens the tree and loads its index from `state`; a missing, torn or foreign index is none.
  ///
  /// `ignore` are globs relative to the root. Throws a `Diagnostic` when the root cannot be opened.
  package init(root: FilePath, ignore: [Glob] = [], state: FilePath) throws {
    guard let resolved = realpath(root.string, nil) else {
      throw Diagnostic.cannot("open the workspace", root.string, .last)
    }
    defer { free(resolved) }
    self.root = FilePath(String(cString: resolved))
    self.ignore = ignore
    stateFile = state
    do {
      rootDescriptor = try .open(self.root, .readOnly, options: [.directory, .closeOnExec])
    } catch let error as Errno {
      throw Diagnostic.cannot("open the workspace", root.string, error)
    }
    reader = FileReader(root: rootDescriptor.rawValue)
    folders = FolderReader(root: rootDescriptor.rawValue)
    settings = Listing.settings(root: self.root.string, ignore: ignore)
    let file = state.string
    loaded = Background { TreeIndex(file: file).map { ($0, PackageTable($0)) } }
  }

  deinit { try? rootDescriptor.close() }

  func withState<Result>(_ body: (inout State) throws -> Result) rethrows -> Result {
    try state.withLock { known in
      var state = known ?? State(loaded.take())
      known = nil
      defer { known = state }
      return try body(&state)
    }
  }

  /// Makes the list of files and what is known of each agree with the disk; hashes nothing.
  ///
  /// Throws a `Diagnostic` when git fails or a folder cannot be read.
  package func refresh(_ scope: Scope = .all) throws {
    try withState { state in
      defer { state.isAhead = false }
      if !state.isAhead { try refresh(&state, scope) }
    }
  }

  /// Refreshes everything for the next `refresh` of this process, which looks at the disk itself where this fails.
  package func refreshAhead(with crew: Crew) {
    withState { state in
      guard !state.isAhead else { return }
      state.crew = crew
      defer { state.crew = nil }
      do {
        try refresh(&state, .all)
        state.isAhead = true
      } catch {}
    }
  }

  /// Writes the index unless nothing changed; throws a `Diagnostic`, which is worth a warning only.
  package func save() throws {
    try withState { state in
      guard state.isDirty, state.isListed else { return }
      try state.index.write(to: stateFile)
      state.isDirty = false
    }
  }

  // MARK: SourceTree

  package var packages: [WorkspacePath] { withState { $0.table.packages } }

  package func forEachFile(
    in package: WorkspacePath, _ body: (UnsafeBufferPointer<UInt8>, SourceFile.Mode) throws -> Void
  ) rethrows {
    // A copy, because `body` may ask the tree something.
    let state = withState { $0 }
    guard let position = state.table.position(of: package) else { return }
    let skipped = package.isRoot ? 0 : package.string.utf8.count + 1
    for index in state.table.ranges[position] where state.table.owners[index] == position {
      let entry = state.index.entries[index]
      try body(UnsafeBufferPointer(rebasing: state.index.arena.bytes(entry.path)[skipped...]), entry.mode)
    }
  }

  package func mode(of path: WorkspacePath) -> SourceFile.Mode? {
    withState { state in state.entry(path).map { state.index.entries[$0].mode } }
  }

  package func read(_ path: WorkspacePath, limit: Int) throws -> [UInt8] {
    try path.string.withCString { try reader.read($0, limit: limit) }
  }

  // MARK: Fingerprints

  /// XXH3-128 over path, mode, size, times and inode of all files of a package, not over content.
  ///
  /// Equal stamps mean equal content. `nil` for no package, when the last refresh did not look at it, and while a file
  /// is so new that a further change might not show.
  package func stamp(of package: WorkspacePath) -> Fingerprint? {
    withState { $0.stamp(of: package) }
  }

  /// As `stamp(of:)`, of many packages at once.
  package func stamps(of packages: [WorkspacePath]) -> [Fingerprint?] {
    let state = withState { $0 }
    return mapInParallel(packages, chunk: 64) { state.stamp(of: $0) }
  }

  /// The files with these paths, in this order; reads, on all processors, only those whose content is not known.
  ///
  /// Throws a `Diagnostic` when one is not in the tree or cannot be read.
  package func fingerprints(of paths: [WorkspacePath]) throws -> [SourceFile] {
    try known(paths, wantsDigest: false) { state, positions in
      zip(paths, positions).map { state.file($0, at: $1) }
    }
  }

  /// As `fingerprints(of:)`, with the digests, which cost a reading where only the fingerprint is known.
  ///
  /// A submodule has no bytes; its digest is that of its commit id's digits.
  package func contents(of paths: [WorkspacePath]) throws -> [SourceContent] {
    try known(paths, wantsDigest: true) { state, positions in
      zip(paths, positions).map { path, position in
        let entry = state.index.entries[position]
        return SourceContent(file: state.file(path, at: position), digest: entry.digest, size: Int(entry.stat.size))
      }
    }
  }

  /// The digest of what a file held when it had its fingerprint, if that is known.
  package func digest(of file: SourceFile) -> Digest? {
    withState { state in
      guard let position = state.entry(file.path) else { return nil }
      let entry = state.index.entries[position]
      return entry.hasDigest && entry.fingerprint == file.fingerprint ? entry.digest : nil
    }
  }

  /// What `body` says of these files, all of whose content is known by then.
  ///
  /// Files are read while others may ask: who runs an action does not wait for the reading of another one's sources.
  private func known<Result>(
    _ paths: [WorkspacePath], wantsDigest: Bool, _ body: (State, [Int]) throws -> Result
  ) throws -> Result {
    let (result, positions, missing, arena) = try withState { state in
      let positions = try state.positions(of: paths)
      let missing = Set(
        positions.filter { position in
          let entry = state.index.entries[position]
          return !(wantsDigest ? entry.hasDigest : entry.hasContent)
        }
      ).sorted()
      return (
        missing.isEmpty ? try body(state, positions) : nil, positions,
        missing.map { (position: $0, path: state.index.entries[$0].path) }, state.index.arena
      )
    }
    if let result { return result }
    let readings = mapInParallel(missing, chunk: 16) { [reader] missing in
      Swift.Result { try reader.hash(arena.cString(missing.path), wantsDigest: wantsDigest) }
    }
    return try withState { state in
      // A refresh in between may have moved the files.
      guard state.index.arena === arena else { return nil }
      state.isDirty = true
      for (file, reading) in zip(missing, readings) {
        if case .success(let reading) = reading { state.index.entries[file.position].record(reading) }
      }
      for reading in readings { _ = try reading.get() }
      return try body(state, positions)
    } ?? known(paths, wantsDigest: wantsDigest, body)
  }
}

extension IndexEntry {
  var hasContent: Bool { flags & Self.hasFingerprint != 0 }
  var hasDigest: Bool { flags & Self.hasDigest != 0 }

  mutating func record(_ reading: FileReading) {
    stat = reading.after
    mode = reading.mode
    checkedAt = reading.time
    hashedAt = reading.time
    fingerprint = reading.fingerprint
    flags |= Self.hasFingerprint
    flags &= ~Self.hasDigest
    if let digest = reading.digest {
      self.digest = digest
      flags |= Self.hasDigest
    }
  }
}

extension WorkingTree.State {
  func entry(_ path: WorkspacePath) -> Int? {
    var text = path.string
    return text.withUTF8 { index.entry(at: $0) }
  }

  func positions(of paths: [WorkspacePath]) throws -> [Int] {
    try paths.map { path in
      guard let position = entry(path) else { throw Diagnostic.error("there is no source file `\(path)`") }
      return position
    }
  }

  func file(_ path: WorkspacePath, at position: Int) -> SourceFile {
    SourceFile(path: path, mode: index.entries[position].mode, fingerprint: index.entries[position].fingerprint)
  }

  func stamp(of package: WorkspacePath) -> Fingerprint? {
    guard let position = table.position(of: package) else { return nil }
    let hasher = FingerprintHasher()
    for entry in table.ranges[position] where table.owners[entry] == position {
      let entry = index.entries[entry]
      guard entry.checkedAt != .never, entry.mode == .submodule || entry.stat.isSettled(at: entry.checkedAt) else {
        return nil
      }
      hasher.update(UInt64(entry.path.length) << 8 | UInt64(entry.modeBits))
      hasher.update(UnsafeRawBufferPointer(index.arena.bytes(entry.path)))
      if entry.mode == .submodule {
        withUnsafeBytes(of: entry.fingerprint) { hasher.update($0) }
      } else {
        withUnsafeBytes(of: entry.stat) { hasher.update($0) }
      }
    }
    return hasher.finish()
  }
}
