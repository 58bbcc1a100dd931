import Digests

/// A file of a package.
package struct PackageFile: Hashable, Sendable {
  /// Relative to the package's folder.
  package var path: String
  package var mode: SourceFile.Mode

  package init(path: String, mode: SourceFile.Mode) {
    self.path = path
    self.mode = mode
  }
}

/// The files that a build starts from: the working tree, or a git commit.
///
/// A package is a folder that holds a `metadata.yaml` or a `targets.yaml`; a file belongs to the deepest package above
/// it. All lists are sorted bytewise.
package protocol SourceTree: Sendable {
  var packages: [WorkspacePath] { get }

  /// Calls `body` with the path below the package and the mode of each of its own files, in order.
  ///
  /// The bytes are valid only during the call. Nothing is called for what is no package.
  func forEachFile(in package: WorkspacePath, _ body: (UnsafeBufferPointer<UInt8>, SourceFile.Mode) throws -> Void)
    rethrows

  /// The mode of a file; `nil` when the tree does not hold it.
  func mode(of path: WorkspacePath) -> SourceFile.Mode?

  /// The bytes of a file, or a symlink's text; a `Diagnostic` when there are more than `limit`.
  func read(_ path: WorkspacePath, limit: Int) throws -> [UInt8]
}

extension SourceTree {
  package func files(in package: WorkspacePath) -> [PackageFile] {
    var files: [PackageFile] = []
    forEachFile(in: package) { files.append(PackageFile(path: String(decoding: $0, as: UTF8.self), mode: $1)) }
    return files
  }

  /// The package's files that any of the globs covers.
  package func files(in package: WorkspacePath, matching globs: [Glob]) -> [PackageFile] {
    var files: [PackageFile] = []
    forEachFile(in: package) { path, mode in
      guard globs.contains(where: { $0.matches(path) }) else { return }
      files.append(PackageFile(path: String(decoding: path, as: UTF8.self), mode: mode))
    }
    return files
  }

  /// The deepest package that a path lies in; `nil` when it lies in none.
  package func package(containing path: WorkspacePath) -> WorkspacePath? {
    let packages = self.packages
    var folder = path
    while true {
      let position = packages.partitioningIndex { $0 >= folder }
      if position < packages.count, packages[position] == folder { return folder }
      if folder.isRoot { return nil }
      folder = folder.parent
    }
  }
}

extension RandomAccessCollection {
  /// The first position whose element satisfies the predicate, which holds from some position on.
  func partitioningIndex(where predicate: (Element) -> Bool) -> Index {
    var low = startIndex
    var length = count
    while length > 0 {
      let half = length / 2
      let middle = index(low, offsetBy: half)
      if predicate(self[middle]) {
        length = half
      } else {
        low = index(after: middle)
        length -= half + 1
      }
    }
    return low
  }
}
