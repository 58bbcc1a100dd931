import Glibc
import SystemPackage
import TestServers
import Testing

/// A publish that is killed, and run again.
@Suite struct PublishKillTests {
  private let site: PublishProject

  init() throws { site = try PublishProject() }

  private static let names = ["source-a", "source-b"]

  /// Where metadata goes, and how often a publish to there is killed: a hundred times in all.
  enum Store: String, CaseIterable {
    case none, folder, server

    var points: Int {
      switch self {
      case .none: 40
      case .folder: 45
      case .server: 15
      }
    }
  }

  /// The metadata store of all publishes, emptied before each: its URL stands in what it holds.
  private final class Stored {
    private let folder: String
    private let server: ServerProcess?
    /// The web server's requests.
    private let answers: Lines?
    let arguments: [String]

    init(_ store: Store, _ project: Project) throws {
      let root = FilePath(project.folder).appending("stores")
      mkdir(root.string, 0o755)
      server = store == .server ? try MetadataServer.nginx(in: root) : nil
      answers = server == nil ? nil : try Lines("\(root)/requests")
      folder = root.appending(server == nil ? "store" : "files/store").string
      let url = server.map { "http://127.0.0.1:\($0.port)/store" } ?? "file://\(folder)"
      arguments = store == .none ? [] : ["--metadata-store", url]
    }

    /// How far those who write have come: answers of the server, or files in the folder.
    func steps() throws -> Int { try answers?.read() ?? Self.files(below: folder).count }

    /// Every file that can be named in a store, and what it holds.
    func files() throws -> [String] {
      try Self.files(below: folder).filter { !$0.contains("/.") }.sorted().map { path in
        path.dropFirst(folder.utf8.count) + " " + String(decoding: try readBytes(path), as: UTF8.self)
      }
    }

    func clear() throws {
      for path in Self.files(below: folder) { unlink(path) }
    }

    private static func files(below path: String) -> [String] {
      guard let folder = opendir(path) else { return [] }
      defer { closedir(folder) }
      var found: [String] = []
      while let entry = readdir(folder) {
        let isFolder = Int(entry.pointee.d_type) == Int(DT_DIR)
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name == "." || name == ".." { continue }
        if isFolder { found += files(below: "\(path)/\(name)") } else { found.append("\(path)/\(name)") }
      }
      return found
    }
  }

  /// Counts the lines of a log, reading each byte once.
  private final class Lines {
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

  /// What is to be the same whatever happened, with `prefix` cut out of it: what tags name, the receipts, and the files
  /// of the metadata store.
  private func state(_ prefix: String, _ stored: Stored) throws -> [String] {
    var found: [String] = []
    for name in Self.names {
      let repository = "\(prefix)/airbyte/\(name)"
      for tag in site.tags(repository) { found.append("\(name):\(tag) \(site.link(repository, tag) ?? "")") }
      found.append(try site.project.read(".slipway/publish/receipts/\(repository)/1.0.0.json"))
    }
    found += try stored.files()
    return found.map { $0.replacing(prefix, with: "P") }
  }

  @Test(arguments: Store.allCases)
  func `killed at any of a hundred points and run again, it ends in the same state, no blob sent twice`(
    store: Store
  ) throws {
    for name in Self.names { try site.specified(name, "1.0.0", text: name) }
    try site.project.build("//...")
    let stored = try Stored(store, site.project)
    let answers = try Lines("\(site.server.folder)/log")
    func start(_ prefix: String) throws -> HostProcess {
      try site.project.start(
        ["publish", "--registry", "\(site.server.host)/\(prefix)"] + stored.arguments)
    }
    func steps() throws -> Int { try answers.read() + stored.steps() }
    let before = try steps()
    #expect(try start("whole").finish().status == 0)
    let all = try steps() - before
    let whole = try state("whole", stored)
    let blobs = site.server.uploads().map(\.digest).sorted()
    // The base, a layer and a configuration each; an empty one, bill of materials and provenance.
    #expect(Set(blobs).count == blobs.count && blobs.count == 10)

    var killed = 0
    for point in 0..<store.points {
      let prefix = "point-\(point)"
      try site.run(["rm", "-rf", site.project.path(".slipway/publish")])
      try stored.clear()
      let first = try steps()
      let process = try start(prefix)
      // After so many steps; between two of them at another moment each time.
      let wanted = first + all * point / store.points
      while process.isRunning, try steps() < wanted { usleep(100) }
      usleep(UInt32(point * 37 % 10) * 100)
      process.kill(SIGKILL)
      if process.wait() == 128 + SIGKILL { killed += 1 }
      let again = try start(prefix).finish()
      #expect(again.status == 0, "point \(point): \(again.standardError)")
      #expect(try state(prefix, stored) == whole, "point \(point)")
    }
    let uploads = site.server.uploads()
    for point in 0..<store.points {
      let sent = uploads.filter { $0.path.hasPrefix("/v2/point-\(point)/") }.map(\.digest).sorted()
      // What is attached names the repository.
      #expect(Set(sent).count == sent.count && sent.count == blobs.count, "point \(point)")
      #expect(Set(sent).intersection(blobs).count == 6, "point \(point)")
    }
    #expect(killed >= store.points * 9 / 10, "\(killed) of \(store.points) were killed before they had ended")
  }
}
