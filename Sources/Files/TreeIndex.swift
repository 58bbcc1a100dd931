import Digests
import Glibc

/// Where a path's bytes stand in the arena; a NUL follows them, so that system calls take them as they are.
struct PathReference {
  var offset: UInt32
  var length: UInt32
}

/// A source file in the index. Plain data: the index file holds it byte for byte.
struct IndexEntry {
  static let hasFingerprint: UInt8 = 1
  static let hasDigest: UInt8 = 2
  /// Found missing by the running refresh.
  static let isGone: UInt8 = 4

  var path: PathReference
  var modeBits: UInt8
  var flags: UInt8 = 0
  var reserved: UInt16 = 0
  var reserved2: UInt32 = 0
  var stat = FileStat()
  /// When `stat` was last found to hold, by this process; `never` in a file.
  var checkedAt = ObservationTime.never
  /// When the content was read, if it was.
  var hashedAt = ObservationTime.never
  var fingerprint = Fingerprint(high: 0, low: 0)
  var digest = Digest.empty

  var mode: SourceFile.Mode {
    get { SourceFile.Mode(rawValue: modeBits) ?? .regular }
    set { modeBits = newValue.rawValue }
  }

  /// Forgets the content.
  mutating func invalidate() {
    flags &= ~(Self.hasFingerprint | Self.hasDigest)
    hashedAt = .never
  }
}

/// A folder whose listing the index relies on, or one that is ignored and need not be asked about again.
struct IndexFolder {
  static let isIgnored: UInt32 = 1
  static let hasIgnoreFile: UInt32 = 2

  var path: PathReference
  var flags: UInt32 = 0
  var reserved: UInt32 = 0
  var stat = FileStat()
  /// Of its `.gitignore`.
  var ignoreFile = FileStat()
  var listedAt = ObservationTime.never
}

/// A file outside the tree, or git's own, on which the listing depends.
struct IndexControl {
  static let exists: UInt32 = 1
  /// Only whether it is there, and is the same one: a `.git` folder changes with every git command.
  static let identityOnly: UInt32 = 2

  var path: PathReference
  var flags: UInt32
  var reserved: UInt32 = 0
  var stat: FileStat
}

/// Immutable bytes outside Swift's heap rules: pointers into it stay valid while it lives.
final class ByteArena: @unchecked Sendable {
  let base: UnsafePointer<UInt8>
  let count: Int
  /// Where the bytes lie; nil where they are the arena's own.
  private let file: MappedFile?

  init(_ bytes: UnsafeRawBufferPointer) {
    let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: Swift.max(1, bytes.count))
    if let source = bytes.baseAddress { memcpy(copy, source, bytes.count) }
    base = UnsafePointer(copy)
    count = bytes.count
    file = nil
  }

  /// - Parameter bytes: Within the file.
  init(_ bytes: UnsafePointer<UInt8>, count: Int, in file: MappedFile) {
    base = bytes
    self.count = count
    self.file = file
  }

  deinit { if file == nil { base.deallocate() } }

  func bytes(_ path: PathReference) -> UnsafeBufferPointer<UInt8> {
    UnsafeBufferPointer(start: base + Int(path.offset), count: Int(path.length))
  }

  func cString(_ path: PathReference) -> UnsafePointer<CChar> {
    UnsafeRawPointer(base + Int(path.offset)).assumingMemoryBound(to: CChar.self)
  }

  func string(_ path: PathReference) -> String { String(decoding: bytes(path), as: UTF8.self) }
}

/// The list of source files with what is known of each: sorted bytewise, no allocation a file.
struct TreeIndex {
  var arena = ByteArena(UnsafeRawBufferPointer(start: nil, count: 0))
  var entries: [IndexEntry] = []
  var folders: [IndexFolder] = []
  var controls: [IndexControl] = []
  /// Of all settings that decide the listing.
  var settings = Fingerprint(high: 0, low: 0)
  /// When `controls` were looked at.
  var controlsAt = ObservationTime.never
  var usesGit = false

  /// Below zero, zero or above it, as `memcmp`; a prefix comes first.
  static func compare(_ a: UnsafeBufferPointer<UInt8>, _ b: UnsafeBufferPointer<UInt8>) -> Int {
    if let x = a.baseAddress, let y = b.baseAddress {
      let order = memcmp(x, y, Swift.min(a.count, b.count))
      if order != 0 { return Int(order) }
    }
    return a.count - b.count
  }

  /// The first entry whose path is not before `path`.
  func lowerBound(_ path: UnsafeBufferPointer<UInt8>) -> Int {
    entries.partitioningIndex { Self.compare(arena.bytes($0.path), path) >= 0 }
  }

  func entry(at path: UnsafeBufferPointer<UInt8>) -> Int? {
    let index = lowerBound(path)
    guard index < entries.count, Self.compare(arena.bytes(entries[index].path), path) == 0 else { return nil }
    return index
  }

  func folder(at path: UnsafeBufferPointer<UInt8>) -> Int? {
    let index = folderLowerBound(path)
    guard index < folders.count, Self.compare(arena.bytes(folders[index].path), path) == 0 else { return nil }
    return index
  }

  private func folderLowerBound(_ path: UnsafeBufferPointer<UInt8>) -> Int {
    folders.partitioningIndex { Self.compare(arena.bytes($0.path), path) >= 0 }
  }

  /// The entries below a folder; all for the root.
  func entries(below folder: UnsafeBufferPointer<UInt8>) -> Range<Int> {
    if folder.isEmpty { return 0..<entries.count }
    return Self.below(folder) { lowerBound($0) }
  }

