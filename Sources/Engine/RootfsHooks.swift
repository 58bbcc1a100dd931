import Glibc
import Manifests

/// The shell commands that mmdebstrap runs for Slipway, outside of the new root, which is `$1`.
///
/// Each uses the host's apt on the root's own lists, by the configuration that mmdebstrap wrote for itself.
enum RootfsHooks {
  private static let lockFile = "etc/apt/slipway.lock"
  private static let apt = "set -e; export APT_CONFIG=\"$MMDEBSTRAP_APT_CONFIG\""

  /// What runs before any package is downloaded.
  ///
  /// mmdebstrap's own update is skipped: between it and the first unpacked package it calls nobody, and a locked package
  /// that the index gives other bytes must not get so far.
  static func setup(_ packages: [String], _ lock: RootfsLock?) -> [String] {
    guard let lock else {
      return packages.isEmpty ? [update] : [update, simulation("echo \(quoted(packages.joined(separator: " ")))")]
    }
    return writing(lock) + [pinning, update, verification, simulation(names)]
  }

  /// Prints what is locked as apt wants it.
  private static let names = "cut -d ' ' -f 1,2 --output-delimiter '=' \"$1/\(lockFile)\""

  /// Fetches the signed indices, and tells what they were.
  private static let update = """
    \(apt); apt-get -q update --error-on=any; cd "$1/var/lib/apt/lists"; for f in *Release; do \
    if test -e "$f"; then sha256sum "$f" | sed 's/^/slipway-release: /'; fi; done
    """

  /// A few hundred packages a command: one argument of a program holds 128 KiB.
  private static func writing(_ lock: RootfsLock) -> [String] {
    stride(from: 0, to: lock.packages.count, by: 400).map { start in
      let lines = lock.packages[start..<min(start + 400, lock.packages.count)].map {
        "\($0.name) \($0.version) \($0.digest)\n"
      }.joined()
      return "printf %s '\(lines)' >> \"$1/\(lockFile)\""
    }
  }

  /// Makes apt take every package at its locked version, the essential ones too that nobody names, and no other package.
  private static let pinning = """
    set -e; { printf 'Package: *\\nPin: release *\\nPin-Priority: -1\\n\\n'; awk '{print "Package: " $1 "\\nPin: version " \
    $2 "\\nPin-Priority: 1001\\n"}' "$1/\(lockFile)"; } > "$1/etc/apt/preferences.d/slipway"
    """

  /// Ends the run when the indices lack a locked version, or have another digest of it.
  ///
  /// apt itself refuses a .deb that differs from its index, so equal digests here are equal files there.
  private static let verification = #"""
    \#(apt); \#(names) | xargs apt-cache show 2>/dev/null \
    | awk -v lock="$1/\#(lockFile)" '
    function commit() {
      if (name != "") {
        key = name "=" version
        if (!(key in digest)) digest[key] = sum; else if (digest[key] != sum) digest[key] = "several"
      }
      name = version = sum = ""
    }
    /^Package: / {name = $2} /^Version: /{version = $2} /^SHA256: /{sum = $2} /^$/ {commit()}
    END {
      commit()
      while ((getline line < lock) > 0) {
        split(line, field, " "); key = field[1] "=" field[2]
        if (!(key in digest)) {print "slipway-missing: " field[1] " " field[2]; bad = 1}
        else if (digest[key] != field[3]) {print "slipway-differs: " field[1] " " field[2]; bad = 1}
      }
      exit bad
    }'
    """#

  /// Ends the run when apt cannot install the packages that `source` prints: mmdebstrap would hide what it says.
  private static func simulation(_ source: String) -> String {
    """
    \(apt); said=$(\(source) | tr ' ' '\\n' | xargs -d '\\n' -x -n 100000 -s 1000000 \
    apt-get -q --simulate install 2>&1) \
    || { echo "$said" | sed -n 's/^ /slipway-unmet: /p; s/^E: /slipway-unmet: /p'; exit 1; }
    """
  }

  /// Tells what is installed, and the digests that the indices have for it.
  static let listing = """
    \(apt); test -e "$1/var/lib/dpkg/status" || exit 0; \
    packages=$(dpkg-query --admindir="$1/var/lib/dpkg" -W -f '${db:Status-Status} ${Package}=${Version}\\n' \
    | sed -n 's/^installed //p'); for p in $packages; do echo "slipway-installed: $p"; done; \
    echo "$packages" | xargs -r apt-cache show | awk '/^Package: /{p=$2} /^Version: /{v=$2} \
    /^SHA256: /{print "slipway-archive: " p "=" v "=" $2}'
    """

  /// A command of the target's own, inside of the root.
  static func customization(_ command: String) -> String { "chroot \"$1\" /bin/sh -e -c \(quoted(command))" }

  /// Blanks what names the host, its mirrors or the moment.
  static let cleaning = """
    set -e; cd "$1"
    for f in etc/resolv.conf etc/hostname etc/apt/sources.list etc/machine-id; do rm -f "$f"; : > "$f"; chmod 0644 "$f"; done
    rm -rf etc/apt/preferences.d/slipway \(lockFile) etc/apt/sources.list.d/* etc/apt/apt.conf.d/99mmdebstrap \
      var/cache/debconf/*-old var/cache/ldconfig var/lib/dpkg/*-old var/log/* var/lib/dbus/machine-id root/.cache \
      etc/*-
    """

  /// One word of a shell.
  static func quoted(_ text: String) -> String {
    var result = "'"
    for character in text { result += character == "'" ? "'\\''" : String(character) }
    return result + "'"
  }
}

/// Where a root file system's packages come from.
struct RootfsSources {
  /// Arguments of mmdebstrap after the suite; none means the suite's usual mirrors.
  var arguments: [String] = []
  /// As messages name it.
  var name: String

  private static let history = "http://snapshot.debian.org/archive"
  private static let debianKeys = "/usr/share/keyrings/debian-archive-keyring.gpg"

  /// `isReadable` says whether the host has a file.
  init(
    suite: String, mirror: String?, snapshot: String?, components: [String], isReadable: (String) -> Bool
  ) {
    guard let snapshot else {
      arguments = mirror.map { [$0] } ?? []
      name = mirror ?? "of \(suite)"
      return
    }
    // Both Debian's and Ubuntu's archives of old states put the date behind the name of the archive.
    if let mirror {
      name = mirror.hasSuffix("/") ? "\(mirror)\(snapshot)" : "\(mirror)/\(snapshot)"
      arguments = [name]
      return
    }
    name = "\(Self.history)/debian/\(snapshot)"
    let components = components.isEmpty ? "main" : components.joined(separator: " ")
    let keys = isReadable(Self.debianKeys) ? "[signed-by=\(Self.debianKeys)] " : ""
    arguments = ["deb \(keys)\(name) \(suite) \(components)"]
    if !["sid", "unstable", "experimental"].contains(suite) {
      arguments.append("deb \(keys)\(Self.history)/debian-security/\(snapshot) \(suite)-security \(components)")
    }
  }

  init(_ root: RootFileSystem) {
    self.init(
      suite: root.suite.value, mirror: root.mirror?.value, snapshot: root.snapshot?.value,
      components: root.components.map(\.value), isReadable: { access($0, R_OK) == 0 })
  }
}
