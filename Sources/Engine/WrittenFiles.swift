import Caching
import Diagnostics
import Glibc
import SystemPackage

/// The files that a command wrote below its working directory: what to name when a declared output is missing.
///
/// It is a hint, not a result: what was written is told by the inode's change time, which a command cannot set, and by
/// not being an input.
struct WrittenFiles {
  /// Relative to the working directory, byte-sorted within each folder.
  var paths: [String] = []

  /// Entries looked at; a command may have written any number of them.
  private static let limit = 20_000
  private static let depthLimit = 64

  /// - Parameters:
  ///   - folder: The working directory, through the sandbox's view, once every process is gone.
  ///   - start: Milliseconds since 1970 at which the command was started.
  ///   - skip: Whether a path, relative to the folder, is an input or another output, with all that is below it.
  init(in folder: FileDescriptor, since start: Int64, skip: (String) -> Bool) {
    var left = Self.limit
    // The kernel stamps files by a clock that ticks every 10 ms at the coarsest.
    let since = (start - 20) * 1_000_000
    add(folder, path: "", since: since, left: &left, depth: 0, skip)
  }

  private mutating func add(
    _ folder: FileDescriptor, path: String, since: Int64, left: inout Int, depth: Int, _ skip: (String) -> Bool
  ) {
    // A folder that cannot be read is one whose files are not named in a note.
    guard depth < Self.depthLimit, let names = try? Disk.names(in: folder, path: path) else { return }
    for name in names where left > 0 {
      left -= 1
      let inner = path.isEmpty ? name : path + "/" + name
      guard !skip(inner), let status = (try? Disk.status(name, at: folder.rawValue)) ?? nil else { continue }
      switch status.kind {
      case .file: if status.changed >= since { paths.append(inner) }
      case .folder:
        guard let child = try? Disk.open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, at: folder.rawValue) else {
          continue
        }
        defer { try? child.close() }
        add(child, path: inner, since: since, left: &left, depth: depth + 1, skip)
      case .symlink, .other: break
      }
    }
  }

  /// At most three paths to name for a missing one: the nearest, those of the same name elsewhere, its neighbours.
  func near(_ missing: String) -> [String] {
    func name(_ path: String) -> Substring { path.split(separator: "/").last ?? "" }
    func folder(_ path: String) -> Substring { path.dropLast(name(path).count) }
    var found = didYouMean(missing, among: paths).map { [$0] } ?? []
    for isWanted in [
      { name($0).lowercased() == name(missing).lowercased() }, { folder($0) == folder(missing) }, { _ in true },
    ] as [(String) -> Bool] {
      for path in paths where found.count < 3 && isWanted(path) && !found.contains(path) { found.append(path) }
    }
    return found
  }
}
