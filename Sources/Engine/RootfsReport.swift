import Diagnostics
import Digests
import Graph

/// What a run of mmdebstrap says in its log: the packages that it installed, and the digests that the signed package
/// index gives for them. apt has checked every .deb against that index, so comparing with it is comparing the files.
struct RootfsReport: Sendable {
  /// Runs outside of the root file system, with the host's apt on its lists.
  static let listing = """
    set -e; export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"; test -e "$1/var/lib/dpkg/status" || exit 0; \
    packages=$(dpkg-query --admindir="$1/var/lib/dpkg" -W -f '${db:Status-Status} ${Package}=${Version}\\n' \
    | sed -n 's/^installed //p'); for p in $packages; do echo "slipway-installed: $p"; done; \
    echo "$packages" | xargs -r apt-cache show | awk '/^Package: /{p=$2} /^Version: /{v=$2} \
    /^SHA256: /{print "slipway-archive: " p "=" v "=" $2}'
    """

  /// Runs once the essential packages are unpacked: ends the run when the mirror lacks a locked version. mmdebstrap hides
  /// what apt says.
  static func probe(_ lock: RootfsLock) -> String {
    let wanted = lock.packages.map { "\($0.name)=\($0.version)" }.joined(separator: " ")
    return """
      set -e; export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"; missing=$(echo '\(wanted)' \
      | xargs apt-cache -q=0 show 2>&1 >/dev/null \
      | sed -n "s/^[EN]: Version '\\(.*\\)' for '\\(.*\\)' was not found$/slipway-missing: \\2 \\1/p; \
      s/^[EN]: Unable to locate package \\(.*\\)$/slipway-missing: \\1/p"); echo "$missing"; test -z "$missing"
      """
  }

  private(set) var installed: [String: String] = [:]
  /// All digests that an index has for `name=version`.
  private var digests: [String: Set<Digest>] = [:]
  /// apt's own last words, at most three.
  private(set) var lastErrors: [String] = []
  private var isUnreachable = false
  /// `name version` of what is locked and cannot be had.
  private var missing: [String] = []

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
      } else if line.hasPrefix("E: ") {
        lastErrors = Array((lastErrors + [String(line.dropFirst(3))]).suffix(3))
        if line.hasPrefix("E: Failed to fetch") || line.contains("Some index files failed") { isUnreachable = true }
      } else if line.hasPrefix("W: Failed to fetch") || line.hasPrefix("Err:") {
        isUnreachable = true
      }
    }
  }

  /// Throws when the mirror could not be used, or when what was installed is not what is locked.
  func check(against lock: RootfsLock?, succeeded: Bool, label: Label) throws {
    let hint = "slipway lock \(label)"
    guard succeeded else {
      let notes = lastErrors.map { Diagnostic.Note($0) }
      if !missing.isEmpty {
        throw Diagnostic.error(
          "the mirror no longer has a package that \(label) is locked to", cause: .environment,
          notes: missing.prefix(5).map { Diagnostic.Note("it lacks `\($0)`") }, hints: [hint])
      }
      if isUnreachable {
        throw Diagnostic.error(
          "cannot get the packages of \(label) from the mirror", cause: .environment, notes: notes,
          hints: ["apt-get update on this host shows whether its mirrors can be reached"])
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
