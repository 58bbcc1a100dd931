import Diagnostics
import Digests
import Glibc
import SystemPackage

/// Finds source files, without the index: asks git in a work tree, walks folders elsewhere.
struct Listing {
  /// A file that decides the listing: absolute path, and whether only its identity counts.
  struct Control {
    var path: String
    var identityOnly = false
  }

  let root: String
  let ignore: [Glob]
  let reader: FolderReader
  /// `nil` outside a git work tree.
  private(set) var git: Git?
  private(set) var controls: [Control] = []
  /// What git is listing since the repository was found.
  private var listing: GitListing?

  /// Not sources outside git, wherever they are.
  private static let excluded = [".git", ".slipway", "__pycache__", ".venv", ".pytest_cache", ".DS_Store"]

  /// Finds out whether the root lies in a git work tree, and which files decide what is in the list.
  init(root: String, ignore: [Glob], reader: FolderReader) throws {
    self.root = root
    self.ignore = ignore
    self.reader = reader
    var hasGit = false
    for folder in Self.ancestors(root) {
      let path = folder == "/" ? "/.git" : folder + "/.git"
      controls.append(Control(path: path, identityOnly: true))
      var status = stat()
      if lstat(path, &status) == 0 {
        hasGit = true
        break
      }
    }
    if hasGit { try findRepository(Git(folder: root)) }
  }

  /// The listing that an index was made by, without a look at the controls.
  init(index: TreeIndex, root: String, ignore: [Glob], reader: FolderReader) throws {
    self.root = root
    self.ignore = ignore
    self.reader = reader
    if index.usesGit { git = Git(folder: root) }
  }

  /// The folder itself and all above it.
  private static func ancestors(_ folder: String) -> [String] {
    var result = [folder]
    while let last = result.last, last != "/", let slash = last.lastIndex(of: "/") {
      result.append(slash == last.startIndex ? "/" : String(last[..<slash]))
    }
    return result
  }

  /// The `.git` of the folder or of one above it.
  static func gitEntry(above folder: String) -> String? {
    ancestors(folder).lazy.map { $0 == "/" ? "/.git" : $0 + "/.git" }.first { path in
      var status = stat()
      return lstat(path, &status) == 0
    }
  }

