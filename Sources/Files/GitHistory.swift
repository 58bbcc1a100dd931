import Diagnostics
import Glibc
import SystemPackage

/// The commits of the repository that a workspace lies in, as source trees.
package final class GitHistory: Sendable {
  let git: Git
  private let root: FilePath
  /// Git's index, which it replaces by another file when it changes it.
  private let index: String
  let blobs = GitBlobs()

  /// - Returns: `nil` outside of git.
  package init?(of root: FilePath) {
    guard let entry = Listing.gitEntry(above: root.string) else { return nil }
    git = Git(folder: root.string)
    self.root = root
    // Of a further work tree, `.git` is a file that tells the folder.
    let told = (try? FileReader(root: AT_FDCWD).read(entry, limit: 4096)).map { String(decoding: $0, as: UTF8.self) }
    let folder = told.flatMap { $0.hasPrefix("gitdir: ") ? $0.dropFirst(8).prefix { $0 != "\n" } : nil }
    index =
      (folder.map { FilePath(entry).removingLastComponent().pushing(FilePath(String($0))).string } ?? entry) + "/index"
  }

  // MARK: Commits

  /// The id of the commit that a name means.
  ///
  /// - Throws: A diagnostic that says how to get it.
  package func commit(_ name: String) throws -> String {
    if Self.isNone(name) { return name }
    let arguments = ["rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}"]
    let output = try git.run(arguments)
    let id = String(decoding: output.bytes.prefix { $0 != 10 }, as: UTF8.self)
    if output.status == 0, [40, 64].contains(id.utf8.count) { return id }
    if output.status == 128, !output.errors.isEmpty { throw git.failure(arguments, output) }
    var hints: [String] = []
    // Only what may be the name of a branch, a tag or a commit can be fetched by it.
    if !name.isEmpty, !name.hasPrefix("-"), !name.contains(where: { "~^:@{} ".contains($0) }), !name.contains("..") {
      hints.append(
        "fetch it: git fetch origin \(name.hasPrefix("origin/") ? name.dropFirst("origin/".count) : name[...])")
    }
    if try isShallow() {
      hints.append("this clone is shallow: git fetch --deepen=100, or actions/checkout with fetch-depth: 0")
    }
    throw Diagnostic.error("git knows no commit `\(name)`", hints: hints)
  }

  /// An id of zeros: no commit. CI systems name it as what was before a new branch.
  static func isNone(_ name: String) -> Bool { [40, 64].contains(name.utf8.count) && name.allSatisfy { $0 == "0" } }

  /// The newest commit that both come from.
  package func mergeBase(_ a: String, _ b: String) throws -> String {
    if Self.isNone(a) { return a }
    let arguments = ["merge-base", "--end-of-options", a, b]
    let output = try git.run(arguments)
    if output.status == 0 { return String(decoding: output.bytes.prefix { $0 != 10 }, as: UTF8.self) }
    guard output.status == 1 else { throw git.failure(arguments, output) }
    throw Diagnostic.error(
      "no commit is known from which both \(a.prefix(12)) and \(b.prefix(12)) come",
      hints: try isShallow()
        ? ["this clone is shallow: git fetch --deepen=100, or git fetch --unshallow"]
        : ["compare with the commit itself: --exact-base"])
  }

  private func isShallow() throws -> Bool {
    try git.output(["rev-parse", "--is-shallow-repository"]).starts(with: "true".utf8)
  }

  // MARK: Trees

  /// Two sides of a comparison.
  package struct Sides: Sendable {
    /// The older side's commit.
    package var base: String
    /// The newer side's commit; `nil` for the disk.
    package var head: String?
    package var older: GitTree
    package var newer: GitTree
  }

  /// The workspace's files in two commits, or in a commit and on the disk, where tracked files and untracked ones count
  /// that git does not ignore; none where a commit does not have the workspace's folder.
  ///
  /// - Parameters:
  ///   - since: What the older commit is named by.
  ///   - until: The newer commit's name; nil for the disk, which `reader` reads.
  ///   - exactBase: Whether the older side is `since` itself, not the newest commit that both come from.
  ///   - ignore: What a `slipway.yaml` leaves out, by its text; nil without one.
  package func sides(
    since: String, until: String?, exactBase: Bool, reader: FileReader,
    ignore: @escaping @Sendable ([UInt8]?) throws -> [Glob]
  ) throws -> Sides {
    for _ in 0..<4 {
      let seen = indexState()
      let sides = try look(since: since, until: until, exactBase: exactBase, reader: reader, ignore: ignore)
      if indexState() == seen { return sides }
    }
    throw Diagnostic.error(
      "git's index `\(index)` kept changing while it was compared with `\(since)`", cause: .environment,
      hints: ["run it again when whatever works in this checkout is done"])
  }

  private func indexState() -> FileStat? {
    var status = stat()
    return lstat(index, &status) == 0 ? FileStat(status) : nil
  }

  private func look(
    since: String, until: String?, exactBase: Bool, reader: FileReader,
    ignore: @escaping @Sendable ([UInt8]?) throws -> [Glob]
  ) throws -> Sides {
    let git = git
    // Most of each question is git's start, and it lists thousands of files while it answers the others.
    let tracked = Background { Result { try self.tracked() } }
    let common = exactBase ? nil : Background { Result { try self.mergeBase(since, until ?? "HEAD") } }
    let other = Background { Result { try self.commit(since) } }
    var disk: (untracked: Background<Result<[UInt8], any Error>>, edits: Background<Result<[UInt8], any Error>>)?
    if until == nil {
      disk = (
        Background { Result { try git.output(["ls-files", "-z", "--others", "--exclude-standard"]) } },
        Background { Result { try git.output(["diff-files", "--raw", "-z", "--no-renames", "--relative"]) } }
      )
    }
    let head = try until.map { try commit($0) }
    let staged = head.map { head in Background { Result { try self.staged(since: head) } } }
    // What is wrong with the name itself is said first.
    let since = try other.take().get()
    // More often than not, that is where both come from.
    let guess = Background { Result { try self.staged(since: since) } }
    let base = try common?.take().get() ?? since
    let changes = try base == since ? guess.take().get() : self.staged(since: base)
    let files = try tracked.take().get()
    let before = Self.isNone(base) ? [] : Self.undone(changes, in: files)
    var after = files
    if let staged { after = Self.undone(try staged.take().get(), in: files) }
    if let disk {
      let untracked = try disk.untracked.take().get().split(separator: 0).filter { $0.last != UInt8(ascii: "/") }
      after = try working(files, untracked, Self.changes(disk.edits.take().get()), reader)
    }
    let older = Background { Result { try self.tree(before, disk: nil, ignore) } }
    let newer = try tree(after, disk: disk == nil ? nil : reader, ignore)
    return Sides(base: base, head: head, older: try older.take().get(), newer: newer)
  }

  /// What the index has. It lists faster than a commit's folders, which lie in an object each; what a commit has
  /// otherwise is undone from there.
  private func tracked() throws -> [GitFile] {
    Self.listed(try git.output(["ls-files", "-s", "-z", "--cached"]))
  }

  /// What the index has otherwise than a commit. A name that `git add -N` put there without content counts as there:
  /// it is listed.
  private func staged(since commit: String) throws -> [ArraySlice<UInt8>: Change] {
    if Self.isNone(commit) { return [:] }
    return try Self.changes(
      git.output([
        "diff-index", "--cached", "--raw", "-z", "--no-renames", "--ita-visible-in-index", "--relative", commit,
      ]))
  }

  /// From `MODE TYPE ID<tab>PATH` for each file of a commit.
  static func committed(_ output: [UInt8]) -> [GitFile] {
    output.split(separator: 0).compactMap { record in
      guard let tab = record.firstIndex(of: 9), let space = record[..<tab].lastIndex(of: 32) else { return nil }
      return GitFile(record, path: tab + 1, id: space + 1..<tab)
    }
  }

  /// From `MODE ID STAGE<tab>PATH` for each file of the index.
  private static func listed(_ output: [UInt8]) -> [GitFile] {
    output.split(separator: 0).compactMap { record in
      // No list of words: for each of thousands of lines it would be one more.
      guard let tab = record.firstIndex(of: 9), let space = record[..<tab].lastIndex(of: 32),
        let first = record[..<space].lastIndex(of: 32)
      else { return nil }
      return GitFile(record, path: tab + 1, id: first + 1..<space)
    }
  }

  /// What `--raw -z` says of a path: `:OLDMODE NEWMODE OLDID NEWID STATUS`.
  private struct Change: Sendable {
    var words: [ArraySlice<UInt8>]
    var isGone: Bool { words.last?.first == UInt8(ascii: "D") }
    /// As it was before; nil where it was not there.
    func before(_ path: ArraySlice<UInt8>) -> GitFile? {
      guard words.count == 5, let mode = SourceFile.Mode(git: words[0].dropFirst()) else { return nil }
      return GitFile(path: path, mode: mode, id: words[2])
    }
  }

  private static func changes(_ output: [UInt8]) -> [ArraySlice<UInt8>: Change] {
    var found: [ArraySlice<UInt8>: Change] = [:]
    var change: Change?
    for field in output.split(separator: 0) {
      if let known = change {
        found[field] = known
        change = nil
      } else {
        change = Change(words: field.split(separator: 32))
      }
    }
    return found
  }

  /// The files as they were before the changes.
  private static func undone(_ changes: [ArraySlice<UInt8>: Change], in files: [GitFile]) -> [GitFile] {
    if changes.isEmpty { return files }
    return files.filter { changes[$0.path] == nil } + changes.compactMap { $1.before($0) }
  }

  private func working(
    _ tracked: [GitFile], _ untracked: [ArraySlice<UInt8>], _ changed: [ArraySlice<UInt8>: Change], _ reader: FileReader
  ) throws -> [GitFile] {
    if changed.isEmpty && untracked.isEmpty { return tracked }
    var files: [GitFile] = []
    var dirty = untracked
    for file in tracked {
      guard let change = changed[file.path] else {
        files.append(file)
        continue
      }
      if !change.isGone { dirty.append(file.path) }
    }
    return files + (try hashed(dirty, reader))
  }

  /// What `git add` would make of files, without adding them.
  private func hashed(_ paths: [ArraySlice<UInt8>], _ reader: FileReader) throws -> [GitFile] {
    var seen: Set<[UInt8]> = []
    var files: [GitFile] = []
    var plain: [GitFile] = []
    for path in paths where seen.insert(Array(path)).inserted {
      let name = String(decoding: path, as: UTF8.self)
      var status = stat()
      guard lstat(root.appending(name).string, &status) == 0 else { continue }
      switch status.st_mode & S_IFMT {
      case S_IFLNK:
        let text = try name.withCString { try reader.read($0, limit: 1 << 16) }
        let id = try git.output(["hash-object", "--stdin"], input: text)
        files.append(GitFile(path: path, mode: .symlink, id: id.prefix { $0 != 10 }))
      case S_IFDIR:
        // A submodule that stands elsewhere than the index says.
        let head = try Git(folder: root.appending(name).string).run(["rev-parse", "HEAD"])
        if head.status == 0 { files.append(GitFile(path: path, mode: .submodule, id: head.bytes.prefix { $0 != 10 })) }
      case S_IFREG:
        plain.append(GitFile(path: path, mode: status.st_mode & 0o100 == 0 ? .regular : .executable, id: []))
      default: break
      }
    }
    if plain.isEmpty { return files }
    // Git reads these names from the top of its work tree, wherever it was started.
    let prefix = try git.output(["rev-parse", "--show-prefix"]).prefix { $0 != 10 }
    // Through the same filters as `git add`; a name with a newline is refused with all others of a workspace.
    let output = try git.output(
      ["hash-object", "--stdin-paths"], input: Array(plain.map { prefix + $0.path + [10] }.joined()))
    let ids = output.split(separator: 10)
    guard ids.count == plain.count else {
      throw Diagnostic.error(
        "`git hash-object` gave \(ids.count) ids for \(plain.count) files in `\(git.folder)`", cause: .environment)
    }
    for (file, id) in zip(plain, ids) { files.append(GitFile(path: file.path, mode: file.mode, id: id)) }
    return files
  }

  /// Whether a path has a component that git would never check out, but an object made by hand can hold.
  private static func leadsElsewhere(_ path: ArraySlice<UInt8>) -> Bool {
    var start = path.startIndex
    while start < path.endIndex {
      let end = path[start...].firstIndex(of: UInt8(ascii: "/")) ?? path.endIndex
      // Few names start with a dot.
      if end == start || path[start] == UInt8(ascii: ".") {
        let name = String(decoding: path[start..<end], as: UTF8.self).lowercased()
        if ["", ".", "..", ".git"].contains(name) { return true }
      }
      start = end + 1
    }
    return false
  }

  private func tree(_ files: [GitFile], disk: FileReader?, _ ignore: ([UInt8]?) throws -> [Glob]) throws -> GitTree {
    var files = files
    let settings = files.first { $0.path.elementsEqual("slipway.yaml".utf8) }
    let text: [UInt8]? = try settings.map { file in
      if let disk { return try "slipway.yaml".withCString { try disk.read($0, limit: 4 << 20) } }
      return try blobs.bytes(of: String(decoding: file.id, as: UTF8.self), git)
    }
    let globs = try ignore(text)
    files.removeAll { file in
      Listing.holdsState(file.path) || Self.leadsElsewhere(file.path)
        || file.path.withUnsafeBufferPointer { path in globs.contains { $0.matches(path) } }
    }
    func precedes(_ a: GitFile, _ b: GitFile) -> Bool {
      a.path.withUnsafeBufferPointer { a in b.path.withUnsafeBufferPointer { TreeIndex.compare(a, $0) < 0 } }
    }
    if !zip(files, files.dropFirst()).allSatisfy(precedes) { files.sort(by: precedes) }
    return GitTree(git: git, files: files, disk: disk, blobs: blobs)
  }
}
