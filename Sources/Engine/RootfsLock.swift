import Diagnostics
import Digests

/// The lock of a root file system: `name version sha256` a line, sorted; `#` starts a comment.
package struct RootfsLock: Hashable, Sendable {
  package struct Package: Hashable, Sendable {
    package var name: String
    package var version: String
    /// Of its .deb.
    package var digest: Digest

    package init(name: String, version: String, digest: Digest) {
      self.name = name
      self.version = version
      self.digest = digest
    }
  }

  /// By name, each once.
  package private(set) var packages: [Package]

  package init(packages: [Package]) {
    self.packages = packages.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
  }

  /// Throws every line that is not understood, with its place.
  package init(parsing text: String, file: String) throws {
    var diagnostics = DiagnosticList()
    var found: [Package] = []
    var names = Set<String>()
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      guard !line.isEmpty, !line.hasPrefix("#") else { continue }
      func report(_ message: String) {
        let span = SourceSpan(
          file: file, line: index + 1, column: 1, length: line.unicodeScalars.count, excerpt: String(line))
        diagnostics.diagnostics.append(.error(message, at: span, hints: ["write the lock anew: slipway lock"]))
      }
      let parts = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 3, let digest = Digest(hex: parts[2][...]) else {
        report("a line of the lock is `name version sha256`")
        continue
      }
      // Both go into an apt preferences file and a command line.
      guard Self.isName(parts[0]), Self.isVersion(parts[1]) else {
        report("`\(parts[0])` `\(parts[1])` is no package with a version")
        continue
      }
      guard names.insert(parts[0]).inserted else {
        report("`\(parts[0])` stands twice in the lock")
        continue
      }
      found.append(Package(name: parts[0], version: parts[1], digest: digest))
    }
    if found.isEmpty, !diagnostics.hasErrors {
      diagnostics.diagnostics.append(
        .error(
          "the lock names no package", at: SourceSpan(file: file, line: 1, column: 1),
          hints: ["write the lock anew: slipway lock"]))
    }
    if diagnostics.hasErrors { throw diagnostics }
    self.init(packages: found)
  }

  /// Debian policy 5.6.7.
  static func isName(_ text: String) -> Bool {
    guard let first = text.utf8.first, text.utf8.count > 1 else { return false }
    func isWord(_ byte: UInt8) -> Bool { (97...122).contains(byte) || (48...57).contains(byte) }
    return isWord(first) && text.utf8.allSatisfy { isWord($0) || "+-.".utf8.contains($0) }
  }

  /// Debian policy 5.6.12.
  static func isVersion(_ text: String) -> Bool {
    guard let first = text.utf8.first, (48...57).contains(first) else { return false }
    return text.utf8.allSatisfy { byte in
      (97...122).contains(byte) || (65...90).contains(byte) || (48...57).contains(byte) || ".+-~:".utf8.contains(byte)
    }
  }

  package var text: String {
    "# Written by slipway lock: package, version, SHA-256 of its .deb.\n"
      + packages.map { "\($0.name) \($0.version) \($0.digest)\n" }.joined()
  }
}
