import Diagnostics
import Glibc
import SystemPackage

extension GitTree {
  /// Writes files below an empty folder and makes it a git work tree, so that a `WorkingTree` of it lists just these.
  ///
  /// Contents are git's own: what a filter or line endings would change on checkout is not changed here.
  ///
  /// - Parameters:
  ///   - packages: All of whose files are written.
  ///   - files: Others.
  /// - Throws: A diagnostic when git lacks an object, or the folder cannot be written.
  package func layOut(_ packages: some Sequence<WorkspacePath>, _ files: [WorkspacePath], at folder: FilePath) throws {
    var paths = Set(files)
    for package in packages { for file in self.files(in: package) { paths.insert(package.appending(file.path)) } }
    let wanted = paths.sorted().filter { mode(of: $0) != nil }
    try prefetch(wanted)
    // A link that a commit has on the way to a file would lead out of the folder: links come last.
    for path in wanted where mode(of: path) != .symlink { try write(path, below: folder) }
    for path in wanted where mode(of: path) == .symlink { try write(path, below: folder) }
    let git = Git(folder: folder.string)
    _ = try git.output(["init", "-q"])
    let lines = wanted.compactMap { path in
      entry(path).map { "\($0.mode.gitDigits) \($0.id)\t\(path)" }
    }
    _ = try git.output(["update-index", "-z", "--index-info"], input: Array(lines.map { $0 + "\0" }.joined().utf8))
  }

  private func write(_ path: WorkspacePath, below folder: FilePath) throws {
    guard let mode = mode(of: path), mode != .submodule else { return }
    let names = path.string.split(separator: "/")
    let target = folder.pushing(FilePath(path.string))
    var parent = folder
    for name in names.dropLast() {
      parent.append(String(name))
      guard mkdir(parent.string, 0o755) == 0 || errno == EEXIST else {
        throw Diagnostic.cannot("make the folder", parent.string, .last)
      }
    }
    let bytes = try read(path, limit: 1 << 30)
    if mode == .symlink {
      guard symlink(String(decoding: bytes, as: UTF8.self), target.string) == 0 else {
        throw Diagnostic.cannot("write", target.string, .last)
      }
      return
    }
    do {
      let file = try FileDescriptor.open(
        target, .writeOnly, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec],
        permissions: FilePermissions(rawValue: mode == .executable ? 0o755 : 0o644))
      try file.closeAfter { _ = try file.writeAll(bytes) }
    } catch let error as Errno { throw Diagnostic.cannot("write", target.string, error) }
  }
}

extension SourceFile.Mode {
  /// As git writes them.
  fileprivate var gitDigits: String {
    switch self {
    case .regular: "100644"
    case .executable: "100755"
    case .symlink: "120000"
    case .submodule: "160000"
    }
  }
}
