import Glibc
import SeededRandom
import SystemPackage
import TestServers
import Testing

/// Machines that share a server which loses, spoils and hangs up on them, with real processes all through.
///
/// Whatever happens, a build ends with 0 and with the outputs that an uncached build has, and says so in few words.
@Suite struct RemoteCacheSimulation {
  private enum Kind: String, CaseIterable { case nginx, casd }

  /// One shared server, which can be stopped, damaged, and started again on its files.
  private final class Server {
    let kind: Kind
    let folder: FilePath
    private(set) var process: ServerProcess?
    private(set) var url: String

    init(_ kind: Kind, in folder: FilePath) throws {
      self.kind = kind
      self.folder = folder
      mkdir(folder.string, 0o755)
      url = ""
      try start()
    }

    func start() throws {
      guard process == nil else { return }
      let process = try kind == .nginx ? CacheServer.nginx(in: folder) : CacheServer.casd(in: folder)
      url = "\(kind == .nginx ? "http" : "grpc")://127.0.0.1:\(process.port)"
      self.process = process
    }

    func stop() {
      process?.stop()
      process = nil
    }

    /// Hurts some of the server's files of blobs or results.
    func damage(_ how: String, _ random: inout SeededGenerator) throws {
      let start = folder.appending(kind == .nginx ? "files" : "casd").string
      let found = try HostProcess(
        ["find", start, "-type", "f", "-size", "+0", "-regex", ".*/[0-9a-f]+$"], directory: "/",
        environment: ["PATH": "/usr/bin:/bin"]
      ).finish()
      // By name, so that a seed means the same each time.
      for path in found.standardOutput.split(separator: "\n").map(String.init).sorted() where random.chance(30) {
        if how == "delete" {
          unlink(path)
          continue
        }
        var bytes = try readBytes(path)
        if how == "truncate" { bytes.removeLast((bytes.count + 1) / 2) } else { bytes[bytes.count / 2] ^= 4 }
        chmod(path, 0o644)
        let file = try FileDescriptor.open(FilePath(path), .writeOnly, options: .truncate)
        _ = try file.closeAfter { try file.writeAll(bytes) }
      }
    }
  }

  private static func fill(_ project: Project, _ text: String) throws {
    try project.write("app/in.txt", text)
    try project.write(
      "app/targets.yaml",
      """
      targets:
        made: {rule: action, image: //base:image, inputs: [in.txt], outputs: {tree: tree, file: file},
          run: [sh, -c, 'mkdir -p tree/sub; cp in.txt tree/sub/a; ln -s sub/a tree/link; echo made >file']}
        joined: {rule: action, image: //base:image, inputs: [":made"], outputs: {all: all.txt},
          run: [sh, -c, 'cat tree/link file >all.txt']}
        image: {rule: image, base: //base:image, layers: [{from: ":joined", to: /app}]}
        unit: {rule: test, image: ":image", run: [grep, -q, made, /app/all.txt]}
        last: {rule: action, image: ":image", inputs: [":joined"], outputs: {out: out},
          run: [sh, -c, 'cat /app/all.txt all.txt >out']}

      """)
  }

  @Test(arguments: [("nginx", 1), ("nginx", 2), ("casd", 3)])
  func `whatever the server does, a build gives what it would without one`(kind: String, seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    let top = try Project()
    let server = try Server(try #require(Kind(rawValue: kind)), in: FilePath(top.folder).appending("server"))
    let machines = try (0..<3).map { _ in try Project() }
    var hits = 0
    for round in 0..<14 {
      let machine = machines[Int.random(in: 0..<3, using: &random)]
      let text = "text \(Int.random(in: 0..<3, using: &random))\n"
      try Self.fill(machine, text)
      if random.chance(40) {
        machine.cache = "\(machine.folder)/cache-\(round)"
        mkdir(machine.cache, 0o755)
      }
      var what = ["round \(round) of seed \(seed): `\(text.dropLast())`"]
      if round > 2, random.chance(40) {
        let how = try #require(["delete", "truncate", "flip"].randomElement(using: &random))
        try server.damage(how, &random)
        what.append(how)
      }
      try server.start()
      let download = try #require(["all", "requested", "none"].randomElement(using: &random))
      let mode = random.chance(80) ? "write" : "read"
      what += [download, mode]
      let build = try machine.start([
        "build", "--remote-cache", server.url, "--remote-cache-mode", mode, "--download", download, "//...",
      ])
      if random.chance(25) {
        usleep(UInt32.random(in: 0..<400, using: &random) * 1000)
        server.stop()
        what.append("killed")
      }
      let end = try build.finish()
      if end.standardError.contains(" remote)") { hits += 1 }
      let story = "\(what.joined(separator: ", "))\n\(end.standardError)"
      #expect(end.status == 0, "\(story)")
      let warnings = end.standardError.split(separator: "\n").filter { $0.hasPrefix("warning:") }
      #expect(warnings.count <= 1, "\(story)")
      // With the server or without it, its bytes are to be had.
      let bytes = try machine.run("build", "--remote-cache", "", "--download", "requested", "//app:last")
      #expect(bytes.status == 0, "\(story)\n\(bytes.standardError)")
      #expect(try machine.output("//app:last") == "\(text)made\n\(text)made\n", "\(story)")
      let verified = try machine.run("cache", "verify")
      #expect(verified.status == 0, "\(story)\n\(verified.standardOutput)")
    }
    server.stop()
    #expect(hits > 2)
  }
}
