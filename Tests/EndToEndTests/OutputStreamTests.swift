import Testing

/// `--stream`: what commands print is told while they run.
@Suite struct OutputStreamTests {
  @Test func `output is told line by line while the command runs, and is in its log all the same`() throws {
    let here = try Project()
    try here.write(
      "a/targets.yaml",
      """
      targets:
        slow: {rule: test, image: //base:image, run: [sh, -c, 'echo first; sleep 1; printf sec; sleep 1; echo ond; printf end']}

      """)
    let built = try here.build(["//a:slow"], options: ["--stream"], command: "test")
    #expect(built.status == 0, "\(built.error)")
    let told = built.events.rows.filter { $0["type"] == "action.output" }
    // Told apart, because a second lies between them; as JSON has them.
    #expect(told.compactMap { $0["text"] } == [#"first\n"#, #"second\n"#, "end"], "\(told)")
    let kinds = built.events.rows.filter { $0["label"] == "//a:slow" }.compactMap { $0["type"] }
    #expect(
      kinds == [
        "action.started", "action.output", "action.output", "action.output", "action.finished", "target.finished",
      ])
    for line in ["first", "second", "end"] { #expect(built.error.contains("//a:slow | \(line)\n"), "\(built.error)") }
    #expect(try here.run("logs", "//a:slow").standardOutput == "first\nsecond\nend")
  }

  @Test func `without it nothing is told`() throws {
    let here = try Project()
    try here.write(
      "a/targets.yaml", "targets:\n  loud: {rule: test, image: //base:image, run: [sh, -c, 'echo loud']}\n")
    let built = try here.build(["//a:loud"], options: [], command: "test")
    #expect(built.status == 0 && !built.error.contains("loud |"))
    #expect(!built.events.rows.contains { $0["type"] == "action.output" })
  }
}
