import Diagnostics
import Digests
import NIOHTTP1
import OCI
import Synchronization

/// A client of OCI registries (distribution specification 1.1).
///
/// It connects when it is first asked for something and keeps its connections until `close`. Everything that comes
/// from a registry is bounded in size and time, and verified by digest; so mirrors need no trust. Failures are
/// diagnostics `cannot pull|push REFERENCE: METHOD URL: STATUS CODE: message`.
package final class RegistryClient: Sendable {
  let settings: RegistrySettings
  let exchange: Exchange
  private let transport: Transport
  private let authorizer: Authorizer
  /// One transfer of a blob at a time.
  let gate = Gate()
  private let permits: Permits
  private let state = Mutex(State())

  private struct State {
    /// What turned out to answer, by what was asked for.
    var reached: [Endpoint: Task<Endpoint, any Error>] = [:]
    /// Mirrors that failed once are not asked again.
    var failedMirrors: Set<Endpoint> = []
    /// A repository in which a blob is, by registry and digest.
    var places: [String: String] = [:]
  }

  /// Where the registry of the reference is known to have a blob, because this client saw it there.
  func place(of digest: Digest, _ reference: Reference) -> String? {
    state.withLock { $0.places[reference.registry + " " + digest.oci] }
  }

  func notePlace(of digest: Digest, _ reference: Reference) {
    state.withLock { $0.places[reference.registry + " " + digest.oci] = reference.repository }
  }

  package init(_ settings: RegistrySettings) {
    self.settings = settings
    transport = Transport(settings)
    authorizer = Authorizer(settings, transport)
    permits = Permits(settings.limits.connections)
    exchange = Exchange(settings: settings, transport: transport)
  }

  /// Closes all connections; nothing can be asked afterwards.
  package func close() async { await transport.close() }

  // MARK: Where to ask

  enum Action {
    case pull, push

    var scopes: String { self == .pull ? "pull" : "pull,push" }
  }

  /// Runs a pull against each mirror and then the registry, until one succeeds; anything else against the registry.
  ///
  /// `nil` (not there) from a mirror means to ask the next one.
  func pulling<Value>(
    _ reference: Reference, _ doing: String, _ body: (Endpoint) async throws -> Value?
  ) async throws -> Value? {
    for mirror in try settings.mirrors(of: reference.registry) {
      guard state.withLock({ !$0.failedMirrors.contains(mirror) }) else { continue }
      do {
        if let value = try await body(mirror) { return value }
      } catch let failure as RegistryFailure {
        let isFirst = state.withLock { $0.failedMirrors.insert(mirror).inserted }
        if isFirst {
          var warning = failure.diagnostic(doing + " from the mirror \(mirror.address.origin)")
          warning.severity = .warning
          warning.hints = ["\(reference.registry) is asked itself from here on"]
          settings.warn(warning)
        }
      }
    }
    return try await asking(reference, doing, body)
  }

  func asking<Value>(
    _ reference: Reference, _ doing: String, _ body: (Endpoint) async throws -> Value
  ) async throws -> Value {
    do {
      return try await body(try settings.origin(of: reference.registry))
    } catch let failure as RegistryFailure {
      throw diagnostic(failure, doing, reference)
    }
  }

  /// The endpoint with the scheme that it speaks: TLS, unless it may be asked without and answers so.
  ///
  /// The question is `GET /v2/` without credentials, so nothing is lost where the answer is no HTTP.
  func reach(_ endpoint: Endpoint) async throws -> Endpoint {
    guard endpoint.mayBePlain else { return endpoint }
    let (task, isFirst) = state.withLock { state in
      if let known = state.reached[endpoint] { return (known, false) }
      // Not the child of whoever asks first: the others must not end with it.
      let task = Task { try await self.find(endpoint) }
      state.reached[endpoint] = task
      return (task, true)
    }
    do {
      var found = try await task.value
      if found.mayBePlain, isFirst { state.withLock { $0.reached[endpoint] = nil } }
      found.mayBePlain = false
      return found
    } catch {
      if isFirst { state.withLock { $0.reached[endpoint] = nil } }
      throw error
    }
  }

  /// Opens a connection to the registry of a reference, so that there is one when it is needed; a failure is said then.
  package func connect(to reference: Reference) async {
    guard let origin = try? settings.origin(of: reference.registry), let endpoint = try? await reach(origin),
      endpoint.address.isSecure
    else { return }
    await (try? exchange.send(.GET, endpoint.address.at("/v2/"), headers: []))?.discard()
  }

  /// - Returns: The endpoint as it was where nothing listens: it may be asked again.
  private func find(_ endpoint: Endpoint) async throws -> Endpoint {
    var plain = endpoint.address.at("/v2/")
    plain.isSecure = false
    if plain.port == 443 { plain.port = 80 }
    var found = endpoint
    found.mayBePlain = false
    do {
      let answer = try await exchange.send(.GET, plain, headers: [])
      await answer.discard()
      // A TLS server that knows plain HTTP when it sees it says 400; one with both ports redirects.
      let next = answer.headers.first(name: "Location").flatMap(plain.resolving)
      let isRedirected = (300...399).contains(answer.status) && next?.isSecure == true
      if answer.status != 400 && !isRedirected { found.address = plain.at("/") }
    } catch let failure as RegistryFailure where failure.reason != .timeout {
      // Nothing there in plain HTTP: the question itself shows what TLS says, unless nothing listens at all.
      if failure.text == "connection refused", plain.port == endpoint.address.port {
        found.address = plain.at("/")
        found.mayBePlain = true
      }
    }
    return found
  }

  // MARK: One request

  /// What is to be sent; made anew for each attempt.
  struct Call: Sendable {
    var method: HTTPMethod
    /// Absolute; its origin need not be the endpoint's, and then no authorization goes with it.
    var address: WebAddress
    var headers: [(String, String)] = []
    var payload = Payload.none
    /// Bytes that move either way, beyond a small answer.
    var size = 0
    /// Statuses that are given to the caller; all others fail.
    var accepts: Set<Int> = [200]
    /// Codes of the registry that may pass a moment later, though their status would not.
    var transientCodes: Set<String> = []
    /// Bytes that earlier attempts have moved: each `chunk` of them is a fresh start for the retries.
    var progress = 0
  }

  /// Sends, authorizes, follows redirects, and sends again after what may pass.
  ///
  /// - Parameters:
  ///   - attempts: Overrides the policy's number.
  ///   - receive: Reads the answer; what it throws counts as a failure of the exchange.
  func perform<Value>(
    _ endpoint: Endpoint, scopes: [String], attempts: Int? = nil, _ call: () async throws -> Call,
    receive: (Transport.Answer, WebAddress) async throws -> Value
  ) async throws -> Value {
    var policy = settings.retry
    // The registry itself stands behind a mirror, so little is waited for.
    policy.attempts = min(attempts ?? policy.attempts, endpoint.isMirror ? 2 : .max)
    var failures = 0
    var waited = Duration.zero
    var progress = 0
    while true {
      do {
        let call = try await call()
        if call.progress >= progress + settings.limits.chunk {
          progress = call.progress
          failures = 0
        }
        // Requests that wait for a connection would run into its time limit.
        await permits.take()
        defer { permits.giveBack() }
        let (answer, address) = try await authorized(endpoint, scopes, call)
        return try await exchange.guarded(call.method, address) { try await receive(answer, address) }
      } catch let failure as RegistryFailure where failure.isTransient {
        failures += 1
        guard
          let delay = policy.delay(
            failures: failures, waited: waited, retryAfter: failure.retryAfter, random: settings.time.random())
        else {
          var last = failure
          last.attempts = failures
          last.isTransient = false
          if let seconds = failure.retryAfter, seconds > 0 {
            last.hints.append("the registry asks to wait \(seconds) s")
          }
          throw last
        }
        waited += delay
        try await settings.time.sleep(delay)
      }
    }
  }

  private func authorized(_ endpoint: Endpoint, _ scopes: [String], _ call: Call) async throws -> (
    Transport.Answer, WebAddress
  ) {
    var isRenewed = false
    var authorization = try await authorizer.authorization(endpoint, scopes)
    while true {
      let (answer, address) = try await redirected(endpoint, call, authorization)
      if call.accepts.contains(answer.status) { return (answer, address) }
      let mayAnswer = answer.status == 401 && address.hasSameOrigin(as: endpoint.address)
      guard mayAnswer, !isRenewed || authorization == nil else { throw try await rejected(answer, call, address) }
      let challenges = answer.headers["WWW-Authenticate"].flatMap(Challenge.parse)
      let rejection = try await rejected(answer, call, address)
      isRenewed = true
      guard
        let next = try await authorizer.answer(challenges, endpoint, scopes, refused: authorization),
        next != authorization
      else { throw rejection }
      authorization = next
    }
  }

  private func rejected(_ answer: Transport.Answer, _ call: Call, _ address: WebAddress) async throws
    -> RegistryFailure
  {
    var failure = try await exchange.failure(answer, call.method, address)
    if let code = failure.code, call.transientCodes.contains(code) { failure.isTransient = true }
    return failure
  }

  /// Follows redirects of questions; the authorization goes to the endpoint's own origin only.
  private func redirected(_ endpoint: Endpoint, _ call: Call, _ authorization: Authorizer.Authorization?) async throws
    -> (Transport.Answer, WebAddress)
  {
    var address = call.address
    var hops = 0
    while true {
      var headers = call.headers
      if let authorization, address.hasSameOrigin(as: endpoint.address) {
        headers.append(("Authorization", authorization.value))
      }
      let answer = try await exchange.send(
        call.method, address, headers: headers, payload: call.payload, size: call.size)
      guard [301, 302, 303, 307, 308].contains(answer.status), call.method == .GET || call.method == .HEAD else {
        return (answer, address)
      }
      await answer.discard()
      hops += 1
      guard hops <= settings.limits.redirects else {
        throw exchange.failed(call.method, address, .refused, "more than \(settings.limits.redirects) redirects")
      }
      guard let location = answer.headers.first(name: "Location"), let next = address.resolving(location) else {
        throw exchange.failed(call.method, address, .content, "\(answer.status) without a `Location` that is a URL")
      }
      guard next.isSecure || !address.isSecure || settings.allowsPlain(next.host, port: next.port) else {
        throw exchange.failed(
          call.method, address, .refused, "it redirects to \(next.origin), which would be without TLS")
      }
      address = next
    }
  }

  // MARK: Failures

  func diagnostic(_ failure: RegistryFailure, _ doing: String, _ reference: Reference) -> Diagnostic {
    var failure = failure
    let registry = reference.registry
    switch failure.reason {
    case .status(401):
      failure.hints.append(
        "set credentials for \(registry) in ~/.docker/config.json (`docker login \(registry)`), or "
          + "SLIPWAY_REGISTRY_USER_\(CredentialSource.variableSuffix(registry)) and …_PASSWORD_…")
    case .status(403):
      failure.hints.append("the credentials for \(registry) do not allow this on `\(reference.repository)`")
    case .status(429):
      failure.hints.append("pull with credentials, or through a mirror (`registries:` in slipway.yaml)")
    case .tls:
      failure.hints.append(
        "if its authority is one of your own, name its PEM file in slipway.yaml: registries: {\(registry): {ca: FILE}}")
    case .connection where failure.text == "connection refused":
      failure.hints.append("is a registry running at \(registry)?")
    default: break
    }
    return failure.diagnostic(doing)
  }

  static func scope(_ repository: String, _ action: Action) -> String { "repository:\(repository):\(action.scopes)" }

  func address(_ endpoint: Endpoint, _ reference: Reference, _ rest: String) -> WebAddress {
    endpoint.address.at("/v2/\(endpoint.repository(reference))/\(rest)")
  }
}
