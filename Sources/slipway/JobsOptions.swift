import ArgumentParser

/// `--jobs`, of every command that executes actions.
struct JobsOptions: ParsableArguments {
  @Option(name: .shortAndLong, help: "Actions at once; by default one a core.")
  var jobs: Int?

  func validate() throws {
    if let jobs, !(1...4096).contains(jobs) { throw ValidationError("--jobs must be between 1 and 4096") }
  }

  /// 0 for one a core.
  var count: Int { jobs ?? 0 }
}
