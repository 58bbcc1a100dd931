import ArgumentParser
import Diagnostics
import Engine

struct SimulateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate", abstract: "Says what CI would have cost: replays a history without executing it.",
    discussion: """
      For each commit: what it affects, by content; what of that was built before, and what would be executed. The same \
      history is replayed for CI that runs everything, and for CI that runs what has a changed file in its folder, with \
      and without a layer cache. Durations are those of the last runs here, or of --durations.
      """)

  enum Format: String, CaseIterable, ExpressibleByArgument { case table, json }

  @OptionGroup var common: CommonOptions
  @Option(help: "A..B: the commits after A and up to B; B is HEAD if it is left out.") var commits: String
  @Option(help: "Machines that share the work.") var machines = 4
  @Option(help: "Seconds, as JSON: {\"//a:b\": 12.5, \":b\": 30, \"image\": 2}; or a report.json.") var durations:
    String?
  @Option(help: "table or json (schemas/simulate.schema.json).") var format: Format = .table

  func validate() throws {
    if !(1...10_000).contains(machines) { throw ValidationError("--machines must be between 1 and 10000") }
    if commits.isEmpty || commits.hasPrefix("..") {
      throw ValidationError("--commits must be A..B, such as HEAD~500..")
    }
  }

  func run() throws {
    // `A...B` is no range of a history.
    let parts = commits.split(separator: "..", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    if parts.count > 1, parts[1].hasPrefix(".") { throw ValidationError("--commits must be A..B, with two dots") }
    let head = parts.count > 1 && !parts[1].isEmpty ? parts[1] : "HEAD"
    let simulation = try common.session().simulate(
      base: parts[0], head: head, machines: machines, durations: durations)
    switch format {
    case .table: print(simulation.table, terminator: "")
    case .json: print(String(decoding: simulation.json.encoded, as: UTF8.self))
    }
  }
}
