import ArgumentParser
import Diagnostics
import Engine
import Graph
import Manifests
import SystemPackage

/// A target, and the platforms that are asked about.
struct TargetArguments: ParsableArguments {
  @OptionGroup var common: CommonOptions
  @OptionGroup var platforms: PlatformOptions
  @Argument(help: "The target.", completion: .labels) var label: String
}

/// A target's action on one platform.
struct SingleRunArguments: ParsableArguments {
  @OptionGroup var common: CommonOptions
  @Option(help: "Its action for another platform than this machine's.") var platform: String?
  @Argument(help: "The target.", completion: .labels) var label: String

  func validate() throws { if let platform { try PlatformOptions.check(platform) } }

  var chosen: String? { platform.map(PlatformText.normalized) }
}

struct ExplainCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Says why a target would run, or why it was a hit.")

  @OptionGroup var target: TargetArguments
  @OptionGroup var cache: RemoteCacheOptions

  func run() async throws {
    var options = BuildOptions()
    cache.apply(to: &options)
    let session = try target.common.session()
    print(
      try await session.explain(target.label, platforms: target.platforms.chosen, options: options), terminator: "")
  }
}

struct LogsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logs", abstract: "Prints the log of a target's last run.")

  @OptionGroup var target: SingleRunArguments

  func run() async throws {
    let bytes = try await target.common.session().log(of: target.label, platform: target.chosen)
    _ = try FileDescriptor.standardOutput.writeAll(bytes)
  }
}

struct OutputsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "outputs", abstract: "Copies a built target's outputs to .slipway/out and prints where they are.")

  @OptionGroup var target: TargetArguments

  func run() async throws {
    let session = try target.common.session()
    for output in try await session.exportOutputs(of: target.label, platforms: target.platforms.chosen) {
      print("\(output.name)\t\(output.path)")
    }
  }
}

struct ShellCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "shell", abstract: "Opens a shell in the exact sandbox of a target's action.")

  @OptionGroup var target: SingleRunArguments
  @Argument(parsing: .postTerminator, help: "Another command than /bin/sh -i.") var command: [String] = []

  func run() async throws {
    throw ExitCode(
      try await target.common.session().shell(target.label, platform: target.chosen, command: command))
  }
}
