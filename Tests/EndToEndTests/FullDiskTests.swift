import Glibc
import SystemPackage
import TestServers
import Testing

/// A cache on a disk of a few megabytes, which nobody but the command sees.
@Suite struct FullDiskTests {
  private let project: Project

  init() throws {
    project = try Project()
    try project.app(
      "small: {rule: action, image: //base:image, outputs: {o: o}, run: [sh, -c, 'echo hi >o']}",
      "large: {rule: action, image: //base:image, outputs: {o: o}, run: [sh, -c, 'head -c 12000000 /dev/zero >o']}",
      "after: {rule: test, image: //base:image, inputs: [':large'], run: [test, -s, /src/app/o]}")
  }

  /// Builds on a disk of that size, looks at what is left of the cache, makes room, and builds again.
  @Test(arguments: ["64k", "1m", "3m", "6m", "9m", "14m", "26m"])
  func `a build without room says so, blames no target, and goes on where there is some`(size: String) throws {
    try small(size)
    let end = try project.run("build", "//app:small", "//app:large")
    let parts = end.standardError.split(separator: "again\n", maxSplits: 1, omittingEmptySubsequences: false)
    try #require(parts.count == 2, "\(end.standardError)")
    if !parts[0].contains("first 0\n") {
      #expect(parts[0].contains("first 36\n"), "\(end.standardError)")
      #expect(parts[0].contains("no space left on device") || parts[0].contains("is full"), "\(end.standardError)")
      #expect(parts[0].contains("hint: free some space "), "\(end.standardError)")
    } else {
      #expect(size == "26m", "the test means disks that are too small, but for the last")
    }
    #expect(parts[0].contains(" 0 damaged"), "\(end.standardError)")
    #expect(end.status == 0 && parts[1].contains("Built 3 targets"), "\(end.standardError)")
  }

  /// The project's commands run on a disk of that size first, and then, after `again`, with room.
  private func small(_ size: String) throws {
    let script = """
      mount -t tmpfs -o size=\(size) none '\(project.cache)'
      code=0; "$@" || code=$?; echo "first $code" >&2
      "$1" cache verify >&2
      mount -o remount,size=256m '\(project.cache)'
      echo again >&2
      exec "$@"
      """
    mkdir(project.cache, 0o755)
    let own = geteuid() == 0 ? [] : ["--user", "--map-root-user"]
    project.prefix = ["unshare", "--mount"] + own + ["sh", "-e", "-c", script, "sh"]
  }

  @Test func `what another machine has built needs room only where its bytes are asked for`() throws {
    let folder = FilePath(project.folder).appending("nginx")
    mkdir(folder.string, 0o755)
    let nginx = try CacheServer.nginx(in: folder)
    let remote = ["--remote-cache", "http://127.0.0.1:\(nginx.port)", "--remote-cache-mode", "write"]
    let whole = try project.build(["//app:after"], options: remote)
    #expect(whole.status == 0, "\(whole.error)")
    try project.build(["//app:large"], options: remote)
    let other = project.cache + "-other"
    #expect(rename(project.cache, other) == 0)
    project.remove(".slipway/state")
    try small("1m")
    let verdict = try project.start(["build", "//app:after"] + remote).finish()
    #expect(verdict.status == 0 && verdict.standardError.contains("first 0\n"), "\(verdict.standardError)")
    let bytes = try project.start(["build", "//app:large", "--download", "all"] + remote).finish()
    #expect(bytes.standardError.contains("first 36\n"), "\(bytes.standardError)")
    #expect(bytes.standardError.contains("hint: free some space "), "\(bytes.standardError)")
    #expect(bytes.status == 0 && bytes.standardError.contains("(0 local, "), "\(bytes.standardError)")
  }
}
