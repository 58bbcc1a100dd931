import ArgumentParser
import Console
import Diagnostics
import Dispatch
import Engine
import Glibc
import Sandboxing
import SystemPackage

struct Slipway: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "slipway",
    abstract: "Builds, tests and publishes a repository of containerised connectors.",
    version: "0.1.0",
    subcommands: [
      BuildCommand.self, TestCommand.self, RunCommand.self, ExplainCommand.self, ShellCommand.self,
      OutputsCommand.self, LogsCommand.self, CacheCommand.self, DoctorCommand.self, CheckCommand.self,
      InitCommand.self, QueryCommand.self, LockCommand.self, ImageCommand.self, UpdateImagesCommand.self,
      BumpCommand.self, PublishCommand.self, AffectedCommand.self, SimulateCommand.self, CompletionsCommand.self,
    ])

  /// Parses, runs, and ends the process with Bazel's exit codes.
  static func start() async -> Never {
    do {
      var command = try parse()
      let task = Task {
        if var command = command as? any AsyncParsableCommand { try await command.run() } else { try command.run() }
      }
      let signals = cancelOnSignals { task.cancel() }
      defer { withExtendedLifetime(signals) {} }
      try await task.value
      Glibc.exit(0)
    } catch {
      Glibc.exit(report(error))
    }
  }

  /// Parses a command that says that it belongs to this one by itself: at its root, the parser first asks whether a
  /// completion script is wanted, in two attempts that take a millisecond and a half. Mistakes are told from the root.
  private static func parse() throws -> any ParsableCommand {
    let arguments = CommandLine.arguments.dropFirst()
    guard let name = arguments.first, !name.hasPrefix("-"), name != "help" else { return try parseAsRoot() }
    if let type = configuration.subcommands.first(where: { $0.configuration.commandName == name }) {
      if type.configuration._superCommandName != nil, let command = try? type.parseAsRoot(Array(arguments.dropFirst())),
        Swift.type(of: command) == type
      {
        return command
      }
      return try parseAsRoot()
    }
    // The parser would call it an unexpected argument.
    let near = didYouMean(name, among: configuration.subcommands.compactMap { $0.configuration.commandName })
    throw Diagnostic.error(
      "unknown command `\(name)`", hints: [near.map { "did you mean `slipway \($0)`?" } ?? "`slipway --help` lists all"]
    )
  }

  /// SIGINT and SIGTERM stop what runs, once; a second one ends the process as usual.
  private static func cancelOnSignals(_ cancel: @escaping @Sendable () -> Void) -> [any DispatchSourceSignal] {
    [SIGINT, SIGTERM].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler {
        signal(number, SIG_DFL)
        cancel()
      }
      source.resume()
      return source
    }
  }

  /// Prints an error to standard error; gives the exit status that it means.
  private static func report(_ error: any Error) -> Int32 {
    switch error {
    case let list as DiagnosticList:
      let sorted = list.sorted
      for diagnostic in sorted { write(diagnostic.rendered) }
      GitHubActions.show(sorted)
      let codes = Set(sorted.filter { $0.severity == .error }.map(\.cause.rawValue))
      return [37, 36, 2, 1].first { codes.contains($0) } ?? 2
    case let diagnostic as Diagnostic:
      write(diagnostic.rendered)
      GitHubActions.show([diagnostic])
      return diagnostic.cause.rawValue
    case let code as ExitCode: return code.rawValue
    case is CancellationError: return 8
    case let failed as Session.BuildFailed: return failed.exitCode
    case is Session.NoTests:
      write("error: no test among these targets\n")
      return 4
    default:
      let code = exitCode(for: error)
      if code == .success {
        print(fullMessage(for: error))
        return 0
      }
      guard code == .validationFailure else {
        write(Diagnostic.error("\(error)", cause: .internal).rendered)
        return 37
      }
      let text = fullMessage(for: error)
      write((text.hasPrefix("Error: ") ? "error: " + text.dropFirst(7) : text) + "\n")
      return 2
    }
  }

  static func write(_ text: String) {
    let bytes = Array(text.utf8)
    _ = try? FileDescriptor.standardError.writeAll(bytes)
  }
}

/// Where a command works and what it shows.
struct CommonOptions: ParsableArguments {
  @Option(name: [.customShort("C"), .customLong("directory")], help: "Work as if started in this folder.")
  var directory: String?

  func folder() throws -> FilePath {
    let current = try Session.currentDirectory()
    return directory.map { current.pushing(FilePath($0)).lexicallyNormalized() } ?? current
  }

  func session() throws -> Session {
    let (directory, cache) = try (folder(), Session.cacheFolder())
    let session =
      try EarlySession.take(directory: directory, cache: cache) ?? Session(directory: directory, cache: cache)
    // It lives as long as the process: to free every manifest one by one before the end takes milliseconds.
    _ = Unmanaged.passRetained(session)
    return session
  }
}
