import Caching
import Diagnostics
import Distribution

/// A metadata store on a web server that takes GET, PUT and DELETE: WebDAV, or an object store behind a proxy.
package struct HTTPMetadataStore: MetadataStore {
  package var url: String { folder.url }
  private let folder: WebFolder

  package init(_ url: String, settings: RegistrySettings, environment: [String: String]) throws {
    var settings = settings
    let others = settings.credentials
    settings.credentials = CredentialSource { host in
      if let own = try Self.credential(for: host, environment: environment) { return own }
      return try await others.credential(host)
    }
    folder = try WebFolder(url, settings: settings)
  }

  package func close() async { await folder.close() }

  package func read(_ path: MetadataPath, limit: Int) async throws -> [UInt8]? {
    try await folder.get(path.description, limit: limit)
  }

  package func write(_ bytes: [UInt8], to path: MetadataPath, contentType: String) async throws {
    try await folder.put(bytes, to: path.description, contentType: contentType)
  }

  package func remove(_ path: MetadataPath) async throws { try await folder.delete(path.description) }

  /// HTTP has no listing: what is there is told by the index that writers keep.
  package func list(below path: MetadataPath) async throws -> [MetadataPath]? { nil }

  // MARK: Credentials

  static func credential(for host: String, environment: [String: String]) throws -> Credential? {
    if let user = environment["SLIPWAY_METADATA_USER"], !user.isEmpty,
      let password = environment["SLIPWAY_METADATA_PASSWORD"]
    {
      return .basic(user: user, password: password)
    }
    guard let path = environment["NETRC"] ?? environment["HOME"].map({ $0 + "/.netrc" }), !path.isEmpty,
      let bytes = try Disk.contents(of: path, limit: 1 << 20)
    else { return nil }
    return Self.netrc(String(decoding: bytes, as: UTF8.self), host: host)
  }

  /// What a netrc file says of a host, its port left out; its `default` counts for nothing, since a password must not
  /// go to whoever asks.
  static func netrc(_ text: String, host: String) -> Credential? {
    let name = host.last == "]" ? host : String(host.prefix { $0 != ":" || host.first == "[" })
    var tokens = text.split(separator: "\n").flatMap { line -> [Substring] in
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" || $0 == "\r" })
      // A `#` starts a comment only as a word's first character at the start of the line: passwords hold them.
      return words.first?.hasPrefix("#") == true ? [] : words
    }[...]
    while let word = tokens.popFirst() {
      guard word == "machine", let machine = tokens.popFirst() else { continue }
      var (user, password): (Substring?, Substring?) = (nil, nil)
      while let key = tokens.first, ["login", "password", "account"].contains(key) {
        tokens = tokens.dropFirst()
        let value = tokens.popFirst()
        if key == "login" { user = value } else if key == "password" { password = value }
      }
      if machine.lowercased() == name || machine.lowercased() == host, let user, let password {
        return .basic(user: String(user), password: String(password))
      }
    }
    return nil
  }
}
