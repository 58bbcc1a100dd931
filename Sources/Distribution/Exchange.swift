import NIOHTTP1
import OCI

/// One request and its answer, with every way to fail turned into a `RegistryFailure`.
struct Exchange {
  let settings: RegistrySettings
  let transport: Transport

  func send(
    _ method: HTTPMethod, _ address: WebAddress, headers: [(String, String)], payload: Payload = .none, size: Int = 0
  ) async throws -> Transport.Answer {
    try await guarded(method, address) {
      try await transport.send(method, address, headers: headers, payload: payload, size: size)
    }
  }

  /// The whole body, as far as the limit.
  func body(_ answer: Transport.Answer, _ method: HTTPMethod, _ address: WebAddress, limit: Int) async throws -> [UInt8]
  {
    let bytes = try await guarded(method, address) { try await answer.bytes(limit: limit) }
    guard let bytes else {
      throw failed(method, address, .content, "the answer has more than the \(limit) bytes allowed")
    }
    return bytes
  }

  func guarded<Value>(
    _ method: HTTPMethod, _ address: WebAddress, isolation: isolated (any Actor)? = #isolation,
    _ body: () async throws -> Value
  ) async throws -> Value {
    do {
      return try await body()
    } catch {
      guard let (reason, text, isTransient) = Transport.describe(error) else { throw error }
      var failure = failed(method, address, reason, text)
      failure.isTransient = isTransient
      throw failure
    }
  }

  func failed(_ method: HTTPMethod, _ address: WebAddress, _ reason: RegistryFailure.Reason, _ text: String)
    -> RegistryFailure
  {
    RegistryFailure(
      reason: reason, method: method.rawValue, url: address.origin + address.path, text: text, isTransient: false)
  }

  /// What an answer that is not the expected one says.
  func failure(_ answer: Transport.Answer, _ method: HTTPMethod, _ address: WebAddress) async throws -> RegistryFailure
  {
    let type = HeaderValues.mediaType(answer.headers.first(name: "Content-Type") ?? "")
    let bytes: [UInt8]?
    do {
      bytes = method == .HEAD ? [] : try await answer.bytes(limit: settings.limits.answer)
    } catch {
      // The status alone tells enough.
      if error is CancellationError { throw error }
      bytes = nil
    }
    let status = answer.status
    var failure = failed(method, address, status == 404 ? .notFound : .status(status), "")
    failure.isTransient = RegistryErrorCode.isTransient(status)
    failure.retryAfter = answer.headers.first(name: "Retry-After").flatMap {
      HeaderValues.retryAfter($0, now: settings.time.now())
    }
    failure.text = "\(status) " + text(status, type, bytes)
    failure.code = bytes.flatMap { JSON(decoding: $0) }?["errors"]?.array?.first?["code"]?.string
    return failure
  }

  private func text(_ status: Int, _ type: String, _ bytes: [UInt8]?) -> String {
    let phrase = RegistryErrorCode.phrase(status)
    guard let bytes, !bytes.isEmpty else { return phrase }
    if let json = JSON(decoding: bytes) {
      let first = json["errors"]?.array?.first
      let code = first?["code"]?.string ?? json["error"]?.string
      let message = first?["message"]?.string ?? json["error_description"]?.string ?? json["details"]?.string
      let name = code.map { String($0.prefix(80)) } ?? phrase
      return message.map { "\(name): \($0)" } ?? name
    }
    if type == "text/html" || bytes.drop(while: { $0 <= 32 }).first == UInt8(ascii: "<") {
      return "\(phrase): the answer is `\(type.isEmpty ? "text/html" : type)`, not one of a registry"
    }
    if type.hasPrefix("text/"), let text = String(validating: bytes.prefix(400), as: UTF8.self) {
      return "\(phrase): \(HeaderValues.trimmed(RegistryFailure.bounded(text, 200)))"
    }
    return phrase
  }
}
