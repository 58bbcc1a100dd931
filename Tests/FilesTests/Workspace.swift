import Digests
import Glibc
import SystemPackage
import Testing

@testable import Files

/// A folder under the system's temporary folder, removed with the object.
final class Workspace {
  let root: FilePath
  let state: FilePath
  let isGit: Bool

  init(git isGit: Bool) throws {
    let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array("\(base)/slipway-files-XXXXXX".utf8CString)
    let made = template.withUnsafeMutableBufferPointer { buffer in
      buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) }
    }
    root = FilePath(try #require(made))
    state = root.appending(".slipway").appending("index")
    self.isGit = isGit
    if isGit {
      try git("init", "-q", "-b", "main")
      try git("config", "user.name", "t")
      try git("config", "user.email", "t@example.org")
      try git("config", "commit.gpgsign", "false")
    }
  }

  deinit { try? shell("rm -rf -- \"$1\"", root.string) }

  func tree(ignore: [String] = []) throws -> WorkingTree {
    try WorkingTree(root: root, ignore: ignore.map { try Glob($0) }, state: state)
  }

  /// A tree that knows nothing but what is on disk.
  func freshTree(ignore: [String] = []) throws -> WorkingTree {
    let tree = try WorkingTree(
      root: root, ignore: ignore.map { try Glob($0) }, state: root.appending(".slipway").appending("none"))
    try tree.refresh()
    return tree
  }

  func path(_ name: String) -> String { root.string + "/" + name }

  func write(_ name: String, _ text: String = "x") throws {
    let full = FilePath(path(name))
    try makeFolder(full.removingLastComponent())
    let file = try FileDescriptor.open(
      full, .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite, .groupRead, .otherRead])
    try file.closeAfter { _ = try file.writeAll(Array(text.utf8)) }
  }

  private func makeFolder(_ folder: FilePath) throws {
    if mkdir(folder.string, 0o755) == 0 || errno == EEXIST { return }
    try makeFolder(folder.removingLastComponent())
    mkdir(folder.string, 0o755)
  }

  func remove(_ name: String) throws { try shell("rm -rf -- \"$1\"", path(name)) }

  func git(_ arguments: String...) throws {
    let output = try Git(folder: root.string).run(arguments)
    try #require(output.status == 0, "git \(arguments): \(output.errors)")
  }

  func shell(_ script: String, _ arguments: String...) throws {
    let all = ["/bin/sh", "-c", script, "sh"] + arguments
    var pointers = all.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    var process = pid_t()
    let status = posix_spawn(&process, "/bin/sh", nil, nil, &pointers, environ)
    try #require(status == 0)
    var exit: Int32 = 0
    while waitpid(process, &exit, 0) < 0, errno == EINTR {}
    try #require(exit == 0, "\(script) \(arguments)")
  }

  /// Until the clock that stamps inodes has left the last change behind.
  func settle() { usleep(40_000) }
}

extension WorkingTree {
  /// `path mode fingerprint` of every file of every package.
  func snapshot() throws -> [String] {
    var result: [String] = []
    for package in packages {
      let files = files(in: package)
      let paths = files.map { package.appending($0.path) }
      for (file, source) in zip(files, try fingerprints(of: paths)) {
        #expect(file.mode == source.mode)
        result.append("\(package): \(file.path) \(source.mode) \(source.fingerprint)")
      }
    }
    return result
  }

  func names() -> [String] { packages.flatMap { package in files(in: package).map { "\(package)|\($0.path)" } } }
}
