import Diagnostics
import SystemPackage

/// The git commit that a working tree is at, and what in the tree is not as that commit has it.
package struct SourceRevision: Sendable {
  /// 40 or 64 hexadecimal digits.
  package var commit: String
  /// The URL of `origin`, or of the first other remote by name, as git has it; it may hold secrets.
  package var remote: String?
  /// Files that differ from the commit, are missing or are in no commit, and are not ignored; by path, sorted.
  package var changed: [WorkspacePath]
  /// The workspace in its repository, with a slash at its end; empty where it is all of it.
  package var prefix: String

  /// - Returns: `nil` outside git, and before the first commit.
  /// - Throws: A diagnostic when git fails.
  package init?(of root: FilePath) throws {
    guard Listing.gitEntry(above: root.string) != nil else { return nil }
    let git = Git(folder: root.string)
    let place = ["rev-parse", "--show-prefix", "HEAD"]
    let output = try git.run(place)
    let lines = String(decoding: output.bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
    guard output.status == 0 else {
      let isNone = ["not a git repository", "must be run in a work tree", "ambiguous argument 'HEAD'"].contains {
        output.errors.contains($0)
      }
      if isNone { return nil }
      throw git.failure(place, output)
    }
    guard lines.count >= 2, [40, 64].contains(lines[1].utf8.count), lines[1].allSatisfy(\.isHexDigit) else {
      throw Diagnostic.error("`git rev-parse` names no commit for `\(root)`", cause: .environment)
    }
    prefix = String(lines[0])
    commit = String(lines[1])
    remote = Self.remote(try git.run(["config", "-z", "--get-regexp", "^remote\\..*\\.url$"]).bytes)
    let status = try git.output(
      ["status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--", "."])
    changed = Self.paths(status, below: prefix)
  }

  /// From `NAME\nVALUE\0` for each remote.
  static func remote(_ bytes: [UInt8]) -> String? {
    let pairs = bytes.split(separator: 0).compactMap { entry -> (name: String, url: String)? in
      let parts = entry.split(separator: UInt8(ascii: "\n"), maxSplits: 1)
      guard parts.count == 2 else { return nil }
      return (String(decoding: parts[0], as: UTF8.self), String(decoding: parts[1], as: UTF8.self))
    }
    let origin = pairs.first { $0.name == "remote.origin.url" }
    return (origin ?? pairs.min { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) })?.url
  }

  /// From `XY PATH\0` for each file, the paths below the repository's top.
  static func paths(_ bytes: [UInt8], below prefix: String) -> [WorkspacePath] {
    // One that is out of the index and still there comes twice.
    let all = bytes.split(separator: 0).compactMap { entry -> WorkspacePath? in
      let path = String(decoding: entry.dropFirst(3), as: UTF8.self)
      guard path.hasPrefix(prefix) else { return nil }
      return WorkspacePath(String(path.dropFirst(prefix.count)))
    }
    return Set(all).sorted()
  }
}
