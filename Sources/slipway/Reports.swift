import ArgumentParser
import Caching
import Diagnostics
import Engine
import Events
import Glibc
import Reporting
import SystemPackage

/// What a run leaves for people and CI systems to read.
struct ReportOptions: ParsableArguments {
  @Option(help: "Write report.json, index.html and JUnit XML of the run to this folder.")
  var report: String?

  @Option(help: "Write JUnit XML of every test to this folder.")
  var junit: String?

  var junitFolder: String? { junit ?? report.map { $0 + "/junit" } }

  var isWanted: Bool { report != nil || GitHubActions.isRunning }

  /// Writes what is wanted of a run that is over, or of one that had nothing to do.
  func write(_ recorder: RunRecorder, _ session: Session) throws {
    var record = recorder.record
    session.complete(&record)
    // As it was typed, but for the program's own place.
    let command = "slipway " + CommandLine.arguments.dropFirst().joined(separator: " ")
    if let report {
      try Disk.makeFolders(report)
      try Disk.replace(FilePath(report).appending("report.json"), with: record.json(command: command).encoded)
      try Disk.replace(FilePath(report).appending("index.html"), with: record.html(command: command))
    }
    guard GitHubActions.isRunning else { return }
    for annotation in session.annotations(of: record) { GitHubActions.show(annotation, root: session.workspace.root) }
    GitHubActions.append(summary: record.summary(title: command))
  }
}

/// What is said in a way that GitHub Actions understands, where it runs this process.
enum GitHubActions {
  private static func variable(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
  }

  static var isRunning: Bool { variable("GITHUB_ACTIONS") == "true" }

  /// - Parameter root: The workspace's, which may lie below the repository's top.
  static func show(_ annotation: Annotation, root: FilePath) {
    var annotation = annotation
    var folder = root
    if let top = variable("GITHUB_WORKSPACE"), folder.removePrefix(FilePath(top)), !folder.isEmpty,
      let file = annotation.file
    {
      annotation.file = "\(folder)/\(file)"
    }
    Slipway.write(annotation.command)
  }

  /// Shows mistakes beside the lines that they are in.
  static func show(_ diagnostics: [Diagnostic]) {
    guard isRunning, let current = try? Session.currentDirectory(), let root = try? Workspace.locate(from: current)
    else { return }
    for diagnostic in diagnostics {
      // A command line or a query is no file; a kind that ships with Slipway is none here.
      guard let span = diagnostic.span, access(root.appending(span.file).string, F_OK) == 0 else { continue }
      let hints = diagnostic.hints.map { "\nhint: \($0)" }.joined()
      show(
        Annotation(
          diagnostic.severity == .error ? .error : .warning, file: span.file, line: span.line, column: span.column,
          message: diagnostic.message + hints), root: root)
    }
  }

  /// Appends Markdown to the page of the job.
  static func append(summary: String) {
    guard let path = variable("GITHUB_STEP_SUMMARY"), let file = try? Disk.open(path, O_WRONLY | O_CREAT | O_APPEND)
    else { return }
    defer { try? file.close() }
    try? Array(summary.utf8).withUnsafeBytes { try Disk.write(file, $0, path: path) }
  }
}
