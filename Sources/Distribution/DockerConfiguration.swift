import Caching
import Diagnostics
import OCI
import Synchronization
import SystemPackage

/// What `~/.docker/config.json` says of credentials.
package struct DockerConfiguration: Sendable {
  /// As written, keys included: `https://index.docker.io/v1/`, `ghcr.io`.
  private var entries: [(key: String, entry: JSON)] = []
  private var helpers: [(key: String, helper: String)] = []
  private var store: String?
  private let path: String

  /// - Throws: A diagnostic that names the file, and nothing of what is in it.
  package init(decoding bytes: [UInt8], path: String) throws {
    self.path = path
    guard let json = JSON(decoding: bytes), let members = json.object else {
      throw Diagnostic.error("`\(path)` is not a JSON object", cause: .environment)
    }
    func object(_ name: String) throws -> [(String, JSON)] {
      guard let value = members[name], value != .null else { return [] }
      guard let object = value.object else {
        throw Diagnostic.error("`\(name)` in `\(path)` is not an object", cause: .environment)
      }
      return object.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map { ($0.key, $0.value) }
    }
    entries = try object("auths").map { (key: $0.0, entry: $0.1) }
    helpers = try object("credHelpers").compactMap { key, value in value.string.map { (key: key, helper: $0) } }
    store = members["credsStore"]?.string.flatMap { $0.isEmpty ? nil : $0 }
  }

  /// What helper is to be asked for a registry, and by which name of the registry.
  func helper(for registry: String) -> (name: String, server: String)? {
    if let match = helpers.first(where: { Self.matches($0.key, registry) }) { return (match.helper, match.key) }
    return store.map { ($0, registry == "docker.io" ? Self.dockerHub : registry) }
  }

  /// What the file itself holds for a registry.
  func credential(for registry: String) throws -> Credential? {
    guard let entry = entries.first(where: { Self.matches($0.key, registry) })?.entry else { return nil }
    if let token = entry["identitytoken"]?.string, !token.isEmpty { return .identityToken(token) }
    if let token = entry["registrytoken"]?.string, !token.isEmpty { return .registryToken(token) }
    if let text = entry["auth"]?.string, !text.isEmpty {
      guard let decoded = Base64.decode(text).flatMap({ String(validating: $0, as: UTF8.self) }),
        let colon = decoded.firstIndex(of: ":"), colon != decoded.startIndex
      else {
        throw Diagnostic.error(
          "the `auth` of \(registry) in `\(path)` is not the base64 of `user:password`", cause: .environment,
          hints: ["run `docker login \(registry)` again"])
      }
      let password = decoded[colon...].dropFirst()
      // Docker has written trailing zero bytes.
      return .basic(
        user: String(decoded[..<colon]), password: String(password.prefix { $0 != "\0" }))
    }
    if let user = entry["username"]?.string, let password = entry["password"]?.string, !user.isEmpty {
      return .basic(user: user, password: password)
    }
    return nil
  }

  static let dockerHub = "https://index.docker.io/v1/"

  /// Keys are hosts, or URLs from the times of version 1, with a path or without.
  static func matches(_ key: String, _ registry: String) -> Bool {
    var host = key[...]
    for scheme in ["https://", "http://"] where host.hasPrefix(scheme) { host = host.dropFirst(scheme.count) }
    let name = host.prefix { $0 != "/" }.lowercased()
    if registry == "docker.io" { return ["docker.io", "index.docker.io", "registry-1.docker.io"].contains(name) }
    return name == registry
  }

  /// Reads the file once, when it is first needed.
  final class Loader: Sendable {
    private let environment: [String: String]
    private let loaded = Mutex<Result<DockerConfiguration?, any Error>?>(nil)

    init(environment: [String: String]) { self.environment = environment }

    func credential(for registry: String) async throws -> Credential? {
      guard let configuration = try configuration() else { return nil }
      if let helper = configuration.helper(for: registry) {
        let answer = try await CredentialHelper(name: helper.name, environment: environment)
          .credential(for: helper.server)
        if let answer { return answer }
      }
      return try configuration.credential(for: registry)
    }

    private func configuration() throws -> DockerConfiguration? {
      try loaded.withLock { loaded in
        if let loaded { return try loaded.get() }
        let result = Result { try read() }
        loaded = result
        return try result.get()
      }
    }

    private func read() throws -> DockerConfiguration? {
      guard
        let folder = environment["DOCKER_CONFIG"].flatMap({ $0.isEmpty ? nil : $0 })
          ?? environment["HOME"].map({ $0 + "/.docker" })
      else { return nil }
      let path = folder + "/config.json"
      guard let bytes = try Disk.contents(of: path, limit: 1 << 20) else { return nil }
      return try DockerConfiguration(decoding: bytes, path: path)
    }
  }
}
