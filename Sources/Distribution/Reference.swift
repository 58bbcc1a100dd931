import Diagnostics
import Digests

/// The name of an image in a registry, complete and valid: `docker.io/library/debian:bookworm@sha256:…`.
///
/// The grammar is that of the OCI distribution specification 1.1 for repositories and tags, and Docker's for which
/// first part is a host, and for what `debian` is short for. Digests are SHA-256.
package struct Reference: Hashable, Sendable, CustomStringConvertible {
  /// Host, with its port if it has one, in lower case: `docker.io`, `localhost:5000`, `[::1]:5000`.
  package let registry: String
  package let repository: String
  package private(set) var tag: String?
  package private(set) var digest: Digest?

  /// - Throws: A diagnostic that quotes the text and says which part is wrong.
  package init(_ text: String) throws {
    func wrong(_ reason: String, _ hints: [String] = []) -> Diagnostic {
      .error("`\(text.prefix(300))` is not an image reference: \(reason)", cause: .input, hints: hints)
    }
    guard !text.isEmpty else { throw wrong("it is empty") }
    guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
      throw wrong("it holds a space or a character beyond ASCII")
    }
    var rest = text[...]
    if let at = rest.firstIndex(of: "@") {
      guard let digest = Digest(oci: rest[at...].dropFirst()) else {
        throw wrong("its digest is not `sha256:` and 64 lower-case hexadecimal digits")
      }
      self.digest = digest
      rest = rest[..<at]
    }
    // A colon before the last slash belongs to a port.
    let lastPart = rest.lastIndex(of: "/").map { rest.index(after: $0) } ?? rest.startIndex
    if let colon = rest[lastPart...].firstIndex(of: ":") {
      let tag = String(rest[colon...].dropFirst())
      guard Self.isTag(tag) else {
        throw wrong("a tag has 1 to 128 letters, digits, `_`, `.` and `-`, and does not start with `.` or `-`")
      }
      self.tag = tag
      rest = rest[..<colon]
    }
    var registry = "docker.io"
    if let slash = rest.firstIndex(of: "/"), Self.looksLikeHost(rest[..<slash]) {
      registry = rest[..<slash].lowercased()
      guard Self.isHost(registry) else { throw wrong("`\(registry)` is not a host") }
      rest = rest[slash...].dropFirst()
    }
    if registry == "index.docker.io" || registry == "registry-1.docker.io" { registry = "docker.io" }
    var repository = String(rest)
    if registry == "docker.io", !repository.contains("/") { repository = "library/" + repository }
    guard Self.isRepository(repository) else {
      throw wrong(
        "`\(rest)` is not a repository name",
        rest.contains { $0.isUppercase } ? ["write it in lower case"] : [])
    }
    self.registry = registry
    self.repository = repository
  }

  private init(registry: String, repository: String, tag: String?, digest: Digest?) {
    self.registry = registry
    self.repository = repository
    self.tag = tag
    self.digest = digest
  }

  /// The same repository at a tag, and no digest.
  package func tagged(_ tag: String) throws -> Reference {
    guard Self.isTag(tag) else {
      throw Diagnostic.error(
        "`\(tag.prefix(200))` is not a tag", cause: .input,
        hints: ["a tag has 1 to 128 letters, digits, `_`, `.` and `-`, and does not start with `.` or `-`"])
    }
    return Reference(registry: registry, repository: repository, tag: tag, digest: nil)
  }

  /// The same repository at a digest; the tag stays, for people to read.
  package func pinned(to digest: Digest) -> Reference {
    Reference(registry: registry, repository: repository, tag: tag, digest: digest)
  }

  /// Registry and repository, neither tag nor digest.
  package var name: String { registry + "/" + repository }

  package var description: String {
    name + (tag.map { ":" + $0 } ?? "") + (digest.map { "@" + $0.oci } ?? "")
  }

  /// What a manifest's path ends in: the digest, else the tag, else `latest`.
  var manifestName: String { digest?.oci ?? tag ?? "latest" }

  // MARK: Grammar

  /// Docker's rule: what has a dot or a colon, or is `localhost`, is a host. (Docker takes a capital letter for one too;
  /// written in lower case, as hosts are compared, `Host/a` would name something else.)
  private static func looksLikeHost(_ part: Substring) -> Bool {
    part.lowercased() == "localhost" || part.contains { $0 == "." || $0 == ":" }
  }

  static func isHost(_ text: String) -> Bool {
    var host = text[...]
    if host.first == "[" {
      guard let close = host.firstIndex(of: "]") else { return false }
      let address = host[..<close].dropFirst()
      guard address.contains(":"), address.allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." }) else { return false }
      host = host[close...].dropFirst()
      return host.isEmpty || (host.first == ":" && isPort(host.dropFirst()))
    }
    if let colon = host.firstIndex(of: ":") {
      guard isPort(host[colon...].dropFirst()) else { return false }
      host = host[..<colon]
    }
    guard !host.isEmpty, host.utf8.count <= 253 else { return false }
    return host.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { part in
      !part.isEmpty && part.first != "-" && part.last != "-"
        && part.utf8.allSatisfy { isLowerAlphanumeric($0) || $0 == UInt8(ascii: "-") }
    }
  }

  private static func isPort(_ text: Substring) -> Bool {
    guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }), let port = Int(text) else { return false }
    return (1...65535).contains(port)
  }

  /// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` between slashes, at most 255 bytes.
  package static func isRepository(_ text: String) -> Bool {
    guard !text.isEmpty, text.utf8.count <= 255 else { return false }
    return text.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { part in
      guard let first = part.utf8.first, let last = part.utf8.last, isLowerAlphanumeric(first),
        isLowerAlphanumeric(last)
      else { return false }
      let separators = part.utf8.split(whereSeparator: isLowerAlphanumeric)
      return separators.allSatisfy { run in
        String(Substring(run)) == "." || String(Substring(run)) == "_" || String(Substring(run)) == "__"
          || run.allSatisfy { $0 == UInt8(ascii: "-") }
      }
    }
  }

  package static func isTag(_ text: String) -> Bool {
    guard let first = text.utf8.first, text.utf8.count <= 128, isWord(first) else { return false }
    return text.utf8.allSatisfy { isWord($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") }
  }

  private static func isLowerAlphanumeric(_ byte: UInt8) -> Bool {
    (97...122).contains(byte) || (48...57).contains(byte)
  }

  private static func isWord(_ byte: UInt8) -> Bool {
    isLowerAlphanumeric(byte) || (65...90).contains(byte) || byte == UInt8(ascii: "_")
  }
}
