import Diagnostics
import Digests
import Glibc
import Synchronization
import SystemPackage

/// How the index follows the disk.
///
///     controls changed, or a .gitignore ──> list all anew (git ls-files, or a walk)
///     a folder changed ──> read its names; ask only about those that are unknown
///     every file ──> lstat; content is forgotten where that differs or was racy
extension WorkingTree {
  /// Beyond this much text, asking about single paths is no cheaper than asking for all.
  private static let askLimit = 64 << 10
  /// Files or folders, a tenth of a millisecond's worth: until a thread's last ones are done, the others wait for it.
  private static let lookedAtOnce = 64

  func refresh(_ state: inout State, _ scope: Scope) throws {
    let time = ObservationTime.now()
    let isCurrent = state.isListed && state.index.settings == settings && controlsHold(state.index)
    if try !isCurrent || !updateFolders(&state, scope, time) { try listAll(&state) }
    try checkFiles(&state, scope, time)
  }

  // MARK: Everything

  private func listAll(_ state: inout State) throws {
    let time = ObservationTime.now()
    let listing = try Listing(root: root.string, ignore: ignore, reader: folders)
    let controls = listing.controls.map { ($0, Self.status($0.path)) }
    let files = try listing.all().sorted { $0.path.withUnsafeBytesCompared(to: $1.path) < 0 }
    let submodules = Set(files.lazy.filter { $0.commit != nil }.map(\.path))
    let watched = try listing.watch(Self.parents(of: files), at: time) { submodules.contains($0) }

    // What was listed before keeps its content; a submodule is always taken from the new list.
    let old = state.index
    var isKept = [Bool](repeating: false, count: old.entries.count)
    for file in files where file.commit == nil {
      if let position = file.path.withUnsafeBufferPointer({ old.entry(at: $0) }) {
        isKept[position] = old.entries[position].mode != .submodule
      }
    }
    var index = old
    index.controls = []
    index = index.updated(
      adding: files, keeping: { isKept[$0] }, addingFolders: watched, keepingFolders: { _ in false })
    index.settings = settings
    index.controlsAt = time
    index.usesGit = listing.git != nil
    index.setControls(controls)
    state.index = index
    state.table = PackageTable(index)
    state.isListed = true
    state.isDirty = true
  }

  /// The root and every folder above a file, each once.
  private static func parents(of sorted: [ListedFile]) -> [[UInt8]] {
    var seen: Set<[UInt8]> = [[]]
    var result: [[UInt8]] = [[]]
    var previous: ArraySlice<UInt8> = []
    for file in sorted {
      guard let slash = file.path.lastIndex(of: UInt8(ascii: "/")) else { continue }
      var folder = file.path[..<slash]
      if folder == previous { continue }
      previous = folder
      while seen.insert(Array(folder)).inserted {
        result.append(Array(folder))
        guard let slash = folder.lastIndex(of: UInt8(ascii: "/")) else { break }
        folder = folder[..<slash]
      }
    }
    return result
  }

  // MARK: Controls

  static func status(_ path: String) -> stat? {
    var status = stat()
    return lstat(path, &status) == 0 ? status : nil
  }

  private func controlsHold(_ index: TreeIndex) -> Bool {
    index.controls.allSatisfy { control in
      var raw = stat()
      let exists = lstat(index.arena.cString(control.path), &raw) == 0
      guard exists == (control.flags & IndexControl.exists != 0) else { return false }
      if !exists { return true }
      let now = FileStat(raw)
      if control.flags & IndexControl.identityOnly != 0 {
        return now.inode == control.stat.inode && now.device == control.stat.device
      }
      return now == control.stat && now.isSettled(at: index.controlsAt)
    }
  }

  // MARK: Folders

  private enum FolderState: UInt8 { case same, changed, gone, ignoreFileChanged }

