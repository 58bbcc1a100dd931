import Glibc
import Testing

/// `affected` and `--since` on a small repository.
@Suite struct AffectedCommandTests {
  private let project: Project

  init() throws {
    project = try Project()
    try project.write(
      "lib/targets.yaml", "targets:\n  code: {rule: files, srcs: ['*.txt']}\n  notes: {rule: files, srcs: ['*.md']}\n")
    try project.write("lib/a.txt", "a\n")
    try project.write("lib/b.md", "b\n")
    try project.write(
      "app/targets.yaml",
      """
      targets:
        made: {rule: action, image: //base:image, inputs: ['//lib:code'], outputs: {o: o}, run: [sh, -c, 'cat /src/lib/a.txt >o']}
        unit: {rule: test, image: //base:image, inputs: [':made'], run: [grep, -q, a, o]}
        other: {rule: test, image: //base:image, run: ['true'], when: {affected: ':made'}}
        gone: {rule: files, srcs: ['*.none?']}

      """)
    try project.git("init", "-q", "-b", "main")
    try project.commit()
  }

  private func affected(_ arguments: String...) throws -> [String] {
    let end = try project.start(["affected"] + arguments).finish()
    guard end.status == 0 else { throw Failure("\(arguments): \(end.standardError)") }
    return end.standardOutput.split(separator: "\n").map(String.init)
  }

  @Test func `what nothing reads affects nothing, and an edit exactly what reads it`() throws {
    try project.write("README.md", "new\n")
    try project.write("app/targets.yaml", "# a comment\n" + project.read("app/targets.yaml"))
    #expect(try affected("--since", "HEAD") == [])
    try project.write("lib/a.txt", "aa\n")
    #expect(try affected("--since", "HEAD") == ["//app:made", "//app:unit", "//lib:code"])
    #expect(try affected("--since", "HEAD", "//app:unit", "//base/...") == ["//app:unit"])
    try project.commit()
    #expect(try affected("--since", "HEAD") == [])
    #expect(try affected("--since", "HEAD~1", "--until", "HEAD") == ["//app:made", "//app:unit", "//lib:code"])
    let why = try affected("--since", "HEAD~1", "--why", "//app:unit")
    #expect(why == ["//app:unit", "  lib/a.txt", "  -> //lib:code -> //app:made -> //app:unit"])
  }

  @Test func `commits are compared whatever the index holds`() throws {
    try project.write("lib/a.txt", "aa\n")
    try project.commit()
    let expected = ["//app:made", "//app:unit", "//lib:code"]
    func compared() throws -> [String] { try affected("--since", "HEAD~1", "--until", "HEAD", "--exact-base") }
    #expect(try compared() == expected)
    // A name without content is in the index, and in no commit.
    try project.write("lib/new.txt", "new\n")
    try project.git("add", "-N", "lib/new.txt")
    #expect(try compared() == expected)
    #expect(try affected("--since", "HEAD") == expected)
    try project.git("rm", "-q", "-f", "lib/new.txt")
    // A conflict: three contents under one name.
    try project.git("checkout", "-q", "-b", "theirs", "HEAD~1")
    try project.write("lib/a.txt", "theirs\n")
    try project.commit()
    try project.git("checkout", "-q", "main")
    #expect(throws: Failure.self) { try project.git("merge", "-q", "theirs") }
    #expect(try compared() == expected)
    #expect(try affected("--since", "HEAD") == expected)
    try project.git("reset", "-q", "--hard")
    // Everything is staged as removed, or nothing was ever checked out.
    try project.git("rm", "-q", "-r", "--cached", ".")
    #expect(try compared() == expected)
    try project.git("reset", "-q", "--hard")
    try project.git("worktree", "add", "-q", "--detach", "--no-checkout", "\(project.folder)/further", "main")
    try project.write("../further/slipway.yaml", project.read("slipway.yaml"))
    #expect(try affected("-C", "\(project.folder)/further", "--since", "main~1", "--until", "main") == expected)
  }

