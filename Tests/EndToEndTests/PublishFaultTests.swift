import Glibc
import TestServers
import Testing

/// What stands against a publish: a clear error each, and nothing half published.
@Suite struct PublishFaultTests {
  private func site(auth: String = "") throws -> PublishProject {
    let site = try PublishProject(auth: auth)
    try site.connector("source-a", "1.0.0", text: "one")
    try site.project.build("//...")
    return site
  }

  @Test func `wrong credentials end with 36 and name what to set`() throws {
    let folder = "/tmp/slipway-users-\(UInt32.random(in: 0 ... .max))"
    _ = try HostProcess(
      ["/bin/sh", "-c", "htpasswd -Bbn -C 4 ann right > \(folder)"], directory: "/",
      environment: ["PATH": "/usr/bin:/bin"]
    ).finish()
    defer { unlink(folder) }
    let site = try site(auth: "auth: {htpasswd: {realm: r, path: \(folder)}}")
    func publish(_ password: String) throws -> HostProcess.Finished {
      try site.project.start(
        ["publish"],
        environment: [
          "SLIPWAY_REGISTRY_HOST": site.server.host, "SLIPWAY_REGISTRY_USER": "ann",
          "SLIPWAY_REGISTRY_PASSWORD": password,
        ]
      ).finish()
    }
    let wrong = try publish("no-such-secret")
    #expect(wrong.status == 36, "\(wrong.standardError)")
    #expect(wrong.standardError.contains("401 UNAUTHORIZED"))
    #expect(wrong.standardError.contains("hint: set credentials for \(site.server.host)"))
    #expect(!(wrong.standardError + wrong.standardOutput).contains("no-such-secret"))
    #expect(site.tags("airbyte/source-a") == [])
    #expect(try publish("right").status == 0)
    #expect(site.tags("airbyte/source-a") == ["1.0.0", "latest"])
  }

  @Test func `nothing listens at the registry: 36, and a hint`() throws {
    let site = try site()
    let port = try ServerProcess.freePort()
    let result = try site.publish("--registry", "127.0.0.1:\(port)")
    #expect(result.status == 36)
    #expect(
      result.standardError.contains("hint: is a registry running at 127.0.0.1:\(port)?"), "\(result.standardError)")
  }

  @Test func `a full disk under the journal ends with 36 before anything is pushed`() throws {
    let site = try site()
    let folder = site.project.path(".slipway/publish")
    mkdir(folder, 0o755)
    #expect(symlink("/dev/full", folder + "/journal") == 0)
    let result = try site.publish()
    #expect(result.status == 36, "\(result.standardError)")
    #expect(result.standardError.contains("cannot write `\(folder)/journal`: no space left on device"))
    #expect(site.server.uploads().isEmpty)
    unlink(folder + "/journal")
    #expect(try site.publish().status == 0)
  }

  @Test func `a journal that is damaged costs nothing`() throws {
    let site = try site()
    #expect(try site.publish().status == 0)
    try site.project.write(".slipway/publish/journal", "garbage\n\u{0}\u{1}{}\n" + String(repeating: "x", count: 5000))
    #expect(try site.publish().standardOutput.contains("identical"))
    try site.connector("source-a", "1.1.0", text: "two")
    #expect(try site.publish().status == 0)
  }

  @Test func `repair restores latest and receipts without building, and says so`() throws {
    let site = try site()
    #expect(try site.publish().status == 0)
    let receipt = try site.project.read(".slipway/publish/receipts/airbyte/source-a/1.0.0.json")
    let tags = "\(site.server.folder)/data/docker/registry/v2/repositories/airbyte/source-a/_manifests/tags"
    _ = try site.run("rm", "-rf", "\(tags)/latest", site.project.path(".slipway/publish"))
    let dry = try site.publish("--dry-run")
    #expect(dry.standardOutput.contains("identical  missing: tag latest"), "\(dry.standardOutput)")
    #expect(site.tags("airbyte/source-a") == ["1.0.0"])
    try site.project.write(
      "base/targets.yaml",
      """
      targets:
        broken: {rule: files, srcs: ["bin/**"]}
        image: {rule: image, layers: [{from: ":broken", to: /elsewhere}]}

      """)
    try site.note("publish", "--repair")
    try site.note("publish", "--repair")
    try site.project.expectGolden("publish-repair")
    #expect(site.link("airbyte/source-a", "latest") == site.link("airbyte/source-a", "1.0.0"))
    #expect(try site.project.read(".slipway/publish/receipts/airbyte/source-a/1.0.0.json") == receipt)
  }

  @Test func `the JSON of a plan, of a run and of a receipt is what the schemas say`() throws {
    let site = try site()
    try site.connector("source-b", "1.0.0", text: "b", data: ["supportLevel: archived"])
    var documents: [(String, String)] = []
    documents.append(("publish-plan", try site.publish("--dry-run", "--json").standardOutput))
    documents.append(("publish-plan", try site.publish("--json").standardOutput))
    documents.append(("publish-plan", try site.publish("--json").standardOutput))
    documents.append(("receipt", try site.project.read(".slipway/publish/receipts/airbyte/source-a/1.0.0.json")))
    try site.connector("source-a", "1.0.0", text: "two")
    documents.append(("publish-plan", try site.publish("--json").standardOutput))
    try site.connector("source-a", "0.9.0", text: "two")
    documents.append(("publish-plan", try site.publish("--json").standardOutput))
    for state in ["absent", "identical", "skipped", "changed", "older"] {
      #expect(documents.contains { $0.1.contains("\"state\":\"\(state)\"") }, "\(state)")
    }
    let lines = documents.map { "{\"schema\":\"\($0.0)\",\"document\":\($0.1.filter { $0 != "\n" })}\n" }
    try site.project.write("judged", lines.joined())
    let root = #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }
    _ = try site.run(
      "python3", "\(root)/Tests/ManifestsTests/judge.py", "\(root)/schemas", site.project.path("judged"),
      site.project.path("verdicts"))
    let verdicts = try site.project.read("verdicts").split(separator: "\n")
    #expect(verdicts.count == documents.count)
    #expect(verdicts.filter { $0 != "valid" } == [])
  }
}
