import TestServers
import Testing

/// Images out of registries and into files, and files from URLs; the registry is Debian's docker-registry.
@Suite struct `pull` {
  /// Pushes `//base:image`; gives its digest.
  private func push(_ project: Project, to reference: String) throws -> String {
    let pushed = try project.run("image", "push", "//base:image", reference)
    guard pushed.status == 0, let digest = pushed.standardOutput.split(separator: "@").last else {
      throw Failure(pushed.standardError)
    }
    return String(digest.prefix { $0 != "\n" })
  }

  private func app(_ project: Project, base: String) throws {
    try project.app(
      "pulled: {rule: pull, image: '\(base)'} # the base",
      "hello: {rule: action, image: '\(base)', run: [sh, -c, 'echo hello >out'], outputs: {out: out}}",
      "image: {rule: image, base: ':pulled', config: {labels: {a: b}}}")
  }

  @Test func `a tag is refused, pinned in place, and pulled once for all who name it`() throws {
    let server = try RegistryServer()
    let project = try Project()
    let digest = try push(project, to: "\(server.host)/demo/base:1")
    try app(project, base: "\(server.host)/demo/base:1")
    let refused = try project.build("//app:all")
    #expect(refused.status == 2)
    #expect(refused.error.contains("is not pinned by a digest"))
    let before = try project.read("app/targets.yaml")
    let shown = try project.run("update-images", "--dry-run")
    #expect(shown.standardError.contains("2 images would be pinned anew"))
    #expect(try project.read("app/targets.yaml") == before)
    #expect(try project.run("update-images").status == 0)
    #expect(
      try project.read("app/targets.yaml") == before.replacing("demo/base:1", with: "demo/base:1@\(digest)"))
    #expect(try project.run("update-images").standardError.contains("0 images pinned anew"))

    project.cache = "\(project.folder)/empty"
    let asked = server.requests.count
    let built = try project.build("//app:all")
    #expect(built.status == 0, "\(built.error)")
    #expect(try project.output("//app:hello") == "hello\n")
    let blobs = server.requests.dropFirst(asked).filter { $0.method == "GET" && $0.path.contains("/blobs/") }
    #expect(blobs.count == Set(blobs.map(\.path)).count)
    #expect(try project.build("//app:all").error.contains("3 cached"))
  }

  @Test func `what was pulled needs no registry, and what was not ends with 36`() throws {
    let project = try Project()
    var server: RegistryServer? = try RegistryServer()
    let host = try #require(server?.host)
    let digest = try push(project, to: "\(host)/demo/base")
    try app(project, base: "\(host)/demo/base@\(digest)")
    #expect(try project.build("//app:all").status == 0)
    server = nil
    try project.write("slipway.yaml", "slipway: 1\nname: other\n")
    #expect(try project.build("//app:all").status == 0)
    project.cache = "\(project.folder)/empty"
    let failed = try project.build("//app:hello")
    #expect(failed.status == 36)
    #expect(failed.error.contains("cannot pull \(host)/demo/base@\(digest): "))
    #expect(failed.error.contains("connection refused"))
  }

  @Test func `a mirror stands in for a registry that cannot be reached`() throws {
    let server = try RegistryServer()
    let project = try Project()
    let digest = try push(project, to: "\(server.host)/demo/base")
    try app(project, base: "registry.invalid/demo/base@\(digest)")
    try project.write(
      "slipway.yaml",
      "slipway: 1\nname: demo\nregistries: {registry.invalid: {mirrors: ['http://\(server.host)']}}\n")
    project.cache = "\(project.folder)/empty"
    let built = try project.build("//app:image")
    #expect(built.status == 0, "\(built.error)")
  }

  @Test func `a saved image is one for skopeo, as OCI's archive and as Docker's`() throws {
    let project = try Project()
    let path = "\(project.folder)/image.tar"
    #expect(try project.run("image", "save", "//base:image", "--output", path, "--tag", "demo/base:1").status == 0)
    let inspected = try project.run("image", "inspect", "//base:image").standardOutput
    for (source, expectation) in [("oci-archive:\(path):1", "Digest"), ("docker-archive:\(path)", "Layers")] {
      let skopeo = try HostProcess(
        ["skopeo", "inspect", source], directory: project.root,
        environment: ["PATH": "/usr/bin:/bin", "HOME": "\(project.folder)/home"]
      ).finish()
      #expect(skopeo.status == 0, "\(skopeo.standardError)")
      #expect(skopeo.standardOutput.contains(expectation))
      if source.hasPrefix("oci"),
        let digest = skopeo.standardOutput.split(separator: "\"").first(where: { $0.hasPrefix("sha256:") })
      {
        #expect(inspected.contains(digest))
      }
    }
    let again = "\(project.folder)/again.tar"
    #expect(try project.run("image", "save", "//base:image", "--output", again, "--tag", "demo/base:1").status == 0)
    #expect(try readBytes(path) == readBytes(again))
  }

  @Test func `a file is fetched by its URL, if it has the digest`() throws {
    let server = try RegistryServer()
    let project = try Project()
    _ = try push(project, to: "\(server.host)/demo/base")
    let blob = try #require(server.uploads().first?.digest)
    let hex = blob.dropFirst("sha256:".count)
    let url = "http://\(server.host)/v2/demo/base/blobs/\(blob)"
    try project.app(
      "good: {rule: fetch, urls: {file: {url: '\(url)', sha256: '\(hex)', path: a/layer, executable: true}}}",
      "bad: {rule: fetch, urls: {file: {url: '\(url)', sha256: '\(String(repeating: "0", count: 64))', path: x}}}",
      "gone: {rule: fetch, urls: {file: {url: '\(url)0', sha256: '\(hex)', path: x}}}")
    #expect(try project.build("//app:good").status == 0)
    let path = try #require(try project.outputs("//app:good")["file"])
    #expect(path.hasSuffix("/a/layer"))
    let bad = try project.build("//app:bad", "//app:gone")
    #expect(bad.status == 36)
    #expect(bad.error.contains("the file has the SHA-256 \(hex), not 0000"))
    #expect(bad.error.contains("cannot fetch \(url)0: "))
  }
}
