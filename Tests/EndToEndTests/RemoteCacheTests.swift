import Glibc
import SystemPackage
import TestServers
import Testing

/// Builds of several machines that share a cache on nginx: each has a folder, a checkout and a local cache of its own.
@Suite struct RemoteCacheTests {
  /// Its files are the remote cache.
  private let here: Project
  private let nginx: ServerProcess
  private let folder: FilePath

  init() throws {
    here = try Project()
    folder = FilePath(here.folder).appending("nginx")
    mkdir(folder.string, 0o755)
    nginx = try CacheServer.nginx(in: folder)
    try Self.fill(here)
  }

  private var url: String { "http://127.0.0.1:\(nginx.port)" }

  /// An image, an action with a tree and a file, what reads them, and tests.
  private static func fill(_ project: Project, remote: String = "") throws {
    try project.write("app/in.txt", "hello\n")
    try project.write(
      "app/targets.yaml",
      """
      targets:
        made: {rule: action, image: //base:image, inputs: [in.txt],
          run: [sh, -c, 'mkdir -p tree/sub; cp in.txt tree/sub/a; ln -s sub/a tree/link; echo made >file'],
          outputs: {tree: tree, file: file}}
        joined: {rule: action, image: //base:image, inputs: [":made"],
          run: [sh, -c, 'cat tree/link file >all.txt'], outputs: {all: all.txt}}
        image: {rule: image, base: //base:image, layers: [{from: ":joined", to: /app}]}
        unit: {rule: test, image: ":image", run: [sh, -c, 'grep -q hello /app/all.txt']}
        test: {rule: suite, tests: [":unit"]}

      """)
  }

  /// Another machine with the same sources.
  private func machine() throws -> Project {
    let project = try Project()
    try Self.fill(project)
    return project
  }

  private func build(_ project: Project, _ patterns: String..., at url: String? = nil, options: [String] = []) throws
    -> BuildResult
  {
    try project.build(
      patterns, options: ["--remote-cache", url ?? self.url, "--remote-cache-mode", "write"] + options,
      command: "build")
  }

  /// Requests that the server noted, by method and first folder.
  private func requests(_ start: String) -> Int {
    ServerProcess.text("\(folder)/requests").split(separator: "\n").count { $0.contains("\"\(start)") }
  }

  private static let targets = ["//app:image", "//app:joined", "//app:made", "//app:unit", "//base:image"]

  @Test func `a second machine executes nothing, and brings no byte that nobody reads`() throws {
    let first = try build(here, "//...")
    #expect(first.executed == Self.targets, "\(first.error)")
    let there = try machine()
    let second = try build(there, "//...")
    #expect(second.executed == [] && second.hitRemote == Self.targets, "\(second.error)")
    #expect(second.error.contains("5 remote"), "\(second.error)")
    #expect(second.error.contains("\nRemote cache: 5 hits"), "\(second.error)")
    let totals = try there.run("cache", "stat").standardOutput
    #expect(totals.contains("\nlocal tier\t5 misses (never built 5)\n"), "\(totals)")
    #expect(totals.contains("\nremote tier\t5 hits"), "\(totals)")
    #expect(requests("GET /cas/") == 0)
    // What was taken from elsewhere is known here now, bytes or none.
    let third = try build(there, "//...")
    #expect(third.status == 0 && third.executed == [] && third.hitRemote == [], "\(third.error)")
    // Its bytes come when they are asked for, from where they are, or by making them.
    let nowhere = try there.run("outputs", "//app:image")
    #expect(nowhere.status == 36 && nowhere.standardError.contains("--download requested"), "\(nowhere.standardError)")
    let made = try there.build("//app:image", options: ["--download", "requested"])
    #expect(made.status == 0, "\(made.error)")
    #expect(try there.run("outputs", "//app:image").status == 0)
    let environment = ["SLIPWAY_REMOTE_CACHE": url]
    let outputs = try there.run("outputs", "//app:made", environment: environment)
    #expect(outputs.status == 0, "\(outputs.standardError)")
    #expect(try there.read(".slipway/out/app/made/tree/sub/a") == "hello\n")
    let ran = try there.run("run", "//app:image", "--", "cat", "/app/all.txt", environment: environment)
    #expect(ran.status == 0 && ran.standardOutput == "hello\nmade\n", "\(ran.standardError)")
  }

