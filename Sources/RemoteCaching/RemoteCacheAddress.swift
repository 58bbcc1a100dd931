import Caching
import Diagnostics
import SystemPackage

/// Where a remote cache is, and how it is to be spoken to.
package struct RemoteCacheAddress: Hashable, Sendable, CustomStringConvertible {
  package enum Scheme: String, Sendable {
    case http, https, grpc, grpcs

    package var isSecure: Bool { self == .https || self == .grpcs }
    var port: Int {
      switch self {
      case .http: 80
      case .https, .grpcs: 443
      case .grpc: 8980
      }
    }
  }

  package var scheme: Scheme
  package var host: String
  package var port: Int
  /// Without slashes around it: a folder of a web server, the instance name of a gRPC one.
  package var path: String

  /// - Throws: A diagnostic for whatever is no such URL, or holds credentials, which it does not repeat.
  package init(_ text: String) throws {
    guard let separator = text.firstRange(of: "://"),
      let scheme = Scheme(rawValue: String(text[..<separator.lowerBound]))
    else {
      throw Diagnostic.error(
        "the URL of the remote cache starts with none of grpc://, grpcs://, http://, https://",
        hints: ["such as http://cache.example.com:8080"])
    }
    let rest = text[separator.upperBound...]
    let authority = rest.prefix { $0 != "/" }
    guard !authority.contains("@") else {
      throw Diagnostic.error(
        "the URL of the remote cache holds credentials",
        hints: ["set SLIPWAY_REMOTE_CACHE_USER and SLIPWAY_REMOTE_CACHE_PASSWORD, or SLIPWAY_REMOTE_CACHE_TOKEN"])
    }
    var host = authority
    var port = scheme.port
    // `[::1]:80`: the colons of an address stand in brackets.
    if let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") {
      guard let number = Int(authority[authority.index(after: colon)...]), (1...65535).contains(number) else {
        throw Diagnostic.error("the URL of the remote cache, `\(text)`, has no sensible port")
      }
      port = number
      host = authority[..<colon]
    }
    let path = rest.dropFirst(authority.count).split(separator: "/").joined(separator: "/")
    let isName = host.utf8.allSatisfy { byte in
      (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || ".-_[]:".utf8.contains(byte)
    }
    let isPath = path.utf8.allSatisfy { $0 > 32 && $0 < 127 && !"?#\\\"<>".utf8.contains($0) }
    guard !host.isEmpty, isName, isPath else { throw Diagnostic.error("`\(text)` is not the URL of a remote cache") }
    self.scheme = scheme
    self.host = String(host)
    self.port = port
    self.path = path
  }

  package var description: String {
    "\(scheme.rawValue)://\(host)\(port == scheme.port ? "" : ":\(port)")\(path.isEmpty ? "" : "/" + path)"
  }

  /// The loopback interface, which nobody else listens on.
  package var isLocal: Bool { host == "localhost" || host.hasPrefix("127.") || host == "[::1]" }
}

/// What a server is told and trusted by; secrets come from the environment.
package struct RemoteCacheAccess: Sendable {
  package enum Credential: Sendable {
    case basic(user: String, password: String)
    case bearer(String)
  }

  package var credential: Credential?
  /// PEM files of the authorities that alone may vouch for the server; with none, the system's.
  package var authorities: [FilePath] = []
  /// PEM files by which the server knows the client.
  package var certificate: FilePath?
  package var key: FilePath?
  /// To connect, and to the first byte of an answer.
  package var patience = Duration.seconds(1)

  package init() {}

  /// The bytes of the PEM files.
  struct Identity {
    var authorities: [[UInt8]] = []
    var certificate: [UInt8]?
    var key: [UInt8]?
  }

  /// - Throws: A diagnostic for a file that cannot be read.
  func identity(for address: RemoteCacheAddress) throws -> Identity {
    guard address.scheme.isSecure else { return Identity() }
    // Not by OpenSSL, which waits at a FIFO and reads without an end.
    func read(_ path: FilePath) throws -> [UInt8] {
      guard let bytes = try Disk.contents(of: path.string, limit: 16 << 20) else {
        throw Diagnostic.error(
          "cannot read `\(path)` for the remote cache \(address): there is no such file", cause: .environment)
      }
      return bytes
    }
    return Identity(
      authorities: try authorities.map(read), certificate: try certificate.map(read), key: try key.map(read))
  }

  static func unreadable(_ address: RemoteCacheAddress, _ error: any Error) -> Diagnostic {
    Diagnostic.error(
      "a certificate or key for the remote cache \(address) is no PEM that can be used: \(error)", cause: .environment)
  }

  /// `SLIPWAY_REMOTE_CACHE_TOKEN`, or `…_USER` and `…_PASSWORD`; `…_CERTIFICATE`, `…_KEY`, `…_TIMEOUT`; of an engine
  /// `SLIPWAY_EXECUTOR_TOKEN` and so on go before them.
  ///
  /// - Throws: A diagnostic for a time that is none.
  package init(environment: [String: String], ofEngine: Bool = false) throws {
    let prefixes = (ofEngine ? ["SLIPWAY_EXECUTOR_"] : []) + ["SLIPWAY_REMOTE_CACHE_"]
    var place = ""
    func variable(_ name: String) -> String? {
      for prefix in prefixes {
        guard let value = environment[prefix + name], !value.isEmpty else { continue }
        place = prefix + name
        return value
      }
      return nil
    }
    if let token = variable("TOKEN") {
      credential = .bearer(token)
    } else if let user = variable("USER"), let password = variable("PASSWORD") {
      credential = .basic(user: user, password: password)
    }
    certificate = variable("CERTIFICATE").map { FilePath($0) }
    key = variable("KEY").map { FilePath($0) }
    if let text = variable("TIMEOUT") {
      guard let seconds = ByteText.seconds(text), (1...600).contains(seconds) else {
        throw Diagnostic.error(
          "`\(text)` in \(place) is no time between 1s and 10m", hints: ["such as 5s"])
      }
      patience = .seconds(seconds)
    }
  }
}
