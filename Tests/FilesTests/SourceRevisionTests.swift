import SystemPackage
import Testing

@testable import Files

@Suite struct SourceRevisionTests {
  private func paths(_ revision: SourceRevision?) -> [String]? { revision?.changed.map(\.string) }

  @Test func `a clean tree is at its commit, and what is changed, gone or new is told`() throws {
    let workspace = try WorkingTreeTests.sample(git: true)
    let clean = try #require(try SourceRevision(of: workspace.root))
    #expect(clean.commit.utf8.count == 40 && clean.prefix == "" && clean.remote == nil)
    #expect(paths(clean) == [])
    try workspace.git("remote", "add", "fork", "https://fork.example/x")
    #expect(try SourceRevision(of: workspace.root)?.remote == "https://fork.example/x")
    try workspace.git("remote", "add", "origin", "https://example.org/x")
    #expect(try SourceRevision(of: workspace.root)?.remote == "https://example.org/x")
    try workspace.write("connectors/a/main.py", "print(2)")
    try workspace.write("connectors/a/ä \"new\"", "x")
    try workspace.write(".gitignore", "*.log\n")
    try workspace.write("x.log", "x")
    try workspace.git("rm", "-q", "--cached", "readme.md")
    try workspace.git("mv", "connectors/a/src/x.py", "connectors/a/src/z.py")
    #expect(
      paths(try SourceRevision(of: workspace.root)) == [
        ".gitignore", "connectors/a/main.py", "connectors/a/src/x.py", "connectors/a/src/z.py",
        "connectors/a/ä \"new\"", "readme.md",
      ])
  }

  @Test func `a workspace below its repository's top tells its own files only`() throws {
    let workspace = try WorkingTreeTests.sample(git: true)
    try workspace.write("readme.md", "changed")
    try workspace.write("connectors/a/main.py", "print(2)")
    let revision = try #require(try SourceRevision(of: workspace.root.appending("connectors/a")))
    #expect(revision.prefix == "connectors/a/")
    #expect(paths(revision) == ["main.py"])
  }

  @Test func `without git, and before the first commit, there is none`() throws {
    for git in [false, true] {
      let workspace = try Workspace(git: git)
      #expect(try SourceRevision(of: workspace.root) == nil)
      withExtendedLifetime(workspace) {}
    }
  }
}
