import OCI

@testable import Distribution

/// The proxy that breaks what its rules say; see `Servers/faults.py`.
struct FaultyServer {
  let server: ServerProcess

  struct Request: Sendable, CustomStringConvertible {
    var method: String
    var path: String
    /// The first word of its authorization; empty without one.
    var authorization: String
    /// Tells one secret from another.
    var secret: String
    var range: String
    var accept: String
    /// Bytes of its body that came.
    var received: Int

    var description: String { "\(method) \(path) \(authorization) \(range) \(received)" }
  }

  var port: Int { server.port }

  func requests() throws -> [Request] {
    let text = try ServerProcess.run(["curl", "-sS", "http://127.0.0.1:\(port)/__log"], folder: server.folder)
    return text.split(separator: "\n").compactMap { line in
      guard let json = JSON(decoding: Array(line.utf8)) else { return nil }
      func field(_ name: String) -> String { json[name]?.string ?? "" }
      return Request(
        method: field("method"), path: field("path"), authorization: field("authorization"), secret: field("secret"),
        range: field("range"), accept: field("accept"), received: json["received"]?.int ?? -1)
    }
  }
}

extension Fixture {
  /// - Parameters:
  ///   - upstream: The port of a registry; a server of its own without one.
  ///   - rules: JSON.
  func faults(before upstream: ServerProcess? = nil, _ rules: String) throws -> FaultyServer {
    let folder = try makeFolder("faults")
    let port = try ServerProcess.freePort()
    try ServerProcess.write(rules, to: folder.string + "/rules.json")
    let target = upstream.map { "http://127.0.0.1:\($0.port)" } ?? "-"
    let server = try ServerProcess(
      ["python3", ServerProcess.resources + "/faults.py", "\(port)", target, folder.string + "/rules.json"],
      port: port, folder: folder)
    return FaultyServer(server: keep(server))
  }
}
