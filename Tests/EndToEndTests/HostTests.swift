import Glibc
import Testing

/// Bytes from a server, users without privileges, hosts that cannot run a sandbox.
@Suite struct `the host` {
  /// A server of a folder on the loopback interface.
  private final class Server {
    let process: HostProcess
    let port: Int

    init(folder: String) throws {
      process = try HostProcess(
        ["/usr/bin/python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"], directory: folder,
        environment: ["PATH": "/usr/bin:/bin"])
      var found: Int?
      let process = process
      _ = try eventually {
        let text = try process.outputSoFar()
        found = text.firstMatch(of: /port (\d+)/).flatMap { Int($0.1) }
        return found != nil || !process.isRunning
      }
      guard let found else { throw Failure("the server did not start: \(try process.errorSoFar())") }
      port = found
    }
  }

  private func sha256(_ text: String, _ project: Project) throws -> String {
    try project.write("sum", text)
    defer { project.remove("sum") }
    let sum = try HostProcess(
      ["sha256sum", "sum"], directory: project.root, environment: ["PATH": "/usr/bin:/bin"]
    ).finish().standardOutput
    return String(sum.prefix(64))
  }

  @Test func `a fetch brings the bytes of its plan and no others`() throws {
    let project = try Project()
    let server = try Server(folder: project.folder)
    let remote = try Project("www")
    _ = remote
    func serve(_ name: String, _ text: String) throws {
      guard let file = fopen("\(project.folder)/\(name)", "w") else { throw Failure("cannot write \(name)") }
      fputs(text, file)
      fclose(file)
    }
    func app(_ more: String = "") throws {
      try project.app(
        "plan: {rule: action, image: //base:image, inputs: [plan.in],",
        "  run: [cp, plan.in, plan.jsonl], outputs: {plan: plan.jsonl}}",
        "get: {rule: fetch, image: //base:image, plan: ':plan#plan', outputs: {got: got},",
        "  run: [sh, -c, 'mkdir got; cd got; for f in a b; do",
        "  wget -q http://127.0.0.1:\(server.port)/$f; done\(more)']}",
        "use: {rule: action, image: //base:image, inputs: [':get'],",
        "  run: [sh, -c, 'cat got/a got/b >out'], outputs: {out: out}}"
      )
    }
    func plan(_ a: String, _ b: String) throws {
      try project.write(
        "app/plan.in",
        "{\"path\": \"a\", \"sha256\": \"\(try sha256(a, project))\"}\n"
          + "{\"path\": \"b\", \"sha256\": [\"\(try sha256("other", project))\", \"\(try sha256(b, project))\"]}\n")
    }
    try serve("a", "alpha")
    try serve("b", "beta")
    try plan("alpha", "beta")
    try app()
    let good = try project.build("//app:use")
    #expect(good.status == 0, "\(good.error)")
    #expect(try project.output("//app:use") == "alphabeta")

    // The server changes its mind; nothing is asked again.
    try serve("b", "gamma")
    try app("; true")
    #expect(try project.build("//app:use").executed == [])

    // A new plan, and a byte that is not in it.
    try plan("alpha", "delta")
    let wrong = try project.build("//app:use")
    #expect(wrong.status == 1)
    #expect(wrong.failed == ["//app:get"])
    #expect(wrong.error.contains("`b` has the digest"), "\(wrong.error)")
    #expect(wrong.skipped == ["//app:use"])

    try plan("alpha", "gamma")
    try app("; echo x >extra")
    let more = try project.build("//app:use")
    #expect(more.status == 1)
    #expect(more.error.contains("`extra` is not in the plan"), "\(more.error)")

    try app("; rm a")
    let less = try project.build("//app:use")
    #expect(less.status == 1)
    #expect(less.error.contains("`a` was not fetched"), "\(less.error)")

    try app()
    #expect(try project.build("//app:use").status == 0)
    #expect(try project.output("//app:use") == "alphagamma")
    server.process.kill(SIGTERM)
  }

  @Test func `an action never reaches a server of the host, a test on the host's network does`() throws {
    let project = try Project()
    let server = try Server(folder: project.folder)
    try project.app(
      "cut-off: {rule: test, image: //base:image, run: [wget, -q, -O, /dev/null, 'http://127.0.0.1:\(server.port)/']}",
      "live: {rule: test, image: //base:image, network: host,",
      "  run: [wget, -q, -O, /dev/null, 'http://127.0.0.1:\(server.port)/']}"
    )
    let result = try project.build("//app:all", command: "test")
    #expect(result.status == 3)
    #expect(result.failed == ["//app:cut-off"])
    #expect(result.executed.contains("//app:live"))
    server.process.kill(SIGTERM)
  }

