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
  package let settings: WorkspaceSettings
  /// The texts of `slipway.yaml` and of all kinds.
  package let sources: [SourceText]
  /// `slipway.yaml` as written.
  package let document: Node
  package let kinds: [Kind]
  package let tree: WorkingTree
  /// Warnings of the workspace's own files.
  package let warnings: [Diagnostic]
  private let kindsDependOnPlatform: Bool
  private let loaded = Mutex<[WorkspacePath: LoadedPackage?]>([:])
  private static let manifestLimit = 4 << 20

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
    var diagnostics = DiagnosticList()
    let text = try Self.read(root.appending("slipway.yaml"), name: "slipway.yaml")
    guard
      let (settings, document) = WorkspaceSettings.decode(
        SourceText(file: "slipway.yaml", bytes: text), diagnostics: &diagnostics)
    else { throw diagnostics }
    self.settings = settings
    self.document = document
    let ignore = settings.ignore.compactMap { try? Glob($0.value) }
    let state = root.appending(".slipway")
    try Self.makeStateFolder(state)
    tree = try WorkingTree(root: root, ignore: ignore, state: state.appending("index"))
    var sources = [SourceText(file: "slipway.yaml", bytes: text)]
    for path in try Self.kindFiles(settings, root: root) {
      sources.append(SourceText(file: path, bytes: try Self.read(root.appending(path), name: path)))
    }
    for file in BuiltInKinds.files where file.path.hasSuffix(".yaml") && !file.path.contains("/") {
      sources.append(SourceText(file: "@slipway//kinds:\(file.path)", bytes: file.bytes))
    }
    self.sources = sources
    kindsDependOnPlatform = sources.dropFirst().contains { Self.namesPlatform($0.bytes) }
    kinds = sources.dropFirst().compactMap { Kind.decode($0, diagnostics: &diagnostics) }
    if diagnostics.hasErrors { throw diagnostics }
    warnings = diagnostics.diagnostics
  }

  private static func read(_ path: FilePath, name: String) throws -> [UInt8] {
    var status = stat()
    if stat(path.string, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
      throw Diagnostic.error("`\(name)` is a folder; a file is needed there")
    }
    guard let bytes = try Disk.contents(of: path.string, limit: manifestLimit) else {
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

  private static func kindFiles(_ settings: WorkspaceSettings, root: FilePath) throws -> [String] {
    var found: [String] = []
    for pattern in settings.kinds {
      let folder = pattern.value.split(separator: "/").dropLast().joined(separator: "/")
      guard pattern.value.contains("*") else {
        found.append(pattern.value)
        continue
      }
      let glob = try Glob(pattern.value)
      let names = (try? Disk.names(inFolder: root.appending(folder).string)) ?? []
      found += names.map { folder.isEmpty ? $0 : folder + "/" + $0 }.filter { glob.matches($0) }.sorted()
    }
    return found
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
    let files = tree.files(in: path).map(\.path)
    guard !files.isEmpty else { return nil }
    func source(_ name: String, _ role: SourceText.Role) -> SourceText? {
      guard files.contains(name) else { return nil }
      let file = path.appending(name)
      do {
        return SourceText(file: file.string, bytes: try tree.read(file, limit: Self.manifestLimit), role: role)
      } catch {
        diagnostics.diagnostics.append(
          (error as? Diagnostic) ?? .error("cannot read `\(file)`: \(error)", cause: .environment))
        return nil
      }
    }
    let metadata = source("metadata.yaml", .data)
    let targets = source("targets.yaml", .template)
    guard metadata != nil || targets != nil else { return nil }
    let context = LoadingContext(settings: settings, kinds: kinds, platform: platform)
    guard
      let declaration = loadPackage(
        path: path, metadata: metadata, targets: targets, files: files, context: context, diagnostics: &diagnostics)
    else { return nil }
    let dependsOnPlatform = kindsDependOnPlatform || targets.map { Self.namesPlatform($0.bytes) } ?? false
    return LoadedPackage(declaration: declaration, files: files, dependsOnPlatform: dependsOnPlatform)
  }

  /// Whether the reference `${platform}` may stand in a text.
  private static func namesPlatform(_ text: [UInt8]) -> Bool {
    var rest = text[...]
    while let start = rest.firstIndex(of: UInt8(ascii: "$")) {
      if rest[start...].starts(with: "${platform".utf8) { return true }
      rest = rest[(start + 1)...]
    }
    return false
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
