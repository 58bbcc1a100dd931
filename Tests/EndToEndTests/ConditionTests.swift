import Glibc
import Testing

/// `needs`, `when`, verdicts, and what goes on after a failure.
@Suite struct `order and conditions` {
  @Test func `what needs a failed target is skipped, the rest goes on`() throws {
    let project = try Project()
    try project.app(
      "bad: {rule: test, image: //base:image, run: ['false']}",
      "good: {rule: test, image: //base:image, run: ['true']}",
      "after-bad: {rule: test, image: //base:image, needs: [':bad'], run: ['true']}",
      "after-good: {rule: test, image: //base:image, needs: [':good'], run: ['true', '1']}",
      "then: {rule: test, image: //base:image, needs: [':after-bad'], run: ['true']}")
    let result = try project.build("//app:all", command: "test")
    #expect(result.status == 3)
    #expect(result.failed == ["//app:bad"])
    #expect(result.skipped == ["//app:after-bad", "//app:then"])
    #expect(result.events.finished["//app:after-bad"]?["reason"] == "needs //app:bad")
    #expect(result.executed == ["//app:after-good", "//app:good", "//base:image"])
  }

  @Test func `needs is in no key, and a hit counts`() throws {
    let project = try Project()
    let second = "second: {rule: test, image: //base:image, %run: ['true']}"
    try project.app("first: {rule: test, image: //base:image, run: ['true']}", second.replacing("%", with: ""))
    #expect(try project.build("//app:all").status == 0)
    try project.app(
      "first: {rule: test, image: //base:image, run: ['true']}", second.replacing("%", with: "needs: [':first'], "))
    let result = try project.build("//app:second")
    #expect(result.status == 0)
    #expect(result.executed == [])
    #expect(result.hits.contains("//app:first"))
  }

  @Test func `when failed runs only after a failure`() throws {
    let project = try Project()
    func app(_ command: String) throws {
      try project.app(
        "unit: {rule: test, image: //base:image, run: ['\(command)']}",
        "diagnose: {rule: test, image: //base:image, when: {failed: ':unit'}, run: [echo, why]}")
    }
    try app("true")
    let passed = try project.build("//app:all")
    #expect(passed.status == 0)
    #expect(passed.skipped == ["//app:diagnose"])
    try app("false")
    let failed = try project.build("//app:all")
    #expect(failed.status == 3)
    #expect(failed.executed == ["//app:diagnose"])
  }

  @Test func `when affected always runs without a base to compare with`() throws {
    let project = try Project()
    try project.app(
      "unit: {rule: test, image: //base:image, run: ['true']}",
      "more: {rule: test, image: //base:image, when: {affected: ':unit'}, run: [echo, more]}")
    let result = try project.build("//app:all")
    #expect(result.status == 0)
    #expect(result.executed.contains("//app:more"))
  }

  @Test func `fail-fast starts nothing new after a failure`() throws {
    let project = try Project()
    try project.app(
      "a-bad: {rule: test, image: //base:image, run: ['false']}",
      "b: {rule: test, image: //base:image, needs: [':c'], run: ['true']}",
      "c: {rule: test, image: //base:image, run: [sh, -c, 'sleep 1']}",
      "d: {rule: test, image: //base:image, needs: [':b'], run: ['true']}")
    let fast = try project.build("//app:all", options: ["--fail-fast", "--jobs", "2"])
    #expect(fast.status == 3)
    #expect(fast.failed == ["//app:a-bad"])
    #expect(!fast.executed.contains("//app:d"))
    let going = try project.build("//app:all", options: ["--jobs", "2"])
    #expect(going.status == 3)
    #expect((going.executed + going.hits).contains("//app:d"))
  }