  @Test func `a server of the Remote Execution API serves as a web server does`() throws {
    let folder = FilePath(here.folder).appending("casd")
    mkdir(folder.string, 0o755)
    let casd = try CacheServer.casd(in: folder)
    let url = "grpc://127.0.0.1:\(casd.port)"
    let first = try build(here, "//...", at: url)
    #expect(first.executed == Self.targets && !first.error.contains("warning"), "\(first.error)")
    let second = try build(try machine(), "//...", at: url)
    #expect(second.executed == [] && second.hitRemote == Self.targets, "\(second.error)")
    // A machine that wants all the bytes, and one that builds on top of some.
    let there = try machine()
    let third = try build(there, "//...", at: url, options: ["--download", "all"])
    #expect(third.executed == [] && third.status == 0, "\(third.error)")
    #expect(try there.output("//app:joined") == "hello\nmade\n")
    let fourth = try machine()
    try fourth.write("app/in.txt", "hello again\n")
    let changed = try build(fourth, "//...", at: url)
    #expect(changed.hitRemote == ["//base:image"] && changed.status == 0, "\(changed.error)")
    #expect(try fourth.output("//app:joined") == "hello again\nmade\n")
    let doctor = try here.run("cache", "doctor", url)
    #expect(doctor.status == 0 && doctor.standardOutput.contains("wrong bytes"), "\(doctor.standardError)")
    #expect(doctor.standardOutput.contains("refused"), "\(doctor.standardOutput)")
  }

  @Test func `what is executed on top of remote hits has their bytes`() throws {
    _ = try build(here, "//...")
    let there = try machine()
    try there.write(
      "more/targets.yaml",
      """
      targets:
        look: {rule: action, image: //base:image, inputs: ["//app:made", "//app:joined"],
          run: [sh, -c, 'cat /src/app/tree/link /src/app/file /src/app/all.txt >out.txt'], outputs: {out: out.txt}}

      """)
    let built = try build(there, "//more:look")
    #expect(built.executed == ["//more:look"] && built.status == 0, "\(built.error)")
    #expect(try there.output("//more:look") == "hello\nmade\nhello\nmade\n")
  }

  @Test func `what would take longer to bring than to make is made`() throws {
    func fill(_ project: Project, suffix: String) throws {
      func made(_ name: String) -> String {
        "{rule: action, image: //base:image, run: [sh, -c, 'head -c 400000 /dev/zero | tr \"\\0\" \(name) >out'], "
          + "outputs: {out: out}}"
      }
      func read(_ input: String) -> String {
        "{rule: action, image: //base:image, inputs: [\(input)], outputs: {sum: sum}, "
          + "run: [sh, -c, 'cat /src/slow/out | md5sum >sum; echo \(suffix)']}"
      }
      try project.write(
        "slow/targets.yaml",
        """
        targets:
          a: \(made("a"))
          b: \(made("b"))
          first: \(read("':a'"))
          second: {rule: action, image: //base:image, inputs: [':b', ':first'], outputs: {sum: sum},
            run: [sh, -c, 'md5sum <out >both; cat sum >>both; mv both sum; echo \(suffix)']}

        """)
    }
    let folder = FilePath(here.folder).appending("slow")
    mkdir(folder.string, 0o755)
    // What is larger than a few pages comes by drops.
    let slow = try CacheServer.nginx(in: folder, location: "limit_rate 300k; limit_rate_after 64k;")
    let url = "http://127.0.0.1:\(slow.port)"
    try fill(here, suffix: "one")
    let first = try build(here, "//slow/...", at: url)
    #expect(first.status == 0, "\(first.error)")
    let there = try machine()
    try fill(there, suffix: "two")
    // Both readers are new. The first one brings what it reads, as nobody knows how long that takes; by then it is known.
    let second = try build(there, "//slow:second", at: url, options: ["--jobs", "1"])
    #expect(second.status == 0, "\(second.error)")
    let ran = second.events.rows.filter { $0["type"] == "action.finished" }.compactMap { $0["label"] }
    #expect(ran == ["//slow:first", "//slow:b", "//slow:second"])
    #expect(second.hitRemote.contains("//slow:b") && second.executed == ["//slow:first", "//slow:second"])
    let local = try machine()
    try fill(local, suffix: "two")
    #expect(try local.build("//slow:second").status == 0)
    #expect(try there.output("//slow:second") == local.output("//slow:second"))
  }

