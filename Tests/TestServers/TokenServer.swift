import SystemPackage

/// A server that gives tokens for docker-registry to one user, `me`.
package struct TokenServer: Sendable {
  package let process: ServerProcess
  /// Lines of YAML for the configuration of a registry that believes it.
  package let auth: String

  /// - Parameters:
  ///   - folder: A folder that is there.
  ///   - lifetime: Of a token, in seconds.
  ///   - realmPort: Where clients are told that it is, if not where it is.
  package init(in folder: FilePath, password: String, lifetime: Int = 300, realmPort: Int? = nil) throws {
    let path = folder.string
    try ServerProcess.run(
      [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", path + "/key.pem", "-out",
        path + "/cert.pem", "-subj", "/CN=tokens", "-days", "2",
      ], folder: folder)
    try ServerProcess.run(
      ["openssl", "x509", "-in", path + "/cert.pem", "-outform", "DER", "-out", path + "/cert.der"], folder: folder)
    let port = try ServerProcess.freePort()
    process = try ServerProcess(
      [
        "python3", ServerProcess.resources + "/tokens.py", "\(port)", path + "/key.pem", path + "/cert.der", "tests",
        "me", password, "\(lifetime)",
      ], port: port, folder: folder)
    auth = """
      auth: {token: {realm: "http://127.0.0.1:\(realmPort ?? port)/token", service: tests, issuer: tests,
        rootcertbundle: "\(path)/cert.pem"}}
      """
  }

  /// The scopes that were asked for, each after the user or `-`.
  package func grants() throws -> [String] {
    try ServerProcess.run(["curl", "-sS", "http://127.0.0.1:\(process.port)/__log"], folder: process.folder)
      .split(separator: "\n").map(String.init)
  }
}
