import Diagnostics
import Distribution

/// Where repositories go: `HOST` or `HOST/PREFIX`, or each where its own name says.
package struct PublishDestination: Hashable, Sendable {
  /// Ends in `/`.
  private let prefix: String?

  /// Every repository where its name says: `airbyte/source-faker` on Docker Hub.
  package static let asNamed = PublishDestination(prefix: nil)

  private init(prefix: String?) { self.prefix = prefix }

  /// - Throws: A diagnostic when the text does not begin with a host, or its prefix is none.
  package init(_ text: String) throws {
    var text = text[...]
    while text.hasSuffix("/") { text = text.dropLast() }
    func wrong(_ reason: String) -> Diagnostic {
      .error(
        "`\(text.prefix(300))` is not a registry: \(reason)", cause: .input,
        hints: ["write HOST or HOST/PREFIX, such as ghcr.io/acme or localhost:5000"])
    }
    guard !text.contains("://") else { throw wrong("it is a URL") }
    guard !text.contains("@") else { throw wrong("it has a digest or a user") }
    let reference: Reference
    do { reference = try Reference(text + "/x/y") } catch { throw wrong((error as? Diagnostic)?.message ?? "\(error)") }
    let host = text.prefix { $0 != "/" }.lowercased()
    guard reference.registry == host || host.hasSuffix("docker.io") else {
      throw wrong("`\(host)` is not a host (one has a dot or a port, or is `localhost`)")
    }
    prefix = reference.registry + "/" + reference.repository.dropLast("x/y".count)
  }

  /// The name of a repository here, at a tag.
  package func reference(_ repository: String, tag: String) throws -> Reference {
    let named = try Reference(repository)
    guard let prefix else { return try named.tagged(tag) }
    // Docker Hub's own images have a part that nobody writes.
    let path =
      named.registry == "docker.io" && !repository.contains("/") ? repository : named.repository
    return try Reference(prefix + path).tagged(tag)
  }
}
