/// What a `WWW-Authenticate` header asks for (RFC 9110, 11.6.1).
struct Challenge: Hashable, Sendable {
  /// Lower case: `basic`, `bearer`.
  var scheme: String
  /// Names in lower case; the first of two equal ones counts.
  var parameters: [String: String]

  /// The challenges of one header, in its order; what follows something malformed is dropped.
  static func parse(_ text: String) -> [Challenge] {
    var parser = Parser(text.utf8)
    var challenges: [Challenge] = []
    while let scheme = parser.scheme() {
      challenges.append(Challenge(scheme: scheme.lowercased(), parameters: parser.parameters()))
    }
    return challenges
  }

  private struct Parser {
    private let bytes: [UInt8]
    private var position = 0

    init(_ text: String.UTF8View) { bytes = Array(text.prefix(16_384)) }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skip(_ set: [UInt8]) {
      while let byte = next, set.contains(byte) { position += 1 }
    }

    private mutating func token() -> String? {
      let start = position
      while let byte = next, Self.isTokenByte(byte) { position += 1 }
      return start == position ? nil : String(decoding: bytes[start..<position], as: UTF8.self)
    }

    mutating func scheme() -> String? {
      skip([32, 9, UInt8(ascii: ",")])
      guard let token = token(), next == nil || next == 32 || next == 9 || next == UInt8(ascii: ",") else { return nil }
      return token
    }

    /// Stops before the next scheme, which is a token that no `=` follows.
    mutating func parameters() -> [String: String] {
      var parameters: [String: String] = [:]
      while true {
        let before = position
        skip([32, 9, UInt8(ascii: ",")])
        guard let name = token()?.lowercased() else { return parameters }
        skip([32, 9])
        guard next == UInt8(ascii: "=") else {
          position = before
          return parameters
        }
        position += 1
        skip([32, 9])
        guard let value = next == UInt8(ascii: "\"") ? quoted() : token() else { return parameters }
        if parameters[name] == nil { parameters[name] = value }
      }
    }

    private mutating func quoted() -> String? {
      position += 1
      var content: [UInt8] = []
      while let byte = next {
        position += 1
        switch byte {
        case UInt8(ascii: "\""): return String(validating: content, as: UTF8.self)
        case UInt8(ascii: "\\"):
          guard let escaped = next else { return nil }
          content.append(escaped)
          position += 1
        default: content.append(byte)
        }
      }
      return nil
    }

    private static func isTokenByte(_ byte: UInt8) -> Bool {
      switch byte {
      case 48...57, 65...90, 97...122: true
      default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
      }
    }
  }
}
