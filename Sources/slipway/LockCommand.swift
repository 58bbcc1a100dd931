import ArgumentParser
import Engine

struct LockCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lock", abstract: "Pins the packages of a rootfs target in the file that its `lock` names.")

  @OptionGroup var common: CommonOptions
  @Argument(help: "The rootfs target.", completion: .labels) var label: String

  func run() async throws {
    try await common.session().lock(label) { path, count in print("\(path)\t\(count) packages") }
  }
}