  @Test func `a pass on the second try is flaky, and no hit`() throws {
    let project = try Project()
    // A sandbox remembers nothing, and every try has the same view: only the clock tells one try from the next.
    // This one passes in every second third of a second.
    var sawFlaky = false
    for round in 0..<20 where !sawFlaky {
      // Another key each time: a pass at once would rightly be a hit.
      try project.app(
        "flaky: {rule: test, image: //base:image, flaky: true, retries: 9, env: {ROUND: '\(round)'},",
        "  run: [sh, -c, 'sleep 0.1; test $(($(tr -dc 0-9 </proc/uptime | head -c 8) / 33 % 2)) = 1']}")
      let result = try project.build("//app:flaky", command: "test")
      #expect(result.status == 0, "\(result.error)")
      guard result.events.finished["//app:flaky"]?["verdict"] == "flaky" else { continue }
      sawFlaky = true
      #expect(result.error.contains("1 flaky"))
      let again = try project.build("//app:flaky", command: "test")
      #expect(again.hits.contains("//app:flaky") == false)
    }
    #expect(sawFlaky)
  }

  @Test func `a test without retries fails at once`() throws {
    let project = try Project()
    try project.app(
      "once: {rule: test, image: //base:image, run: ['false']}",
      "thrice: {rule: test, image: //base:image, retries: 2, run: [sh, -c, 'echo try; exit 1']}")
    let result = try project.build("//app:all", command: "test")
    #expect(result.status == 3)
    #expect(result.failed == ["//app:once", "//app:thrice"])
  }

  @Test func `an old result is run again, a fresh one is a hit`() throws {
    let project = try Project()
    try project.app(
      "live: {rule: test, image: //base:image, freshness: 2s, run: ['true']}",
      "daily: {rule: test, image: //base:image, freshness: 24h, run: [echo, daily]}")
    #expect(try project.build("//app:all").executed == ["//app:daily", "//app:live", "//base:image"])
    let start = monotonicSeconds()
    let soon = try project.build("//app:all")
    if monotonicSeconds() - start < 1 { #expect(soon.executed == []) }
    while monotonicSeconds() - start < 2.5 { usleep(50_000) }
    #expect(try project.build("//app:all").executed == ["//app:live"])
  }

  @Test func `rerun runs the named tests, not what they stand on`() throws {
    let project = try Project()
    try project.app(
      "dep: {rule: action, image: //base:image, run: [touch, x], outputs: {x: x}}",
      "unit: {rule: test, image: //base:image, inputs: [':dep'], run: ['true']}")
    #expect(try project.build("//app:unit", command: "test").status == 0)
    #expect(try project.build("//app:unit", options: ["--rerun"], command: "test").executed == ["//app:unit"])
    #expect(try project.build("//app:unit", command: "test").executed == [])
  }

  @Test func `arguments of a test are in its key and reach its command`() throws {
    let project = try Project()
    try project.app("unit: {rule: test, image: //base:image, run: [echo, args]}")
    #expect(try project.build("//app:unit", command: "test").status == 0)
    let result = try project.build(
      "//app:unit", options: ["--test-arg", "one", "--test-arg=--two", "--test-filter", "a and b"], command: "test")
    #expect(result.executed == ["//app:unit"])
    #expect(try project.run("logs", "//app:unit").standardOutput == "args one --two -k a and b\n")
    #expect(try project.build("//app:unit", command: "test").executed == [])
  }

  @Test func `a secret is mounted, in no key, and missed with a hint`() throws {
    let project = try Project()
    try project.app(
      "needs: {rule: test, image: //base:image, secrets: [config.json],",
      "  run: [sh, -c, 'cat /secrets/config.json | wc -c']}",
      "may: {rule: test, image: //base:image, secrets: ['other.json?'], run: [sh, -c, 'test ! -e /secrets/other.json']}"
    )
    try project.write("slipway.yaml", "slipway: 1\nname: demo\nignore: ['**/secrets/**']\n")
    try project.note("test", "--jobs", "1", "//app:needs")
    #expect(try project.build("//app:may").status == 0)
    try project.write("app/secrets/config.json", "{\"password\": \"hunter2\"}")
    let first = try project.build("//app:needs")
    #expect(first.executed == ["//app:needs"])
    #expect(try project.run("logs", "//app:needs").standardOutput == "23\n")
    try project.write("app/secrets/config.json", "{}")
    #expect(try project.build("//app:needs").executed == [])
    let found = try HostProcess(
      ["grep", "-r", "hunter2", project.cache, project.path(".slipway")], directory: project.root,
      environment: ["PATH": "/usr/bin:/bin"]
    ).finish()
    #expect(found.status == 1, "\(found.standardOutput)")
    try project.expectGolden("missing-secret")
  }
}
