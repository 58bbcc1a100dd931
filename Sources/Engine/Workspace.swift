import Caching
import Diagnostics
import Digests
import Files
import Glibc
import Graph
import Kinds
import Manifests
import Planning
import Synchronization
import SystemPackage

/// One checkout: its root, its settings, its kinds and its source files.
package final class Workspace: PackageSource, Sendable {
  package let root: FilePath
  let definition: WorkspaceDefinition
  package let tree: WorkingTree
  private let loaded = Mutex<[WorkspacePath: LoadedPackage?]>([:])

  /// The nearest folder at or above `folder` that holds a `slipway.yaml`.
  package static func locate(from folder: FilePath) throws -> FilePath {
    var current = folder
    while true {
      if access(current.appending("slipway.yaml").string, F_OK) == 0 { return current }
      guard !current.components.isEmpty else { break }
      current.removeLastComponent()
    }
    throw Diagnostic.error(
      "no slipway.yaml in `\(folder)` or any folder above it",
      hints: ["go into a workspace, or make one here: slipway init --workspace"])
  }

  /// Reads settings and kinds and opens the index; throws a `DiagnosticList` with every mistake in them.
  package init(root: FilePath) throws {
    self.root = root
    var tree: WorkingTree?
    definition = try WorkspaceDefinition(
      read: { try Self.read(root.appending($0), name: $0) },
      names: { (try? Disk.names(inFolder: root.appending($0).string)) ?? [] },
      settled: { tree = try Self.open(root, $0) })
    self.tree = try tree ?? Self.open(root, definition.settings)
  }

  /// Starts to read the index, too.
  private static func open(_ root: FilePath, _ settings: WorkspaceSettings) throws -> WorkingTree {
    let state = root.appending(".slipway")
    try makeStateFolder(state)
    return try WorkingTree(root: root, ignore: WorkspaceDefinition.ignored(settings), state: state.appending("index"))
  }

  package var settings: WorkspaceSettings { definition.settings }
  /// The texts of `slipway.yaml` and of all kinds.
  package var sources: [SourceText] { definition.sources }
  /// `slipway.yaml` as written.
  package var document: Node { definition.document }
  package var kinds: [Kind] { definition.kinds }
  /// Warnings of the workspace's own files.
  package var warnings: [Diagnostic] { definition.warnings }

  private static func read(_ path: FilePath, name: String) throws -> [UInt8] {
    var status = stat()
    if stat(path.string, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
      throw Diagnostic.error("`\(name)` is a folder; a file is needed there")
    }
    guard let bytes = try Disk.contents(of: path.string, limit: WorkspaceDefinition.manifestLimit) else {
      throw Diagnostic.error("cannot read `\(name)`: it is not there")
    }
    return bytes
  }

  /// `.slipway/`, which keeps itself out of git.
  private static func makeStateFolder(_ folder: FilePath) throws {
    if access(folder.appending(".gitignore").string, F_OK) == 0 { return }
    try Disk.makeFolders(folder.string)
    let file = try Disk.open(folder.appending(".gitignore").string, O_WRONLY | O_CREAT | O_TRUNC)
    defer { try? file.close() }
    try Array("*\n".utf8).withUnsafeBytes { try Disk.write(file, $0, path: folder.string) }
  }

  // MARK: Packages

  package func packages(at paths: [WorkspacePath], diagnostics: inout DiagnosticList) -> [LoadedPackage?] {
    let missing = loaded.withLock { known in paths.filter { known[$0] == nil } }
    let found = mapInParallel(missing, chunk: 8) { path in
      var mistakes = DiagnosticList()
      return (package: self.load(path, platform: Self.platform, &mistakes), mistakes)
    }
    for (_, mistakes) in found { diagnostics.diagnostics += mistakes.diagnostics }
    return loaded.withLock { known in
      for (path, (package, _)) in zip(missing, found) { known[path] = .some(package) }
      return paths.map { known[$0] ?? nil }
    }
  }

  /// The packages that were asked for.
  var loadedPackages: [WorkspacePath] { loaded.withLock { Array($0.keys) } }

  /// Forgets every package, so that it is read again with the files that the tree knows by now.
  func forgetPackages() { loaded.withLock { $0 = [:] } }

  package func package(at path: WorkspacePath, diagnostics: inout DiagnosticList) -> LoadedPackage? {
    packages(at: [path], diagnostics: &diagnostics)[0]
  }

  /// Reads a package as its manifests read for a platform.
  func load(_ path: WorkspacePath, platform: String, _ diagnostics: inout DiagnosticList) -> LoadedPackage? {
    definition.load(path, in: tree, platform: platform, &diagnostics)
  }

  /// Writes a file of the workspace whole: beside it first, then under its name, with the mode that it had.
  package func replace(_ path: String, with bytes: [UInt8]) throws {
    let place = root.appending(path).string
    var status = stat()
    let mode = stat(place, &status) == 0 ? status.st_mode & 0o777 : nil
    let temporary = place + ".slipway-\(getpid())"
    let file = try Disk.open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
    defer { try? file.close() }
    do {
      try bytes.withUnsafeBytes { try Disk.write(file, $0, path: temporary) }
      if let mode { fchmod(file.rawValue, mode) }
      try Disk.rename(temporary, place)
    } catch {
      unlink(temporary)
      throw error
    }
  }

  /// This machine's platform, as OCI writes it.
  package static let platform: String = {
    #if arch(arm64)
      "linux/arm64"
    #else
      "linux/amd64"
    #endif
  }()

  /// A file that ships with Slipway, by `kinds/x/f`.
  package static func bundled(_ path: String) -> [UInt8]? {
    guard path.hasPrefix("kinds/") else { return nil }
    let name = path.dropFirst("kinds/".count)
    return BuiltInKinds.files.first { $0.path == name }?.bytes
  }
}