  @Test func `without user namespaces a build ends with 36 and a hint`() throws {
    let project = try Project()
    try project.app("hello: {rule: action, image: //base:image, run: [touch, out], outputs: {out: out}}")
    // The limit is one of a user namespace of its own, and leaves the host's alone.
    project.prefix = [
      "unshare", "--user", "--map-root-user", "sh", "-c", "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"",
      "sh",
    ]
    let end = try project.run("build", "//app:hello")
    #expect(end.status == 36, "\(end.standardError)")
    // What fails first depends on who starts the build; what to do about it does not.
    let hint = "hint: user namespaces are switched off; `sysctl user.max_user_namespaces=10000` switches them on\n"
    #expect(end.standardError.contains("\nerror: cannot "), "\(end.standardError)")
    #expect(end.standardError.contains(hint), "\(end.standardError)")
  }

  @Test func `an ordinary user builds and tests as root does, with equal images`() throws {
    let root = try Project()
    let other = try Project("elsewhere/of/another")
    for project in [root, other] {
      try project.write("app/in", "hello\n", mode: 0o644)
      try project.app(
        "hello: {rule: action, image: //base:image, inputs: [in],",
        "  run: [sh, -c, 'mkdir d; cat in >d/f; id -u >>d/f; id -g >>d/f'], outputs: {d: d}}",
        "image: {rule: image, base: //base:image, layers: [{from: ':hello', to: /opt}]}",
        "fails: {rule: test, image: ':image', run: ['false']}",
        "unit: {rule: test, image: ':image', run: [grep, hello, /opt/f]}")
    }
    if geteuid() == 0 {
      let own = try HostProcess(
        ["chown", "-R", "-h", "54321:54321", other.folder], directory: "/", environment: ["PATH": "/usr/bin:/bin"])
      #expect(own.wait() == 0)
      other.prefix = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    }
    var layouts: [String] = []
    for project in [root, other] {
      let result = try project.build("//app:unit")
      #expect(result.status == 0, "\(result.error)")
      #expect(try project.build("//app:unit").executed == [])
      #expect(try project.build("//app:all").status == 3)
      let file = try project.run("run", "//app:image", "--network", "none", "--", "cat", "/opt/f")
      #expect(file.standardOutput == "hello\n1000\n1000\n", "\(file.standardError)")
      guard let layout = try project.outputs("//app:image")["image"] else { throw Failure("no layout") }
      layouts.append(try project.read("\(layout)/index.json"))
    }
    #expect(layouts.count == 2)
    #expect(layouts.first == layouts.last)
  }

  @Test func `no manifest that is wrong crashes a build`() throws {
    let corpus =
      String(describing: #filePath).split(separator: "/").dropLast(2).reduce("") { $0 + "/" + $1 }
      + "/ManifestsTests/Corpus/invalid"
    let places = [
      "slipway": "slipway.yaml", "targets": "app/targets.yaml", "metadata": "app/metadata.yaml", "kind": "kinds/x.yaml",
    ]
    var count = 0
    for (sort, place) in places.sorted(by: { $0.key < $1.key }) {
      let project = try Project()
      if sort == "kind" {
        try project.write("slipway.yaml", "slipway: 1\nname: demo\nkinds: ['kinds/*.yaml']\n")
        try project.write("app/metadata.yaml", "data: {dockerRepository: a/b, dockerImageTag: 1.0.0}\n")
      }
      for name in try fileNames("\(corpus)/\(sort)") {
        try project.copy("\(corpus)/\(sort)/\(name)", to: place, mode: 0o644)
        let end = try project.run("build", "//...")
        #expect(end.status == 2, "\(sort)/\(name): \(end.standardError)")
        #expect(end.standardError.contains("error: "), "\(sort)/\(name)")
        count += 1
      }
    }
    #expect(count > 50)
  }

  private func fileNames(_ folder: String) throws -> [String] {
    let list = try HostProcess(["ls", folder], directory: "/", environment: ["PATH": "/usr/bin:/bin"]).finish()
    return list.standardOutput.split(separator: "\n").map(String.init)
  }
}
