import NIOHTTP1
import OCI

/// What each server has asked for, and the tokens that it was given.
actor Authorizer {
  /// The value of an `Authorization` header; never printed.
  struct Authorization: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    fileprivate var header: String
    /// Only the latest is worth renewing when it is refused.
    fileprivate var number: Int
    var value: String { header }
    var description: String { "an authorization" }
    var customMirror: Mirror { Mirror(self, children: []) }
  }

  private enum Scheme {
    case basic
    case bearer(realm: WebAddress, service: String?)
  }

  private struct Key: Hashable {
    var origin: String
    var scopes: [String]
  }

  private struct Held {
    var authorization: Authorization
    var expires: ContinuousClock.Instant
  }

  private let settings: RegistrySettings
  private let transport: Transport
  private var schemes: [String: Scheme] = [:]
  private var held: [Key: Held] = [:]
  private var underWay: [Key: Task<Held, any Error>] = [:]
  private var credentials: [String: Task<Credential?, any Error>] = [:]
  private var counter = 0

  init(_ settings: RegistrySettings, _ transport: Transport) {
    self.settings = settings
    self.transport = transport
  }

  /// What to send before the server has said anything about this request; `nil` while it has asked for nothing.
  func authorization(_ endpoint: Endpoint, _ scopes: [String]) async throws -> Authorization? {
    guard let scheme = schemes[endpoint.address.origin] else { return nil }
    return try await authorization(endpoint, scopes, scheme)
  }

  /// What to send after a 401; `nil` when there is nothing else to try.
  ///
  /// - Parameter refused: What was sent.
  func answer(_ challenges: [Challenge], _ endpoint: Endpoint, _ scopes: [String], refused: Authorization?) async throws
    -> Authorization?
  {
    let origin = endpoint.address.origin
    guard let scheme = try choose(challenges, endpoint) else { return nil }
    schemes[origin] = scheme
    let key = Key(origin: origin, scopes: scopes)
    if let refused {
      if case .basic = scheme { return nil }
      // Somebody else may have renewed it meanwhile.
      if held[key]?.authorization == refused { held[key] = nil }
    }
    return try await authorization(endpoint, scopes, scheme)
  }

  /// Bearer before Basic: a server that offers both wants tokens for everything but the tokens.
  private func choose(_ challenges: [Challenge], _ endpoint: Endpoint) throws -> Scheme? {
    if let bearer = challenges.first(where: { $0.scheme == "bearer" }), let text = bearer.parameters["realm"] {
      guard let realm = endpoint.address.resolving(text) else {
        throw refusal(endpoint, "the token server that it names is not a URL")
      }
      let bothPlain =
        settings.allowsPlain(realm.host, port: realm.port)
        && settings.allowsPlain(endpoint.address.host, port: endpoint.address.port)
      guard realm.isSecure || bothPlain else {
        throw refusal(
          endpoint, "it wants credentials sent to \(realm.origin), which would be without TLS")
      }
      return .bearer(realm: realm, service: bearer.parameters["service"])
    }
    return challenges.contains { $0.scheme == "basic" } ? .basic : nil
  }

  private func refusal(_ endpoint: Endpoint, _ text: String) -> RegistryFailure {
    RegistryFailure(
      reason: .refused, method: "GET", url: endpoint.address.origin + "/v2/", text: text, isTransient: false)
  }

  private func authorization(_ endpoint: Endpoint, _ scopes: [String], _ scheme: Scheme) async throws -> Authorization?
  {
    switch scheme {
    case .basic:
      guard case .basic(let user, let password)? = try await credential(endpoint.credentialName)
      else { return nil }
      return Authorization(header: Self.basic(user, password), number: 0)
    case .bearer(let realm, let service):
      let key = Key(origin: endpoint.address.origin, scopes: scopes)
      if let held = held[key], held.expires > .now { return held.authorization }
      let task: Task<Held, any Error>
      if let running = underWay[key] {
        task = running
      } else {
        // Not the child of whoever asked first: others wait for it too.
        task = Task { try await self.fetch(endpoint, realm, service, scopes) }
        underWay[key] = task
      }
      do {
        let fresh = try await task.value
        if underWay[key] == task {
          underWay[key] = nil
          held[key] = fresh
        }
        return fresh.authorization
      } catch {
        if underWay[key] == task { underWay[key] = nil }
        throw error
      }
    }
  }

  /// Asked for once a registry: a helper is a program, and may ask a person.
  private func credential(_ registry: String) async throws -> Credential? {
    let task: Task<Credential?, any Error>
    if let known = credentials[registry] {
      task = known
    } else {
      let source = settings.credentials
      task = Task { try await source.credential(registry) }
      credentials[registry] = task
    }
    return try await task.value
  }

  private static func basic(_ user: String, _ password: String) -> String {
    "Basic " + Base64.encode(Array("\(user):\(password)".utf8))
  }

  // MARK: Tokens

  /// Asks the token server (distribution's token specification; OAuth2 for an identity token).
  private func fetch(_ endpoint: Endpoint, _ realm: WebAddress, _ service: String?, _ scopes: [String]) async throws
    -> Held
  {
    let credential = try await credential(endpoint.credentialName)
    counter += 1
    let number = counter
    if case .registryToken(let token)? = credential {
      return Held(
        authorization: Authorization(header: "Bearer " + token, number: number), expires: .now + .seconds(3600))
    }
    var failures = 0
    var waited = Duration.zero
    while true {
      do {
        let (token, seconds) = try await ask(realm, service, scopes, credential)
        // Renewed before its end, so that none ends on the way.
        let useful = Duration.seconds(seconds) - min(.seconds(10), .seconds(seconds) / 5)
        return Held(authorization: Authorization(header: "Bearer " + token, number: number), expires: .now + useful)
      } catch let failure as RegistryFailure where failure.isTransient {
        failures += 1
        guard
          let delay = settings.retry.delay(
            failures: failures, waited: waited, retryAfter: failure.retryAfter, random: settings.time.random())
        else { throw failure }
        waited += delay
        try await settings.time.sleep(delay)
      }
    }
  }

  private func ask(_ realm: WebAddress, _ service: String?, _ scopes: [String], _ credential: Credential?) async throws
    -> (token: String, seconds: Int)
  {
    var fields = scopes.map { ("scope", $0) }
    if let service { fields.insert(("service", service), at: 0) }
    var method = HTTPMethod.GET
    var address = realm
    var headers = [("Accept", "application/json")]
    var payload = Payload.none
    switch credential {
    case .identityToken(let token)?:
      // A POST has one scope field, its scopes separated by spaces (RFC 6749, 3.3).
      let form =
        [("grant_type", "refresh_token"), ("client_id", "slipway"), ("refresh_token", token)]
        + (service.map { [("service", $0)] } ?? []) + [("scope", scopes.joined(separator: " "))]
      method = .POST
      headers.append(("Content-Type", "application/x-www-form-urlencoded"))
      payload = .bytes(
        Array(form.map { WebAddress.escape($0.0) + "=" + WebAddress.escape($0.1) }.joined(separator: "&").utf8))
    case .basic(let user, let password)?:
      headers.append(("Authorization", Self.basic(user, password)))
      address = realm.adding(fields)
    case .registryToken?, nil: address = realm.adding(fields)
    }
    let exchange = Exchange(settings: settings, transport: transport)
    let answer = try await exchange.send(method, address, headers: headers, payload: payload)
    guard answer.status == 200 else {
      var failure = try await exchange.failure(answer, method, address)
      if answer.status == 401 || answer.status == 403 {
        failure.text += credential == nil ? " (no credentials were sent)" : " (the credentials were refused)"
      }
      throw failure
    }
    let bytes = try await exchange.body(answer, method, address, limit: settings.limits.answer)
    let json = JSON(decoding: bytes)
    guard let token = json?["token"]?.string ?? json?["access_token"]?.string, !token.isEmpty,
      token.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
    else {
      throw RegistryFailure(
        reason: .content, method: method.rawValue, url: address.origin + address.path,
        text: "the answer holds no token",
        isTransient: false)
    }
    // The specification: 60 seconds where none are given.
    return (token, min(max(json?["expires_in"]?.int ?? 60, 1), 86_400))
  }
}
