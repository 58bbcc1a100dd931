import Glibc
import SystemPackage
import TestServers
import Testing

/// Builds on BuildGrid with PostgreSQL and two workers around buildbox-run, each of them killed and started in turn.
@Suite struct BuildGridExecutionTests {
  private let here: Project
  private let folder: FilePath

  init() throws {
    here = try Project()
    folder = FilePath(here.folder).appending("grid")
    mkdir(folder.string, 0o755)
    try here.fillForEngines()
  }

  /// Beside what a machine of two processors takes itself, all of them go to the engine.
  private func build(
    _ patterns: [String], at engine: BuildGridEngine, scheme: String = "grpc", environment: [String: String] = [:]
  ) throws -> BuildResult {
    try here.build(
      patterns, options: ["--executor", "\(scheme)://127.0.0.1:\(engine.port)", "--jobs", "50"],
      environment: environment)
  }

  @Test func `BuildGrid gives the bytes and the verdicts that this machine gives, and tells where actions stand`()
    throws
  {
    let engine = try BuildGridEngine(in: folder)
    let local = try Project()
    try local.fillForEngines()
    #expect(try local.build(Project.wantedOfEngines, options: []).status == 0)
    let remote = try build(Project.wantedOfEngines, at: engine)
    #expect(remote.status == 0, "\(remote.error)")
    #expect(try here.given() == local.given())
    let told = remote.events.rows.filter { $0["type"] == "action.stage" }
    // A stream that was taken up again tells a stage twice.
    let stages = told.filter { $0["label"] == "//app:unit" }.compactMap { $0["reason"] }
      .reduce(into: [String]()) { stages, stage in if !stages.contains(stage) { stages.append(stage) } }
    // That a worker is free at once is nothing to wait for, and so nothing to tell.
    let order = ["uploading", "queued", "running", "fetching"]
    #expect(
      order.filter(stages.contains) == stages && stages.first == "uploading" && stages.last == "fetching", "\(stages)")
    #expect(Set(told.compactMap { $0["reason"] }) == Set(order))
    for (name, status, verdict) in [("fails", 3, "failed"), ("none", 4, "no-tests"), ("slow", 3, "timed-out")] {
      let built = try build(["//app:\(name)"], at: engine)
      #expect(built.status == status, "\(name): \(built.error)")
      #expect(built.events.finished["//app:\(name)"]?["verdict"] == verdict, "\(name): \(built.error)")
    }
  }

  @Test func `an engine that offers secrets is told their names, and has the files or not`() throws {
    let engine = try BuildGridEngine(in: folder)
    try here.write("hidden/secrets/token", "of this machine")
    try here.write(
      "hidden/targets.yaml",
      """
      targets:
        test: {rule: test, image: //base:image, secrets: [token], run: [sh, -c, '[ ! -e /secrets/token ]']}

      """)
    let settings = try here.read("slipway.yaml")
    let executor = "executor: {url: \"grpc://127.0.0.1:\(engine.port)\", properties: {pool: \"${secrets}\"}"
    try here.write("slipway.yaml", settings + executor + "}\n")
    let near = try here.build(["//hidden:test"], options: ["--jobs", "50"])
    #expect(near.status == 3 && engine.leases(of: 1) + engine.leases(of: 2) == 0, "\(near.error)")
    try here.write("slipway.yaml", settings + executor + ", offers: [secrets]}\n")
    let far = try here.build(["//hidden:test"], options: ["--jobs", "50"])
    #expect(far.status == 0 && engine.leases(of: 1) + engine.leases(of: 2) == 1, "\(far.error)")
  }

  @Test func `more actions than workers wait for their turn`() throws {
    let engine = try BuildGridEngine(in: folder)
    let names = (0..<20).map { "n\($0)" }
    let targets = names.map {
      "  \($0): {rule: action, image: //base:image, run: [sh, -c, 'echo \($0) >o'], outputs: {o: o}}"
    }
    try here.write("many/targets.yaml", (["targets:"] + targets).joined(separator: "\n") + "\n")
    let built = try build(names.map { "//many:\($0)" }, at: engine)
    #expect(built.status == 0, "\(built.error)")
    for name in names { #expect(try here.output("//many:\(name)") == name + "\n") }
    #expect(engine.leases(of: 1) + engine.leases(of: 2) == names.count)
    #expect(engine.leases(of: 1) > 0 && engine.leases(of: 2) > 0)
  }

  /// An action that takes a while, and one that needs it.
  private func writeSlow() throws {
    try here.write(
      "slow/targets.yaml",
      """
      targets:
        a: {rule: action, image: //base:image, run: [sh, -c, 'sleep 4; echo a >o'], outputs: {o: o}}
        b: {rule: action, image: //base:image, inputs: [":a"], run: [sh, -c, 'cat o >p; echo b >>p'], outputs: {p: p}}

      """)
  }

  private func buildSlow(at engine: BuildGridEngine, meanwhile: () throws -> Void) throws {
    try writeSlow()
    let process = try here.start(["build", "//slow:b", "--executor", "grpc://127.0.0.1:\(engine.port)", "--jobs", "50"])
    sleep(2)
    try meanwhile()
    let end = try process.finish()
    #expect(end.status == 0, "\(end.standardError)")
    #expect(try here.output("//slow:b") == "a\nb\n")
  }

  @Test func `a worker that is killed in the middle costs its action's time`() throws {
    let engine = try BuildGridEngine(in: folder)
    // Whichever has it.
    try buildSlow(at: engine) {
      try engine.killWorker(1)
      try engine.startWorker(1)
      try engine.killWorker(2)
    }
    #expect(engine.leases(of: 1) > 0)
  }

  @Test func `a server that is killed and started again goes on with what it had`() throws {
    let engine = try BuildGridEngine(in: folder)
    try buildSlow(at: engine) {
      try engine.killServer()
      // Longer than a connection is tried for that never was.
      sleep(8)
      try engine.startServer()
    }
    #expect(engine.leases(of: 1) + engine.leases(of: 2) == 2)
  }

  @Test func `certificates and tokens let in whom they should, and the others are told why`() throws {
    let place = folder.appending("tls")
    mkdir(place.string, 0o755)
    let certificates = try Certificates(in: place)
    for (file, name) in [
      (certificates.authority, "authority"), (certificates.certificate, "certificate"),
    ] {
      try ServerProcess.run(["cp", file, place.appending(name + ".pem").string], folder: place)
    }
    let engine = try BuildGridEngine(in: folder, options: ["--mtls", place.string, "--jwt"])
    try ServerProcess.run(["cp", certificates.authority, here.path("ca.pem")], folder: place)
    let settings = try here.read("slipway.yaml")
    let url = "grpcs://127.0.0.1:\(engine.port)"
    try here.write("slipway.yaml", settings + "executor: {url: \"\(url)\", ca: ca.pem}\n")
    let identity = [
      "SLIPWAY_EXECUTOR_CERTIFICATE": certificates.certificate, "SLIPWAY_EXECUTOR_KEY": certificates.key,
    ]
    func token(_ subject: String, lifetime: Int = 3600) throws -> [String: String] {
      let text = try BuildGridServer.token(in: place, subject: subject, lifetime: lifetime, secret: engine.secret)
      return identity.merging(["SLIPWAY_EXECUTOR_TOKEN": text]) { $1 }
    }
    func asked(_ environment: [String: String]) throws -> BuildResult {
      try build(["//app:unit"], at: engine, scheme: "grpcs", environment: environment)
    }
    for (environment, message) in [
      ([String: String](), "slipway_executor_certificate"), (identity, "unauthenticated"),
      (try token("reader"), "slipway_executor_token"),
      (try token("writer", lifetime: -60), "unauthenticated"),
    ] {
      let refused = try asked(environment)
      #expect(refused.status == 36, "\(message): \(refused.error)")
      #expect(refused.error.lowercased().contains(message), "\(message): \(refused.error)")
    }
    let other = folder.appending("other")
    mkdir(other.string, 0o755)
    try ServerProcess.run(["cp", try Certificates(in: other).authority, here.path("ca.pem")], folder: place)
    let distrusted = try asked(try token("runner"))
    #expect(distrusted.status == 36 && distrusted.error.contains("certificate"), "\(distrusted.error)")
    try ServerProcess.run(["cp", certificates.authority, here.path("ca.pem")], folder: place)
    let built = try asked(try token("runner"))
    #expect(built.status == 0, "\(built.error)")
  }
}
