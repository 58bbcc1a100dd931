import Glibc
import Testing

/// What commands print for machines, against `schemas/`.
@Suite struct `JSON for machines` {
  private static let root = String(#filePath.dropLast("/Tests/EndToEndTests/SchemaTests.swift".count))

  /// `valid`, or what is wrong, of each document.
  private func judge(_ documents: [(schema: String, text: String)], in project: Project) throws -> [String] {
    let lines = documents.map { document in
      let text = document.text.split(separator: "\n").joined(separator: " ")
      return "{\"schema\":\"\(document.schema)\",\"document\":\(text)}\n"
    }
    try project.write("judged", lines.joined())
    let judged = try HostProcess(
      [
        "/usr/bin/env", "python3", "\(Self.root)/Tests/ManifestsTests/judge.py", "\(Self.root)/schemas",
        project.path("judged"), project.path("verdicts"),
      ], directory: project.root, environment: ["PATH": getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"]
    ).finish()
    guard judged.status == 0 else { throw Failure("judge.py needs python3 and jsonschema: \(judged.standardError)") }
    return try project.read("verdicts").split(separator: "\n").map(String.init)
  }

  @Test func `what every command prints as JSON is what its schema says`() throws {
    let project = try Project()
    try project.write("app/in", "1")
    try project.app(
      "one: {rule: action, image: //base:image, inputs: [in], run: [sh, -c, 'mkdir d; cp in d'], outputs: {d: d}}",
      "two: {rule: test, image: //base:image, inputs: [':one#d'], env: {A: '\"\\\\'}, run: ['true'], needs: [':one']}",
      "image: {rule: image, base: //base:image, config: {ports: [80], user: me, cmd: [a], labels: {b: c}}}",
      "two-platforms: {rule: image, platforms: [linux/amd64, linux/arm64], config: {labels: {a: b}}}",
      "bad: {rule: test, image: //base:image, run: ['false']}",
      "both: {rule: suite, tests: [':two', ':bad']}")
    #expect(try project.build("//...", command: "test").status == 3)
    #expect(try project.run("test", "//...", "--rerun", "--report", "report").status == 3)
    func output(_ arguments: String...) throws -> String {
      let result = try project.start(arguments).finish()
      #expect(result.status == 0, "\(arguments): \(result.standardError)")
      return result.standardOutput
    }
    let git = try HostProcess(
      [
        "sh", "-c",
        "git init -q && git add -A && c() { git -c user.name=t -c user.email=t@example.org commit -q --allow-empty -m m; } && c && c",
      ],
      directory: project.root, environment: ["PATH": "/usr/bin:/bin", "HOME": project.folder]
    ).finish()
    #expect(git.status == 0, "\(git.standardError)")
    try project.write("app/in", "2")
    try project.write("new/targets.yaml", "targets:\n  n: {rule: files, srcs: ['*.txt?']}\n")
    let documents: [(schema: String, text: String)] = [
      ("cache-stat", try output("cache", "stat", "--json")),
      ("query", try output("query", "deps(//...)", "--output", "json")),
      ("query", try output("query", "//app:one - //app:one", "--output", "json")),
      ("image", try output("image", "inspect", "//app:image")),
      ("image", try output("image", "inspect", "//base:image")),
      ("image", try output("image", "inspect", "//app:two-platforms")),
      ("cache-gc", try output("cache", "gc", "--max-size", "1KiB", "--json")),
      ("cache-stat", try output("cache", "stat", "--json")),
      ("affected", try output("affected", "--since", "HEAD", "--format", "json", "--why")),
      ("affected", try output("affected", "--since", "HEAD", "--until", "HEAD", "--format", "json")),
      ("report", try project.read("report/report.json")),
      ("simulate", try output("simulate", "--commits", "HEAD~1..", "--format", "json")),
    ]
    for (document, verdict) in zip(documents, try judge(documents, in: project)) {
      #expect(verdict == "valid", "\(document)")
    }
    #expect(documents[1].text.contains("\"needs\"") && documents[2].text == "[]\n")
    // The schemas can refuse.
    let wrong = [
      ("cache-stat", "{\"bytes\": 1}"), ("cache-gc", "{}"), ("query", "[{\"label\": \"x\"}]"), ("image", "{}"),
      ("image", "{\"images\": []}"), ("simulate", "{}"), ("report", "{\"v\": 1}"),
      ("affected", "{\"base\": \"main\", \"affected\": [], \"removed\": []}"),
    ]
    #expect(try judge(wrong, in: project).allSatisfy { $0.hasPrefix("invalid") })
  }
}
