/// An absolute `http` or `https` URL, cut into what requests and trust need.
struct WebAddress: Hashable, Sendable {
  var isSecure: Bool
  /// Lower case; an IPv6 address keeps its brackets.
  var host: String
  var port: Int
  /// Path and query, starting with `/`; no fragment.
  var target: String

  init(isSecure: Bool, host: String, port: Int, target: String = "/") {
    self.isSecure = isSecure
    self.host = host
    self.port = port
    self.target = target
  }

  /// `nil` for another scheme, user information, a host or port that is not one, or characters that URLs escape.
  init?(_ text: String) {
    guard text.utf8.count <= 8192, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else { return nil }
    guard let colon = text.firstIndex(of: ":") else { return nil }
    switch text[..<colon].lowercased() {
    case "https": isSecure = true
    case "http": isSecure = false
    default: return nil
    }
    var rest = text[colon...].dropFirst()
    guard rest.hasPrefix("//") else { return nil }
    rest = rest.dropFirst(2)
    let end = rest.firstIndex { $0 == "/" || $0 == "?" || $0 == "#" } ?? rest.endIndex
    guard let (host, port) = Self.hostAndPort(rest[..<end].lowercased()) else { return nil }
    self.host = host
    self.port = port ?? (isSecure ? 443 : 80)
    let tail = rest[end...].prefix { $0 != "#" }
    target = tail.first == "/" ? String(tail) : "/" + tail
  }

  static func hostAndPort(_ authority: String) -> (host: String, port: Int?)? {
    guard Reference.isHost(authority) else { return nil }
    let bracket = authority.lastIndex(of: "]") ?? authority.startIndex
    guard let colon = authority[bracket...].lastIndex(of: ":") else { return (authority, nil) }
    return (String(authority[..<colon]), Int(authority[colon...].dropFirst()))
  }

  /// What a `Location` header names, seen from here; `nil` when it is none that can be asked.
  func resolving(_ location: String) -> WebAddress? {
    if location.hasPrefix("//") { return WebAddress((isSecure ? "https:" : "http:") + location) }
    if location.hasPrefix("/") { return WebAddress(origin + location) }
    if location.hasPrefix("?") { return WebAddress(origin + path + location) }
    if let absolute = WebAddress(location) { return absolute }
    // Another scheme; a relative path with a colon in its first segment is not one that registries send.
    guard !location.prefix(while: { $0 != "/" && $0 != "?" }).contains(":") else { return nil }
    let folder = path.lastIndex(of: "/").map { path[...$0] } ?? "/"
    return WebAddress(origin + folder + location)
  }

  /// `host:port`, the port only where it is not the scheme's own.
  var authority: String { port == (isSecure ? 443 : 80) ? host : "\(host):\(port)" }
  var origin: String { (isSecure ? "https://" : "http://") + authority }
  var text: String { origin + target }
  /// Without the query, which may hold a signature or an upload's state.
  var path: String { String(target.prefix { $0 != "?" }) }

  func hasSameOrigin(as other: WebAddress) -> Bool {
    isSecure == other.isSecure && host == other.host && port == other.port
  }

  func at(_ target: String) -> WebAddress {
    var copy = self
    copy.target = target
    return copy
  }

  func adding(_ query: [(String, String)]) -> WebAddress {
    var copy = self
    for (name, value) in query {
      copy.target += (copy.target.contains("?") ? "&" : "?") + Self.escape(name) + "=" + Self.escape(value)
    }
    return copy
  }

  /// Everything but RFC 3986's unreserved characters in `%XX`.
  static func escape(_ text: String) -> String {
    var escaped = ""
    for byte in text.utf8 {
      switch byte {
      case 48...57, 65...90, 97...122, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
        escaped.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let digits = String(byte, radix: 16, uppercase: true)
        escaped += digits.utf8.count == 1 ? "%0" + digits : "%" + digits
      }
    }
    return escaped
  }

  /// Whether the host is this machine by its very name, so that nobody is between.
  static func isLoopback(_ host: String) -> Bool {
    if host == "localhost" || host == "[::1]" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
  }
}
