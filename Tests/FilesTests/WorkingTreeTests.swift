import Diagnostics
import Digests
import Glibc
import SystemPackage
import Testing

@testable import Files

@Suite struct WorkingTreeTests {
  static func sample(git: Bool) throws -> Workspace {
    let workspace = try Workspace(git: git)
    try workspace.write("targets.yaml")
    try workspace.write("readme.md")
    try workspace.write("connectors/a/metadata.yaml", "data: a")
    try workspace.write("connectors/a/main.py", "print(1)")
    try workspace.write("connectors/a/src/x.py", "one")
    try workspace.write("connectors/b/metadata.yaml", "data: b")
    try workspace.write("connectors/b-c/metadata.yaml", "data: c")
    try workspace.write("connectors/a/sub/targets.yaml", "t")
    try workspace.write("connectors/a/sub/y.py", "y")
    if git {
      try workspace.git("add", "-A")
      try workspace.git("commit", "-q", "-m", "start")
    }
    workspace.settle()
    return workspace
  }

  static let a = WorkspacePath(unchecked: "connectors/a")

  /// Refreshes a tree from the saved index and compares with one that starts from nothing.
  @discardableResult
  static func agree(_ workspace: Workspace, ignore: [String] = [], _ comment: String = "") throws -> [String] {
    let tree = try workspace.tree(ignore: ignore)
    try tree.refresh()
    let found = try tree.snapshot()
    let expected = try workspace.freshTree(ignore: ignore).snapshot()
    #expect(found == expected, "\(comment)")
    try tree.save()
    return found
  }

  @Test(arguments: [true, false])
  func `files belong to the deepest package, in byte order`(git: Bool) throws {
    let workspace = try Self.sample(git: git)
    let tree = try workspace.tree()
    try tree.refresh()
    #expect(
      tree.packages.map(\.string) == ["", "connectors/a", "connectors/a/sub", "connectors/b", "connectors/b-c"])
    #expect(tree.files(in: Self.a).map(\.path) == ["main.py", "metadata.yaml", "src/x.py"])
    #expect(tree.files(in: .root).map(\.path) == ["readme.md", "targets.yaml"])
    #expect(tree.files(in: WorkspacePath(unchecked: "connectors")).isEmpty)
    #expect(tree.files(in: Self.a, matching: [try Glob("**/*.py")]).map(\.path) == ["main.py", "src/x.py"])
    #expect(tree.package(containing: WorkspacePath(unchecked: "connectors/a/src/x.py")) == Self.a)
    #expect(tree.package(containing: WorkspacePath(unchecked: "connectors/x")) == .root)
    #expect(try tree.read(WorkspacePath(unchecked: "connectors/a/main.py"), limit: 100) == Array("print(1)".utf8))
    #expect(throws: Diagnostic.self) { try tree.read(WorkspacePath(unchecked: "connectors/a/main.py"), limit: 7) }
  }

  struct Edit: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var script: String
    var gitOnly = false
    var changes = true
  }

  static let edits = [
    Edit(
      testDescription: "same size, mtime put back",
      script: "touch -r main.py ../t; printf 'print(2)' >main.py; touch -r ../t main.py; rm ../t"),
    Edit(testDescription: "rename", script: "mv main.py other.py"),
    Edit(testDescription: "rename over", script: "mv src/x.py main.py"),
    Edit(testDescription: "chmod", script: "chmod +x main.py"),
    Edit(testDescription: "file becomes symlink", script: "rm main.py; ln -s src/x.py main.py"),
    Edit(testDescription: "folder becomes symlink", script: "mv src ../src2; ln -s ../src2 src"),
    Edit(testDescription: "file becomes folder", script: "rm main.py; mkdir main.py; echo 1 >main.py/z"),
    Edit(testDescription: "folder becomes file", script: "rm -r src; echo 1 >src"),
    Edit(testDescription: "deleted", script: "rm src/x.py"),
    Edit(testDescription: "folder deleted", script: "rm -r src"),
    Edit(testDescription: "new file", script: "echo 1 >new.py"),
    Edit(testDescription: "new deep folder", script: "mkdir -p n/e/w; echo 1 >n/e/w/f"),
    Edit(testDescription: "new empty folder", script: "mkdir -p n/e/w", changes: false),
    Edit(testDescription: "nested package appears", script: "echo 1 >src/targets.yaml"),
    Edit(testDescription: "nested package disappears", script: "rm sub/targets.yaml"),
    Edit(testDescription: "package disappears", script: "rm metadata.yaml"),
    Edit(testDescription: "new package", script: "mkdir ../z; echo 1 >../z/metadata.yaml"),
    Edit(testDescription: "literal names", script: "mkdir '*' ':x'; echo 1 >'*/[a]'; echo 2 >':x/é'"),
    Edit(testDescription: "a pipe is no source", script: "mkfifo pipe", changes: false),
    Edit(
      testDescription: "gitignore appears", script: "echo '*.py' >.gitignore; git rm -q --cached main.py", gitOnly: true
    ),
    Edit(
      testDescription: "gitignore of the root", script: "echo 'src/' >../../.gitignore; git rm -rq --cached src",
      gitOnly: true),
    Edit(
      testDescription: "info/exclude", script: "echo junk >>../../.git/info/exclude; echo 1 >junk", gitOnly: true,
      changes: false),
    Edit(
      testDescription: "ignored, then added by force",
      script: "echo junk >../../.git/info/exclude; echo 1 >junk; git add -f junk", gitOnly: true),
    Edit(testDescription: "commit", script: "echo 1 >n; git add -A; git commit -qm n", gitOnly: true),
    Edit(testDescription: "reset", script: "echo 1 >n; git add -A; git reset -q --hard", gitOnly: true, changes: false),
    Edit(
      testDescription: "removed from the index only", script: "git rm -q --cached main.py", gitOnly: true,
      changes: false),
    Edit(
      testDescription: "another repository inside", script: "git init -q inner; echo 1 >inner/f", gitOnly: true,
      changes: false),
  ]

  @Test(arguments: edits, [true, false])
  func `an edit is seen`(edit: Edit, git: Bool) throws {
    if edit.gitOnly, !git { return }
    let workspace = try Self.sample(git: git)
    let before = try Self.agree(workspace)
    // Twice: with everything settled the second index keeps what it has.
    workspace.settle()
    #expect(try Self.agree(workspace) == before)
    try workspace.shell("cd \"$1\" && \(edit.script)", workspace.path("connectors/a"))
    let after = try Self.agree(workspace)
    #expect((after != before) == edit.changes)
    workspace.settle()
    #expect(try Self.agree(workspace) == after)
  }

  @Test(arguments: edits.filter { !$0.testDescription.contains("new package") }, [true, false])
  func `an edit is seen by a refresh of its package only`(edit: Edit, git: Bool) throws {
    if edit.gitOnly, !git { return }
    let workspace = try Self.sample(git: git)
    try Self.agree(workspace)
    workspace.settle()
    try Self.agree(workspace)
    try workspace.shell("cd \"$1\" && \(edit.script)", workspace.path("connectors/a"))
    let tree = try workspace.tree()
    try tree.refresh(.packages([Self.a]))
    let fresh = try workspace.freshTree()
    #expect(tree.files(in: Self.a) == fresh.files(in: Self.a))
    let paths = fresh.files(in: Self.a).map { Self.a.appending($0.path) }
    #expect(try tree.fingerprints(of: paths) == fresh.fingerprints(of: paths))
  }
}