  @Test(arguments: ["cas", "one", "corrupt", "ac"])
  func `what the server lost or spoilt is made again, and given again`(loss: String) throws {
    _ = try build(here, "//...")
    let files = "\(folder)/files"
    let script =
      switch loss {
      case "cas": "rm -r '\(files)/cas'"
      case "one": "cd '\(files)/cas' && rm $(ls | head -n 4)"
      case "corrupt": "cd '\(files)/cas' && for f in *; do printf x >>$f; done"
      default: "cd '\(files)/ac' && for f in *; do printf x >>$f; done"
      }
    let spoil = try HostProcess(["/bin/sh", "-c", script], directory: "/", environment: ["PATH": "/usr/bin:/bin"])
      .finish()
    #expect(spoil.status == 0)
    let there = try machine()
    try there.write("app/in.txt", "hello again\n")
    let built = try build(there, "//...")
    #expect(built.status == 0, "\(built.error)")
    #expect(built.executed.contains("//app:unit"))
    #expect(try there.output("//app:joined") == "hello again\nmade\n")
    // A third machine profits.
    let third = try machine()
    try third.write("app/in.txt", "hello again\n")
    let again = try build(third, "//...", options: ["--download", "all"])
    #expect(again.status == 0 && again.executed == [], "\(again.error)")
  }

  @Test func `a server that is down, refuses or answers with a web page costs one warning`() throws {
    for (name, location) in [
      ("403", "return 403;"), ("html", "default_type text/html; return 200 '<html>';"), ("500", "return 500;"),
    ] {
      let folder = FilePath(here.folder).appending(name)
      mkdir(folder.string, 0o755)
      let bad = try CacheServer.nginx(in: folder, location: location)
      let there = try machine()
      let built = try there.build(
        "//...", options: ["--remote-cache", "http://127.0.0.1:\(bad.port)", "--remote-cache-mode", "write"])
      #expect(built.status == 0 && built.executed == Self.targets, "\(built.error)")
      #expect(built.error.components(of: "the remote cache was left alone") == 1, "\(name): \(built.error)")
    }
    for scheme in ["http", "grpc"] {
      let there = try machine()
      let port = try ServerProcess.freePort()
      let built = try there.build("//...", options: ["--remote-cache", "\(scheme)://127.0.0.1:\(port)"])
      #expect(built.status == 0 && built.executed == Self.targets)
      #expect(built.error.contains("connection refused"), "\(built.error)")
    }
  }

