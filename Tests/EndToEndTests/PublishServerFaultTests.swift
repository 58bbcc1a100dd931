import Glibc
import SystemPackage
import TestServers
import Testing

/// Registries, token servers and disks that fail under a publish: a clear error each, and nothing half published.
@Suite struct PublishServerFaultTests {
  private let site: PublishProject
  private let folder: FilePath

  init() throws {
    site = try PublishProject()
    folder = FilePath(site.project.folder).appending("servers")
    mkdir(folder.string, 0o755)
  }

  private func connectors(_ site: PublishProject, _ names: String...) throws {
    for name in names { try site.specified(name, "1.0.0", text: name) }
    try site.project.build("//...")
  }

  /// A proxy before the registry, or a server of its own, that breaks what its rules say.
  private func faults(before upstream: String, _ rules: String) throws -> ServerProcess {
    let port = try ServerProcess.freePort()
    let path = folder.appending("rules-\(port).json").string
    try ServerProcess.write(rules, to: path)
    return try ServerProcess(
      ["python3", ServerProcess.resources + "/faults.py", "\(port)", upstream, path], port: port, folder: folder)
  }

  // MARK: Registries

  @Test(arguments: ["GET|HEAD", "POST", "PUT"])
  func `a registry that answers with HTML is named as one, and nothing is tagged`(method: String) throws {
    try connectors(site, "source-a")
    let page = "\"status\": 200, \"headers\": {\"Content-Type\": \"text/html\"}, \"body\": \"<html>secret page</html>\""
    let path = method == "PUT" ? "manifests/sha256" : "/v2/."
    let proxy = try faults(
      before: "http://\(site.server.host)",
      "[{\"method\": \"\(method)\", \"path\": \"\(path)\", \"times\": 0, \(page)}]")
    let result = try site.publish("--registry", "127.0.0.1:\(proxy.port)")
    #expect(result.status == 36, "\(result.standardError)")
    #expect(result.standardError.contains("error: cannot "), "\(result.standardError)")
    // A manifest is not believed to have arrived, whatever the answer is.
    let reason = method == "PUT" ? "and has lost it" : "the answer is `text/html`, not "
    #expect(result.standardError.contains(reason), "\(result.standardError)")
    #expect(!(result.standardError + result.standardOutput).contains("secret page"))
    #expect(site.tags("airbyte/source-a") == [])
    #expect(try site.publish().status == 0)
  }

  @Test func `credentials that have expired are refused by name, and what they were is told nobody`() throws {
    let tokens = try TokenServer(in: folder, password: "current")
    let site = try PublishProject(auth: tokens.auth)
    try connectors(site, "source-a")
    func publish(_ token: String) throws -> HostProcess.Finished {
      mkdir("\(site.project.folder)/home/.docker", 0o755)
      try site.project.write(
        "../home/.docker/config.json", "{\"auths\": {\"\(site.server.host)\": {\"identitytoken\": \"\(token)\"}}}")
      return try site.publish()
    }
    let expired = try publish("refresh-of-last-year")
    #expect(expired.status == 36, "\(expired.standardError)")
    #expect(expired.standardError.contains("/token: 401 UNAUTHORIZED"), "\(expired.standardError)")
    #expect(expired.standardError.contains("the credentials were refused"))
    #expect(expired.standardError.contains("hint: set credentials for \(site.server.host)"))
    #expect(!(expired.standardError + expired.standardOutput).contains("of-last-year"))
    #expect(site.tags("airbyte/source-a") == [])
    #expect(try publish("refresh-current").status == 0)
    #expect(site.tags("airbyte/source-a") == ["1.0.0", "latest"])
  }

