import Diagnostics

/// One exchange with a server that failed, and whether it makes sense to try again.
struct RegistryFailure: Error, Sendable {
  enum Reason: Hashable, Sendable {
    /// No connection, or one that broke.
    case connection
    /// The certificate is not one that is trusted, or TLS failed otherwise.
    case tls
    case timeout
    /// An answer with a status that says no.
    case status(Int)
    /// Bytes that are not what they should be.
    case content
    /// A rule of ours: a redirect or a realm that must not be followed.
    case refused
    case notFound
  }

  var reason: Reason
  var method: String
  /// Without its query, which may hold secrets.
  var url: String
  /// What comes after the method and URL.
  var text: String
  /// Whether the same request may be answered otherwise a moment later; no longer so once the retries are used up.
  var isTransient: Bool
  /// The registry's own name for it: `DIGEST_INVALID`.
  var code: String?
  /// Seconds.
  var retryAfter: Int?
  /// How often it was tried.
  var attempts = 1
  var hints: [String] = []

  func diagnostic(_ doing: String) -> Diagnostic {
    .error(
      "cannot \(doing): \(method) \(url): \(Self.bounded(text))" + (attempts > 1 ? " (\(attempts) attempts)" : ""),
      cause: .environment, hints: hints)
  }

  /// What a stranger wrote, cut to a line.
  static func bounded(_ text: String, _ limit: Int = 400) -> String {
    let line = String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? " " : $0 }))
    return line.count <= limit ? line : line.prefix(limit) + "…"
  }
}

/// What a registry names its errors (OCI distribution specification, "Error codes").
enum RegistryErrorCode {
  static func phrase(_ status: Int) -> String {
    switch status {
    case 400: "BAD_REQUEST"
    case 401: "UNAUTHORIZED"
    case 403: "DENIED"
    case 404: "NOT_FOUND"
    case 405: "UNSUPPORTED"
    case 413: "SIZE_INVALID"
    case 429: "TOOMANYREQUESTS"
    case 500: "INTERNAL_SERVER_ERROR"
    case 502: "BAD_GATEWAY"
    case 503: "UNAVAILABLE"
    case 504: "GATEWAY_TIMEOUT"
    default: "UNEXPECTED_STATUS"
    }
  }

  /// Whether the same request may be answered otherwise a moment later.
  static func isTransient(_ status: Int) -> Bool {
    status == 408 || status == 429 || (500...599).contains(status) && status != 501 && status != 505
  }
}
