import ArgumentParser
import Diagnostics
import Engine

struct DoctorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Says what this host lacks, and what to do about it.")

  func run() async throws {
    var isUsable = true
    for finding in try await Session.examineHost() {
      let sign = finding.isOffered ? "ok" : finding.isRequired ? "MISSING" : "missing"
      print("\(sign)\t\(finding.name)\t\(Diagnostic.printable(finding.explanation))")
      for hint in finding.hints { print("\t\t\(hint)") }
      if finding.isRequired, !finding.isOffered { isUsable = false }
    }
    if !isUsable { throw ExitCode(Diagnostic.Cause.environment.rawValue) }
  }
}