  @Test func `what is known to come to the same is left out when that is asked for`() throws {
    try project.write(
      "app/targets.yaml",
      project.read("app/targets.yaml").replacing("cat /src/lib/a.txt", with: "head -n 1 /src/lib/a.txt")
        + "  checks: {rule: suite, tests: [':unit']}\n")
    try project.commit()
    let everything = ["//app:checks", "//app:made", "//app:unit", "//lib:code"]
    try project.build("//app:checks")
    try project.write("lib/a.txt", "a\nmore\n")
    #expect(try affected("--since", "HEAD") == everything)
    // Nobody knows yet what `made` comes to.
    #expect(try affected("--since", "HEAD", "--refine") == everything)
    try project.build("//app:made")
    #expect(try affected("--since", "HEAD", "--refine") == ["//lib:code"])
    #expect(try affected("--since", "HEAD", "--refine", "//app/...") == [])
    try project.commit()
    #expect(try affected("--since", "HEAD~1", "--until", "HEAD", "--refine") == ["//lib:code"])
    try project.write("lib/a.txt", "ab\nmore\n")
    try project.build("//app:checks")
    #expect(
      try affected("--since", "HEAD", "--refine") == ["//app:made", "//lib:code"], "the test passed on both sides")
    // What cannot be found out leaves nothing out: here the older side's content is gone from git.
    let blob = try HostProcess(
      ["git", "rev-parse", "HEAD:lib/a.txt"], directory: project.root, environment: ["PATH": "/usr/bin:/bin"]
    ).finish().standardOutput.filter { $0 != "\n" }
    project.remove(".git/objects/\(blob.prefix(2))/\(blob.dropFirst(2))")
    let end = try project.run("affected", "--since", "HEAD", "--refine")
    #expect(end.status == 0 && end.standardOutput.split(separator: "\n").map(String.init) == everything)
    #expect(
      end.standardError.hasPrefix("warning: what is affected was not refined: git has no object `\(blob)`"),
      "\(end.standardError)")
  }

  @Test func `no path of a commit leads out of the folder that it is laid out in`() throws {
    let script = """
      set -e
      git() { command git -c user.name=t -c user.email=t@example.org "$@"; }
      blob=$(echo evil | git hash-object -w --stdin)
      manifest=$(echo 'targets: {x: {rule: action, image: //base:image, outputs: {o: o}, run: [touch, o]}}' | git hash-object -w --stdin)
      lines=$(printf '100644 blob %s\\tevil.txt\\n100644 blob %s\\ttargets.yaml' $blob $manifest)
      inner=$(echo "$lines" | git mktree)
      link=$(printf /tmp | git hash-object -w --stdin)
      packages=$(printf '040000 tree %s\\t..\\n040000 tree %s\\t.git\\n120000 blob %s\\tlink\\n040000 tree %s\\tlink' $inner $inner $link $inner)
      app=$( (git ls-tree HEAD:app; echo "$packages") | git mktree)
      root=$( (git ls-tree HEAD | grep -vw app; printf '040000 tree %s\\tapp\\n' $app; echo "$packages") | git mktree)
      git update-ref refs/heads/evil $(git commit-tree $root -p HEAD -m evil)
      """
    let made = try HostProcess(
      ["bash", "-c", script], directory: project.root, environment: ["PATH": "/usr/bin:/bin", "HOME": project.folder]
    ).finish()
    try #require(made.status == 0, "\(made.standardError)")
    for until in [[], ["--until", "HEAD"], ["--until", "evil", "--since", "HEAD~0"]] {
      let end = try project.start(["affected", "--since", "evil", "--exact-base", "--refine"] + until).finish()
      #expect([0, 1, 2].contains(end.status), "\(end.standardError)")
      let said = end.standardOutput + end.standardError
      #expect(!said.contains("..:") && !said.contains(".git:"), "such files are none of the workspace: \(said)")
      let left = try HostProcess(
        ["find", project.folder, "-name", "evil.txt"], directory: project.root, environment: ["PATH": "/usr/bin:/bin"]
      ).finish()
      #expect(left.status == 0 && left.standardOutput.isEmpty, "\(end.standardError)")
    }
  }

  @Test func `targets that are gone are told apart`() throws {
    try project.write(
      "app/targets.yaml",
      project.read("app/targets.yaml").split(separator: "\n").filter { !$0.contains("gone") }
        .joined(separator: "\n") + "\n")
    let end = try project.run("affected", "--since", "HEAD")
    #expect(end.status == 0 && end.standardOutput.isEmpty)
    #expect(end.standardError.hasPrefix("removed: //app:gone\n"), "\(end.standardError)")
    let json = try project.run("affected", "--since", "HEAD", "--format", "json").standardOutput
    #expect(json.contains("\"affected\":[],\"removed\":[\"//app:gone\"]"), "\(json)")
  }

  @Test func `the merge base counts, unless the commit itself is asked for`() throws {
    try project.git("checkout", "-q", "-b", "work")
    try project.write("lib/b.md", "bb\n")
    try project.commit()
    try project.git("checkout", "-q", "main")
    try project.write("lib/a.txt", "aa\n")
    try project.commit()
    try project.git("checkout", "-q", "work")
    #expect(try affected("--since", "main") == ["//lib:notes"])
    #expect(
      try affected("--since", "main", "--exact-base") == ["//app:made", "//app:unit", "//lib:code", "//lib:notes"])
  }

  @Test func `builds and tests narrow to what is affected, and nothing is a result`() throws {
    #expect(try project.build("//...").status == 0)
    let nothing = try project.run("test", "--since", "HEAD", "//...")
    #expect(nothing.status == 0)
    #expect(nothing.standardError.hasPrefix("nothing to do: no target here is affected since "))
    try project.write("lib/b.md", "bb\n")
    #expect(try project.run("test", "--since", "HEAD").status == 0)
    #expect(try project.build([], options: ["--since", "HEAD", "--rerun"], command: "test").executed == [])
    try project.write("lib/a.txt", "a a\n")
    let tested = try project.build([], options: ["--since", "HEAD"], command: "test")
    #expect(tested.executed == ["//app:made", "//app:unit"] && tested.status == 0, "\(tested.error)")
    // `when: affected` decides by the same comparison, also where the label itself is not asked for.
    let asked = try project.build(["//app:other"], options: ["--since", "HEAD~0", "--exact-base"], command: "build")
    #expect(asked.executed == [] && asked.status == 0)
    try project.write("app/targets.yaml", project.read("app/targets.yaml").replacing("['true']", with: "[echo, x]"))
    let due = try project.build(["//app:other"], options: ["--since", "HEAD"])
    #expect(due.executed == ["//app:other"], "\(due.error)")
    try project.write("lib/a.txt", "a\n")
    let undue = try project.build(["//app:other"], options: ["--since", "HEAD", "--rerun"])
    #expect(undue.executed == [] && undue.skipped == ["//app:other"], "\(undue.error)")
    #expect(undue.error.contains("not affected"), "\(undue.error)")
  }

  @Test func `a query stands in place of patterns`() throws {
    let query = "kind(test, //...) intersect metadata(\"data.tier > 1\")"
    try project.write("app/metadata.yaml", "metadataSpecVersion: '1.0'\ndata: {tier: 2, name: app}\n")
    let tested = try project.build([], options: ["--query", query], command: "test")
    #expect(tested.status == 0 && tested.executed.contains("//app:unit"), "\(tested.error)")
    try project.commit()
    try project.write("lib/a.txt", "a a\n")
    #expect(try affected("--since", "HEAD", "--query", query) == ["//app:unit"])
    #expect(try affected("--since", "HEAD", "--query", "//lib/...") == ["//lib:code"])
    #expect(
      try project.build([], options: ["--since", "HEAD", "--query", query]).executed == ["//app:made", "//app:unit"])
    let none = try project.run("test", "--query", "metadata(\"data.tier > 7\")")
    #expect(none.status == 0 && none.standardError == "nothing to do: no target answers the query\n")
    // What is gone is asked for in the tree in which it was.
    try project.write("lib/targets.yaml", "targets:\n  code: {rule: files, srcs: ['*.txt']}\n")
    let gone = try project.run("affected", "--since", "HEAD", "--query", "//lib:notes")
    #expect(gone.status == 0 && gone.standardError.hasPrefix("removed: //lib:notes\n"), "\(gone)")
    let wrong = try project.run("build", "--query", "kind(test")
    #expect(wrong.status != 0 && wrong.standardError.contains("query:1:10"), "\(wrong)")
    #expect(try project.run("build", "//...", "--query", "//...").status == 2)
  }

  @Test func `what is remembered of packages may be torn or of other manifests`() throws {
    let labels = try project.run("query", "deps(//app:unit)").standardOutput
    let bytes = try readBytes(project.path(".slipway/outlines"))
    for damaged in [[], Array(bytes.prefix(20)), Array(bytes.prefix(bytes.count / 2)), bytes.map { $0 ^ 1 }] {
      try project.write(".slipway/outlines", damaged)
      #expect(try project.run("query", "deps(//app:unit)").standardOutput == labels)
    }
    try project.write("app/targets.yaml", "targets:\n  unit: {rule: files, srcs: [targets.yaml]}\n")
    #expect(try project.run("query", "deps(//app:unit)").standardOutput == "//app:unit\n")
    #expect(try project.run("query", "attr(rule, files, //app/...)").standardOutput == "//app:unit\n")
  }

  @Test func `a matrix holds every affected test once, a package's together`() throws {
    for name in ["a", "b", "c"] {
      try project.write(
        "more/\(name)/targets.yaml",
        "targets:\n  one: {rule: test, image: //base:image, run: ['true']}\n"
          + "  two: {rule: test, image: //base:image, run: ['true']}\n  both: {rule: suite, tests: [':one', ':two']}\n")
    }
    let matrix = try affected("--since", "HEAD", "--format", "github-matrix", "--shards", "2")[0]
    let shards = matrix.matches(of: /"targets":"([^"]*)"/).map { $0.1.split(separator: " ").map(String.init) }
    #expect(shards.count == 2 && matrix.hasPrefix("{\"include\":[{\"shard\":\"1 of 2\","), "\(matrix)")
    #expect(shards.joined().sorted() == ["a", "b", "c"].flatMap { ["//more/\($0):one", "//more/\($0):two"] })
    for shard in shards { #expect(shard.count % 2 == 0) }
    #expect(try affected("--since", "HEAD", "--format", "github-matrix", "//lib/...") == ["{\"include\":[]}"])
    for count in ["0", "257"] {
      #expect(
        try project.run("affected", "--since", "HEAD", "--format", "github-matrix", "--shards", count).status == 2)
    }
  }

  @Test func `a commit that git lacks is an error that says what to fetch`() throws {
    let missing = try project.run("affected", "--since", "origin/main")
    #expect(missing.status == 2)
    #expect(
      missing.standardError.contains(
        "error: git knows no commit `origin/main`\nhint: fetch it: git fetch origin main\n"))
    for text in ["", "-x", "--help", "a..b", "HEAD:lib"] {
      let bad = try project.run("affected", "--since=\(text)")
      #expect(bad.status == 2 && bad.standardError.hasPrefix("error: "), "\(text): \(bad.standardError)")
    }
    // A clone of one commit knows no base.
    try project.write("lib/a.txt", "aa\n")
    try project.commit()
    let clone = "\(project.folder)/clone"
    try project.git("clone", "-q", "--depth", "1", "file://\(project.root)", clone)
    let shallow = try HostProcess(
      [Project.executable, "affected", "--since", "HEAD~1"], directory: clone,
      environment: ["PATH": "/usr/bin:/bin", "HOME": project.folder, "XDG_CACHE_HOME": project.cache]
    ).finish()
    #expect(shallow.status == 2 && shallow.standardError.contains("git fetch --deepen"), "\(shallow.standardError)")
    let plain = try Project()
    let outside = try plain.run("affected", "--since", "main")
    #expect(
      outside.status == 2 && outside.standardError.contains("lies in no git work tree"), "\(outside.standardError)")
  }

  @Test func `before a new branch there was nothing, and everything counts as new`() throws {
    let zeros = String(repeating: "0", count: 40)
    let end = try project.run("affected", "--since", zeros)
    #expect(end.status == 0 && end.standardOutput.contains("//app:unit\n"), "\(end.standardError)")
    #expect(
      end.standardError == "warning: 000000000000 has no slipway.yaml in this folder: every target counts as new\n",
      "\(end.standardError)")
    #expect(try affected("--since", zeros, "--until", "HEAD", "//lib/...") == ["//lib:code", "//lib:notes"])
  }

  @Test func `a base with mistakes is told, and its targets count as new`() throws {
    let good = try project.read("lib/targets.yaml")
    try project.write("lib/targets.yaml", "targets: [\n")
    try project.commit()
    let broken = try project.run("affected", "--since", "HEAD")
    #expect(broken.status == 2 && broken.standardError.contains("lib/targets.yaml:"), "\(broken.standardError)")
    try project.write("lib/targets.yaml", good)
    let mended = try project.run("affected", "--since", "HEAD")
    #expect(mended.standardError.contains("counts as new"), "\(mended.standardError)")
    #expect(mended.standardOutput.contains("//lib:code\n") && mended.standardOutput.contains("//app:unit\n"))
  }
}
