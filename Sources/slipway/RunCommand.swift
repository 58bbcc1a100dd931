import ArgumentParser
import Engine
import Sandboxing

struct RunCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", _superCommandName: "slipway", abstract: "Runs a built image as its user would.",
    usage: "slipway run LABEL [--mount HOST:PATH[:rw]]... -- ARGS")

  @OptionGroup var common: CommonOptions
  @Argument(help: "An image target.", completion: .labels) var label: String
  @Option(help: "Makes a host path visible: HOST:PATH, or HOST:PATH:rw.") var mount: [String] = []
  @Option(help: "none or host.") var network = "host"
  @Argument(parsing: .postTerminator, help: "Arguments of the image's entrypoint.") var arguments: [String] = []

  func validate() throws {
    if SandboxSpec.Network(rawValue: network) == nil {
      throw ValidationError("--network must be none or host, not `\(network)`")
    }
  }

  func run() async throws {
    let session = try common.session()
    let built = try await BuildArguments.images(session, label, [Workspace.platform])
    let code = try await session.run(
      built.images.preferred(Workspace.platform), of: built.label, arguments: arguments, mounts: mount,
      network: SandboxSpec.Network(rawValue: network) ?? .none)
    throw ExitCode(code)
  }
}
