import Diagnostics
import Testing

@testable import Manifests

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

struct CorpusTests {
  @Test func `the corpus is there`() throws {
    for group in CorpusFile.Group.allCases {
      #expect(try !CorpusFile.all([group]).isEmpty, "\(group.rawValue)")
    }
    #expect(try CorpusFile.all().count >= 120)
  }

  @Test func `the decoder takes what is valid, without an error`() throws {
    for file in try CorpusFile.all([.valid]) {
      let (diagnostics, isAccepted) = file.decode()
      let errors = diagnostics.filter { $0.severity == .error }
      #expect(isAccepted && errors.isEmpty, "\(file.path): \(errors.map(\.rendered).joined())")
    }
  }

  @Test func `the decoder refuses everything else, in the words of the golden beside it`() throws {
    let records = TestFolder.environment("SLIPWAY_RECORD") == "1"
    for file in try CorpusFile.all([.invalid, .beyond, .yaml]) {
      let (diagnostics, isAccepted) = file.decode()
      #expect(!isAccepted, "\(file.path) is accepted")
      #expect(diagnostics.contains { $0.severity == .error }, "\(file.path)")
      let text = diagnostics.map(\.rendered).joined(separator: "\n")
      let golden = file.path.dropLast(".yaml".count) + ".expected"
      if records {
        #expect(TestFolder.write(text, to: String(golden)))
      } else {
        let expected = TestFolder.read(String(golden)).map { String(decoding: $0, as: UTF8.self) }
        #expect(text == expected, "\(golden)")
      }
    }
  }

  @Test func `the JSON Schemas judge every file as the decoder does`() throws {
    let files = try CorpusFile.all([.valid, .invalid, .beyond])
    var lines = ""
    for file in files {
      let node = try YAMLParser.parse(file.source)
      lines += "{\"schema\":\"\(file.schema.rawValue)\",\"document\":\(node.jsonText())}\n"
    }
    let verdicts = try Self.judge(lines)
    try #require(verdicts.count == files.count)
    for (file, verdict) in zip(files, verdicts) {
      #expect(verdict.hasPrefix("valid") == (file.group != .invalid), "\(file.path): the schema says \(verdict)")
    }
  }

  @Test func `the schema of events takes what Slipway writes and refuses what it never would`() throws {
    var lines = ""
    var expected: [(path: String, isValid: Bool)] = []
    for group in ["valid", "invalid"] {
      let folder = "\(TestFolder.corpus)/\(group)/events"
      for name in TestFolder.names(in: folder) ?? [] {
        let line = String(decoding: try #require(TestFolder.read("\(folder)/\(name)")), as: UTF8.self)
        lines += "{\"schema\":\"events\",\"document\":\(line.split(separator: "\n").joined())}\n"
        expected.append(("\(folder)/\(name)", group == "valid"))
      }
    }
    try #require(expected.count > 10)
    let verdicts = try Self.judge(lines)
    try #require(verdicts.count == expected.count)
    for (file, verdict) in zip(expected, verdicts) {
      #expect(verdict.hasPrefix("valid") == file.isValid, "\(file.path): the schema says \(verdict)")
    }
  }

  /// One verdict for each line.
  private static func judge(_ lines: String) throws -> [Substring] {
    guard system("python3 -c 'import jsonschema' >/dev/null 2>&1") == 0 else {
      Issue.record("python3 lacks jsonschema: apt-get install python3-jsonschema")
      return []
    }
    var template = Array("/tmp/slipway-corpus-XXXXXX".utf8CString)
    let made = template.withUnsafeMutableBufferPointer { $0.baseAddress.flatMap { mkdtemp($0) } != nil }
    try #require(made)
    let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
      unlink("\(folder)/in")
      unlink("\(folder)/out")
      rmdir(folder)
    }
    try #require(TestFolder.write(lines, to: "\(folder)/in"))
    let script = TestFolder.root + "/Tests/ManifestsTests/judge.py"
    let command = ["python3", script, TestFolder.root + "/schemas", "\(folder)/in", "\(folder)/out"]
    let quoted = command.map { "'" + $0.replacing("'", with: "'\\''") + "'" }.joined(separator: " ")
    try #require(system(quoted) == 0, "judge.py failed")
    let output = try #require(TestFolder.read("\(folder)/out"))
    return String(decoding: output, as: UTF8.self).split(separator: "\n")
  }
}
