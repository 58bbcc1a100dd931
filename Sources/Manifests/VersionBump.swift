/// How a version is raised, as npm and cargo-release do it.
package enum VersionBump: Hashable, Sendable {
  case major, minor, patch
  /// The next release candidate: `1.2.3` gives `1.2.4-rc.1`, and that `1.2.4-rc.2`.
  case candidate
  case exact(SemanticVersion)

  /// `major`, `minor`, `patch`, `rc`, or a version; `nil` for anything else.
  package init?(_ text: String) {
    switch text {
    case "major": self = .major
    case "minor": self = .minor
    case "patch": self = .patch
    case "rc": self = .candidate
    default:
      guard let version = SemanticVersion(text) else { return nil }
      self = .exact(version)
    }
  }

  /// The version after `old`. A candidate of the wanted release becomes that release: `2.0.0-rc.3` is `2.0.0` by
  /// `major`, `minor` or `patch` alike.
  package func applied(to old: SemanticVersion) -> SemanticVersion {
    var new = old
    new.prerelease = []
    new.build = nil
    let isCandidate = !old.prerelease.isEmpty
    switch self {
    case .exact(let version): return version
    case .major:
      if !isCandidate || old.minor != 0 || old.patch != 0 { (new.major, new.minor, new.patch) = (old.major + 1, 0, 0) }
    case .minor:
      if !isCandidate || old.patch != 0 { (new.minor, new.patch) = (old.minor + 1, 0) }
    case .patch:
      if !isCandidate { new.patch = old.patch + 1 }
    case .candidate:
      var number = 1
      if isCandidate {
        if old.prerelease.first == "rc", old.prerelease.count == 2, let last = Int(old.prerelease[1]) {
          number = last + 1
        }
      } else {
        new.patch = old.patch + 1
      }
      new.prerelease = ["rc", Substring(String(number))]
    }
    return new
  }
}

extension SemanticVersion: CustomStringConvertible {
  package var description: String {
    var text = "\(major).\(minor).\(patch)"
    if !prerelease.isEmpty { text += "-" + prerelease.joined(separator: ".") }
    if let build { text += "+" + build }
    return text
  }
}