  @Test func `a token that ends on the way is renewed; one that is refused for good ends before the tag`() throws {
    let tokens = try TokenServer(in: folder, password: "current")
    let site = try PublishProject(auth: tokens.auth)
    try connectors(site, "source-a")
    let challenge = "Bearer realm=\\\"http://127.0.0.1:\(tokens.process.port)/token\\\",service=\\\"tests\\\""
    func publish(times: Int) throws -> HostProcess.Finished {
      let proxy = try faults(
        before: "http://\(site.server.host)",
        """
        [{"method": "PUT", "path": "manifests/sha256", "times": \(times), "status": 401,
          "headers": {"WWW-Authenticate": "\(challenge)"}}]
        """)
      let host = "127.0.0.1:\(proxy.port)"
      return try withExtendedLifetime(proxy) {
        try site.project.start(
          ["publish", "--registry", host],
          environment: [
            "SLIPWAY_REGISTRY_HOST": host, "SLIPWAY_REGISTRY_USER": "me", "SLIPWAY_REGISTRY_PASSWORD": "current",
          ]
        ).finish()
      }
    }
    let refused = try publish(times: 0)
    #expect(refused.status == 36, "\(refused.standardError)")
    #expect(refused.standardError.contains("401 UNAUTHORIZED"), "\(refused.standardError)")
    #expect(site.tags("airbyte/source-a") == [])
    let renewed = try publish(times: 1)
    #expect(renewed.status == 0, "\(renewed.standardError)")
    #expect(site.tags("airbyte/source-a") == ["1.0.0", "latest"])
  }

  // MARK: Disks

  /// Commands of the project see what the script mounts, and nobody else does.
  private func mounting(_ script: String) {
    let own = geteuid() == 0 ? [] : ["--user", "--map-root-user"]
    site.project.prefix = ["unshare", "--mount"] + own + ["sh", "-e", "-c", script + "\nexec \"$@\"", "sh"]
  }

  private var changes: Int { site.server.requests.filter { $0.method != "HEAD" && $0.method != "GET" }.count }

  @Test(arguments: [
    ("mount --bind \"$S\" \"$S\"; mount -o remount,bind,ro \"$S\"", "read-only file system", "one that you can write"),
    ("mount -t tmpfs -o size=16k none \"$S\"", "no space left on device", "free some space there"),
  ])
  func `a metadata store without room or right to write is told before anything is pushed`(
    script: String, reason: String, hint: String
  ) throws {
    let store = "\(site.project.folder)/metadata"
    mkdir(store, 0o755)
    try connectors(site, "source-a")
    mounting(script.replacing("$S", with: store))
    let result = try site.publish("--metadata-store", "file://\(store)")
    #expect(result.status == 36, "\(result.standardError)")
    #expect(result.standardError.contains(": \(reason)\n"), "\(result.standardError)")
    #expect(result.standardError.contains("note: nothing was pushed"))
    #expect(result.standardError.contains(hint))
    #expect(changes == 0)
    site.project.prefix = []
    #expect(try site.publish("--metadata-store", "file://\(store)").status == 0)
    #expect(site.tags("airbyte/source-a") == ["1.0.0", "latest"])
    // Who may only read finds out that there is nothing to do.
    mounting("mount --bind '\(store)' '\(store)'; mount -o remount,bind,ro '\(store)'")
    let idle = try site.publish("--metadata-store", "file://\(store)")
    #expect(idle.status == 0 && idle.standardOutput.contains("identical"), "\(idle.standardError)")
  }

  @Test func `a disk that is full in the middle leaves no tag without its image, and the next run goes on`() throws {
    try connectors(site, "source-a", "source-b", "source-c")
    let journal = site.project.path(".slipway/publish")
    mkdir(journal, 0o755)
    // A page for the lock, and one for the journal: some steps of some connectors. What is on that disk outlives it, as
    // it would where somebody makes room.
    let kept = "\(site.project.folder)/kept"
    mounting(
      """
      mount -t tmpfs -o size=8k none '\(journal)'
      status=0; "$@" || status=$?
      cp -a '\(journal)' '\(kept)'
      exit $status
      """)
    let result = try site.publish()
    try site.run(["cp", "-a", "\(kept)/.", journal])
    #expect(result.status == 36, "\(result.standardError)")
    #expect(result.standardError.contains("no space left on device"), "\(result.standardError)")
    #expect(changes > 0, "it stopped before it began")
    site.project.prefix = []
    for name in ["source-a", "source-b", "source-c"] {
      for tag in site.tags("airbyte/\(name)") {
        _ = try site.run(
          "skopeo", "copy", "-q", "--src-tls-verify=false", "docker://\(site.server.host)/airbyte/\(name):\(tag)",
          "oci:\(site.project.folder)/copy:\(name)-\(tag)")
      }
    }
    let again = try site.publish()
    #expect(again.status == 0, "\(again.standardError)")
    for name in ["source-a", "source-b", "source-c"] {
      #expect(site.tags("airbyte/\(name)") == ["1.0.0", "latest"])
      #expect(site.project.exists(".slipway/publish/receipts/airbyte/\(name)/1.0.0.json"))
    }
    let sent = site.server.uploads().map(\.digest)
    #expect(Set(sent).count == sent.count, "a blob was sent twice: \(sent)")
  }

