import Testing

/// `--report`, and what GitHub Actions is told.
@Suite struct ReportTests {
  private let project: Project

  init() throws {
    project = try Project()
    try project.write("app/checks.py", "1\n2\n3\n")
    try project.app(
      "made: {rule: action, image: //base:image, inputs: [checks.py], outputs: {o: o}, run: [sh, -c, 'echo made >o']}",
      "good: {rule: test, image: //base:image, inputs: [':made'], run: [sh, -c, 'echo fine']}",
      "bad: {rule: test, image: //base:image, inputs: [checks.py], run: [sh, -c, 'echo \"checks.py:2: Wrong: </script>\"; exit 1']}",
      "silent: {rule: test, image: //base:image, inputs: [':made'], run: [sh, -c, 'exit 7']}",
      "after: {rule: test, image: //base:image, needs: [':bad'], run: ['true']}")
  }

  private func shell(_ script: String) throws -> HostProcess.Finished {
    try HostProcess(
      ["sh", "-c", script], directory: project.root,
      environment: ["PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": project.folder]
    ).finish()
  }

  @Test func `a report is JSON, JUnit and a page that a browser shows, light and dark`() throws {
    let end = try project.run("test", "//app/...", "--report", "out/report")
    #expect(end.status == 3, "\(end)")
    let json = try project.read("out/report/report.json")
    #expect(json.contains("\"exit_code\":3") && json.contains("\"label\":\"//app:bad\""), "\(json)")
    #expect(project.exists("out/report/junit/app.bad.xml") && project.exists("out/report/junit/app.good.xml"))
    // As root Chromium's own sandbox refuses to start.
    let browser = "chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --window-size=1200,900"
    let page = "file://\(project.root)/out/report/index.html"
    let shown = try shell("\(browser) --dump-dom '\(page)' 2>/dev/null")
    let document = shown.standardOutput
    #expect(shown.status == 0 && document.contains("<h1 id=\"title\">Run failed</h1>"), "\(document.suffix(2000))")
    for part in [
      "<td class=\"verdict FAIL\">FAIL</td><td class=\"label\">//app:bad</td>",
      "<td class=\"verdict SKIP\">SKIP</td><td class=\"label\">//app:after</td>",
      "checks.py:2: Wrong: &lt;/script&gt;", "<i class=\"critical\"", "<i class=\"failed\"", "needs //app:bad",
      "<b>1</b><span>skipped</span>",
    ] { #expect(document.contains(part), "\(part)") }
    // A PNG of one colour alone is a few kilobytes; the two differ.
    for (name, scheme) in [("light", 1), ("dark", 0)] {
      let shot = try shell(
        "\(browser) --hide-scrollbars --blink-settings=preferredColorScheme=\(scheme) --screenshot=\(name).png '\(page)' 2>&1"
      )
      #expect(shot.status == 0, "\(shot)")
      #expect(try readBytes(project.path("\(name).png")).count > 20_000)
    }
    #expect(try readBytes(project.path("light.png")) != readBytes(project.path("dark.png")))
    // A second run is told from the cache, with what failed run again.
    #expect(try project.run("test", "//app:good", "--report", "again").status == 0)
    #expect(try project.read("again/report.json").contains("\"outcome\":\"hit-local\""))
  }

  @Test func `GitHub Actions is shown the lines, and its page a table`() throws {
    let summary = project.path("summary.md")
    let environment = [
      "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": summary, "GITHUB_WORKSPACE": project.root,
    ]
    let end = try project.run("test", "//app/...", environment: environment)
    #expect(end.status == 3)
    #expect(
      end.standardError.contains("\n::error file=app/checks.py,line=2,title=//app%3Abad::Wrong: </script>\n"),
      "\(end.standardError)")
    #expect(end.standardError.contains("\n::error file=app/targets.yaml,line="), "\(end.standardError)")
    let text = try project.read("summary.md")
    #expect(text.hasPrefix("### slipway test //app/...\n\n| | target | time | why |\n"), "\(text)")
    #expect(text.contains("| **FAIL** | `//app:silent` |") && text.contains("| SKIP | `//app:after` |"), "\(text)")
    try project.write("app/targets.yaml", "targets:\n  x: {rule: files, sorcs: [a]}\n")
    let wrong = try project.run("build", "//app/...", environment: environment)
    #expect(wrong.status == 2)
    #expect(wrong.standardError.contains("\n::error file=app/targets.yaml,line=2,col="), "\(wrong.standardError)")
    // Elsewhere nothing of it is said.
    #expect(try !project.run("build", "//app/...").standardError.contains("::error"))
  }
}
