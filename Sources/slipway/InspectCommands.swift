import ArgumentParser
import Diagnostics
import Engine
import Graph
import SystemPackage

struct ExplainCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Says why a target would run, or why it was a hit.")

  @OptionGroup var common: CommonOptions
  @OptionGroup var platforms: PlatformOptions
  @Argument(help: "The target.", completion: .labels) var label: String

  func run() async throws {
    print(try await common.session().explain(label, platforms: platforms.chosen), terminator: "")
  }
}

struct LogsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logs", abstract: "Prints the log of a target's last run.")

  @OptionGroup var common: CommonOptions
  @Option(help: "Its run for another platform than this machine's.") var platform: String?
  @Argument(help: "The target.", completion: .labels) var label: String

  func run() async throws {
    let bytes = try await common.session().log(of: label, platform: platform)
    _ = try FileDescriptor.standardOutput.writeAll(bytes)
  }
}

struct OutputsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "outputs", abstract: "Copies a built target's outputs to .slipway/out and prints where they are.")

  @OptionGroup var common: CommonOptions
  @OptionGroup var platforms: PlatformOptions
  @Argument(help: "The target.", completion: .labels) var label: String

  func run() async throws {
    for output in try await common.session().exportOutputs(of: label, platforms: platforms.chosen) {
      print("\(output.name)\t\(output.path)")
    }
  }
}

struct ShellCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "shell", abstract: "Opens a shell in the exact sandbox of a target's action.")

  @OptionGroup var common: CommonOptions
  @Option(help: "Its sandbox for another platform than this machine's.") var platform: String?
  @Argument(help: "The target.", completion: .labels) var label: String
  @Argument(parsing: .postTerminator, help: "Another command than /bin/sh -i.") var command: [String] = []

  func run() async throws {
    throw ExitCode(try await common.session().shell(label, platform: platform, command: command))
  }
}
