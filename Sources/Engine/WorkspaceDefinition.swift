import Diagnostics
import Digests
import Files
import Glibc
import Kinds
import Manifests
import Planning

/// What a workspace's own files say, wherever they are read from: `slipway.yaml` and the kinds.
struct WorkspaceDefinition: Sendable {
  let settings: WorkspaceSettings
  /// The texts of `slipway.yaml` and of all kinds.
  let sources: [SourceText]
  /// `slipway.yaml` as written.
  let document: Node
  private let ownKinds: [Kind]
  let warnings: [Diagnostic]
  private let kindsDependOnPlatform: Bool
  /// Of all that packages have in common: the texts of `sources`.
  let fingerprint: Fingerprint

  static let manifestLimit = 4 << 20
  /// The files of a package that its targets are read from.
  static let manifests = ["metadata.yaml", "targets.yaml"]

  static func manifests(of packages: [WorkspacePath]) -> [WorkspacePath] {
    packages.flatMap { package in manifests.map { package.appending($0) } }
  }

  /// The globs of `ignore:` in the text of a `slipway.yaml`; mistakes in it are told by `init`.
  static func ignored(_ text: [UInt8]?) -> [Glob] {
    var diagnostics = DiagnosticList()
    let decoded = text.flatMap {
      WorkspaceSettings.decode(SourceText(file: "slipway.yaml", bytes: $0), diagnostics: &diagnostics)
    }
    return decoded.map { ignored($0.0) } ?? []
  }

  static func ignored(_ settings: WorkspaceSettings) -> [Glob] { settings.ignore.compactMap { try? Glob($0.value) } }

  /// - Parameters:
  ///   - read: The bytes of a file by its workspace path; throws where it cannot be read.
  ///   - names: The names in a folder; empty where it is none.
  ///   - settled: Called with the settings, before the kinds are read.
  /// - Throws: A `DiagnosticList` with every mistake.
  init(
    read: (String) throws -> [UInt8], names: (String) -> [String],
    settled: (WorkspaceSettings) throws -> Void = { _ in }
  ) throws {
    var diagnostics = DiagnosticList()
    let text = try read("slipway.yaml")
    guard
      let (settings, document) = WorkspaceSettings.decode(
        SourceText(file: "slipway.yaml", bytes: text), diagnostics: &diagnostics)
    else { throw diagnostics }
    self.settings = settings
    self.document = document
    try settled(settings)
    var sources = [SourceText(file: "slipway.yaml", bytes: text)]
    for path in try Self.kindFiles(settings, names) { sources.append(SourceText(file: path, bytes: try read(path))) }
    ownKinds = sources.dropFirst().compactMap { Kind.decode($0, diagnostics: &diagnostics) }
    sources += Self.builtInSources
    self.sources = sources
    fingerprint = Self.fingerprint(of: sources)
    kindsDependOnPlatform = sources.dropFirst().contains { Self.namesPlatform($0.bytes) }
    if diagnostics.hasErrors { throw diagnostics }
    warnings = diagnostics.diagnostics
  }

  /// The workspace's own and those that ship with Slipway.
  var kinds: [Kind] { ownKinds + Self.builtInKinds }

  private static let builtInSources = BuiltInKinds.files.compactMap { file -> SourceText? in
    guard file.path.utf8.suffix(5).elementsEqual(".yaml".utf8), !file.path.utf8.contains(UInt8(ascii: "/")) else {
      return nil
    }
    return SourceText(file: "@slipway//kinds:\(file.path)", bytes: file.bytes)
  }

  /// Decoded where a package is read only: a build of which nothing changed reads none.
  private static let builtInKinds: [Kind] = {
    var diagnostics = DiagnosticList()
    let kinds = builtInSources.compactMap { Kind.decode($0, diagnostics: &diagnostics) }
    precondition(diagnostics.diagnostics.isEmpty, "a kind that ships with Slipway is wrong: \(diagnostics)")
    return kinds
  }()

  /// The definition in a commit's source tree.
  init(in tree: some SourceTree, names: (String) -> [String]) throws {
    try self.init(
      read: { path in
        guard let path = WorkspacePath(path), tree.mode(of: path) != nil else {
          throw Diagnostic.error("cannot read `\(path)`: it is not there")
        }
        return try tree.read(path, limit: Self.manifestLimit)
      }, names: names)
  }

  private static func fingerprint(of sources: [SourceText]) -> Fingerprint {
    let hasher = FingerprintHasher()
    for source in sources {
      hasher.update(source.file)
      source.bytes.withUnsafeBytes { withUnsafeBytes(of: Fingerprint(of: $0)) { hasher.update($0) } }
    }
    return hasher.finish()
  }

  private static func kindFiles(_ settings: WorkspaceSettings, _ names: (String) -> [String]) throws -> [String] {
    var found: [String] = []
    for pattern in settings.kinds {
      let folder = pattern.value.lastIndex(of: "/").map { String(pattern.value[..<$0]) } ?? ""
      guard pattern.value.contains("*") else {
        found.append(pattern.value)
        continue
      }
      let glob = try Glob(pattern.value)
      found += names(folder).map { folder.isEmpty ? $0 : folder + "/" + $0 }.filter { glob.matches($0) }.sorted()
    }
    return found
  }

  /// Reads a package of a source tree as its manifests read for a platform.
  func load(_ path: WorkspacePath, in tree: some SourceTree, platform: String, _ diagnostics: inout DiagnosticList)
    -> LoadedPackage?
  {
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

  /// Reads packages of a commit's source tree, on all processors.
  func packages(at paths: [WorkspacePath], in tree: some SourceTree, _ diagnostics: inout DiagnosticList)
    -> [LoadedPackage?]
  {
    let found = mapInParallel(paths, chunk: 8) { path in
      var mistakes = DiagnosticList()
      return (package: self.load(path, in: tree, platform: Workspace.platform, &mistakes), mistakes: mistakes)
    }
    for (_, mistakes) in found { diagnostics.diagnostics += mistakes.diagnostics }
    return found.map(\.package)
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
}