  // MARK: A metadata store on a web server

  @Test func `a metadata store behind TLS and a password`() throws {
    try connectors(site, "source-a", "source-b")
    let tls = try Certificates(in: folder)
    let users = try ServerProcess.run(["htpasswd", "-nbm", "ann", "right"], folder: folder)
    let server = try MetadataServer.nginx(in: folder, users: users, tls: tls)
    let url = "https://127.0.0.1:\(server.port)/store"
    func publish(_ arguments: String..., password: String = "right", trusts: Bool = true) throws
      -> HostProcess.Finished
    {
      var environment = ["SLIPWAY_METADATA_USER": "ann", "SLIPWAY_METADATA_PASSWORD": password]
      if trusts { environment["SSL_CERT_FILE"] = tls.authority }
      return try site.project.start(["publish", "--metadata-store", url] + arguments, environment: environment)
        .finish()
    }
    let stranger = try publish(trusts: false)
    #expect(stranger.status == 36, "\(stranger.standardError)")
    #expect(stranger.standardError.contains("the certificate is not signed by a trusted authority"))
    let wrong = try publish(password: "no-such-secret")
    #expect(wrong.status == 36, "\(wrong.standardError)")
    #expect(wrong.standardError.contains("401"), "\(wrong.standardError)")
    #expect(!(wrong.standardError + wrong.standardOutput).contains("no-such-secret"))
    #expect(changes == 0)

    let first = try publish()
    #expect(first.status == 0, "\(first.standardError)")
    func stored(_ path: String) -> String { ServerProcess.text("\(folder)/files/store/\(path)") }
    for list in ["oss", "cloud"] {
      let text = stored("registries/v0/\(list)_registry.json")
      #expect(text.contains("airbyte/source-a") && text.contains("airbyte/source-b"), "\(text)")
    }
    #expect(stored("metadata/airbyte/source-a/latest/spec.json") == "{\"connectionSpecification\":{}}")
    let got = try ServerProcess.run(
      [
        "curl", "-sSf", "--cacert", tls.authority, "-u", "ann:right",
        "\(url)/metadata/airbyte/source-b/1.0.0/metadata.yaml",
      ], folder: folder)
    #expect(got.contains("dockerImageTag: \"1.0.0\"\n"))

    // Nothing to do costs one request, once the server has said whom it wants. It notes a request after its answer.
    func noted() -> [Substring] { ServerProcess.text("\(folder)/requests").split(separator: "\n") }
    for _ in 0..<1000 where !noted().contains(where: { $0.contains("curl/") }) { usleep(10_000) }
    let before = noted().count
    #expect(try publish().standardOutput.contains("identical"))
    let requests = noted().dropFirst(before)
    #expect(requests.allSatisfy { $0.contains("GET /store/metadata/index.json") }, "\(requests)")

    let list = stored("registries/v0/oss_registry.json")
    _ = try site.run(
      "rm", "-rf", "\(folder)/files/store/metadata/airbyte/source-a/latest", "\(folder)/files/store/registries")
    let repair = try publish("--repair")
    #expect(repair.status == 0, "\(repair.standardError)")
    #expect(stored("registries/v0/oss_registry.json") == list)
    #expect(stored("metadata/airbyte/source-a/latest/spec.json") != "")
  }
}
