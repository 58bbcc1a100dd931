import Glibc
import SystemPackage

/// BuildGrid as an engine: with PostgreSQL and workers, as `.ci/engine-server` starts it.
package final class BuildGridEngine: Sendable {
  package let port: Int
  private let folder: FilePath
  private let commands: FilePath

  /// - Parameters:
  ///   - folder: A folder that is there, for this engine alone.
  ///   - options: Of `engine-server up`, such as `--jwt`.
  package init(in folder: FilePath, options: [String] = []) throws {
    port = try ServerProcess.freePort()
    commands = folder
    self.folder = folder.appending("engine")
    try run(["up", "--port", "\(port)"] + options)
  }

  deinit { stop() }

  package func stop() { try? run(["down"]) }

  package func killWorker(_ number: Int) throws { try run(["kill-worker", "\(number)"]) }
  package func startWorker(_ number: Int) throws { try run(["start-worker", "\(number)"]) }
  package func killServer() throws { try run(["kill-server"]) }
  package func startServer() throws { try run(["start-server"]) }

  /// How many leases a worker has ended.
  package func leases(of worker: Int) -> Int {
    ServerProcess.text(folder.appending("worker-\(worker).log").string).split(separator: "\n")
      .count { $0.hasSuffix(" s") }
  }

  /// With `--jwt`: the token of `writer`, and what signs others.
  package var token: String { ServerProcess.text(folder.appending("token").string) }
  package var secret: String { ServerProcess.text(folder.appending("secret").string) }

  private func run(_ command: [String]) throws {
    let script = ServerProcess.checkout + "/.ci/engine-server"
    _ = try ServerProcess.run([script] + command + ["--folder", folder.string], folder: commands)
  }
}
