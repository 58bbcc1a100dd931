import Testing

/// What the commands print, whole.
@Suite struct `command goldens` {
  @Test func `a build tells what it did, and once more that all was cached`() throws {
    let project = try Project()
    try project.app(
      "hello: {rule: action, image: //base:image, inputs: [in.txt], run: [sh, -c, 'tr a-z A-Z <in.txt >out.txt'],",
      "        outputs: {out: out.txt}}",
      "check: {rule: test, image: //base:image, inputs: [':hello'], run: [sh, -c, 'test $(cat out.txt) = HELLO']}")
    try project.write("app/in.txt", "hello\n")
    try project.note("build", "//app:all")
    try project.note("build", "//app:all")
    try project.note("test", "//app:check")
    try project.note("outputs", "//app:hello")
    try project.note("outputs", "//base:image")
    try project.expectGolden("build")
  }

  @Test func `a failing action shows its whole log and how to reproduce it`() throws {
    let project = try Project()
    try project.app(
      "broken: {rule: action, image: //base:image,",
      "  run: [sh, -c, 'echo one; echo two >&2; exit 7'], outputs: {out: out}}",
      "after: {rule: action, image: //base:image, inputs: [':broken'], run: [cat, out], outputs: {x: x}}")
    try project.note("build", "//app:after")
    try project.note("logs", "//app:broken")
    try project.note("explain", "//app:broken")
    try project.expectGolden("failing-action")
  }

  @Test func `a failing test ends with 3, its log shown`() throws {
    let project = try Project()
    try project.app(
      "bad: {rule: test, image: //base:image, run: [sh, -c, 'echo expected 1, found 2; exit 1']}",
      "good: {rule: test, image: //base:image, run: [echo, fine]}",
      "all-of-it: {rule: suite, tests: [':bad', ':good']}")
    try project.note("test", "--jobs", "1", "//app:bad", "//app:good")
    try project.note("build", "//app:bad")
    try project.note("logs", "//app:good")
    try project.expectGolden("failing-test")
  }

  @Test func `no test to run ends with 4`() throws {
    let project = try Project()
    try project.app(
      "empty: {rule: test, image: //base:image, run: [sh, -c, 'exit 5']}",
      "full: {rule: test, image: //base:image, run: ['true']}")
    try project.note("test", "//base/...")
    try project.note("test", "//app:empty")
    try project.note("test", "--jobs", "1", "//app:empty", "//app:full")
    try project.expectGolden("no-tests")
  }

  @Test func `a dry run says what would execute`() throws {
    let project = try Project()
    try project.app(
      "first: {rule: action, image: //base:image, inputs: [in], run: [cp, in, out], outputs: {out: out}}",
      "second: {rule: action, image: //base:image, inputs: [':first'], run: [cp, out, two], outputs: {two: two}}")
    try project.write("app/in", "1")
    try project.note("build", "--dry-run", "//app:second")
    try project.note("build", "//app:second")
    try project.note("build", "--dry-run", "//app:second")
    try project.write("app/in", "22")
    project.note(change: "app/in is edited")
    try project.note("build", "--dry-run", "//app:second")
    try project.expectGolden("dry-run")
  }

  @Test func `explain names what differs`() throws {
    let project = try Project()
    func manifest(mode: String, greeting: String) throws {
      try project.app(
        "hello: {rule: action, image: //base:image, inputs: ['*.txt'], env: {MODE: '\(mode)'},",
        "  run: [sh, -c, 'echo \(greeting) >out'], outputs: {out: out}}",
        "next: {rule: action, image: //base:image, inputs: [':hello'], run: [cp, out, two], outputs: {two: two}}")
    }
    try project.write("app/a.txt", "a")
    try project.write("app/b.txt", "b")
    try manifest(mode: "quick", greeting: "hi")
    try project.note("explain", "//app:hello")
    try project.run("build", "//app:next")
    try project.note("explain", "//app:hello")
    try project.note("explain", "//app:next")
    try project.write("app/a.txt", "edited")
    project.note(change: "a.txt is edited")
    try project.note("explain", "//app:hello")
    try project.note("explain", "//app:next")
    try project.write("app/a.txt", "a")
    try project.write("app/c.txt", "c")
    project.remove("app/b.txt")
    project.note(change: "a.txt is as it was, b.txt is gone, c.txt is new")
    try project.note("explain", "//app:hello")
    try project.write("app/b.txt", "b")
    project.remove("app/c.txt")
    try manifest(mode: "slow", greeting: "hi")
    project.note(change: "files are as they were; the environment is another")
    try project.note("explain", "//app:hello")
    try manifest(mode: "quick", greeting: "hello")
    project.note(change: "the command is another")
    try project.note("explain", "//app:hello")
    try project.expectGolden("explain")
  }
}

/// What every command offers.
@Suite struct help {
  @Test func `every command has a help text that names its arguments`() throws {
    let project = try Project()
    let top = try project.run("--help")
    #expect(top.status == 0)
    #expect(top.standardError == "")
    let commands = top.standardOutput.matches(of: #/\n {2}([a-z]+) /#).map { String($0.1) }
    #expect(commands.contains("build") && commands.contains("explain"))
    for command in commands {
      let help = try project.run(command, "--help")
      #expect(help.status == 0, "\(command): \(help.standardError)")
      #expect(help.standardOutput.hasPrefix("OVERVIEW: "), "\(command)")
      #expect(help.standardOutput.contains("\nUSAGE: slipway \(command)"), "\(command)")
      #expect(help.standardError == "")
      #expect(try project.run(command, "--bogus").status == 2, "\(command)")
    }
  }

  @Test func `the version is printed outside of a workspace, too`() throws {
    let project = try Project()
    project.remove("slipway.yaml")
    let version = try project.run("--version")
    #expect(version.status == 0)
    #expect(version.standardOutput.contains(/^\d+\.\d+\.\d+\n$/))
  }
}
