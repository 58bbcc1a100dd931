import Glibc
import Testing

/// Changing any declared input changes the key; changing anything else runs nothing.
@Suite struct `action keys` {
  private static let target =
    "hello: {rule: action, image: //base:image, inputs: ['in/**', ':dep'], run: [sh, -c, 'cat in/a dep.txt >out'],"
    + " outputs: {out: out}}"
  private static let dependency =
    "dep: {rule: action, image: //base:image, inputs: [seed], run: [cp, seed, dep.txt], outputs: {dep: dep.txt}}"

  private func project() throws -> Project {
    let project = try Project()
    try project.write("app/in/a", "a")
    try project.write("app/in/b", "b")
    try project.link("app/in/link", to: "a")
    try project.write("app/seed", "seed")
    try project.write("app/README.md", "read me")
    try project.app(Self.target, Self.dependency)
    return project
  }

  /// Builds, changes, builds again: `//app:hello` must have another key and have executed.
  private func expectRerun(
    _ change: (Project) throws -> Void, _ comment: Comment, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let project = try project()
    let before = try project.build("//app:hello")
    #expect(before.status == 0, "\(before.error)", sourceLocation: sourceLocation)
    try change(project)
    let after = try project.build("//app:hello")
    #expect(after.status == 0, "\(after.error)", sourceLocation: sourceLocation)
    #expect(after.executed.contains("//app:hello"), comment, sourceLocation: sourceLocation)
    #expect(after.key("//app:hello") != nil, sourceLocation: sourceLocation)
    #expect(before.key("//app:hello") != after.key("//app:hello"), comment, sourceLocation: sourceLocation)
  }

  @Test func `content, mode, name and number of source files are in the key`() throws {
    try expectRerun({ try $0.write("app/in/a", "x") }, "content of equal length")
    try expectRerun({ chmod($0.path("app/in/a"), 0o755) }, "mode")
    try expectRerun({ try $0.write("app/in/c", "c") }, "another file")
    try expectRerun({ $0.remove("app/in/b") }, "a file less")
    try expectRerun({ rename($0.path("app/in/b"), $0.path("app/in/bb")) }, "name")
  }

  @Test func `the target of a symlink and its kind are in the key`() throws {
    try expectRerun({ try $0.link("app/in/link", to: "b") }, "symlink target")
    try expectRerun(
      {
        $0.remove("app/in/link")
        try $0.write("app/in/link", "a")
      }, "a file in place of a symlink")
  }

  @Test func `argv, environment, output path and working directory are in the key`() throws {
    func replacing(_ old: String, _ new: String) -> (Project) throws -> Void {
      { try $0.app(Self.target.replacing(old, with: new), Self.dependency) }
    }
    try expectRerun(replacing("cat in/a", "cat  in/a"), "argv")
    try expectRerun(replacing("outputs:", "env: {A: '1'}, outputs:"), "environment")
    try expectRerun(replacing("out'], outputs: {out: out}", "o2'], outputs: {out: o2}"), "output path")
    let project = try Project()
    for folder in ["/one", "/two"] {
      try project.app(
        "hello: {rule: action, image: //base:image, cwd: \(folder), run: [touch, out], outputs: {out: out}}")
      #expect(try project.build("//app:hello").executed.contains("//app:hello"), "working directory")
    }
  }

  @Test func `a layer of the image and its environment are in the key`() throws {
    try expectRerun({ try $0.write("base/bin/tool", "#!/bin/sh\n", mode: 0o755) }, "layer")
    try expectRerun(
      {
        let text = try $0.read("base/targets.yaml")
        try $0.write(
          "base/targets.yaml", text.replacing("env: {PATH: /bin}", with: "env: {PATH: /bin, EXTRA: '1'}"))
      }, "environment of the image")
  }

  @Test func `what a dependency gave is in the key`() throws {
    try expectRerun({ try $0.write("app/seed", "other") }, "output of a dependency")
  }

  @Test func `what is not declared runs nothing`() throws {
    let project = try project()
    #expect(try project.build("//app:hello").status == 0)
    try project.write("app/README.md", "read me again")
    try project.write("app/other.txt", "new")
    try project.write("README.md", "top")
    try project.write("app/targets.yaml", try project.read("app/targets.yaml") + "# a comment\n")
    let after = try project.build("//app:hello")
    #expect(after.status == 0)
    #expect(after.executed == [])
  }

  @Test func `timeout, cpu and retries are in no key`() throws {
    let project = try project()
    #expect(try project.build("//app:hello").status == 0)
    try project.app(
      Self.target.replacing("rule: action,", with: "rule: action, timeout: 7m, cpu: 2, memory: 2GiB, retries: 2,"),
      Self.dependency)
    #expect(try project.build("//app:hello").executed == [])
  }

  @Test func `a dependency that runs again with equal output stops the rebuild`() throws {
    let project = try project()
    try project.app(
      Self.target, "dep: {rule: action, image: //base:image, inputs: [seed], run: [sh, -c, 'wc -c <seed >dep.txt'],",
      "  outputs: {dep: dep.txt}}")
    #expect(try project.build("//app:hello").executed == ["//app:dep", "//app:hello", "//base:image"])
    try project.write("app/seed", "dees")
    let after = try project.build("//app:hello")
    #expect(after.executed == ["//app:dep"])
    #expect(after.hits.contains("//app:hello"))
  }

  @Test func `another label of an image reruns none of its tests`() throws {
    let project = try Project()
    func app(version: String) throws {
      try project.app(
        "image: {rule: image, base: //base:image, config: {labels: {version: '\(version)'}}}",
        "unit: {rule: test, image: ':image', run: ['true']}")
    }
    try app(version: "1")
    #expect(try project.build("//app:unit").executed.contains("//app:unit"))
    try app(version: "2")
    let after = try project.build("//app:unit")
    #expect(after.executed == ["//app:image"])
    #expect(after.hits.contains("//app:unit"))
  }

  @Test func `a file that is touched or copied over itself runs nothing`() throws {
    let project = try project()
    #expect(try project.build("//app:hello").status == 0)
    try project.write("app/in/a", "a")
    #expect(try project.build("//app:hello").executed == [])
  }

  @Test func `an edit that keeps size and time is seen`() throws {
    let project = try project()
    #expect(try project.build("//app:hello").status == 0)
    var status = stat()
    stat(project.path("app/in/a"), &status)
    try project.write("app/in/a", "z")
    var times = [status.st_atim, status.st_mtim]
    utimensat(AT_FDCWD, project.path("app/in/a"), &times, 0)
    #expect(try project.build("//app:hello").executed == ["//app:hello"])
    #expect(try project.output("//app:hello") == "zseed")
  }
}
