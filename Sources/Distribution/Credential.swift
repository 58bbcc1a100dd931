/// What a registry is told to say who asks; never part of a description, a log or an error.
package enum Credential: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  case basic(user: String, password: String)
  /// An OAuth2 refresh token, which the token server turns into an access token.
  case identityToken(String)
  /// A bearer token that is sent as it is.
  case registryToken(String)

  package var description: String {
    switch self {
    case .basic: "a user name and password"
    case .identityToken: "an identity token"
    case .registryToken: "a registry token"
    }
  }

  package var debugDescription: String { description }
  package var customMirror: Mirror { Mirror(self, children: []) }
}

/// Where credentials come from, asked with a registry's `host[:port]`; `nil` means to ask as nobody.
package struct CredentialSource: Sendable {
  package var credential: @Sendable (_ registry: String) async throws -> Credential?

  package init(_ credential: @escaping @Sendable (_ registry: String) async throws -> Credential?) {
    self.credential = credential
  }

  package static let none = CredentialSource { _ in nil }

  /// The environment first, then Docker's configuration and the helpers that it names.
  ///
  /// `SLIPWAY_REGISTRY_USER_GHCR_IO` and `SLIPWAY_REGISTRY_PASSWORD_GHCR_IO` are for ghcr.io: the registry in capitals,
  /// `_` for whatever is no letter or digit. `SLIPWAY_REGISTRY_USER` and `SLIPWAY_REGISTRY_PASSWORD` are for the one
  /// registry that `SLIPWAY_REGISTRY_HOST` names, since a password must not go to every registry that asks for one.
  /// `DOCKER_CONFIG` names the folder of `config.json` if it is not `~/.docker`.
  package static func standard(environment: [String: String]) -> CredentialSource {
    let configuration = DockerConfiguration.Loader(environment: environment)
    return CredentialSource { registry in
      if let credential = fromEnvironment(environment, registry: registry) { return credential }
      return try await configuration.credential(for: registry)
    }
  }

  static func fromEnvironment(_ environment: [String: String], registry: String) -> Credential? {
    func pair(_ suffix: String) -> Credential? {
      guard let user = environment["SLIPWAY_REGISTRY_USER" + suffix],
        let password = environment["SLIPWAY_REGISTRY_PASSWORD" + suffix], !user.isEmpty
      else { return nil }
      return .basic(user: user, password: password)
    }
    if let own = pair("_" + variableSuffix(registry)) { return own }
    return environment["SLIPWAY_REGISTRY_HOST"]?.lowercased() == registry ? pair("") : nil
  }

  static func variableSuffix(_ registry: String) -> String {
    String(registry.uppercased().map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
  }
}
