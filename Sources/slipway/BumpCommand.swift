import ArgumentParser
import Engine
import Manifests

struct BumpCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bump", abstract: "Raises connectors' versions in metadata, pyproject and changelog.",
    usage: "slipway bump PATTERN... patch|minor|major|rc|VERSION [--message TEXT]")

  @OptionGroup var common: CommonOptions
  @Argument(help: "Connectors, and last how to raise: patch, minor, major, rc, or a version.", completion: .labels)
  var words: [String]
  @Option(name: .shortAndLong, help: "What the changelog says.") var message = "Maintenance release"

  func validate() throws {
    guard words.count >= 2, let last = words.last else {
      throw ValidationError("name connectors, and then patch, minor, major, rc or a version")
    }
    if VersionBump(last) == nil {
      throw ValidationError("`\(last)` is neither patch, minor, major nor rc, nor a semantic version")
    }
    if message.contains("\n") { throw ValidationError("--message must be one line") }
  }

  func run() throws {
    guard let last = words.last, let bump = VersionBump(last) else { return }
    for bumped in try common.session().bump(Array(words.dropLast()), by: bump, message: message) {
      print("//\(bumped.package)\t\(bumped.old) -> \(bumped.new)\t\(bumped.files.joined(separator: " "))")
    }
  }
}
