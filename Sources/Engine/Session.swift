import Caching
import Diagnostics
import Digests
import Events
import Files
import Glibc
import Graph
import Manifests
import Planning
import SystemPackage

/// What every command that looks at a workspace starts from.
package final class Session {
  package let workspace: Workspace
  package let store: Store
  package let history: History
  package let registries: RegistryAccess
  /// The current folder, in the workspace: where relative patterns start.
  package let folder: WorkspacePath
  /// What was built from, for as long as the session lives: it ends with the process, and to free thousands of targets one
  /// by one before that takes milliseconds.
  var kept: (plan: Plan, build: Build)?
  /// Further plans, for the same reason.
  var retained: [Any] = []
  /// The remote tier, once somebody asked for it.
  var opened: OpenedRemote?
  /// What `readAhead` found.
  var stateAhead: BuildState?
  /// What `readOutlinesAhead` began.
  var outlinesAhead: Background<Outlines>?

  /// Opens the workspace around `directory` and the caller's store.
  package init(directory: FilePath, cache: FilePath) throws {
    let root = try Workspace.locate(from: directory)
    workspace = try Workspace(root: root)
    store = try Store(root: cache)
    registries = RegistryAccess(settings: workspace.settings, root: root)
    history = History(path: root.appending(".slipway").appending("history"))
    var relative = directory
    folder = relative.removePrefix(root) ? WorkspacePath(relative.string) ?? .root : .root
  }

  /// `$XDG_CACHE_HOME/slipway/v1`, or under `~/.cache`.
  package static func cacheFolder() throws -> FilePath {
    func variable(_ name: String) -> String? {
      getenv(name).map { String(cString: $0) }.flatMap { $0.hasPrefix("/") ? $0 : nil }
    }
    if let base = variable("XDG_CACHE_HOME") { return FilePath(base).appending("slipway").appending("v1") }
    guard let home = variable("HOME") else {
      throw Diagnostic.error(
        "neither XDG_CACHE_HOME nor HOME is an absolute path", cause: .environment,
        hints: ["set XDG_CACHE_HOME to a folder for the cache"])
    }
    return FilePath(home).appending(".cache/slipway/v1")
  }

  package static func currentDirectory() throws -> FilePath {
    guard let path = getcwd(nil, 0) else { throw Disk.failure("find", "the current folder") }
    defer { free(path) }
    return FilePath(String(cString: path))
  }

  // MARK: Patterns

  /// Parses patterns; `@file` stands for the patterns in a file, one a line.
  package func parse(_ patterns: [String]) throws -> TargetPatternSet {
    var parsed: [TargetPattern] = []
    var diagnostics = DiagnosticList()
    for pattern in patterns {
      if pattern.hasPrefix("@"), !pattern.hasPrefix("@slipway//") {
        let path = String(pattern.dropFirst())
        guard let bytes = try Disk.contents(of: path, limit: 16 << 20) else {
          throw Diagnostic.error("cannot read the patterns in `\(path)`: it is not there")
        }
        parsed += try TargetPattern.parse(
          file: path, text: String(decoding: bytes, as: UTF8.self), relativeTo: folder)
        continue
      }
      do {
        parsed.append(try TargetPattern.parse(pattern, relativeTo: folder))
      } catch { diagnostics.diagnostics.append(error.diagnostic(file: "command line")) }
    }
    if diagnostics.hasErrors { throw diagnostics }
    return TargetPatternSet(parsed)
  }

  /// A plan that holds the targets of the patterns and all that they depend on, and the labels that they mean.
  ///
  /// Warnings come back; any error is thrown, with all others.
  package func plan(_ patterns: TargetPatternSet) throws -> (plan: Plan, wanted: [Label], warnings: [Diagnostic]) {
    try workspace.tree.refresh(.all)
    let packages = workspace.tree.packages
    var diagnostics = DiagnosticList(workspace.warnings)
    let plan = Plan(
      roots: patterns.packages(among: packages), source: workspace, settings: workspace.settings,
      diagnostics: &diagnostics)
    var wanted: [Label] = []
    do {
      wanted = try patterns.resolve(
        packages: packages, targets: { plan.packages[$0]?.declaration.targets.map(\.name.value) ?? [] },
        defaultTarget: { plan.packages[$0]?.declaration.defaultTarget })
    } catch { diagnostics.diagnostics += error.diagnostics }
    if diagnostics.hasErrors { throw diagnostics }
    return (plan, wanted, diagnostics.diagnostics)
  }

  /// The one target that a label on the command line means.
  package func target(_ text: String) throws -> (plan: Plan, target: Target) {
    let (plan, wanted, _) = try plan(try parse([text]))
    guard wanted.count == 1, let target = plan.targets[wanted[0]] else {
      throw Diagnostic.error(
        "`\(text)` means \(wanted.count) targets; name one", hints: wanted.prefix(3).map { "`\($0)` is one of them" })
    }
    return (plan, target)
  }
}