  @Test func `a server whose certificate is wrong or expired, and wrong credentials, cost one clear warning`() throws {
    let certificates = try ["good", "expired", "stranger"].map { name -> Certificates in
      let folder = FilePath(here.folder).appending("tls-\(name)")
      mkdir(folder.string, 0o755)
      return try Certificates(in: folder, isExpired: name == "expired")
    }
    func server(_ name: String, _ tls: Certificates) throws -> ServerProcess {
      let folder = FilePath(here.folder).appending("server-\(name)")
      mkdir(folder.string, 0o755)
      return try CacheServer.nginx(in: folder, .password(tls, user: "ann", password: "sesame"))
    }
    let (good, expired) = (try server("good", certificates[0]), try server("expired", certificates[1]))
    let grid = FilePath(here.folder).appending("grid")
    mkdir(grid.string, 0o755)
    let remote = try BuildGridServer.start(in: grid, .tls(certificates[0]))
    let untrusted = "the certificate is not signed by a trusted authority, or has expired"
    for (port, scheme, authority, password, text) in [
      (good.port, "https", certificates[2], "sesame", untrusted),
      (expired.port, "https", certificates[1], "sesame", untrusted),
      (good.port, "https", certificates[0], "wrong-secret", "401: unauthorized"),
      (remote.port, "grpcs", certificates[2], "sesame", untrusted), (good.port, "https", certificates[0], "sesame", ""),
      (remote.port, "grpcs", certificates[0], "sesame", ""),
    ] {
      let there = try machine()
      try there.write(
        "slipway.yaml",
        "slipway: 1\nname: demo\ncache: {remote: {url: '\(scheme)://127.0.0.1:\(port)', mode: write, ca: ca.pem}}\n")
      try there.copy(authority.authority, to: "ca.pem", mode: 0o644)
      let built = try there.build(
        ["//..."], options: [],
        environment: ["SLIPWAY_REMOTE_CACHE_USER": "ann", "SLIPWAY_REMOTE_CACHE_PASSWORD": password])
      #expect(built.status == 0 && built.executed == Self.targets, "\(built.error)")
      #expect(built.error.components(of: "warning:") == (text.isEmpty ? 0 : 1), "\(built.error)")
      #expect(text.isEmpty || built.error.contains(text), "\(built.error)")
      #expect(text.isEmpty || built.error.contains("\nhint: "), "\(built.error)")
      #expect(!built.error.contains("wrong-secret"))
    }
  }

  @Test func `nobody waits for a server that does not answer`() throws {
    // An answer may take 20 s in these tests, of which a build waits for four.
    let silent = try SilentServer()
    for scheme in ["http", "grpc"] {
      let there = try machine()
      let start = ContinuousClock.now
      let built = try there.build("//...", options: ["--remote-cache", "\(scheme)://127.0.0.1:\(silent.port)"])
      #expect(built.status == 0 && built.executed == Self.targets, "\(built.error)")
      #expect(ContinuousClock.now - start < .seconds(18))
    }
  }

  @Test func `an answer that comes late spares the rest of an execution`() throws {
    func fill(_ project: Project) throws {
      try project.app("long: {rule: action, image: //base:image, outputs: {o: o}, run: [sh, -c, 'sleep 6; echo x >o']}")
    }
    try fill(here)
    #expect(try build(here, "//app:long").status == 0)
    let port = try ServerProcess.freePort()
    let folder = FilePath(here.folder).appending("proxy")
    mkdir(folder.string, 0o755)
    let proxy = try ServerProcess(
      [
        "/usr/bin/python3", "\(ServerProcess.checkout)/Tests/Benchmarks/faultproxy.py", "--listen", "\(port)", "--to",
        "\(nginx.port)", "--protocol", "http", "--seconds", "1.5", "slow",
      ], port: port, folder: folder)
    let there = try machine()
    try fill(there)
    // So an answer is waited for one second.
    let built = try there.build(
      ["//app:long"], options: ["--remote-cache", "http://127.0.0.1:\(port)"],
      environment: ["SLIPWAY_REMOTE_CACHE_TIMEOUT": "5s"])
    #expect(built.status == 0 && built.hitRemote.contains("//app:long"), "\(built.error)")
    // It had begun.
    let began = built.events.rows.contains { $0["type"] == "action.started" && $0["label"] == "//app:long" }
    #expect(began)
    proxy.stop()
    let bytes = try there.run("outputs", "//app:long", environment: ["SLIPWAY_REMOTE_CACHE": url])
    #expect(bytes.status == 0, "\(bytes.standardError)")
    #expect(try there.output("//app:long") == "x\n")
  }

