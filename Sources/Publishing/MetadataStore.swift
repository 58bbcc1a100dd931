import Diagnostics
import Distribution
import SystemPackage

/// Where a file is in a metadata store: names between slashes, none of which starts with a dot.
package struct MetadataPath: Hashable, Comparable, Sendable, CustomStringConvertible {
  package let description: String

  /// - Throws: A diagnostic for a path that is empty or long, or leads anywhere else than down.
  package init(_ text: String) throws {
    let names = text.split(separator: "/", omittingEmptySubsequences: false)
    let isSound = names.allSatisfy { name in
      name.first != "." && !name.isEmpty && name.utf8.count <= 255 && name.utf8.allSatisfy(Self.isAllowed)
    }
    guard isSound, text.utf8.count <= 1024 else {
      throw Diagnostic.error(
        "`\(Diagnostic.bounded(text))` cannot be a path in a metadata store", cause: .input,
        hints: ["a path has letters, digits, `.`, `_`, `-`, `+` and `:` between slashes"])
    }
    description = text
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    switch byte {
    case 48...57, 65...90, 97...122: true
    default: "._-+:".utf8.contains(byte)
    }
  }

  package var names: [String] { description.split(separator: "/").map(String.init) }

  package static func < (a: MetadataPath, b: MetadataPath) -> Bool {
    a.description.utf8.lexicographicallyPrecedes(b.description.utf8)
  }
}

/// A folder that holds the metadata of published versions.
///
/// A file appears whole or not at all. Writers need not be alone: what they write is decided by content.
package protocol MetadataStore: Sendable {
  /// What messages call it.
  var url: String { get }

  /// The bytes of a file, at most `limit` of them; `nil` where there is none.
  func read(_ path: MetadataPath, limit: Int) async throws -> [UInt8]?
  func write(_ bytes: [UInt8], to path: MetadataPath, contentType: String) async throws
  /// None being there is as good.
  func remove(_ path: MetadataPath) async throws
  /// All files below a folder, sorted; `nil` where the medium cannot tell.
  func list(below path: MetadataPath) async throws -> [MetadataPath]?
  /// Waits until nobody else changes a repository's files, or with `nil` what is made from the whole store; `nil` where
  /// nothing can keep them from that.
  func lock(_ repository: String?) async throws -> PublishLock?
  func close() async
}

extension MetadataStore {
  /// Bytes of a file that is read.
  package static var limit: Int { 64 << 20 }

  package func lock(_ repository: String?) async throws -> PublishLock? { nil }

  /// Writes only what is not there already; whether it wrote.
  @discardableResult
  package func writeIfChanged(_ bytes: [UInt8], to path: MetadataPath, contentType: String) async throws -> Bool {
    if try await read(path, limit: Self.limit) == bytes { return false }
    try await write(bytes, to: path, contentType: contentType)
    return true
  }
}

/// Opens the store at a `file://`, `https://` or, on this machine, `http://` URL.
///
/// - Parameters:
///   - settings: How servers are reached; the credentials in it serve where the environment and netrc have none.
///   - environment: `SLIPWAY_METADATA_USER` and `…_PASSWORD`, `NETRC`, `HOME`.
package func openMetadataStore(_ url: String, settings: RegistrySettings, environment: [String: String]) throws
  -> any MetadataStore
{
  if url.hasPrefix("file://") {
    let path = String(url.dropFirst(7))
    guard path.hasPrefix("/"), !path.utf8.contains(0), !path.split(separator: "/").contains("..") else {
      throw Diagnostic.error(
        "`\(Diagnostic.bounded(url))` is not the URL of a folder on this machine", cause: .input,
        hints: ["write it as `file:///srv/metadata`"])
    }
    return FileMetadataStore(root: FilePath(path))
  }
  guard url.hasPrefix("https://") || url.hasPrefix("http://") else {
    throw Diagnostic.error(
      "`\(Diagnostic.bounded(url))` is not the URL of a metadata store", cause: .input,
      hints: ["it starts with `file://` or `https://`"])
  }
  return try HTTPMetadataStore(url, settings: settings, environment: environment)
}

extension Diagnostic {
  /// What a stranger wrote, cut to fit a message.
  static func bounded(_ text: String) -> String {
    let line = String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 32 ? " " : $0 }))
    return line.unicodeScalars.count <= 200 ? line : String(line.prefix(200)) + "…"
  }
}
