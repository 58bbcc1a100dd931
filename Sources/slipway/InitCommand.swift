import ArgumentParser
import Diagnostics
import Engine

struct InitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init", abstract: "Makes a workspace, or a connector from a template.",
    usage: "slipway init --workspace\nslipway init source-mine")

  @OptionGroup var common: CommonOptions
  @Flag(help: "Make this folder a workspace, with a base image for Python connectors.") var workspace = false
  @Argument(help: "The connector's name, such as source-mine; its folder is made in connectors/.") var name: String?

  func validate() throws {
    if !workspace, name == nil { throw ValidationError("name a connector, or say --workspace") }
  }

  func run() throws {
    let folder = try common.folder()
    var made: [String] = []
    if workspace { made += try Scaffold.workspace(in: folder) }
    if let name { made += try Scaffold.connector(name, root: try Workspace.locate(from: folder)) }
    for path in made { print(path) }
    if let name { Slipway.write("next: slipway test //connectors/\(name)/...\n") }
  }
}
