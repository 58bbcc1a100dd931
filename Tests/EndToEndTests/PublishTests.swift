import Glibc
import TestServers
import Testing

/// A workspace whose connectors go to a docker-registry of its own.
final class PublishProject {
  let server: RegistryServer
  let project: Project

  convenience init(auth: String = "") throws { try self.init(sharing: try RegistryServer(auth: auth)) }

  /// Another checkout that publishes to the same registry.
  init(sharing server: RegistryServer) throws {
    self.server = server
    project = try Project()
    try project.write("slipway.yaml", "slipway: 1\nname: demo\npublish: {registry: '\(server.host)'}\n")
  }

  /// A connector whose image holds one file, on the shared base; its test runs the image.
  func connector(
    _ name: String, _ version: String, text: String, data: [String] = [], test: String = "test -s /app/text",
    base: String = "//base:image"
  ) throws {
    let number = name.utf8.reduce(1 as UInt64) { ($0 * 31 + UInt64($1)) % 100_000_000_000 }
    let identifier = String(100_000_000_000 + number)
    try project.write(
      "connectors/\(name)/metadata.yaml",
      """
      metadataSpecVersion: "1.0"
      data:
        name: \(name)
        definitionId: 00000000-0000-4000-8000-\(identifier)
        connectorType: source
        connectorSubtype: api
        license: MIT
        releaseStage: alpha
        documentationUrl: https://docs.example/\(name)
        githubIssueLabel: \(name)
        dockerRepository: airbyte/\(name)
        dockerImageTag: \(version)
        tags: [language:none]

      """ + data.map { "  \($0)\n" }.joined())
    try project.write("connectors/\(name)/text", text)
    try project.write(
      "connectors/\(name)/targets.yaml",
      """
      targets:
        code: {rule: files, srcs: [text]}
        image: {rule: image, base: \(base), layers: [{from: ":code", to: /app}]}
        spec: {rule: test, image: ":image", run: [sh, -c, "\(test)"]}
        test: {rule: suite, tests: [":spec"]}
        publish: {rule: publish, image: ":image", metadata: "${data}"}

      """)
  }

  /// A connector whose image prints a specification, as a metadata store needs it.
  func specified(_ name: String, _ version: String, text: String, data: [String] = []) throws {
    try connector(
      name, version, text: text,
      data: ["registryOverrides: {oss: {enabled: true}, cloud: {enabled: true}}"] + data,
      test: "echo '{\\\"type\\\":\\\"SPEC\\\",\\\"spec\\\":{\\\"connectionSpecification\\\":{}}}'")
  }

  func note(_ arguments: String...) throws {
    try project.note(arguments, replacing: [server.host: "[REGISTRY]"])
  }

  @discardableResult
  func publish(_ arguments: String...) throws -> HostProcess.Finished {
    try project.start(["publish"] + arguments).finish()
  }

  // MARK: What others see

  func run(_ arguments: String...) throws -> String { try run(arguments) }

  @discardableResult
  func run(_ arguments: [String]) throws -> String {
    let result = try HostProcess(
      arguments, directory: project.folder,
      environment: [
        // Where whoever runs the tests has python3 and its packages.
        "PATH": getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin", "HOME": "\(project.folder)/home",
        "XDG_RUNTIME_DIR": project.folder,
      ]
    ).finish()
    guard result.status == 0 else { throw Failure("\(arguments): \(result.standardError)") }
    return result.standardOutput
  }

  func digest(_ image: String) throws -> String {
    try run("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", "docker://\(server.host)/\(image)")
  }

  /// By what the registry keeps on disk.
  func tags(_ repository: String) -> [String] {
    let path = "\(server.folder)/data/docker/registry/v2/repositories/\(repository)/_manifests/tags"
    guard let folder = opendir(path) else { return [] }
    defer { closedir(folder) }
    var found: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      // What is attached to an image hangs on a tag with its digest, where the registry keeps no such list.
      if !name.hasPrefix("."), !name.hasPrefix("sha256-") { found.append(name) }
    }
    return found.sorted()
  }

  /// What a tag names, by what the registry keeps on disk.
  func link(_ repository: String, _ tag: String) -> String? {
    let path = "\(server.folder)/data/docker/registry/v2/repositories/\(repository)/_manifests/tags/\(tag)/current/link"
    return (try? readBytes(path)).map { String(decoding: $0, as: UTF8.self) }
  }
}

/// `slipway publish` against docker-registry.
@Suite struct PublishTests {
  private let site: PublishProject
  private var project: Project { site.project }

  init() throws { site = try PublishProject() }

  @Test func `a connector is published once; a change under its version is an error, a new version is not`() throws {
    try site.connector("source-a", "1.0.0", text: "one")
    try site.note("publish", "--dry-run")
    #expect(site.tags("airbyte/source-a") == [])
    try site.note("publish")
    try site.note("publish")
    try site.connector("source-a", "1.0.0", text: "two")
    project.note(change: "the image is another one")
    try site.note("publish", "--dry-run")
    try site.note("publish")
    try site.connector("source-a", "1.1.0", text: "two")
    project.note(change: "the version is 1.1.0")
    try site.note("publish")
    try site.connector("source-a", "1.0.5", text: "three")
    project.note(change: "the version is 1.0.5")
    try site.note("publish")
    try project.expectGolden("publish")
    #expect(site.tags("airbyte/source-a") == ["1.0.0", "1.1.0", "latest"])
    #expect(try site.digest("airbyte/source-a:latest") == site.digest("airbyte/source-a:1.1.0"))
  }

