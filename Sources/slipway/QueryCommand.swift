import ArgumentParser
import Engine
import Graph

extension QueryOutput: ExpressibleByArgument {}

struct QueryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "query", _superCommandName: "slipway", abstract: "Asks the target graph, in Bazel's query language.",
    discussion: """
      deps(x) rdeps(universe, x) allpaths(a, b) somepath(a, b) kind(regex, x) attr(name, regex, x)
      filter(regex, x) owner(file) tests(x) set(a b), joined by + - ^
      metadata(condition, x): x of the packages whose metadata.yaml holds it, such as
      metadata("data.supportLevel == 'certified' and data.ab_internal.ql > 100")
      """)

  @OptionGroup var common: CommonOptions
  @Argument(help: "For example: rdeps(//..., //connectors/libs/protocol:lib)") var expression: String
  @Option(help: "label, json or dot.") var output: QueryOutput = .label

  func run() throws {
    print(try common.session().query(expression, output: output), terminator: "")
  }
}
