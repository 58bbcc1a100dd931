import ArgumentParser
import Diagnostics
import Engine

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Reads all manifests and resolves all targets, and says every mistake.",
    usage: "slipway check [PATTERN...]\nslipway check --print json FILE")

  @OptionGroup var common: CommonOptions
  @Option(help: "Print one file as it is decoded: json.") var print: String?
  @Argument(help: "Target patterns (//...), or the file to print.") var arguments: [String] = []

  func validate() throws {
    if let print, print != "json" { throw ValidationError("--print knows only json, not `\(print)`") }
    if print != nil, arguments.count != 1 { throw ValidationError("--print json takes one file") }
  }

  func run() throws {
    if print != nil { return Swift.print(try FileCheck(path: arguments[0]).json) }
    let session = try common.session()
    let (plan, wanted, warnings) = try session.plan(session.parse(arguments.isEmpty ? ["//..."] : arguments))
    for warning in warnings { Slipway.write(warning.rendered) }
    Slipway.write("checked \(plan.packages.count) packages, \(wanted.count) targets\n")
  }
}
