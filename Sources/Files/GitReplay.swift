import Diagnostics
import Digests

/// A commit, and what it changed in the workspace's folder.
package struct GitCommit: Sendable {
  /// A file as the commit left it; `nil` for one that is gone.
  package struct Change: Sendable {
    package var path: WorkspacePath
    var file: ReplayedTree.File?

    package var isGone: Bool { file == nil }
  }

  package var id: String
  /// When it was committed, in seconds since 1970.
  package var time: Int64
  package var changes: [Change] = []
}

extension GitHistory {
  /// The commits after one and up to another, oldest first; of a merge, what it brought to its first parent.
  package func commits(after base: String, to head: String) throws -> [GitCommit] {
    let output = try git.output(
      [
        "log", "--reverse", "--first-parent", "-m", "--raw", "-z", "--no-renames", "--no-abbrev", "--relative",
        "--format=%H %ct", "\(base)..\(head)",
      ])
    var commits: [GitCommit] = []
    var change: [ArraySlice<UInt8>]?
    for field in output.split(separator: 0) {
      let text = field.first == 10 ? field.dropFirst() : field
      if let words = change {
        change = nil
        // A name with a newline is refused with all others of a workspace.
        guard !commits.isEmpty, let path = WorkspacePath(String(decoding: field, as: UTF8.self)) else { continue }
        commits[commits.count - 1].changes.append(.init(path: path, file: ReplayedTree.File(newSideOf: words)))
      } else if text.first == UInt8(ascii: ":") {
        change = text.split(separator: 32)
      } else {
        let words = text.split(separator: 32)
        guard words.count == 2, let time = Int64(String(decoding: words[1], as: UTF8.self)) else { continue }
        commits.append(GitCommit(id: String(decoding: words[0], as: UTF8.self), time: time))
      }
    }
    return commits
  }

  /// The workspace's files in a commit, to be changed by those after it.
  package func replay(from commit: String, ignore: @escaping @Sendable ([UInt8]?) throws -> [Glob]) throws
    -> ReplayedTree
  {
    var files: [WorkspacePath: ReplayedTree.File] = [:]
    for file in Self.committed(try git.output(["ls-tree", "-r", "-z", commit])) {
      guard let path = WorkspacePath(String(decoding: file.path, as: UTF8.self)) else { continue }
      files[path] = ReplayedTree.File(mode: file.mode, id: String(decoding: file.id, as: UTF8.self))
    }
    return try ReplayedTree(files, git: git, blobs: blobs, ignore: ignore)
  }

  /// Reads what commits leave of files with certain names by one call of git.
  package func prefetch(_ commits: [GitCommit], where wanted: (WorkspacePath) -> Bool) throws {
    var ids: Set<String> = []
    for commit in commits {
      for change in commit.changes where wanted(change.path) {
        if let file = change.file, file.mode != .submodule { ids.insert(file.id) }
      }
    }
    try blobs.fetch(Array(ids), git)
  }
}

