import Glibc
import SystemPackage
import TestServers
import Testing

/// Builds on an engine of the Remote Execution API: buildbox-casd with its built-in worker.
@Suite struct RemoteExecutionTests {
  private let here: Project
  private let casd: ServerProcess
  private let folder: FilePath

  init() throws {
    here = try Project()
    folder = FilePath(here.folder).appending("engine")
    mkdir(folder.string, 0o755)
    casd = try CacheServer.casd(in: folder, jobs: 2)
    try here.fillForEngines()
  }

  private var url: String { "grpc://127.0.0.1:\(casd.port)" }

  private func build(_ project: Project, _ patterns: [String], at url: String, options: [String] = []) throws
    -> BuildResult
  {
    try project.build(patterns, options: ["--executor", url] + options)
  }

  @Test func `an engine gives the bytes that this machine gives`() throws {
    let there = try Project()
    try there.fillForEngines()
    let local = try here.build(Project.wantedOfEngines, options: [])
    #expect(local.status == 0, "\(local.error)")
    let remote = try build(there, Project.wantedOfEngines, at: url)
    #expect(remote.status == 0 && remote.executed == local.executed, "\(remote.error)")
    #expect(try there.given() == here.given())
    #expect(try there.run("logs", "//app:made").standardOutput.contains("said\nwarned\n"))
    // What one of them made is a hit for the other.
    #expect(try there.build(Project.wantedOfEngines, options: []).executed == [])
    let again = try build(here, Project.wantedOfEngines, at: url)
    #expect(again.status == 0 && again.executed == [], "\(again.error)")
  }

  @Test func `an input hides what the image has in its place`() throws {
    let there = try Project()
    for project in [here, there] { try project.fillWithHiding() }
    #expect(try here.build(["//hide:hidden"], options: []).status == 0)
    let remote = try build(there, ["//hide:hidden"], at: url, options: ["--jobs", "50"])
    #expect(remote.status == 0, "\(remote.error)")
    #expect(try there.output("//hide:hidden") == here.output("//hide:hidden"))
    #expect(try there.run("logs", "//hide:hidden").standardOutput.contains("new\na\ntree\n"))
  }

