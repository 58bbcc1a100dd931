import Glibc
import SystemPackage
import TestServers
import Testing

/// A publish that is killed, and run again.
@Suite struct PublishKillTests {
  private let site: PublishProject

  init() throws { site = try PublishProject() }

  private static let names = ["source-a", "source-b"]

  private func store(_ prefix: String) -> String { "\(site.project.folder)/stores/\(prefix)" }

  /// The files of a metadata store, in byte order; what is being written there has a name with a dot.
  private func files(below folder: String) -> [String] {
    guard let stream = opendir(folder) else { return [] }
    defer { closedir(stream) }
    var found: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name.hasPrefix(".") { continue }
      let path = "\(folder)/\(name)"
      if entry.pointee.d_type == UInt8(DT_DIR) { found += files(below: path) } else { found.append(path) }
    }
    return found.sorted()
  }

  /// What is to be the same whatever happened: what tags name, the receipts and every file of the metadata store, with
  /// `prefix` cut out of them.
  private func state(_ prefix: String) throws -> [String] {
    var found = try files(below: store(prefix)).map { path in
      "\(path.dropFirst(store(prefix).count)): "
        + String(decoding: try readBytes(path), as: UTF8.self)
        .replacing(prefix, with: "P")
    }
    for name in Self.names {
      let repository = "\(prefix)/airbyte/\(name)"
      for tag in site.tags(repository) { found.append("\(name):\(tag) \(site.link(repository, tag) ?? "")") }
      let receipt = try site.project.read(".slipway/publish/receipts/\(repository)/1.0.0.json")
      found.append(receipt.replacing(prefix, with: "P"))
    }
    return found
  }

  private func forget() { _ = try? site.run("rm", "-rf", site.project.path(".slipway/publish")) }

  /// Counts the lines of the registry's access log, reading each byte once.
  private final class Answers {
    private let file: FileDescriptor
    private(set) var count = 0
    private var buffer = [UInt8](repeating: 0, count: 65_536)

    init(_ path: String) throws { file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec) }

    deinit { try? file.close() }

    func read() throws -> Int {
      while true {
        let bytes = try buffer.withUnsafeMutableBytes { try file.read(into: $0) }
        if bytes == 0 { return count }
        for index in 0..<bytes where buffer[index] == 10 { count += 1 }
      }
    }
  }

  @Test func `killed at any of a hundred points and run again, it ends in the same state, no blob sent twice`() throws {
    for name in Self.names { try site.specified(name, "1.0.0", text: name) }
    try site.project.build("//...")
    mkdir("\(site.project.folder)/stores", 0o755)
    func start(_ prefix: String) throws -> HostProcess {
      mkdir(store(prefix), 0o755)
      return try site.project.start([
        "publish", "--registry", "\(site.server.host)/\(prefix)", "--metadata-store", "file://\(store(prefix))",
      ])
    }
    let answers = try Answers("\(site.server.folder)/log")
    let before = try answers.read()
    #expect(try start("whole").finish().status == 0)
    let requests = try answers.read() - before
    let stored = files(below: store("whole")).count
    let whole = try state("whole")
    let blobs = site.server.uploads().map(\.digest).sorted()
    // The base, a layer and a configuration each; an empty one, bill of materials and provenance.
    #expect(Set(blobs).count == blobs.count && blobs.count == 10)

    var killed = 0
    for point in 0..<100 {
      let prefix = "p\(point)"
      forget()
      let first = try answers.read()
      let process = try start(prefix)
      // After so many answers of the registry and files of the store; between two of them at another moment each time.
      let wanted = (requests + stored) * point / 100
      while process.isRunning, try answers.read() - first + files(below: store(prefix)).count < wanted { usleep(100) }
      usleep(UInt32(point * 37 % 10) * 100)
      process.kill(SIGKILL)
      if process.wait() == 128 + SIGKILL { killed += 1 }
      let again = try start(prefix).finish()
      #expect(again.status == 0, "point \(point): \(again.standardError)")
      #expect(try state(prefix) == whole, "point \(point)")
    }
    let uploads = site.server.uploads()
    for point in 0..<100 {
      let sent = uploads.filter { $0.path.hasPrefix("/v2/p\(point)/") }.map(\.digest).sorted()
      // What is attached names the repository.
      #expect(Set(sent).count == sent.count && sent.count == blobs.count, "point \(point)")
      #expect(Set(sent).intersection(blobs).count == 6, "point \(point)")
    }
    #expect(killed >= 90, "\(killed) of 100 were killed before they had ended")
  }
}
