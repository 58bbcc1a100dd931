import Testing

/// What a user's mistakes look like, whole.
@Suite struct `error goldens` {
  @Test func `an unknown target ends with 2 and a near name`() throws {
    let project = try Project()
    try project.app(
      "hello: {rule: action, image: //base:image, run: [touch, out], outputs: {out: out}}",
      "next: {rule: action, image: //base:image, inputs: [':helo'], run: [touch, x], outputs: {x: x}}")
    try project.note("build", "//app:hello")
    try project.app("hello: {rule: action, image: //base:image, run: [touch, out], outputs: {out: out}}")
    try project.note("build", "//app:helo")
    try project.note("build", "//ap:hello")
    try project.note("build", "//app:hello#outt")
    try project.note("build", "//app//x")
    try project.note("explain", "//app:all")
    try project.expectGolden("unknown-target")
  }

  @Test func `a cycle is shown with each of its edges`() throws {
    let project = try Project()
    try project.write(
      "a/targets.yaml",
      "targets:\n  x: {rule: action, image: //base:image, inputs: [//b:y], run: [touch, x], outputs: {x: x}}\n")
    try project.write(
      "b/targets.yaml",
      "targets:\n  y: {rule: action, image: //base:image, inputs: [//a:x], run: [touch, y], outputs: {y: y}}\n")
    try project.note("build", "//a:x")
    try project.app("self: {rule: suite, tests: [':self']}")
    try project.note("build", "//app:self")
    try project.expectGolden("cycle")
  }

  @Test func `a bad manifest is shown with a caret, all errors of a run at once`() throws {
    let project = try Project()
    try project.app(
      "one: {rule: action, image: //base:image, runn: [touch, x], outputs: {x: x}}",
      "two: {rule: acton, image: //base:image}",
      "three: {rule: test, image: //base:image, run: ['true'], timeout: 90}",
      "four: {rule: action, image: //base:image, run: ['true'], outputs: {x: ../x}}")
    try project.note("build", "//...")
    try project.write("app/targets.yaml", "targets:\n  one: {rule: files\n\tsrcs: []}\n")
    try project.note("build", "//...")
    try project.write("app/targets.yaml", "")
    try project.write("slipway.yaml", "slipway: 1\nnaem: demo\n")
    try project.note("build", "//...")
    try project.expectGolden("bad-manifest")
  }

  @Test func `a manifest of which no target can be read fails a build and a test, whatever else is up to date`() throws
  {
    let project = try Project()
    #expect(try project.build("//...").status == 0)
    try project.app("one: {rule: test, image: //base, run: ['true']}")
    for patterns in ["//app:all", "//app/...", "//..."] {
      for command in ["build", "test"] {
        let result = try project.run(command, patterns)
        #expect(result.status == 2, "\(command) \(patterns): \(result.standardError)")
        #expect(result.standardError.hasPrefix("app/targets.yaml:2:"), "\(result.standardError)")
      }
    }
  }

  @Test func `an input that matches no file is an error of the manifest`() throws {
    let project = try Project()
    try project.write("app/input.txt", "1")
    try project.app(
      "a: {rule: action, image: //base:image, inputs: [inputs.txt], run: [touch, x], outputs: {x: x}}",
      "b: {rule: files, srcs: ['*.json']}",
      "c: {rule: files, srcs: ['*.json?']}")
    try project.note("build", "//app:a")
    try project.expectGolden("missing-input")
  }

  @Test func `a declared output that is not there fails the action`() throws {
    let project = try Project()
    try project.app(
      "report: {rule: action, image: //base:image, run: [sh, -c, 'mkdir dist; touch dist/Report.json'],",
      "  outputs: {report: dist/report.json}}")
    try project.note("build", "//app:report")
    // What it reads and what it gives are no near misses.
    try project.write("app/dist/reports.json", "an input")
    try project.app(
      "report: {rule: action, image: //base:image, inputs: [dist/reports.json],",
      "  run: [sh, -c, 'mkdir out; touch out/report.json dist/a dist/b dist/given unrelated'],",
      "  outputs: {given: dist/given, report: dist/report.json}}",
      "nothing: {rule: action, image: //base:image, inputs: [dist/reports.json], run: ['true'], outputs: {x: x}}")
    try project.note("build", "//app:report")
    try project.note("build", "//app:nothing")
    try project.app(
      "fifo: {rule: action, image: //base:image, run: [mkfifo, pipe], outputs: {pipe: pipe}}",
      "junit: {rule: test, image: //base:image, run: [mkdir, '${junit}']}")
    try project.note("build", "//app:fifo")
    try project.note("build", "//app:junit")
    try project.expectGolden("missing-output")
  }

  @Test func `a command line that makes no sense ends with 2`() throws {
    let project = try Project()
    try project.note("build")
    try project.note("build", "--jobs", "0", "//...")
    try project.note("build", "--jobs", "many", "//...")
    try project.note("build", "--bogus", "//...")
    try project.note("build", "--sandbox", "docker", "//...")
    try project.note("build", "--fail-fast", "--keep-going", "//...")
    try project.note("bild", "//...")
    try project.note("explain")
    try project.note("run", "--network", "bridge", "//base:image")
    try project.note("build", "-C", "nowhere", "//...")
    try project.note("build", "@nowhere.txt")
    try project.expectGolden("command-line")
  }

  @Test func `outputs and logs of what never ran say how to get them`() throws {
    let project = try Project()
    try project.app("hello: {rule: action, image: //base:image, run: [touch, out], outputs: {out: out}}")
    try project.note("outputs", "//app:hello")
    try project.note("logs", "//app:hello")
    try project.note("build", "//app:hello")
    try project.note("logs", "//base:image")
    try project.note("logs", "//app:hello")
    try project.note("run", "//app:hello")
    try project.expectGolden("never-ran")
  }

  @Test func `a folder without slipway.yaml is no workspace`() throws {
    let project = try Project()
    project.remove("slipway.yaml")
    try project.note("build", "//...")
    try project.expectGolden("no-workspace")
  }
}
