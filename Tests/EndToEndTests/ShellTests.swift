import Glibc
import Testing

/// `slipway shell` with a person, or a pipe, before it.
@Suite struct `slipway shell` {
  private func project() throws -> Project {
    let project = try Project()
    try project.write("app/in1", "the input\n")
    try project.write("app/undeclared", "")
    try project.link("base/bin/stty", to: "busybox")
    try project.app(
      "dep: {rule: action, image: //base:image, run: [sh, -c, 'mkdir t; echo x >t/f'], outputs: {t: t}}",
      "look: {rule: test, image: //base:image, inputs: [in1, ':dep'], env: {OWN: declared}, run: ['false']}",
      "broken: {rule: action, image: //base:image, run: ['false'], outputs: {x: x}}",
      "needs: {rule: action, image: //base:image, inputs: [':broken'], run: ['true'], outputs: {y: y}}")
    return project
  }

  private static let driver =
    #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast()
    .joined(separator: "/") + "/Terminal/shell.py"

  @Test func `at a terminal it has a prompt, the window's size, ^C and the shell's exit status`() throws {
    let project = try project()
    let typed = try HostProcess(
      ["/usr/bin/python3", Self.driver, Project.executable, "shell", "//app:look"], directory: project.root,
      environment: [
        "XDG_CACHE_HOME": project.cache, "HOME": "\(project.folder)/home", "PATH": "/usr/bin:/bin", "TERM": "xterm",
      ]
    ).finish()
    #expect(typed.status == 0, "\(typed.standardError)")
  }

  @Test func `a command runs in the action's sandbox, whose inputs are built first`() throws {
    let project = try project()
    let ran = try project.run(
      "shell", "//app:look", "--", "sh", "-c", "cat; ls; cat t/f; echo $OWN; exit 3", input: "piped\n")
    #expect(ran.status == 3)
    #expect(ran.standardOutput == "piped\nin1\nt\nx\ndeclared\n")
    let scratch = try HostProcess(
      ["sh", "-c", "find \"$0\"/slipway/v1/tmp -mindepth 2", project.cache], directory: project.root,
      environment: ["PATH": "/usr/bin:/bin"]
    ).finish()
    #expect(scratch.standardOutput == "")
  }

  @Test func `what runs nothing has no shell, nor what reads what cannot be built`() throws {
    let project = try project()
    #expect(try project.run("shell", "//base:image", "--", "true").status == 2)
    let needs = try project.run("shell", "//app:needs", "--", "true")
    #expect(needs.status == 1)
    #expect(needs.standardError.contains("hint: slipway build //app:broken"), "\(needs.standardError)")
  }
}