  @Test func `candidates and previews never become latest`() throws {
    try site.connector("source-a", "1.0.0-rc.1", text: "one")
    try site.note("publish")
    try site.connector("source-a", "1.0.0", text: "two")
    try site.note("publish", "--prerelease", "c0ffee")
    try site.note("publish", "--prerelease", "c0ffee")
    #expect(site.tags("airbyte/source-a") == ["1.0.0-dev.c0ffee", "1.0.0-rc.1"])
    try site.connector("source-a", "1.0.0", text: "three")
    project.note(change: "the image is another one")
    try site.note("publish", "--prerelease", "c0ffee")
    try site.note("publish", "--prerelease", "a b")
    try project.expectGolden("publish-prerelease")
  }

  @Test func `one that fails does not stop the others, and what names it waits for it`() throws {
    try site.connector("source-bad", "1.0.0", text: "x", test: "echo no; exit 1")
    try site.connector("source-good", "1.0.0", text: "y")
    try site.connector("source-old", "1.0.0", text: "y", data: ["supportLevel: archived"])
    try site.connector(
      "source-z", "1.0.0", text: "z",
      data: ["registryOverrides: {cloud: {enabled: true, dockerRepository: airbyte/source-z-strict-encrypt}}"])
    try site.connector("source-z-strict-encrypt", "1.0.0", text: "z", test: "exit 1")
    let first = try site.publish()
    #expect(first.status == 3, "\(first.standardError)")
    #expect(first.standardError.hasSuffix("5 connectors: 1 published, 3 failed, 1 skipped\n"))
    #expect(first.standardOutput.contains("its metadata names airbyte/source-z-strict-encrypt, which was not either"))
    #expect(site.tags("airbyte/source-good") == ["1.0.0", "latest"])
    for name in ["source-bad", "source-old", "source-z", "source-z-strict-encrypt"] {
      #expect(site.tags("airbyte/\(name)") == [], "\(name)")
    }
    try site.connector("source-z-strict-encrypt", "1.0.0", text: "z")
    #expect(try site.publish("//connectors/source-z/...", "//connectors/source-z-strict-encrypt").status == 0)
    // The variant's tags were there before anything of the connector that names it.
    let paths = site.server.requests.filter { $0.method == "PUT" && $0.path.hasSuffix("/manifests/1.0.0") }.map(\.path)
    #expect(
      paths.suffix(2) == [
        "/v2/airbyte/source-z-strict-encrypt/manifests/1.0.0", "/v2/airbyte/source-z/manifests/1.0.0",
      ])
  }

  @Test func `what skopeo copies and umoci unpacks is what was built`() throws {
    try site.connector("source-a", "1.0.0", text: "some text")
    #expect(try site.publish().status == 0)
    let layout = "\(project.folder)/copy"
    _ = try site.run(
      "skopeo", "copy", "--src-tls-verify=false", "docker://\(site.server.host)/airbyte/source-a:1.0.0",
      "oci:\(layout):latest")
    _ = try site.run("umoci", "unpack", "--rootless", "--image", "\(layout):latest", "\(project.folder)/unpacked")
    let text = try readBytes("\(project.folder)/unpacked/rootfs/app/text")
    #expect(String(decoding: text, as: UTF8.self) == "some text")
    let receipt = try project.read(".slipway/publish/receipts/airbyte/source-a/1.0.0.json")
    #expect(receipt.contains(try site.digest("airbyte/source-a:1.0.0").filter { $0 != "\n" }))
  }

  @Test func `what the metadata lacks, or two connectors share, is told before anything is built`() throws {
    try site.connector("source-a", "1.0.0", text: "one")
    try site.connector("source-b", "1.0.0", text: "two")
    let metadata = try project.read("connectors/source-a/metadata.yaml")
    try project.write("connectors/source-b/metadata.yaml", metadata)
    try site.note("publish")
    try project.write(
      "connectors/source-b/metadata.yaml", metadata.replacing("  dockerRepository: airbyte/source-a\n", with: ""))
    try site.note("publish", "//connectors/source-b")
    try site.note("publish", "--registry", "nowhere")
    try site.note("publish", "--since", "HEAD")
    try site.note("publish", "//base/...")
    try project.expectGolden("publish-input")
  }

  @Test func `a floating root file system makes publish refuse, before it is built`() throws {
    try project.write(
      "rootfs/targets.yaml",
      """
      targets:
        debian: {rule: rootfs, suite: bookworm, packages: [bash]}
        image: {rule: image, layers: [{from: ":debian", to: /}]}

      """)
    try site.connector("source-a", "1.0.0", text: "one", base: "//rootfs:image")
    try site.note("publish", "--dry-run")
    try project.expectGolden("publish-floating")
  }

  @Test func `two publishes at once: one waits for the other, and both end well`() throws {
    for name in ["a", "b", "c"] { try site.connector("source-\(name)", "1.0.0", text: name) }
    try project.build("//...")
    let both = try [project.start(["publish"]), project.start(["publish"])]
    let results = try both.map { try $0.finish() }
    #expect(results.map(\.status) == [0, 0], "\(results.map(\.standardError))")
    for name in ["a", "b", "c"] {
      #expect(site.tags("airbyte/source-\(name)") == ["1.0.0", "latest"])
    }
    let uploads = site.server.uploads().map(\.digest)
    #expect(Set(uploads).count == uploads.count)
  }
}
