import SeededRandom
import Testing

/// What `simulate` predicts, and what executes.
@Suite struct SimulationTests {
  private let project: Project

  init() throws {
    project = try Project()
    try project.write("lib/targets.yaml", "targets:\n  code: {rule: files, srcs: ['*.txt']}\n")
    try project.write("lib/a.txt", "0\n")
    for name in Self.names { try declare(name, version: 1) }
    try project.git("init", "-q", "-b", "main")
    try project.commit()
  }

  private static let names = ["one", "two", "three", "four", "five"]

  private func declare(_ name: String, version: Int) throws {
    // What `two` makes does not depend on what it reads of the library: it runs again, and what comes after it does not.
    let text = name == "one" ? "*.txt /src/lib/*.txt" : "*.txt"
    let uses = name == "one" || name == "two" ? ", '//lib:code'" : ""
    try project.write(
      "\(name)/targets.yaml",
      """
      targets:
        made:
          rule: action
          image: //base:image
          inputs: ['*.txt'\(uses)]
          outputs: {o: o}
          run: [sh, -c, 'sleep 0.1; cat \(text) >o; echo \(version) >>o']
        image: {rule: image, base: //base:image, layers: [{from: ':made', to: /app}]}
        unit: {rule: test, image: ':image', run: [sh, -c, 'sleep 0.1; test -s /app/o']}

      """)
    if !project.exists("\(name)/a.txt") { try project.write("\(name)/a.txt", "0\n") }
    try project.write("\(name)/README.md", "\(version)\n")
  }

  /// One commit of a sort that real histories have.
  private func change(_ number: Int, _ random: inout SeededGenerator) throws {
    let name = Self.names.randomElement(using: &random) ?? "one"
    switch Int.random(in: 0..<10, using: &random) {
    case 0: try project.write("\(name)/README.md", "read by nothing \(number)\n")
    case 1: try project.write("lib/a.txt", "\(number)\n")
    case 2: try declare(name, version: number)
    case 3:
      let text = try project.read("\(name)/targets.yaml")
      try project.write("\(name)/targets.yaml", "# \(number)\n" + text)
    case 4: try project.write("\(name)/a.txt", "\(Int.random(in: 0...1, using: &random))\n")
    default: try project.write("\(name)/a.txt", "text \(number)\n")
    }
  }

  @Test func `thirty commits execute what was predicted, within a tenth`() throws {
    var random = SeededGenerator(seed: 4)
    #expect(try project.build("//...").status == 0)
    var executed: [Int] = []
    var seconds: [String: [Double]] = [:]
    for number in 1...30 {
      try change(number, &random)
      try project.commit()
      let events = project.folder + "/events-\(number)"
      let build = try project.run("build", "//...", "--since", "HEAD~1", "--exact-base", "--events", events)
      #expect(build.status == 0, "\(build.standardError)")
      // Where nothing is affected nothing is built, and nothing told.
      let log = String(decoding: (try? readBytes(events)) ?? [], as: UTF8.self)
      var count = 0
      for line in log.split(separator: "\n") where line.contains("\"type\":\"action.finished\"") {
        guard line.contains("\"outcome\":\"executed\""), let found = line.firstMatch(of: /"duration_ms":(\d+)/),
          let label = line.firstMatch(of: /"label":"([^"]+)"/)
        else { continue }
        count += 1
        seconds[String(label.1), default: []].append((Double(found.1) ?? 0) / 1000)
      }
      executed.append(count)
    }
    // As long as each target took in the mean: on a busy machine its last run alone may be three times that.
    let means = seconds.map { label, all in "\"\(label)\": \(all.reduce(0, +) / Double(all.count))" }
    try project.write("durations.json", "{\(means.joined(separator: ", "))}")
    let json = try project.run(
      "simulate", "--commits", "HEAD~30..", "--machines", "2", "--format", "json", "--durations", "durations.json")
    #expect(json.status == 0, "\(json.standardError)")
    let predicted = json.standardOutput.matches(of: /"executed":(\d+),"hits":\d+,"time"/).compactMap { Int($0.1) }
    #expect(predicted.count == 30, "\(json.standardOutput)")
    let (sum, actual) = (predicted.reduce(0, +), executed.reduce(0, +))
    #expect(actual > 40 && abs(Double(sum - actual)) <= Double(actual) / 10, "\(predicted)\n\(executed)")
    // Never fewer than what executes: what is not affected has an equal key.
    for (predicted, executed) in zip(predicted, executed) { #expect(predicted >= executed) }
    let machine = json.standardOutput.firstMatch(of: /"machine_ms":(\d+),[^}]*"strategy":"slipway"/)
      .flatMap { Double($0.1) }
    let (total, took) = ((machine ?? 0) / 1000, seconds.values.joined().reduce(0, +))
    #expect(abs(total - took) <= took / 10, "\(total) s were predicted, \(took) s it took")
  }

  @Test func `a table tells what each strategy costs`() throws {
    try project.write("lib/a.txt", "1\n")
    try project.commit()
    try project.write("three/a.txt", "1\n")
    try project.commit()
    try project.write("three/a.txt", "0\n")
    try project.commit()
    try project.write("durations.json", "{\":unit\": 10, \"action\": 4, \"image\": 1}")
    let table = try project.run("simulate", "--commits", "HEAD~3", "--machines", "1", "--durations", "durations.json")
    #expect(table.status == 0, "\(table.standardError)")
    let lines = table.standardOutput.split(separator: "\n").map(String.init)
    // `one` and `two` by the library, `three`, and the third commit's are as at the beginning.
    #expect(lines[1] == "12 targets affected, 3 of them in a shared cache, 9 executed", "\(table.standardOutput)")
    let own = try #require(lines.first { $0.hasPrefix("slipway ") })
    #expect(own.split(separator: " ").prefix(3).joined(separator: " ") == "slipway 9 45.0", "\(own)")
    let folders = try #require(lines.first { $0.hasPrefix("changed folders, layer cache") })
    // It runs the tests of `three` again, and misses those of `one` and `two`.
    #expect(folders.contains(" 4        25.0 s ") && folders.hasSuffix(" 2"), "\(folders)")
    // A report's durations are those of its targets, for a matrix too.
    #expect(try project.run("build", "//...", "--report", "report").status == 0)
    let history = try project.run("simulate", "--commits", "HEAD~1..", "--durations", "report/report.json")
    #expect(history.standardOutput.contains("\ndurations: 16 of "), "\(history)")
    try project.write(
      "durations.json",
      #"{"targets": [{"label": "//one:unit", "duration_ms": 100000}, {"label": "//two:unit", "duration_ms": 200000}]}"#)
    let matrix = try project.run(
      "affected", "--since", "HEAD~3", "--exact-base", "--format", "github-matrix", "--shards", "1", "--durations",
      "durations.json", "--query", "//three:unit + //one:unit + //two:unit")
    #expect(matrix.standardOutput.contains("\"seconds\":300"), "\(matrix)")
    for (arguments, message) in [
      (["--commits", "HEAD~99.."], "git knows no commit `HEAD~99`"), (["--commits", "a...b"], "with two dots"),
      (["--commits", "HEAD~1..", "--durations", "none.json"], "it is not there"),
      (["--commits", "HEAD~1..", "--durations", "lib/a.txt"], "no JSON object"),
    ] {
      let end = try project.start(["simulate"] + arguments).finish()
      #expect(end.status != 0 && end.standardError.contains(message), "\(end)")
    }
  }
}
