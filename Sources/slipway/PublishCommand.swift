import ArgumentParser
import Diagnostics
import Engine
import Events
import Glibc
import Publishing
import SystemPackage

struct PublishCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "publish",
    abstract: "Pushes what is new, once: images by digest, then tags, then metadata.",
    discussion: """
      Whether a version is published already is decided by content. Another image under a published version is an error, \
      and so is a version older than one that is published. One connector that fails does not stop the others. Killed \
      at any point and run again, it ends in the same state.
      """)

  @OptionGroup var common: CommonOptions

  @OptionGroup var selection: SelectionOptions

  @Flag(help: "Build and compare, say what would be pushed, and push nothing.")
  var dryRun = false

  @Flag(help: "Print JSON (schemas/publish-plan.schema.json) instead of a table.")
  var json = false

  @Option(help: "Publish <version>-dev.SUFFIX, without latest.")
  var prerelease: String?

  @Option(help: "Push to HOST or HOST/PREFIX instead of where repositories' names say.")
  var registry: String?

  @Option(help: "The URL of the metadata store: file:///… or https://…")
  var metadataStore: String?

  @Flag(help: "Restore what is missing of published versions, without building.")
  var repair = false

  @OptionGroup var platforms: PlatformOptions

  @Flag(help: "Publish images whose root file system has no lock.")
  var allowFloating = false

  @OptionGroup var since: SinceOptions

  @OptionGroup var jobs: JobsOptions

  func validate() throws {
    if let prerelease, prerelease.isEmpty || prerelease.utf8.count > 64 || !prerelease.utf8.allSatisfy(Self.isWord) {
      throw ValidationError("--prerelease must be letters and digits, such as a commit's first ten")
    }
    if repair, dryRun { throw ValidationError("--repair and --dry-run exclude each other") }
  }

  private static func isWord(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
  }

  func run() async throws {
    let session = try common.session()
    var options = PublishOptions()
    options.build.jobs = jobs.count
    options.isDryRun = dryRun
    options.prerelease = prerelease
    options.registry = registry
    options.metadataStore = metadataStore
    options.isRepair = repair
    options.platforms = platforms.chosen
    options.allowsFloating = allowFloating
    options.progress = { Slipway.write($0 + "\n") }
    options.warn = { Slipway.write($0.rendered) }
    guard let patterns = try since.narrow(selection, session, &options.build, rules: [.publish]) else { return }
    let report = try await session.publish(patterns, options: options) { build in
      try await BuildArguments.withConsole(options.build) { try await build($0) }
    }
    let errors = DiagnosticList(report.errors + report.entries.flatMap(\.errors)).sorted
    for error in errors { Slipway.write(error.rendered) }
    if json {
      print(String(decoding: report.json.encoded, as: UTF8.self))
    } else {
      print(report.table, terminator: "")
    }
    Slipway.write(report.summary + "\n")
    throw ExitCode(report.exitCode)
  }
}