/// A source tree that follows a history, one commit's changes at a time.
package struct ReplayedTree: SourceTree {
  struct File: Hashable, Sendable {
    var mode: SourceFile.Mode
    /// Git's hexadecimal digits.
    var id: String
  }

  private let git: Git
  private let blobs: GitBlobs
  private let ignore: @Sendable ([UInt8]?) throws -> [Glob]
  private var globs: [Glob] = []
  /// Those that are ignored, too.
  private var committed: [WorkspacePath: File]
  private var files: [WorkspacePath: File] = [:]
  package private(set) var packages: [WorkspacePath] = []
  /// The files of each package.
  private var owned: [WorkspacePath: Set<WorkspacePath>] = [:]

  private static let manifests = ["metadata.yaml", "targets.yaml"]

  init(
    _ files: [WorkspacePath: File], git: Git, blobs: GitBlobs, ignore: @escaping @Sendable ([UInt8]?) throws -> [Glob]
  ) throws {
    self.git = git
    self.blobs = blobs
    self.ignore = ignore
    committed = files
    try build()
  }

  private mutating func build() throws {
    let settings = WorkspacePath(unchecked: "slipway.yaml")
    globs = try ignore(committed[settings].map { try blobs.bytes(of: $0.id, git) })
    files = committed.filter { !isIgnored($0.key) }
    packages = Set(files.filter { Self.isManifest($0.key, $0.value) }.keys.map(\.parent)).sorted()
    owned = [:]
    for path in files.keys {
      if let package = package(containing: path) { owned[package, default: []].insert(path) }
    }
  }

  private static func isManifest(_ path: WorkspacePath, _ file: File) -> Bool {
    file.mode != .submodule && manifests.contains(path.name)
  }

  private func isIgnored(_ path: WorkspacePath) -> Bool {
    var text = path.string
    return Listing.holdsState(Array(text.utf8)) || text.withUTF8 { bytes in globs.contains { $0.matches(bytes) } }
  }

  /// Takes in what a commit changed.
  ///
  /// - Returns: The packages of which a file is another one, or is theirs or no longer theirs.
  package mutating func apply(_ commit: GitCommit) throws -> Set<WorkspacePath> {
    var touched: Set<WorkspacePath> = []
    var isRearranged = false
    for change in commit.changes {
      let path = change.path
      let before = committed[path]
      committed[path] = change.file
      if path.string == "slipway.yaml" { isRearranged = true }
      for file in [before, change.file]
      where (before == nil) != (change.file == nil) || before?.mode != change.file?.mode {
        if let file, Self.isManifest(path, file) { isRearranged = true }
      }
      guard !isIgnored(path) else { continue }
      files[path] = change.file
      guard let package = package(containing: path) else { continue }
      touched.insert(package)
      if change.isGone { owned[package]?.remove(path) } else { owned[package, default: []].insert(path) }
    }
    if isRearranged {
      // Which package a file belongs to may be another one now.
      let before = owned
      try build()
      for package in Set(before.keys).union(owned.keys) where before[package] != owned[package] {
        touched.insert(package)
      }
    }
    return touched
  }

  package func forEachFile(
    in package: WorkspacePath, _ body: (UnsafeBufferPointer<UInt8>, SourceFile.Mode) throws -> Void
  ) rethrows {
    let skipped = package.isRoot ? 0 : package.string.utf8.count + 1
    for path in (owned[package] ?? []).sorted() {
      guard let mode = files[path]?.mode else { continue }
      var text = path.string
      try text.withUTF8 { try body(UnsafeBufferPointer(rebasing: $0[skipped...]), mode) }
    }
  }

  package func mode(of path: WorkspacePath) -> SourceFile.Mode? { files[path]?.mode }

  /// As a `GitTree` names it.
  package func content(of path: WorkspacePath) -> Fingerprint? {
    files[path].map { GitTree.content(mode: $0.mode, id: Array($0.id.utf8)[...]) }
  }

  /// The names of the files that lie right in a folder.
  package func names(inFolder folder: String) -> [String] {
    files.keys.filter { $0.parent.string == folder }.map(\.name).sorted()
  }

  /// Reads many files by one call of git; `read` then answers at once.
  package func prefetch(_ paths: [WorkspacePath]) throws {
    try blobs.fetch(paths.compactMap { files[$0] }.filter { $0.mode != .submodule }.map(\.id), git)
  }

  package func read(_ path: WorkspacePath, limit: Int) throws -> [UInt8] {
    guard let file = files[path] else { throw Diagnostic.error("there is no source file `\(path)`") }
    let bytes = try blobs.bytes(of: file.id, git)
    guard bytes.count <= limit else { throw Diagnostic.error("`\(path)` is larger than \(limit) bytes") }
    return bytes
  }
}

extension ReplayedTree.File {
  /// Of `:OLDMODE NEWMODE OLDID NEWID STATUS`; `nil` where the file is gone.
  fileprivate init?(newSideOf words: [ArraySlice<UInt8>]) {
    guard words.count == 5, words[4].first != UInt8(ascii: "D"), let mode = SourceFile.Mode(git: words[1]) else {
      return nil
    }
    self.init(mode: mode, id: String(decoding: words[3], as: UTF8.self))
  }
}
