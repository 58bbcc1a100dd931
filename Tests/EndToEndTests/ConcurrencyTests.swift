import Glibc
import SeededRandom
import Testing

/// Editors, other builds and sudden ends beside a build.
@Suite struct `builds that are disturbed` {
  /// Twenty actions: ten pairs, each reading `seed` and a file of its own, and one that reads them all.
  private func manyActions(in project: Project, pause: String = "") throws {
    var targets: [String] = []
    var last: [String] = []
    for index in 0..<10 {
      try project.write("app/s\(index)", "source \(index)\n")
      targets += [
        "a\(index): {rule: action, image: //base:image, inputs: [seed, s\(index)],",
        "  run: [sh, -c, '\(pause)cat seed s\(index) >a\(index)'], outputs: {a: a\(index)}}",
        "b\(index): {rule: action, image: //base:image, inputs: [':a\(index)'],",
        "  run: [sh, -c, '\(pause)mkdir b\(index); cp a\(index) b\(index)/copy; ln -s copy b\(index)/link'],",
        "  outputs: {b: b\(index)}}",
      ]
      last.append("':b\(index)'")
    }
    targets += [
      "all-of-it: {rule: action, image: //base:image, inputs: [\(last.joined(separator: ", "))],",
      "  run: [sh, -c, 'cat b*/link >all'], outputs: {all: all}}",
    ]
    try project.write("app/seed", "seed\n")
    try project.write("app/targets.yaml", "targets:\n" + targets.map { "  \($0)\n" }.joined())
  }

  private func expected(seed: String) -> String { (0..<10).map { "\(seed)\nsource \($0)\n" }.joined() }

  @Test func `an edit during a build never poisons the cache`() throws {
    let project = try Project()
    for index in 0..<20 { try project.write("app/more/\(index)", "\(index)") }
    try project.app(
      "dep: {rule: action, image: //base:image, inputs: [tick],",
      "  run: [sh, -c, 'usleep 60000; cp tick x'], outputs: {x: x}}",
      "slow: {rule: action, image: //base:image, inputs: [in, ':dep', 'more/**'],",
      "  run: [sh, -c, 'cat in >out; usleep 60000; cat in >>out'], outputs: {out: out}}")
    try project.write("app/in", "first")
    try project.write("app/tick", "0")
    #expect(try project.build("//app:slow").status == 0)
    for round in 0..<16 {
      let old = "old \(round);"
      let new = "new \(round);"
      try project.write("app/in", old)
      try project.write("app/tick", "\(round)")
      let build = try project.start(["build", "//app:slow"])
      // From before the sources are listed until after the command has ended.
      usleep(UInt32(round * 15_000))
      try project.write("app/in", new)
      let disturbed = try build.finish()
      #expect(disturbed.status == 0, "round \(round): \(disturbed.standardError)")
      let seen = try project.output("//app:slow")
      // Empty is the file between its truncation and its new text.
      #expect([old + old, new + new, ""].contains(seen), "round \(round): \(seen)")
      #expect(try project.build("//app:slow").status == 0)
      #expect(try project.output("//app:slow") == new + new, "the edited tree in round \(round)")
      try project.write("app/in", old)
      #expect(try project.build("//app:slow").status == 0)
      #expect(try project.output("//app:slow") == old + old, "the restored tree in round \(round)")
    }
  }

  @Test func `two builds at once execute no action twice`() throws {
    let project = try Project()
    try manyActions(in: project, pause: "usleep 30000; ")
    func start(_ number: Int) throws -> HostProcess {
      try project.start(["build", "--events", "\(project.folder)/both-\(number)", "//app:all-of-it"])
    }
    let builds = [try start(0), try start(1)]
    for build in builds {
      let end = try build.finish()
      #expect(end.status == 0, "\(end.standardError)")
    }
    let events = try (0...1).map { try Events(path: "\(project.folder)/both-\($0)") }
    let executed = events.flatMap { $0.labels("executed") }.sorted()
    #expect(executed.count == 22)
    #expect(Set(executed).count == executed.count, "\(executed)")
    #expect(try project.output("//app:all-of-it") == expected(seed: "seed"))
  }

  @Test func `a second checkout that shares the cache hits everything`() throws {
    let first = try Project()
    try manyActions(in: first)
    #expect(try first.build("//app:all-of-it").executed.count == 22)
    let second = try Project("another-checkout", cache: first.cache)
    try manyActions(in: second)
    let result = try second.build("//app:all-of-it")
    #expect(result.executed == [])
    #expect(result.hits.count == 22)
    #expect(try second.output("//app:all-of-it") == expected(seed: "seed"))
  }