  /// Follows what appeared in and vanished from folders; false when all must be listed anew.
  private func updateFolders(_ state: inout State, _ scope: Scope, _ time: ObservationTime) throws -> Bool {
    let (index, crew) = (state.index, state.crew)
    let positions = folderPositions(index, scope)
    var states = [UInt8](repeating: FolderState.same.rawValue, count: positions.count)
    let hasChanges = Atomic<Bool>(false)
    states.withUnsafeMutableBufferPointer { states in
      inParallel(positions.count, chunk: Self.lookedAtOnce, with: crew) { range in
        for position in range {
          let found = folderState(index, index.folders[positions[position]])
          states[position] = found.rawValue
          if found != .same { hasChanges.store(true, ordering: .relaxed) }
        }
      }
    }
    guard hasChanges.load(ordering: .relaxed) else { return true }
    if states.contains(FolderState.ignoreFileChanged.rawValue) { return false }

    let listing = try Listing(index: index, root: root.string, ignore: ignore, reader: folders)
    var change = FolderChange(entries: index.entries.count, folders: index.folders.count)
    for (position, state) in zip(positions, states) where state == FolderState.gone.rawValue {
      change.drop(index, position)
    }
    for (position, state) in zip(positions, states) where state == FolderState.changed.rawValue {
      if change.droppedFolders[position] { continue }
      guard try look(into: position, index, listing, time, &change) else { return false }
    }
    if change.unknown.reduce(0, { $0 + $1.path.count + 1 }) > Self.askLimit { return false }
    let files = try listing.files(at: change.unknown.map(\.path))
    let sorted = files.sorted { $0.path.withUnsafeBytesCompared(to: $1.path) < 0 }
    let submodules = Set(sorted.lazy.filter { $0.commit != nil }.map(\.path))
    // Unknown folders are watched even when they hold no source: one may appear there. Git says which it ignores.
    let watched = try listing.watchNew(
      change.unknown.filter(\.isFolder).map(\.path).filter { !submodules.contains($0) }, holding: sorted, at: time)
    state.index = index.updated(
      adding: files, keeping: { !change.droppedEntries[$0] }, addingFolders: change.looked + watched,
      keepingFolders: { !change.droppedFolders[$0] })
    state.table = PackageTable(state.index)
    state.isDirty = true
    return true
  }

  private func folderPositions(_ index: TreeIndex, _ scope: Scope) -> [Int] {
    let isWatched = { (position: Int) in index.folders[position].flags & IndexFolder.isIgnored == 0 }
    guard case .packages(let packages) = scope else { return index.folders.indices.filter(isWatched) }
    var positions = Set<Int>()
    for package in packages {
      var text = package.string
      text.withUTF8 { path in
        positions.formUnion(index.folders(below: path))
        // The folders above decide too: by their .gitignore, and by whether the package is there at all.
        var length = path.count
        while true {
          if let above = index.folder(at: UnsafeBufferPointer(rebasing: path[..<length])) { positions.insert(above) }
          guard length > 0 else { break }
          length = path[..<length].lastIndex(of: UInt8(ascii: "/")) ?? 0
        }
      }
    }
    return positions.filter(isWatched).sorted()
  }

  private func folderState(_ index: TreeIndex, _ folder: IndexFolder) -> FolderState {
    let path = index.arena.bytes(folder.path)
    var raw = stat()
    let cPath = index.arena.cString(folder.path)
    let found = path.isEmpty ? fstat(folders.root, &raw) : fstatat(folders.root, cPath, &raw, AT_SYMLINK_NOFOLLOW)
    guard found == 0, raw.st_mode & S_IFMT == S_IFDIR else { return .gone }
    if folder.flags & IndexFolder.hasIgnoreFile != 0 {
      guard let status = folders.status(Array(path) + Array((path.isEmpty ? "" : "/").utf8) + Self.ignoreFile),
        FileStat(status) == folder.ignoreFile, folder.ignoreFile.isSettled(at: folder.listedAt)
      else { return .ignoreFileChanged }
    }
    let now = FileStat(raw)
    return now == folder.stat && now.isSettled(at: folder.listedAt) ? .same : .changed
  }

  private static let ignoreFile = Array(".gitignore".utf8)

  /// Collects the names in a changed folder that the index does not know; false when its `.gitignore` came or went.
  private func look(
    into position: Int, _ index: TreeIndex, _ listing: Listing, _ time: ObservationTime, _ change: inout FolderChange
  ) throws -> Bool {
    let path = Array(index.arena.bytes(index.folders[position].path))
    guard let contents = try folders.contents(path) else {
      change.drop(index, position)
      return true
    }
    let hadIgnoreFile = index.folders[position].flags & IndexFolder.hasIgnoreFile != 0
    if listing.git != nil, contents.hasIgnoreFile != hadIgnoreFile { return false }
    change.looked.append(listing.folder(path, contents, time))
    for (name, kind) in contents.names where kind != .other && !listing.isExcluded(name) {
      let child = FolderReader.join(path, name)
      let entry = child.withUnsafeBufferPointer { index.entry(at: $0) }
      let folder = child.withUnsafeBufferPointer { index.folder(at: $0) }
      if kind == .folder {
        if let folder, !change.droppedFolders[folder] { continue }
        if let entry {
          if index.entries[entry].mode == .submodule { continue }
          change.droppedEntries[entry] = true
        }
      } else {
        if let entry, index.entries[entry].mode != .submodule, !change.droppedEntries[entry] { continue }
        if listing.isIgnored(child) { continue }
        if let folder { change.drop(index, folder) }
      }
      change.unknown.append((child, kind == .folder))
    }
    return true
  }

