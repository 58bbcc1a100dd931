import Diagnostics

/// A server that answers for a registry: the registry itself, or a mirror of it.
struct Endpoint: Hashable, Sendable {
  /// The registry as credentials and messages name it.
  var registry: String
  /// Host and port; the scheme as far as it is known.
  var address: WebAddress
  /// Put before every repository, with its slash; empty but for mirrors with a path.
  var prefix: String
  var isMirror: Bool
  /// Whether plain HTTP is tried first, and taken where it is spoken.
  var mayBePlain: Bool

  func repository(_ reference: Reference) -> String { prefix + reference.repository }

  /// What the credentials of this server are filed under.
  var credentialName: String { isMirror ? address.authority : registry }
}

extension RegistrySettings {
  /// Whether a host may be asked without TLS: this machine, or one that is configured so.
  func allowsPlain(_ host: String, port: Int) -> Bool {
    WebAddress.isLoopback(host) || registries["\(host):\(port)"]?.insecure == true || registries[host]?.insecure == true
  }

  func origin(of registry: String) throws -> Endpoint {
    let name = registry == "docker.io" ? "registry-1.docker.io" : registry
    guard let (host, port) = WebAddress.hostAndPort(name) else {
      throw Diagnostic.error("`\(registry)` is not a registry's host", cause: .input)
    }
    let plain =
      registry != "docker.io" && (WebAddress.isLoopback(host) || registries[registry]?.insecure == true)
    // Without a port, plain HTTP would be at another one: 80.
    return Endpoint(
      registry: registry, address: WebAddress(isSecure: true, host: host, port: port ?? 443), prefix: "",
      isMirror: false, mayBePlain: plain)
  }

  func mirrors(of registry: String) throws -> [Endpoint] {
    try (registries[registry]?.mirrors ?? []).map { text in
      guard let address = WebAddress(text.contains("://") ? text : "https://" + text), !address.target.contains("?")
      else {
        throw Diagnostic.error(
          "the mirror `\(text)` of \(registry) is not a URL", cause: .input,
          hints: ["write it as `https://host:port`"])
      }
      guard address.isSecure || allowsPlain(address.host, port: address.port) else {
        throw Diagnostic.error(
          "the mirror `\(text)` of \(registry) is asked without TLS, though it is on another machine", cause: .input,
          hints: [
            "use `https://`, or set `insecure: true` for `\(address.authority)` under `registries` in slipway.yaml"
          ])
      }
      let path = address.target.split(separator: "/").joined(separator: "/")
      guard path.isEmpty || Reference.isRepository(path) else {
        throw Diagnostic.error(
          "the path of the mirror `\(text)` of \(registry) is not one of a repository", cause: .input)
      }
      return Endpoint(
        registry: registry, address: address.at("/"), prefix: path.isEmpty ? "" : path + "/", isMirror: true,
        mayBePlain: false)
    }
  }
}