  @Test func `a server that takes nothing is told once, with its reason`() throws {
    let folder = FilePath(here.folder).appending("full")
    mkdir(folder.string, 0o755)
    let full = try CacheServer.nginx(in: folder, location: "if ($request_method = PUT) { return 507; }")
    let built = try here.build(
      "//...", options: ["--remote-cache", "http://127.0.0.1:\(full.port)", "--remote-cache-mode", "write"])
    #expect(built.status == 0 && built.executed == Self.targets, "\(built.error)")
    #expect(built.error.contains("warning: ") && built.error.contains("507"), "\(built.error)")
    #expect(built.error.components(of: "not uploaded") == 1, "\(built.error)")
  }

  @Test func `whoever only reads gives nothing, and a wrong URL or mode is an error`() throws {
    let built = try here.build("//app:made", options: ["--remote-cache", url])
    #expect(built.status == 0 && requests("PUT") == 0)
    for (option, value, text) in [
      ("--remote-cache", "ftp://a", "grpc://"), ("--remote-cache-mode", "rw", "read, write or off"),
      ("--download", "some", "all, requested or none"),
    ] {
      let bad = try here.run("build", "//app:made", option, value)
      #expect(bad.status == 2 && bad.standardError.contains(text), "\(bad.standardError)")
    }
  }

  @Test func `only results of trusted keys count`() throws {
    let keys = try ["ours", "theirs"].map { name -> (path: String, text: String) in
      let path = "\(here.folder)/\(name).key"
      let made = try here.run("cache", "keygen", path)
      #expect(made.status == 0 && made.standardOutput.hasPrefix("ed25519:"), "\(made.standardError)")
      return (path, String(made.standardOutput.prefix { $0 != "\n" }))
    }
    var status = stat()
    #expect(stat(keys[0].path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    #expect(try here.run("cache", "keygen", keys[0].path).status != 0, "no key is overwritten")
    func build(_ project: Project, key: String? = nil) throws -> BuildResult {
      let environment = key.map { ["SLIPWAY_SIGNING_KEY": $0] } ?? [:]
      return try project.build(
        ["//..."], options: ["--remote-cache", url, "--remote-cache-mode", key == nil ? "read" : "write"],
        environment: environment)
    }
    func trusting() throws -> Project {
      let project = try machine()
      try project.write("slipway.yaml", "slipway: 1\nname: demo\ncache: {trust: ['\(keys[0].text)']}\n")
      return project
    }
    let distrustful = try trusting()
    func expectExplained(_ reason: String) throws {
      let text = try distrustful.run("explain", "//base:image", "--remote-cache", url).standardOutput
      #expect(text.hasSuffix("\n  = remote cache: \(reason)\n"), "\(text)")
    }
    try expectExplained("no result")
    _ = try build(try machine(), key: keys[1].path)
    try expectExplained("its result is signed by a key that is not trusted, \(keys[1].text)")
    let distrusting = try build(distrustful)
    #expect(distrusting.executed == Self.targets, "signed by somebody else")
    #expect(
      distrusting.error.contains("Remote cache: 5 misses (its result is signed by a key that is not trusted 5)"),
      "\(distrusting.error)")
    let giver = try trusting()
    #expect(try build(giver, key: keys[0].path).executed == Self.targets)
    let last = try trusting()
    let known = try last.run("explain", "//app:unit", "--remote-cache", url)
    #expect(known.standardOutput.hasPrefix("hit in the remote cache ("), "\(known.standardOutput)")
    #expect(try build(last).hitRemote == Self.targets)
  }
}

extension String {
  fileprivate func components(of word: String) -> Int {
    var (count, rest) = (0, self[...])
    while let found = rest.firstRange(of: word) {
      count += 1
      rest = rest[found.upperBound...]
    }
    return count
  }
}