  @Test func `what a command comes to is told apart`() throws {
    for (name, status, verdict) in [
      ("fails", 3, "failed"), ("none", 4, "no-tests"), ("slow", 3, "timed-out"), ("lacks", 1, ""),
    ] {
      let there = try Project()
      try there.fillForEngines()
      let remote = try build(there, ["//app:\(name)"], at: url)
      #expect(remote.status == status, "\(name): \(remote.error)")
      let event = try #require(remote.events.finished["//app:\(name)"])
      #expect(verdict.isEmpty || event["verdict"] == verdict, "\(event)")
      if name == "lacks" { #expect(remote.error.contains("declared output `a` was not created"), "\(remote.error)") }
      if name == "fails" { #expect(remote.error.contains("no\n"), "\(remote.error)") }
    }
  }

  @Test func `an engine that is gone is one clear error, or none where this machine may stand in`() throws {
    let port = try ServerProcess.freePort()
    let url = "grpc://127.0.0.1:\(port)"
    let remote = try build(here, Project.wantedOfEngines, at: url)
    #expect(remote.status == 36, "\(remote.error)")
    #expect(remote.error.contains("on the engine") && remote.error.contains("connection refused"), "\(remote.error)")
    let settings = try here.read("slipway.yaml")
    try here.write("slipway.yaml", settings + "executor: {url: \"\(url)\", image: input-root, fallback: true}\n")
    let local = try here.build(Project.wantedOfEngines, options: [])
    #expect(local.status == 0 && local.executed.contains("//app:unit"), "\(local.error)")
    let web = try build(here, ["//app:fails"], at: "http://127.0.0.1:\(port)")
    #expect(web.status == 2 && web.error.contains("starts with grpc:// or grpcs://"), "\(web.error)")
    // Nothing is opened where it is said to do without.
    let without = try here.build(["//app:fails"], options: ["--executor", ""])
    #expect(without.status == 3, "\(without.error)")
  }

  @Test func `what an engine does not offer stays here, and what it offers is asked for by properties`() throws {
    // Whoever reaches the engine's own port is in the network of the machine.
    let reach = "nc -w 1 127.0.0.1 \(casd.port) </dev/null >/dev/null 2>&1"
    let settings = try here.read("slipway.yaml")
    func stages(_ executor: String) throws -> [String: Int] {
      try here.write("slipway.yaml", settings + "executor: \(executor)\n")
      try here.write(
        "net/targets.yaml",
        """
        targets:
          open: {rule: test, image: //base:image, network: host, env: {RUN: "\(executor.count)"}, run: [sh, -c, '\(reach)']}
          closed: {rule: test, image: //base:image, env: {RUN: "\(executor.count)"}, run: [sh, -c, '! \(reach)']}

        """)
      let built = try here.build(["//net:open", "//net:closed"], options: [])
      #expect(built.status == 0, "\(built.error)")
      return built.events.rows.filter { $0["type"] == "action.stage" && $0["reason"] == "uploading" }
        .reduce(into: [:]) { $0[$1["label"] ?? "", default: 0] += 1 }
    }
    #expect(try stages("{url: \"\(url)\"}") == ["//net:closed": 1])
    let offered = "{url: \"\(url)\", offers: [network], properties: {network: \"${network}\"}}"
    #expect(try stages(offered) == ["//net:open": 1, "//net:closed": 1])
  }

  @Test func `an engine that is killed in the middle and started again costs nothing but time`() throws {
    try here.write(
      "slow/targets.yaml",
      """
      targets:
        a: {rule: action, image: //base:image, run: [sh, -c, 'sleep 3; echo a >o'], outputs: {o: o}}
        b: {rule: action, image: //base:image, inputs: [":a"], run: [sh, -c, 'cat o >p; echo b >>p'], outputs: {p: p}}

      """)
    let process = try here.start(["build", "//slow:b", "--executor", url])
    // Long enough to be in the middle of the first action, on a busy machine before it.
    sleep(2)
    casd.stop()
    let second = try CacheServer.casd(in: folder, port: casd.port, jobs: 2)
    defer { second.stop() }
    let end = try process.finish()
    #expect(end.status == 0, "\(end.standardError)")
    #expect(try here.output("//slow:b") == "a\nb\n")
  }

  @Test func `an engine that lost all that it had is given it again`() throws {
    #expect(try build(here, ["//app:made"], at: url).status == 0)
    #expect(try here.read(".slipway/engine").contains("\(casd.port)"))
    casd.stop()
    let empty = FilePath(here.folder).appending("empty")
    mkdir(empty.string, 0o755)
    let second = try CacheServer.casd(in: empty, port: casd.port, jobs: 2)
    defer { second.stop() }
    try here.write("app/in.txt", "other\n")
    let built = try build(here, ["//app:joined"], at: url)
    #expect(built.status == 0, "\(built.error)")
    #expect(try here.output("//app:joined").hasPrefix("other\n"))
  }

  /// What stands between, and whether the build must come through without help.
  private static let faults: [(name: String, arguments: [String], comesThrough: Bool)] = [
    ("none", ["none"], true), ("slow", ["slow", "--seconds", "0.2"], true),
    ("killed", ["killed", "--after", "12"], false), ("hanging", ["hanging"], false), ("corrupt", ["corrupt"], false),
    ("truncate", ["truncate"], false), ("unavailable", ["status", "--code", "14"], false),
    ("exhausted", ["status", "--code", "8"], false), ("not found", ["status", "--code", "5"], false),
    ("internal", ["status", "--code", "13"], false), ("denied", ["status", "--code", "16"], false),
  ]

  @Test(arguments: faults.indices)
  func `whatever stands before an engine, a build gives the same bytes or one clear error`(_ index: Int) throws {
    let (name, arguments, comesThrough) = Self.faults[index]
    let wanted = ["//app:joined", "//app:unit"]
    #expect(try here.build(wanted, options: []).status == 0)
    let port = try ServerProcess.freePort()
    let place = FilePath(here.folder).appending("proxy")
    mkdir(place.string, 0o755)
    let proxy = try ServerProcess(
      [
        "/usr/bin/python3", "-B", "\(ServerProcess.checkout)/Tests/Benchmarks/faultproxy.py", "--listen", "\(port)",
        "--to",
        "\(casd.port)", "--protocol", "grpc",
      ] + arguments, port: port, folder: place)
    defer { proxy.stop() }
    let url = "grpc://127.0.0.1:\(port)"
    let environment = ["SLIPWAY_REMOTE_CACHE_TIMEOUT": "5s"]
    let there = try Project()
    try there.fillForEngines()
    let alone = try there.build(wanted, options: ["--executor", url], environment: environment)
    #expect(alone.status == 0 || (alone.status == 36 && !comesThrough), "\(name): \(alone.error)")
    if alone.status == 36 {
      #expect(alone.error.contains("error: cannot run //app:"), "\(name): \(alone.error)")
      #expect(alone.error.contains("hint: without an engine"), "\(name): \(alone.error)")
      let settings = try there.read("slipway.yaml")
      try there.write("slipway.yaml", settings + "executor: {url: \"\(url)\", fallback: true}\n")
      let helped = try there.build(wanted, options: [], environment: environment)
      #expect(helped.status == 0, "\(name): \(helped.error)")
    }
    #expect(try there.output("//app:joined") == here.output("//app:joined"), "\(name)")
  }

  @Test func `an interrupted build leaves the engine nothing to do`() throws {
    // A number that no other process of the machine has among its arguments; put together by the command itself, since a
    // runner that only sets out to start it has the text among its own.
    let (first, second) = (
      "\(400 + Int(getpid() % 100))", ".\(here.folder.utf8.reduce(0) { $0 &* 31 &+ Int($1) } & 0xffff)"
    )
    let marker = first + second
    try here.write(
      "slow/targets.yaml",
      """
      targets:
        a: {rule: action, image: //base:image, run: [sh, -c, 'exec sleep "$(echo \(first))\(second)"'], outputs: {o: o}}

      """)
    let build = try here.start(["build", "//slow:a", "--executor", url])
    #expect(try eventually { isRunning(marker) })
    build.kill(SIGINT)
    #expect(try build.finish().status == 8)
    #expect(try eventually { !isRunning(marker) })
  }
}
