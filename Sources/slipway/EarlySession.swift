import Engine
import Files
import Synchronization
import SystemPackage

/// A session that is opened while the arguments are parsed.
///
/// The parser asks the runtime about dozens of types, and each answer is a walk over every conformance in the binary:
/// milliseconds, in which another processor reads the settings and the file index, and looks at the files.
enum EarlySession {
  /// Used by whoever takes it only.
  private struct Opened: @unchecked Sendable {
    var session: Session
    var directory: FilePath
    var cache: FilePath
  }

  private static let opening = Mutex<(background: Background<Opened?>, crew: Crew)?>(nil)

  /// Begins to open the workspace around the current folder, where `arguments` are those of a command that needs it.
  ///
  /// Commands are known by name here: to ask for their configurations would make their help texts first.
  /// An argument that may name another folder, or ask for help, is left to the parser.
  static func begin(_ arguments: some Collection<String>) {
    guard let name = arguments.first, ["build", "test", "run", "query"].contains(name),
      !arguments.contains(where: { ["-C", "--directory", "-h", "--help"].contains(where: $0.hasPrefix) })
    else { return }
    let isBuild = ["build", "test"].contains(name)
    let looksEverywhere = name == "query" || (isBuild && arguments.contains("//..."))
    let crew = Crew()
    opening.withLock {
      let background = Background<Opened?> {
        defer { crew.dismiss() }
        // Whoever needs the session opens it again, and says what is wrong.
        guard let directory = try? Session.currentDirectory(), let cache = try? Session.cacheFolder(),
          let session = try? Session(directory: directory, cache: cache)
        else { return nil }
        if isBuild { session.readAhead() }
        if name == "query" { session.readOutlinesAhead() }
        if looksEverywhere { session.workspace.tree.refreshAhead(with: crew) }
        return Opened(session: session, directory: directory, cache: cache)
      }
      $0 = (background, crew)
    }
  }

  /// The session, if it was opened there.
  static func take(directory: FilePath, cache: FilePath) -> Session? {
    let opening = opening.withLock { opening in
      defer { opening = nil }
      return opening
    }
    guard let opened = opening?.background.take(with: opening?.crew), opened.directory == directory,
      opened.cache == cache
    else { return nil }
    return opened.session
  }
}
