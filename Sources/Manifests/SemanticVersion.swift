/// A version as semver.org has it: `1.2.3`, `1.2.3-rc.1`, `1.2.3+build`.
package struct SemanticVersion: Hashable, Comparable, Sendable {
  package var major: Int
  package var minor: Int
  package var patch: Int
  /// Without the hyphen; empty for a release.
  package var prerelease: [Substring]
  package var build: Substring?

  package init?(_ text: String) {
    var rest = text[...]
    if let plus = rest.firstIndex(of: "+") {
      let build = rest[rest.index(after: plus)...]
      guard Self.identifiers(build, numbersAreCanonical: false) != nil else { return nil }
      self.build = build
      rest = rest[..<plus]
    }
    prerelease = []
    if let hyphen = rest.firstIndex(of: "-") {
      guard let parts = Self.identifiers(rest[rest.index(after: hyphen)...], numbersAreCanonical: true) else {
        return nil
      }
      prerelease = parts
      rest = rest[..<hyphen]
    }
    let numbers = rest.split(separator: ".", omittingEmptySubsequences: false).map(Self.number)
    guard numbers.count == 3, let major = numbers[0], let minor = numbers[1], let patch = numbers[2] else { return nil }
    (self.major, self.minor, self.patch) = (major, minor, patch)
  }

  private static func number(_ text: Substring) -> Int? {
    guard (1...18).contains(text.utf8.count), isNumeric(text), text.utf8.count == 1 || text.utf8.first != 48 else {
      return nil
    }
    return Int(text)
  }

  private static func isNumeric(_ text: Substring) -> Bool { text.utf8.allSatisfy { (48...57).contains($0) } }

  private static func identifiers(_ text: Substring, numbersAreCanonical: Bool) -> [Substring]? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    let isValid = parts.allSatisfy { part in
      !part.isEmpty
        && part.utf8.allSatisfy {
          (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45
        }
        && !(numbersAreCanonical && isNumeric(part) && part.utf8.count > 1 && part.utf8.first == 48)
    }
    return isValid ? parts : nil
  }

  /// Build metadata does not count.
  package static func < (a: SemanticVersion, b: SemanticVersion) -> Bool {
    if (a.major, a.minor, a.patch) != (b.major, b.minor, b.patch) {
      return (a.major, a.minor, a.patch) < (b.major, b.minor, b.patch)
    }
    if a.prerelease.isEmpty || b.prerelease.isEmpty { return !a.prerelease.isEmpty && b.prerelease.isEmpty }
    for (x, y) in zip(a.prerelease, b.prerelease) where x != y {
      switch (isNumeric(x), isNumeric(y)) {
      case (true, true):
        return x.utf8.count != y.utf8.count ? x.utf8.count < y.utf8.count : x.utf8.lexicographicallyPrecedes(y.utf8)
      case (true, false): return true
      case (false, true): return false
      case (false, false): return x.utf8.lexicographicallyPrecedes(y.utf8)
      }
    }
    return a.prerelease.count < b.prerelease.count
  }
}