  private mutating func findRepository(_ git: Git) throws {
    // All at once: most of each is git's start, and the list takes longer than the rest together.
    listing = GitListing(git)
    let settings = Background { Result { try git.output(["config", "--list", "--show-origin", "-z"]) } }
    let arguments = ["rev-parse", "--path-format=absolute", "--show-toplevel", "--git-dir", "--git-common-dir"]
    let output = try git.run(arguments)
    if output.status != 0 {
      // An empty `.git`, or a bare repository: no work tree.
      let isNone = ["not a git repository", "must be run in a work tree"].contains { output.errors.contains($0) }
      if isNone { return }
      throw git.failure(arguments, output)
    }
    let lines = String(decoding: output.bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    guard lines.count == 3 else {
      throw Diagnostic.error("`git rev-parse` gave \(lines.count) lines for `\(root)`, not 3", cause: .environment)
    }
    let (top, own, common) = (lines[0], lines[1], lines[2])
    var paths = [
      own + "/index", own + "/config.worktree", common + "/config", common + "/info/exclude", "/etc/gitconfig",
    ]
    let home = getenv("HOME").map { String(cString: $0) }
    if let home { paths += [home + "/.gitconfig", home + "/.config/git/config", home + "/.config/git/ignore"] }
    if let xdg = getenv("XDG_CONFIG_HOME").map({ String(cString: $0) }) {
      paths += [xdg + "/git/config", xdg + "/git/ignore"]
    }
    for folder in Self.ancestors(root).dropFirst() where folder.utf8.count >= top.utf8.count {
      paths.append(folder + "/.gitignore")
    }
    paths += configured(try settings.take().get(), top: top, home: home)
    var seen = Set<String>()
    for path in paths where seen.insert(path).inserted { controls.append(Control(path: path)) }
    self.git = git
  }

  /// Every file that git reads its configuration from, and the excludes file that it names.
  private func configured(_ list: [UInt8], top: String, home: String?) -> [String] {
    func absolute(_ path: String) -> [String] {
      if path.hasPrefix("/") { return [path] }
      if path.hasPrefix("~/"), let home { return [home + path.dropFirst(1)] }
      return path.isEmpty ? [] : [top + "/" + path, root + "/" + path]
    }
    let fields = list.split(separator: 0, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
    var result: [String] = []
    for index in stride(from: 0, to: fields.count - 1, by: 2) {
      if fields[index].hasPrefix("file:") { result += absolute(String(fields[index].dropFirst(5))) }
      let setting = fields[index + 1].split(separator: "\n", maxSplits: 1)
      if setting.count == 2, setting[0] == "core.excludesfile" { result += absolute(String(setting[1])) }
    }
    return result
  }

  /// All files.
  func all() throws -> [ListedFile] {
    var files: [ListedFile] = []
    guard let git else {
      try walk([], &files)
      return files
    }
    let listing = listing ?? GitListing(git)
    // The index is read while git still walks the folders.
    files = try parse(try listing.tracked.take().get())
    files += try parse(try listing.others.take().get())
    return files
  }

  /// The files at or below each of the paths, which must be few enough for a command line.
  func files(at paths: [[UInt8]]) throws -> [ListedFile] {
    if paths.isEmpty { return [] }
    if let git {
      return try parse(try git.output(Self.command + ["--"] + paths.map { String(decoding: $0, as: UTF8.self) }))
    }
    var files: [ListedFile] = []
    for path in paths { try add(path, nil, &files) }
    return files
  }

  private static let command = [
    "--literal-pathspecs", "ls-files", "-t", "-s", "-z", "--cached", "--others", "--exclude-standard",
  ]

  /// `? PATH` for an untracked file, `TAG MODE ID STAGE<tab>PATH` for a tracked one.
  private func parse(_ output: [UInt8]) throws -> [ListedFile] {
    var files: [ListedFile] = []
    for record in output.split(separator: 0) {
      guard record.count > 2 else { continue }
      let body = record.dropFirst(2)
      if record.first == UInt8(ascii: "?") {
        // A trailing slash: another repository, opaque.
        if body.last != UInt8(ascii: "/") { try add(ListedFile(path: Array(body)), &files) }
        continue
      }
      guard let tab = body.firstIndex(of: 9), tab + 1 < body.endIndex else {
        throw Diagnostic.error("cannot read the output of `git ls-files`", cause: .environment)
      }
      // Gitlinks only: most files need no second look at mode and id.
      let commit = body.starts(with: "160000 ".utf8) ? Array(body.dropFirst(7).prefix { $0 != 32 }) : nil
      try add(ListedFile(path: Array(body[(tab + 1)...]), commit: commit), &files)
    }
    return files
  }

  private func add(_ file: ListedFile, _ files: inout [ListedFile]) throws {
    if isIgnored(file.path) { return }
    if file.path.contains(10) || !Self.isUTF8(file.path) {
      let name = String(decoding: file.path, as: UTF8.self)
      throw Diagnostic.error(
        "the name of `\(name)` \(file.path.contains(10) ? "holds a newline" : "is not UTF-8")",
        hints: ["rename it, or add a glob that covers it to `ignore:`"])
    }
    files.append(file)
  }

  private static func isUTF8(_ bytes: [UInt8]) -> Bool {
    bytes.allSatisfy { $0 < 128 } || String(validating: bytes, as: UTF8.self) != nil
  }

  /// Whether settings or Slipway's own use exclude a path.
  func isIgnored(_ path: [UInt8]) -> Bool {
    if Self.holdsState(path) { return true }
    return path.withUnsafeBufferPointer { bytes in ignore.contains { $0.matches(bytes) } }
  }

  /// Whether a component is `.slipway`.
  static func holdsState(_ path: some RandomAccessCollection<UInt8> & Sendable) -> Bool {
    var start = path.startIndex
    while true {
      let rest = path[start...]
      if rest.starts(with: ".slipway".utf8), rest.count == 8 || rest.dropFirst(8).first == UInt8(ascii: "/") {
        return true
      }
      guard let slash = rest.firstIndex(of: UInt8(ascii: "/")) else { return false }
      start = rest.index(after: slash)
    }
  }

  /// Whether a name is never looked into.
  func isExcluded(_ name: [UInt8]) -> Bool {
    if git != nil { return name.elementsEqual(".git".utf8) || name.elementsEqual(".slipway".utf8) }
    return Self.excluded.contains { name.elementsEqual($0.utf8) } || name.suffix(4).elementsEqual(".pyc".utf8)
  }

  private func walk(_ folder: [UInt8], _ files: inout [ListedFile]) throws {
    guard let contents = try reader.contents(folder) else { return }
    for (name, kind) in contents.names where !isExcluded(name) {
      try add(FolderReader.join(folder, name), kind, &files)
    }
  }

  private func add(_ path: [UInt8], _ kind: FolderContents.Kind?, _ files: inout [ListedFile]) throws {
    var kind = kind
    if kind == nil {
      guard let status = reader.status(path) else { return }
      kind = status.st_mode & S_IFMT == S_IFDIR ? .folder : SourceFile.Mode(status.st_mode) == nil ? .other : .file
    }
    switch kind {
    case .file: try add(ListedFile(path: path), &files)
    case .folder: try walk(path, &files)
    default: break
    }
  }

  /// Which of the folders git ignores: nothing that appears in them later is a source.
  private func ignored(_ folders: [[UInt8]]) throws -> Set<[UInt8]> {
    guard let git, !folders.isEmpty else { return [] }
    // `check-ignore` refuses literal pathspecs; `./` keeps a leading `:` from being magic, and it takes no wildcards.
    let here = Array("./".utf8)
    let input: [UInt8] = Array(folders.map { here + $0 + [0] }.joined())
    let output = try git.output(["check-ignore", "-z", "--stdin"], input: input, accepting: [0, 1])
    return Set(output.split(separator: 0).map { Array($0.dropFirst(here.count)) })
  }

  /// Looks into the folders, and into those below them where a source may appear later although none is there now.
  ///
  /// `isKnown` says which need no look. `time` was taken before the files were listed.
  func watch(_ folders: [[UInt8]], at time: ObservationTime, isKnown: ([UInt8]) -> Bool) throws -> [ListedFolder] {
    var result: [ListedFolder] = []
    var seen = Set(folders)
    var pending = folders
    while !pending.isEmpty {
      var candidates: [[UInt8]] = []
      for (path, contents) in zip(pending, reader.contents(ofAll: pending)) {
        guard let contents = try contents.get() else { continue }
        result.append(folder(path, contents, time))
        // Another repository is opaque to git; when its `.git` goes, this folder's times tell.
        if git != nil, contents.hasGit, !path.isEmpty { continue }
        for (name, kind) in contents.names where kind == .folder && !isExcluded(name) {
          let child = FolderReader.join(path, name)
          if !isKnown(child), seen.insert(child).inserted { candidates.append(child) }
        }
      }
      let ignored = try ignored(candidates)
      for path in candidates where ignored.contains(path) {
        result.append(ListedFolder(path: path, flags: IndexFolder.isIgnored, listedAt: time))
      }
      pending = candidates.filter { !ignored.contains($0) }
    }
    return result
  }

  /// Watches folders that appeared: those that hold a file, and the others unless git ignores them.
  func watchNew(_ folders: [[UInt8]], holding files: [ListedFile], at time: ObservationTime) throws -> [ListedFolder] {
    var holders: Set<[UInt8]> = []
    for file in files {
      var path = file.path[...]
      while let slash = path.lastIndex(of: UInt8(ascii: "/")) {
        path = path[..<slash]
        if !holders.insert(Array(path)).inserted { break }
      }
    }
    let submodules = Set(files.lazy.filter { $0.commit != nil }.map(\.path))
    let unheld = folders.filter { !holders.contains($0) }
    let ignored = try ignored(unheld)
    // Folders above the new ones are known already.
    let inside = holders.filter { holder in
      folders.contains { holder == $0 || holder.starts(with: $0 + [UInt8(ascii: "/")]) }
    }
    let roots = inside.sorted { $0.withUnsafeBytesCompared(to: $1) < 0 } + unheld.filter { !ignored.contains($0) }
    return try watch(roots, at: time) { submodules.contains($0) }
      + unheld.filter { ignored.contains($0) }.map {
        ListedFolder(path: $0, flags: IndexFolder.isIgnored, listedAt: time)
      }
  }

  func folder(_ path: [UInt8], _ contents: FolderContents, _ time: ObservationTime) -> ListedFolder {
    var folder = ListedFolder(path: path, stat: contents.stat, listedAt: time)
    if git != nil, contents.hasIgnoreFile {
      folder.flags |= IndexFolder.hasIgnoreFile
      if let status = reader.status(FolderReader.join(path, Array(".gitignore".utf8))) {
        folder.ignoreFile = FileStat(status)
      }
    }
    return folder
  }

  /// Of everything but the tree that decides the listing.
  static func settings(root: String, ignore: [Glob]) -> Fingerprint {
    let hasher = FingerprintHasher()
    hasher.update(root)
    hasher.update(UInt64(ignore.count))
    for glob in ignore { hasher.update(glob.text) }
    for name in ["HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"] {
      hasher.update(getenv(name).map { String(cString: $0) } ?? "\0")
    }
    return hasher.finish()
  }
}

/// `git ls-files` of the index and of what is not in it, at the same time: the one is read while git still walks the
/// folders for the other.
struct GitListing: Sendable {
  /// `TAG MODE ID STAGE<tab>PATH`, each ended by a zero byte.
  let tracked: Background<Result<[UInt8], any Error>>
  /// `? PATH`; a slash at its end stands for another repository, opaque.
  let others: Background<Result<[UInt8], any Error>>

  init(_ git: Git) {
    others = Background { Result { try git.output(["ls-files", "-t", "-z", "--others", "--exclude-standard"]) } }
    tracked = Background { Result { try git.output(["ls-files", "-t", "-s", "-z", "--cached"]) } }
  }
}
