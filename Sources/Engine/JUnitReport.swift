import Caching
import Graph
import Manifests
import SystemPackage

/// One test target as JUnit XML (the Ant schema that CI systems read), for tests that wrote none themselves.
struct JUnitReport {
  var label: String
  var verdict: ActionRecord.Verdict
  var milliseconds: Int64
  /// The log, or its end.
  var log: String

  var xml: String {
    let seconds = "\(milliseconds / 1000).\(String(String(milliseconds % 1000 + 1000).dropFirst()))"
    let parts = label.split(separator: ":", maxSplits: 1)
    let suite = Self.escaped(String(parts.first ?? ""))
    let name = Self.escaped(String(parts.last ?? ""))
    let failed = verdict != .passed && verdict != .flaky && verdict != .noTests
    let skipped = verdict == .noTests
    var text = #"<?xml version="1.0" encoding="utf-8"?>"# + "\n"
    text += #"<testsuites><testsuite name="\#(suite)" tests="1" failures="\#(failed ? 1 : 0)" errors="0" "#
    text += #"skipped="\#(skipped ? 1 : 0)" time="\#(seconds)"><testcase classname="\#(suite)" name="\#(name)" "#
    text += #"time="\#(seconds)">"#
    if failed { text += #"<failure message="\#(verdict)">\#(Self.escaped(log))</failure>"# }
    if skipped { text += #"<skipped message="no tests"/>"# }
    return text + "</testcase></testsuite></testsuites>\n"
  }

  /// Text of an element or a quoted attribute; characters that XML 1.0 cannot hold become U+FFFD.
  static func escaped(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result.append(contentsOf: "&amp;".unicodeScalars)
      case "<": result.append(contentsOf: "&lt;".unicodeScalars)
      case ">": result.append(contentsOf: "&gt;".unicodeScalars)
      case "\"": result.append(contentsOf: "&quot;".unicodeScalars)
      case "\n", "\t": result.append(scalar)
      case _ where scalar.value < 32 || (0xfffe...0xffff).contains(scalar.value): result.append("\u{fffd}")
      default: result.append(scalar)
      }
    }
    return String(result)
  }
}

extension Session {
  /// Writes `<package>.<target>.xml` to `folder` for every test that has run here: what the test wrote, or one made
  /// from its verdict.
  func writeJUnit(of tests: [Label], to folder: FilePath) throws {
    try Disk.makeFolders(folder.string)
    for label in Set(tests).sorted() {
      guard let entry = history.entry(of: label), let record = store.actions.any(entry.key) else { continue }
      let bytes: [UInt8]
      if let junit = record.junit {
        bytes = try store.read(junit.digest, limit: 64 << 20)
      } else {
        let log = try record.log.map { try store.read($0.digest, limit: 1 << 30) } ?? []
        let report = JUnitReport(
          label: label.description, verdict: record.verdict, milliseconds: record.duration,
          log: String(decoding: log.suffix(64 << 10), as: UTF8.self))
        bytes = Array(report.xml.utf8)
      }
      let package = label.package.string.split(separator: "/").joined(separator: ".")
      try Disk.replace(folder.appending("\(package).\(label.name).xml"), with: bytes)
    }
  }
}
