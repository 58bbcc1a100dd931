import Glibc
import SystemPackage

/// docker-registry on loopback with a folder of its own, and a log of all requests that it answered.
package final class RegistryServer: Sendable {
  private let process: ServerProcess
  package let folder: String

  /// - Parameter auth: Lines of YAML for its configuration.
  package init(auth: String = "") throws {
    var template = Array("/tmp/slipway-served-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw ServerFailure("no folder") }
    folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let port = try ServerProcess.freePort()
    try ServerProcess.write(
      """
      version: 0.1
      log: {level: error}
      storage: {filesystem: {rootdirectory: "\(folder)/data"}, delete: {enabled: true}}
      http: {addr: "127.0.0.1:\(port)", secret: tests}
      \(auth)
      """, to: folder + "/config.yml")
    process = try ServerProcess(
      ["docker-registry", "serve", folder + "/config.yml"], port: port, folder: FilePath(folder))
  }

  deinit {
    process.stop()
    var status: Int32 = 0
    if let remove = try? ServerProcess.spawn(["rm", "-rf", folder], output: "/dev/null") {
      while waitpid(remove, &status, 0) < 0 && errno == EINTR {}
    }
  }

  /// `127.0.0.1:5000`
  package var host: String { "127.0.0.1:\(process.port)" }

  /// A request that was answered.
  package struct Request: Sendable {
    package var method: String
    package var path: String
    package var status: Int
  }

  /// All requests so far, from its access log.
  package var requests: [Request] {
    ServerProcess.text(folder + "/log").split(separator: "\n").compactMap { line in
      // 127.0.0.1 - - [date] "PUT /v2/x HTTP/1.1" 201 0 "" "agent"
      let parts = line.split(separator: "\"", omittingEmptySubsequences: false)
      guard parts.count > 2 else { return nil }
      let words = parts[1].split(separator: " ")
      let numbers = parts[2].split(separator: " ")
      guard words.count == 3, words[1].hasPrefix("/"), let status = numbers.first.flatMap({ Int($0) }) else {
        return nil
      }
      return Request(method: String(words[0]), path: String(words[1]), status: status)
    }
  }

  /// Blobs whose upload was completed, one for each upload.
  package func uploads() -> [(path: String, digest: String)] {
    requests.filter { $0.method == "PUT" && $0.status == 201 && $0.path.contains("/blobs/uploads/") }
      .map { request in
        let query = request.path.split(separator: "digest=").last ?? ""
        return (request.path, String(query.prefix { $0 != "&" }).replacing("%3A", with: ":"))
      }
  }
}