  // MARK: Files

  private func checkFiles(_ state: inout State, _ scope: Scope, _ time: ObservationTime) throws {
    var ranges = [0..<state.index.entries.count]
    if case .packages(let packages) = scope {
      ranges = packages.map { package in
        var text = package.string
        return text.withUTF8 { state.index.entries(below: $0) }
      }
    }
    let arena = state.index.arena
    let (root, crew) = (folders.root, state.crew)
    let isDirty = Atomic<Bool>(false)
    let hasGone = Atomic<Bool>(false)
    for range in ranges {
      state.index.entries.withUnsafeMutableBufferPointer { entries in
        let base = range.lowerBound
        inParallel(range.count, chunk: Self.lookedAtOnce, with: crew) { part in
          // Every position is one thread's only.
          for position in part {
            let change = entries[base + position].check(arena, root, time)
            if change != .none { isDirty.store(true, ordering: .relaxed) }
            if change == .gone { hasGone.store(true, ordering: .relaxed) }
          }
        }
      }
    }
    if isDirty.load(ordering: .relaxed) { state.isDirty = true }
    if hasGone.load(ordering: .relaxed) { removeGone(&state) }
  }

  /// Tracked files that are deleted, and files that went between the look at their folder and that at them.
  private func removeGone(_ state: inout State) {
    let index = state.index
    for entry in index.entries where entry.flags & IndexEntry.isGone != 0 {
      let path = index.arena.bytes(entry.path)
      let parent = UnsafeBufferPointer(rebasing: path[..<(path.lastIndex(of: UInt8(ascii: "/")) ?? 0)])
      // Whatever stands there now is found by the next look.
      if let folder = index.folder(at: parent) { state.index.folders[folder].listedAt = .never }
    }
    state.index = state.index.updated(
      adding: [], keeping: { index.entries[$0].flags & IndexEntry.isGone == 0 }, addingFolders: [],
      keepingFolders: { _ in true })
    state.table = PackageTable(state.index)
  }
}

/// What changed in the folders, as positions in the index before.
private struct FolderChange {
  var droppedEntries: [Bool]
  var droppedFolders: [Bool]
  var looked: [ListedFolder] = []
  var unknown: [(path: [UInt8], isFolder: Bool)] = []

  init(entries: Int, folders: Int) {
    droppedEntries = Array(repeating: false, count: entries)
    droppedFolders = Array(repeating: false, count: folders)
  }

  /// A folder went, with all below it.
  mutating func drop(_ index: TreeIndex, _ position: Int) {
    let path = index.arena.bytes(index.folders[position].path)
    droppedFolders[position] = true
    for folder in index.folders(below: path) { droppedFolders[folder] = true }
    for entry in index.entries(below: path) { droppedEntries[entry] = true }
  }
}

extension IndexEntry {
  enum Change { case none, changed, gone }

  /// Looks at the file; forgets its content when it may have changed.
  mutating func check(_ arena: ByteArena, _ root: Int32, _ time: ObservationTime) -> Change {
    checkedAt = time
    if mode == .submodule { return .none }
    var raw = Glibc.stat()
    guard fstatat(root, arena.cString(path), &raw, AT_SYMLINK_NOFOLLOW) == 0, let found = SourceFile.Mode(raw.st_mode)
    else {
      flags |= Self.isGone
      return .gone
    }
    let now = FileStat(raw)
    if now == stat, modeBits == found.rawValue {
      guard hasContent, !now.isSettled(at: hashedAt) else { return .none }
      invalidate()
      return .changed
    }
    stat = now
    mode = found
    invalidate()
    return .changed
  }
}

extension TreeIndex {
  mutating func setControls(_ found: [(Listing.Control, stat?)]) {
    var builder = ArenaBuilder(capacity: arena.count + 4_096)
    for position in entries.indices { entries[position].path = builder.add(arena.bytes(entries[position].path)) }
    for position in folders.indices { folders[position].path = builder.add(arena.bytes(folders[position].path)) }
    controls = found.map { control, status in
      var flags: UInt32 = control.identityOnly ? IndexControl.identityOnly : 0
      if status != nil { flags |= IndexControl.exists }
      return IndexControl(
        path: builder.add(control.path.utf8), flags: flags, stat: status.map { FileStat($0) } ?? FileStat())
    }
    arena = builder.finish()
  }
}
