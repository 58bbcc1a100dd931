import ArgumentParser
import Diagnostics
import Engine
import Graph
import Manifests
import Planning

/// What a command compares with, where only what a change affects is wanted.
struct SinceOptions: ParsableArguments {
  @Option(help: "Only what is affected by changes since this commit, or since the work branched off from it.")
  var since: String?

  @Flag(help: "Compare with that commit itself, not with where the work branched off.")
  var exactBase = false

  func validate() throws {
    if exactBase, since == nil { throw ValidationError("--exact-base needs --since") }
  }

  /// The patterns of what is selected and, where something is compared, affected, of the rules that are wanted.
  ///
  /// - Returns: `nil`, and that is said, where this leaves nothing.
  func narrow(
    _ selection: SelectionOptions, _ session: Session, _ options: inout BuildOptions, rules: Set<Rule>? = nil
  ) throws -> [String]? {
    guard let since else {
      switch selection.choice {
      case .all: return ["//..."]
      case .patterns(let patterns): return patterns
      case .query(let query):
        let labels = try session.targets(of: query)
        if labels.isEmpty { Slipway.write("nothing to do: no target answers the query\n") }
        return labels.isEmpty ? nil : labels.map(\.description)
      }
    }
    let affected = try session.affected(since: since, exactBase: exactBase, among: selection.choice)
    for warning in affected.warnings { Slipway.write(warning.rendered) }
    options.affected = affected.all
    let labels = affected.labels.filter { label in
      rules.map { rules in affected.reasons[label].map { rules.contains($0.rule) } ?? false } ?? true
    }
    if labels.isEmpty {
      Slipway.write("nothing to do: no target here is affected since \(affected.base.prefix(12))\n")
      return nil
    }
    return labels.map(\.description)
  }
}

/// Which targets a command is about.
struct SelectionOptions: ParsableArguments {
  @Argument(help: "Target patterns: //a:b, //a, //a/..., -//a/..., :b, @file.", completion: .labels)
  var patterns: [String] = []

  @Option(help: "In place of patterns: what answers this query (slipway query --help).")
  var query: String?

  func validate() throws {
    if query != nil, !patterns.isEmpty { throw ValidationError("target patterns and --query exclude each other") }
  }

  var choice: TargetSelection { query.map { .query($0) } ?? (patterns.isEmpty ? .all : .patterns(patterns)) }
}

struct AffectedCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "affected", _superCommandName: "slipway", abstract: "Says which targets a change affects, by content.",
    discussion: """
      Compares the working tree with the commit that it branched off from: uncommitted and untracked files count. A target is
      affected if its declaration, a file that it reads, or anything that it depends on is not what it was.
      """)

  enum Format: String, CaseIterable, ExpressibleByArgument {
    case labels, json
    case matrix = "github-matrix"
  }

  @OptionGroup var common: CommonOptions
  @Option(help: "A commit, branch or tag: what the change started from.") var since: String
  @Option(help: "The commit to look at, instead of the working tree.") var until: String?
  @Flag(help: "Compare with --since itself, not with where the work branched off from it.") var exactBase = false
  @Flag(help: "Leave out what is known, from cached results, to come to the same as before.") var refine = false
  @Flag(help: "Print, for each target, what changed and through which targets that reaches it.") var why = false
  @Option(help: "labels, one a line; json; or github-matrix: tests divided among jobs.") var format: Format = .labels
  @Option(help: "Into how many jobs a matrix divides the tests at most; never more than 256.") var shards: Int?
  @Option(help: "For a matrix: seconds, as JSON by //a:b or :b; or a report.json.") var durations: String?
  @OptionGroup var selection: SelectionOptions

  func validate() throws {
    if let shards, !(1...Shards.limit).contains(shards) {
      throw ValidationError("--shards must be between 1 and \(Shards.limit)")
    }
    if durations != nil, format != .matrix { throw ValidationError("--durations needs --format github-matrix") }
    if shards != nil, format != .matrix { throw ValidationError("--shards needs --format github-matrix") }
  }

  func run() async throws {
    let session = try common.session()
    let affected =
      refine
      ? try await session.refined(since: since, until: until, exactBase: exactBase, among: selection.choice)
      : try session.affected(since: since, until: until, exactBase: exactBase, among: selection.choice)
    for warning in affected.warnings { Slipway.write(warning.rendered) }
    switch format {
    case .json: print(affected.json(why: why))
    case .matrix: print(try session.matrix(of: affected, shards: shards ?? 10, durations: durations))
    case .labels:
      for label in affected.labels {
        print(label)
        if why { for line in affected.explanation(of: label) { print("  \(line)") } }
      }
      for label in affected.removed { Slipway.write("removed: \(label)\n") }
      if affected.labels.isEmpty {
        Slipway.write("no target is affected since \(affected.base.prefix(12))\n")
      }
    }
  }
}