  /// The folders below a folder, without itself unless it is the root.
  func folders(below folder: UnsafeBufferPointer<UInt8>) -> Range<Int> {
    if folder.isEmpty { return 0..<folders.count }
    return Self.below(folder) { folderLowerBound($0) }
  }

  private static func below(_ folder: UnsafeBufferPointer<UInt8>, _ bound: (UnsafeBufferPointer<UInt8>) -> Int)
    -> Range<Int>
  {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: folder.count + 1) { buffer in
      _ = buffer.initialize(from: folder)
      // `0` follows `/`: paths below the folder lie between the two.
      buffer[folder.count] = UInt8(ascii: "/")
      let start = bound(UnsafeBufferPointer(buffer))
      buffer[folder.count] = UInt8(ascii: "0")
      return start..<Swift.max(start, bound(UnsafeBufferPointer(buffer)))
    }
  }
}

/// Collects the paths of a new index.
struct ArenaBuilder {
  private var bytes: [UInt8] = []

  init(capacity: Int) { bytes.reserveCapacity(capacity) }

  mutating func add(_ path: some Collection<UInt8>) -> PathReference {
    let reference = PathReference(offset: UInt32(truncatingIfNeeded: bytes.count), length: UInt32(path.count))
    bytes.append(contentsOf: path)
    bytes.append(0)
    return reference
  }

  func finish() -> ByteArena { bytes.withUnsafeBytes { ByteArena($0) } }
}

/// A file that a listing found.
struct ListedFile {
  var path: [UInt8]
  /// The commit's digits for a submodule.
  var commit: [UInt8]?

  init(path: [UInt8], commit: [UInt8]? = nil) {
    self.path = path
    self.commit = commit
  }
}

/// A folder that a listing found.
struct ListedFolder {
  var path: [UInt8]
  var flags: UInt32 = 0
  var stat = FileStat()
  var ignoreFile = FileStat()
  var listedAt: ObservationTime
}

extension TreeIndex {
  /// The same index with other files and folders; what stays keeps what is known of it.
  ///
  /// `additions` may be in any order and repeat; an addition replaces nothing that stays.
  func updated(
    adding additions: [ListedFile], keeping isKept: (Int) -> Bool, addingFolders newFolders: [ListedFolder],
    keepingFolders isFolderKept: (Int) -> Bool
  ) -> TreeIndex {
    var result = self
    var builder = ArenaBuilder(capacity: arena.count + additions.reduce(0) { $0 + $1.path.count + 1 })
    result.controls = controls.map { control in
      var control = control
      control.path = builder.add(arena.bytes(control.path))
      return control
    }
    let added = additions.sorted { $0.path.withUnsafeBytesCompared(to: $1.path) < 0 }
    result.entries = []
    result.entries.reserveCapacity(entries.count + added.count)
    var old = 0
    func keepOld(before path: [UInt8]?) -> Bool {
      while old < entries.count {
        let order =
          path.map { path in
            path.withUnsafeBufferPointer { Self.compare(arena.bytes(entries[old].path), $0) }
          } ?? -1
        if order > 0 { break }
        defer { old += 1 }
        if isKept(old) {
          var entry = entries[old]
          entry.path = builder.add(arena.bytes(entry.path))
          result.entries.append(entry)
          if order == 0 { return true }
        }
      }
      return false
    }
    var previous: [UInt8]?
    for file in added where file.path != previous {
      previous = file.path
      if keepOld(before: file.path) { continue }
      var entry = IndexEntry(path: builder.add(file.path), modeBits: SourceFile.Mode.regular.rawValue)
      if let commit = file.commit { entry.becomeSubmodule(commit) }
      result.entries.append(entry)
    }
    _ = keepOld(before: nil)
    result.folders = mergedFolders(newFolders, isFolderKept, &builder)
    result.arena = builder.finish()
    return result
  }

  private func mergedFolders(_ added: [ListedFolder], _ isKept: (Int) -> Bool, _ builder: inout ArenaBuilder)
    -> [IndexFolder]
  {
    let added = added.sorted { $0.path.withUnsafeBytesCompared(to: $1.path) < 0 }
    var result: [IndexFolder] = []
    result.reserveCapacity(folders.count + added.count)
    var old = 0
    func keepOld(before path: [UInt8]?) {
      while old < folders.count {
        if let path {
          let order = path.withUnsafeBufferPointer { Self.compare(arena.bytes(folders[old].path), $0) }
          if order > 0 { break }
          // The new record replaces the old one.
          if order == 0 {
            old += 1
            break
          }
        }
        if isKept(old) {
          var folder = folders[old]
          folder.path = builder.add(arena.bytes(folder.path))
          result.append(folder)
        }
        old += 1
      }
    }
    var previous: [UInt8]?
    for folder in added where folder.path != previous {
      previous = folder.path
      keepOld(before: folder.path)
      result.append(
        IndexFolder(
          path: builder.add(folder.path), flags: folder.flags, stat: folder.stat, ignoreFile: folder.ignoreFile,
          listedAt: folder.listedAt))
    }
    keepOld(before: nil)
    return result
  }
}

extension IndexEntry {
  mutating func becomeSubmodule(_ commit: [UInt8]) {
    mode = .submodule
    fingerprint = commit.withUnsafeBytes { Fingerprint(of: $0) }
    digest = commit.withUnsafeBytes { Digest(of: $0) }
    stat.size = Int64(commit.count)
    flags = Self.hasFingerprint | Self.hasDigest
  }
}

extension [UInt8] {
  /// As `TreeIndex.compare`.
  func withUnsafeBytesCompared(to other: [UInt8]) -> Int {
    withUnsafeBufferPointer { a in other.withUnsafeBufferPointer { TreeIndex.compare(a, $0) } }
  }
}
