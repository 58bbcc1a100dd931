import Diagnostics
import Digests
import Graph

/// What a run of mmdebstrap says in its log: the packages that it installed, and the digests that the signed package
/// index gives for them. apt has checked every .deb against that index, so comparing with it is comparing the files.
struct RootfsReport: Sendable {
  private(set) var installed: [String: String] = [:]
  /// All digests that an index has for `name=version`.
  private var digests: [String: Set<Digest>] = [:]
  /// apt's own last words, at most three.
  private(set) var lastErrors: [String] = []
  private var isUnreachable = false
  /// `name version` of what is locked and cannot be had.
  private var missing: [String] = []
  /// `name version` of what is locked with another digest than the index has.
  private var differing: [String] = []
  /// What apt says of locked packages that do not suffice.
  private var unmet: [String] = []
  /// A repository that is not there, while its server is.
  private var isAbsent = false
  private var isUntrusted = false
  /// SHA-256 and name of each InRelease (or Release) file that apt fetched, in the order of their names.
  private(set) var releases: [String] = []

  init(parsing log: [UInt8]) {
    for line in String(decoding: log, as: UTF8.self).split(separator: "\n") {
      if line.hasPrefix("slipway-installed: ") {
        let parts = line.dropFirst(19).split(separator: "=", maxSplits: 1)
        if parts.count == 2 { installed[String(parts[0])] = String(parts[1]) }
      } else if line.hasPrefix("slipway-archive: ") {
        let parts = line.dropFirst(17).split(separator: "=")
        if parts.count == 3, let digest = Digest(hex: parts[2]) {
          digests["\(parts[0])=\(parts[1])", default: []].insert(digest)
        }
      } else if line.hasPrefix("slipway-missing: ") {
        missing.append(String(line.dropFirst(17)))
      } else if line.hasPrefix("slipway-differs: ") {
        differing.append(String(line.dropFirst(17)))
      } else if line.hasPrefix("slipway-unmet: ") {
        unmet.append(line.dropFirst(15).trimmingPrefix { $0 == " " }.description)
      } else if line.hasPrefix("slipway-release: ") {
        releases.append(String(line.dropFirst(17)))
      } else if line.hasPrefix("E: ") || line.hasPrefix("W: Failed to fetch") {
        // What mmdebstrap adds says only that apt has failed.
        if line.contains("command failed: set -e") || line.hasPrefix("E: mmdebstrap failed") { continue }
        lastErrors = Array((lastErrors + [String(line.dropFirst(3))]).suffix(3))
        if line.contains(" does not have a Release file") { isAbsent = true }
        if line.hasSuffix(" is not signed.") { isUntrusted = true }
        if line.dropFirst().hasPrefix(": Failed to fetch") || line.contains("Some index files failed") {
          isUnreachable = true
        }
      } else if line.hasPrefix("Err:") {
        isUnreachable = true
      }
    }
  }

  /// Throws when the mirror could not be used, or when what was installed is not what is locked.
  ///
  /// `mirror` is named where it lacks the `snapshot` that was asked for.
  func check(
    against lock: RootfsLock?, succeeded: Bool, label: Label, mirror: String = "", snapshot: String? = nil
  ) throws {
    let hint = "slipway lock \(label.withoutPlatform)"
    guard succeeded else {
      let notes = lastErrors.map { Diagnostic.Note($0) }
      if !missing.isEmpty {
        throw Diagnostic.error(
          "the mirror no longer has a package that \(label) is locked to", cause: .environment,
          notes: missing.prefix(5).map { Diagnostic.Note("it lacks `\($0)`") }, hints: [hint])
      }
      if !differing.isEmpty {
        throw Diagnostic.error(
          "the mirror has other bytes of a package that \(label) is locked to", cause: .environment,
          notes: differing.prefix(5).map { Diagnostic.Note("the SHA-256 of `\($0)` is not the locked one") },
          hints: [hint])
      }
      if !unmet.isEmpty {
        let notes = unmet.prefix(5).map { Diagnostic.Note($0) }
        guard lock != nil else {
          throw Diagnostic.error("apt cannot install the packages of \(label)", cause: .build, notes: notes)
        }
        throw Diagnostic.error(
          "the packages that \(label) is locked to need others, which are not in the lock", cause: .environment,
          notes: notes, hints: [hint])
      }
      if isUntrusted {
        throw Diagnostic.error(
          "no key that this host trusts signed the indices of \(label)", cause: .environment, notes: notes,
          hints: ["name the mirror's own keys in the target: `keyring: mirror.gpg`"])
      }
      if isAbsent, let snapshot {
        throw Diagnostic.error(
          "the mirror has no snapshot of \(snapshot) for \(label): \(mirror)", cause: .environment, notes: notes,
          hints: ["`snapshot` needs a mirror that keeps history, as http://snapshot.debian.org/archive/debian does"])
      }
      if isUnreachable || isAbsent {
        throw Diagnostic.error(
          "cannot get the packages of \(label) from the mirror", cause: .environment, notes: notes,
          hints: ["apt-get update on this host shows whether its mirrors can be reached"])
      }
      // The packages are listed before the target's own commands run: without the list it was not they that failed.
      if lock != nil, installed.isEmpty {
        throw Diagnostic.error(
          "cannot install the packages that \(label) is locked to", cause: .environment, notes: notes, hints: [hint])
      }
      return
    }
    guard let lock else { return }
    var problems: [String] = []
    let locked = Dictionary(uniqueKeysWithValues: lock.packages.map { ($0.name, $0) })
    for (name, version) in installed.sorted(by: { $0.key < $1.key }) {
      guard let package = locked[name] else {
        problems.append("`\(name)` is not in the lock")
        continue
      }
      if package.version != version {
        problems.append("`\(name)` is locked to \(package.version), and \(version) was installed")
      } else if digests["\(name)=\(version)"]?.contains(package.digest) != true {
        problems.append("the SHA-256 of `\(name)` \(version) is not the locked one")
      }
    }
    problems += lock.packages.filter { installed[$0.name] == nil }.map { "`\($0.name)` was not installed" }
    guard problems.isEmpty else {
      throw Diagnostic.error(
        "the packages of \(label) are not the locked ones", cause: .environment,
        notes: problems.prefix(5).map { Diagnostic.Note($0) }, hints: [hint])
    }
  }

  /// All that was installed, with the digests.
  func lock(label: Label) throws -> RootfsLock {
    var packages: [RootfsLock.Package] = []
    for (name, version) in installed.sorted(by: { $0.key < $1.key }) {
      guard let known = digests["\(name)=\(version)"], known.count == 1, let digest = known.first else {
        throw Diagnostic.error(
          "cannot lock \(label): the package index has no single digest of `\(name)` \(version)", cause: .environment,
          hints: ["lock only packages that come from the target's own mirror"])
      }
      packages.append(RootfsLock.Package(name: name, version: version, digest: digest))
    }
    guard !packages.isEmpty else {
      throw Diagnostic.error("cannot lock \(label): no package was installed", cause: .build)
    }
    return RootfsLock(packages: packages)
  }
}