  @Test func `killed at a hundred moments, it ends in the state of a clean build`() throws {
    let seed = UInt64.random(in: 0...9_999)
    var random = SeededGenerator(seed: seed)
    let project = try Project()
    try manyActions(in: project)
    let start = monotonicSeconds()
    #expect(try project.build("//app:all-of-it").status == 0)
    // What a whole build takes on this machine, so that kills fall everywhere in it. On a busy one the end is reached
    // all the same: each kill leaves less to do.
    let whole = min(Int((monotonicSeconds() - start) * 1e6), 500_000)
    for round in 0..<100 {
      // Four kills fall on the way to one and the same state.
      try project.write("app/seed", "seed \(round / 4)\n")
      let build = try project.start(["build", "//app:all-of-it"])
      usleep(UInt32(Int.random(in: 0...max(whole, 20_000), using: &random)))
      build.kill(SIGKILL)
      _ = build.wait()
    }
    let result = try project.build("//app:all-of-it")
    #expect(result.status == 0, "seed \(seed): \(result.error)")
    let clean = try Project()
    try manyActions(in: clean)
    try clean.write("app/seed", "seed 24\n")
    let fresh = try clean.build("//app:all-of-it")
    #expect(fresh.status == 0)
    for label in fresh.executed {
      let explanations = try [project, clean].map { try $0.run("explain", label).standardOutput.prefix(14) }
      #expect(explanations[0].hasPrefix("hit ("), "seed \(seed): \(label)")
      #expect(explanations[0] == explanations[1], "seed \(seed): \(label)")
    }
    #expect(try project.output("//app:all-of-it") == expected(seed: "seed 24"), "seed \(seed)")
    for index in 0..<10 {
      guard let folder = try project.outputs("//app:b\(index)")["b"] else { throw Failure("no output") }
      #expect(try project.read("\(folder)/copy") == "seed 24\nsource \(index)\n", "seed \(seed)")
    }
    let verified = try project.run("cache", "verify")
    #expect(verified.standardError.contains(", 0 damaged"), "seed \(seed): \(verified.standardError)")
    #expect(verified.status == 0, "seed \(seed): \(verified.standardOutput)\(verified.standardError)")
    // Every state that was killed on the way can be built, too.
    for state in [0, 7, 23] {
      try project.write("app/seed", "seed \(state)\n")
      #expect(try project.build("//app:all-of-it").status == 0)
      #expect(try project.output("//app:all-of-it") == expected(seed: "seed \(state)"), "seed \(seed)")
    }
  }

  @Test(arguments: [SIGINT, SIGTERM])
  func `a signal ends a build with 8, and nothing is left running`(_ signal: Int32) throws {
    let project = try Project()
    // A number that no other process of the machine has among its arguments.
    let marker =
      "\(300 + Int(getpid() % 100)).\(signal)\(project.folder.utf8.reduce(0) { $0 &* 31 &+ Int($1) } & 0xffff)"
    try project.app(
      "sleeps: {rule: action, image: //base:image, inputs: [in],",
      "  run: [sh, -c, 'sleep \(marker) & setsid sleep \(marker); echo >out'],",
      "  outputs: {out: out}}",
      "quick: {rule: action, image: //base:image, inputs: [in], run: [cp, in, out], outputs: {out: out}}")
    try project.write("app/in", "1")
    let build = try project.start(["build", "//app:all"])
    #expect(try eventually { isRunning(marker) })
    build.kill(signal)
    let sent = monotonicSeconds()
    let end = try build.finish()
    #expect(end.status == 8, "\(end.standardError)")
    #expect(monotonicSeconds() - sent < 5)
    #expect(try eventually { !isRunning(marker) })
    #expect(end.standardError.contains("Interrupted after"), "\(end.standardError)")
    #expect(try project.build("//app:quick").status == 0)
    #expect(try project.output("//app:quick") == "1")
    #expect(try project.build("//app:quick").executed == [])
  }

  @Test func `killed, it leaves no process of a sandbox behind`() throws {
    let project = try Project()
    let marker = "299.\(getpid())"
    try project.app("sleeps: {rule: test, image: //base:image, run: [sh, -c, 'sleep \(marker) & sleep \(marker)']}")
    let build = try project.start(["build", "//app:sleeps"])
    #expect(try eventually { isRunning(marker) })
    build.kill(SIGKILL)
    _ = build.wait()
    #expect(try eventually { !isRunning(marker) })
  }
}

/// Whether some process of the machine has `word` among its arguments.
func isRunning(_ word: String) -> Bool {
  guard let folder = opendir("/proc") else { return false }
  defer { closedir(folder) }
  while let entry = readdir(folder) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    guard name.allSatisfy(\.isNumber), let bytes = try? readBytes("/proc/\(name)/cmdline") else { continue }
    if bytes.split(separator: 0).contains(where: { $0.elementsEqual(word.utf8) }) { return true }
  }
  return false
}

/// Waits up to ten seconds for `condition`.
func eventually(_ condition: () throws -> Bool) throws -> Bool {
  for _ in 0..<500 {
    if try condition() { return true }
    usleep(20_000)
  }
  return try condition()
}
