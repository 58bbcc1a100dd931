import ArgumentParser
import Caching
import Console
import Diagnostics
import Engine
import Events
import Glibc
import Graph
import Manifests
import OCI
import Reporting
import SystemPackage

/// What `build` and `test` share.
struct BuildArguments: ParsableArguments {
  @OptionGroup var common: CommonOptions

  @OptionGroup var selection: SelectionOptions

  @OptionGroup var jobs: JobsOptions

  @Flag(inversion: .prefixedNo, help: "Go on with what does not depend on a failure.")
  var keepGoing: Bool?

  @Flag(help: "Start nothing new after the first failure.")
  var failFast = false

  @Option(help: "What runs actions: namespaces or runc.")
  var sandbox: String = "namespaces"

  @Option(help: "An engine that runs actions: grpc:// or grpcs://; empty for none. Also SLIPWAY_EXECUTOR.")
  var executor: String?

  @Flag(help: "Run the named tests even if a verdict is cached.")
  var rerun = false

  @Option(parsing: .unconditionalSingleValue, help: "One more argument for the named tests' commands.")
  var testArg: [String] = []

  @Option(help: "Which tests of a target to run: pytest's -k expression.")
  var testFilter: String?

  @Flag(help: "Show what commands print while they run.")
  var stream = false

  @Flag(help: "Say what would execute, and execute nothing.")
  var dryRun = false

  @OptionGroup var since: SinceOptions

  @OptionGroup var platforms: PlatformOptions

  @OptionGroup var cache: CacheOptions

  @Option(help: "Write every event to this file, as JSON lines.")
  var events: String?

  @Option(help: "Write a Chrome trace to this file.")
  var trace: String?

  @OptionGroup var reports: ReportOptions

  func validate() throws {
    if case .all = selection.choice, since.since == nil {
      throw ValidationError("name at least one target pattern, such as //...")
    }
    if BuildOptions.SandboxChoice(rawValue: sandbox) == nil {
      throw ValidationError("--sandbox must be namespaces or runc, not `\(sandbox)`")
    }
    if failFast, keepGoing == true { throw ValidationError("--fail-fast and --keep-going exclude each other") }
  }

  func run(onlyTests: Bool) async throws {
    let session = try common.session()
    var options = BuildOptions()
    options.jobs = jobs.count
    options.keepGoing = failFast ? false : keepGoing ?? true
    options.sandbox = BuildOptions.SandboxChoice(rawValue: sandbox) ?? .namespaces
    options.executor = executor
    options.rerun = rerun
    options.testArguments = testArg + (testFilter.map { ["-k", $0] } ?? [])
    options.streams = stream
    options.isDryRun = dryRun
    options.onlyTests = onlyTests
    options.junitFolder = reports.junitFolder
    options.platforms = platforms.chosen
    cache.apply(to: &options)
    let rules: Set<Rule>? = onlyTests ? [.test, .suite] : nil
    let recorder = reports.isWanted && !dryRun ? RunRecorder() : nil
    guard let patterns = try since.narrow(selection, session, &options, rules: rules) else {
      if let recorder { try reports.write(recorder, session) }
      return
    }
    let outcome: BuildOutcome
    do {
      outcome = try await Self.build(
        session, patterns, options, eventsPath: events, tracePath: trace, recorder: recorder, quiet: dryRun)
    } catch {
      // What had ended by then is worth reading; the error itself is told by whoever called.
      if let recorder { try? reports.write(recorder, session) }
      throw error
    }
    if let recorder { try reports.write(recorder, session) }
    if dryRun {
      for entry in outcome.wouldExecute { print("\(entry.label)\t\(entry.reason)") }
      let count = outcome.wouldExecute.count
      Slipway.write("\(count) \(count == 1 ? "target" : "targets") would execute\n")
    }
    throw ExitCode(outcome.exitCode)
  }

  /// Builds with the console as this process's terminal wants it.
  static func build(
    _ session: Session, _ patterns: [String], _ options: BuildOptions, eventsPath: String? = nil,
    tracePath: String? = nil, recorder: RunRecorder? = nil, quiet: Bool = false
  ) async throws -> BuildOutcome {
    let outcome = try await withConsole(
      options, eventsPath: eventsPath, tracePath: tracePath, recorder: recorder, quiet: quiet
    ) { stream in
      let outcome = try await session.build(patterns, options: options, events: stream)
      // Only what executed makes the store larger.
      return (outcome, stream.counts.executed > 0 ? session.collectGarbageIfNeeded() : nil)
    }
    if let warning = outcome.1 { Slipway.write(warning.rendered) }
    return outcome.0
  }

  /// Builds one image target, with the console.
  static func images(_ session: Session, _ label: String, _ platforms: [String]) async throws -> (
    label: Label, images: PlatformImages
  ) {
    try await withConsole(BuildOptions()) {
      try await session.images(of: label, platforms: platforms, events: $0)
    }
  }

  /// Runs something with the console as this process's terminal wants it.
  static func withConsole<Result>(
    _ options: BuildOptions, eventsPath: String? = nil, tracePath: String? = nil, recorder: RunRecorder? = nil,
    quiet: Bool = false, _ body: (EventStream) async throws -> Result
  ) async throws -> Result {
    var sinks: [any EventSink] = []
    let environment = { (name: String) in getenv(name).map { String(cString: $0) } }
    let terminal = isatty(2) == 1 && environment("CI") == nil
    let console = ConsoleSink(
      ConsoleOptions(
        isTerminal: terminal, term: environment("TERM"), noColor: environment("NO_COLOR"),
        sumsUpTests: options.onlyTests),
      output: DescriptorOutput(.standardError), size: TerminalSize.current)
    if !quiet { sinks.append(console) }
    var files: [FileDescriptor] = []
    defer { for file in files { try? file.close() } }
    func open(_ path: String) throws -> DescriptorOutput {
      let file = try Disk.open(path, O_WRONLY | O_CREAT | O_TRUNC)
      files.append(file)
      return DescriptorOutput(file)
    }
    if let eventsPath { sinks.append(EventLog(try open(eventsPath))) }
    if let tracePath { sinks.append(TraceWriter(try open(tracePath))) }
    if let recorder { sinks.append(recorder) }
    let start = ContinuousClock.now
    let elapsed: @Sendable () -> Duration = { ContinuousClock.now - start }
    let stream = EventStream(sinks: sinks, elapsed: elapsed)
    let ticker = Task { await console.run(elapsed: elapsed) }
    defer { ticker.cancel() }
    return try await body(stream)
  }
}

extension TerminalSize {
  static let current: @Sendable () -> TerminalSize = {
    var size = winsize()
    guard ioctl(2, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return .standard }
    return TerminalSize(columns: Int(size.ws_col), rows: Int(size.ws_row))
  }
}

struct BuildCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "build", _superCommandName: "slipway", abstract: "Builds targets; a test is built by running it.")

  @OptionGroup var arguments: BuildArguments

  func run() async throws { try await arguments.run(onlyTests: false) }
}

struct TestCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "test", _superCommandName: "slipway", abstract: "Builds and runs every test among the targets.")

  @OptionGroup var arguments: BuildArguments

  func run() async throws { try await arguments.run(onlyTests: true) }
}
