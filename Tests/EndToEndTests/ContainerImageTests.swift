import Glibc
import SystemPackage
import TestServers
import Testing

/// Builds on an engine whose workers pull the images that actions name, and start containers of them.
@Suite final class ContainerImageTests {
  private let here: Project
  private let engine: BuildGridEngine
  private let registry: RegistryServer

  init() throws {
    here = try Project()
    try here.fillForEngines(listsRoot: false)
    let folder = FilePath(here.folder).appending("grid")
    mkdir(folder.string, 0o755)
    engine = try BuildGridEngine(in: folder)
    registry = try RegistryServer()
  }

  // Its folder is the project's, which may be gone first.
  deinit { engine.stop() }

  private func settings(_ more: String) throws {
    try here.write(
      "slipway.yaml",
      "slipway: 1\nname: demo\nexecutor: {url: \"grpc://127.0.0.1:\(engine.port)\", image: property\(more)}\n")
  }

  @Test func `containers of pulled images give the bytes and the verdicts that this machine gives`() throws {
    try settings(", registry: \"\(registry.host)/actions\"")
    let local = try Project()
    try local.fillForEngines(listsRoot: false)
    #expect(try local.build(Project.wantedOfEngines, options: []).status == 0)
    let remote = try here.build(Project.wantedOfEngines, options: ["--jobs", "50"])
    #expect(remote.status == 0, "\(remote.error)")
    #expect(try here.given() == local.given())
    #expect(engine.leases(of: 1) + engine.leases(of: 2) >= 5)
    // Each image once, by its digest alone, however many actions ran in it.
    let pushed = registry.requests.filter { $0.method == "PUT" && $0.path.contains("/manifests/") }
    #expect(pushed.count == 2)
    #expect(pushed.allSatisfy { $0.path.hasPrefix("/v2/actions/slipway/manifests/sha256:") }, "\(pushed)")
    for (name, status, verdict) in [("fails", 3, "failed"), ("none", 4, "no-tests"), ("slow", 3, "timed-out")] {
      let built = try here.build(["//app:\(name)"], options: ["--jobs", "50"])
      #expect(built.status == status, "\(name): \(built.error)")
      #expect(built.events.finished["//app:\(name)"]?["verdict"] == verdict, "\(name): \(built.error)")
    }
    let lacks = try here.build(["//app:lacks"], options: ["--jobs", "50"])
    #expect(lacks.status != 0 && lacks.error.contains("was not created"), "\(lacks.error)")
  }

  @Test func `an input hides what the image has in its place`() throws {
    let local = try Project()
    for project in [here, local] { try project.fillWithHiding() }
    try settings(", registry: \"\(registry.host)\"")
    let far = try here.build(["//hide:hidden"], options: ["--jobs", "50"])
    #expect(far.status == 0, "\(far.error)")
    let near = try local.build(["//hide:hidden"], options: [])
    #expect(near.status == 0, "\(near.error)")
    #expect(try here.output("//hide:hidden") == local.output("//hide:hidden"))
    let log = try here.run("logs", "//hide:hidden").standardOutput
    #expect(try log == local.run("logs", "//hide:hidden").standardOutput && log.contains("new\na\ntree\n"), "\(log)")
  }

  @Test func `an image that no registry holds keeps its actions here`() throws {
    try settings("")
    let built = try here.build(["//app:unit"], options: ["--jobs", "50"])
    #expect(built.status == 0, "\(built.error)")
    #expect(engine.leases(of: 1) + engine.leases(of: 2) == 0)
  }

  @Test func `an image that is pulled is named as where it came from`() throws {
    let first = try here.build(["//base:image"], options: [])
    #expect(first.status == 0, "\(first.error)")
    let push = try here.run("image", "push", "//base:image", "\(registry.host)/base/busybox:1")
    #expect(push.status == 0, "\(push.standardError)")
    let digest =
      try #require(push.standardOutput.split(whereSeparator: \.isWhitespace).last { $0.contains("sha256:") })
      .split(separator: "@").last.map(String.init) ?? ""
    try settings("")
    try here.write(
      "far/targets.yaml",
      """
      targets:
        base: {rule: pull, image: "\(registry.host)/base/busybox@\(digest)"}
        made: {rule: action, image: ":base", run: [sh, -c, 'pwd >o; env >>o'], outputs: {o: o}}

      """)
    let built = try here.build(["//far:made"], options: ["--jobs", "50"])
    #expect(built.status == 0, "\(built.error)")
    #expect(engine.leases(of: 1) + engine.leases(of: 2) == 1)
    #expect(registry.requests.allSatisfy { !$0.path.hasPrefix("/v2/slipway/") })
  }

  @Test func `a container that does not come about is no fault of the command's`() throws {
    // No `sh`, and nothing else either.
    try here.write("none/file", "x")
    try here.write(
      "none/targets.yaml",
      """
      targets:
        files: {rule: files, srcs: [file]}
        image: {rule: image, layers: [{from: ":files", to: /}]}
        test: {rule: test, image: ":image", run: ["/file"]}

      """)
    try settings(", registry: \"\(registry.host)\"")
    let built = try here.build(["//none:test"], options: ["--jobs", "50"])
    #expect(built.status == 36, "\(built.error)")
    #expect(built.error.contains("cannot run //none:test on the engine"), "\(built.error)")
  }

  @Test func `a registry that takes nothing is the engine's failure, or costs nothing with a fallback`() throws {
    let port = try ServerProcess.freePort()
    try settings(", registry: \"127.0.0.1:\(port)\"")
    let refused = try here.build(["//app:unit"], options: ["--jobs", "50"])
    #expect(refused.status == 36, "\(refused.error)")
    #expect(refused.error.contains("cannot give an image to workers"), "\(refused.error)")
    try settings(", fallback: true, registry: \"127.0.0.1:\(port)\"")
    let built = try here.build(["//app:unit"], options: ["--jobs", "50"])
    #expect(built.status == 0, "\(built.error)")
  }
}
