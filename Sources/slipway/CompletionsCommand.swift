import ArgumentParser

struct CompletionsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "completions", abstract: "Prints the completion script of a shell.")

  @Argument(help: "bash, zsh or fish.") var shell: String

  func validate() throws {
    if CompletionShell(rawValue: shell) == nil {
      throw ValidationError("`\(shell)` is none of bash, zsh and fish")
    }
  }

  func run() throws {
    if let shell = CompletionShell(rawValue: shell) { print(Slipway.completionScript(for: shell)) }
  }
}

extension CompletionKind {
  /// Every label of the workspace around the current folder; none where there is no workspace.
  static var labels: CompletionKind { .shellCommand("slipway query //... 2>/dev/null") }
}
