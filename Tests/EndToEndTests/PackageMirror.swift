import Glibc
import SystemPackage

/// A Debian archive of three small packages on the loopback interface, signed with a key of its own.
///
/// `base` is essential and holds just what dpkg needs to run: this host's dpkg and tar with their libraries, and busybox.
/// `tool` depends on `extra`, and asks the mirror for `/ran-tool` when its maintainer script runs.
final class PackageMirror {
  /// What the server shows; archives are folders in it.
  let folder: String
  private let server: HostProcess
  let port: Int

  init(in folder: String) throws {
    self.folder = "\(folder)/mirror"
    mkdir(self.folder, 0o755)
    server = try HostProcess(
      ["/usr/bin/python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"], directory: self.folder,
      environment: ["PATH": "/usr/bin:/bin"])
    var found: Int?
    let server = server
    _ = try eventually {
      found = try server.outputSoFar().firstMatch(of: /port (\d+)/).flatMap { Int($0.1) }
      return found != nil || !server.isRunning
    }
    guard let found else { throw Failure("the mirror did not start: \(try server.errorSoFar())") }
    port = found
  }

  func url(_ archive: String = "debian") -> String { "http://127.0.0.1:\(port)/\(archive)" }

  /// What was asked of the mirror, a request a line.
  func requests() throws -> [String] {
    try server.errorSoFar().split(separator: "\n").compactMap { $0.firstMatch(of: /"GET (\S+)/).map { String($0.1) } }
  }

  /// Makes an archive anew: `tool` has this version, and says this when it is read.
  func publish(_ archive: String = "debian", tool version: String, saying text: String = "hello") throws {
    let end = try HostProcess(
      ["sh", "-e", "-c", Self.script, "sh", "\(folder)/\(archive)", version, text, url("ran-tool"), folder],
      directory: folder, environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"]
    ).finish()
    guard end.status == 0 else {
      throw Failure("no archive (it needs gpg, dpkg and busybox-static): \(end.standardError)")
    }
  }

  /// The public key, for the target's `keyring:`.
  var key: String { "\(folder)/key.gpg" }

  private static let script = """
    out=$1 version=$2 text=$3 beacon=$4 top=$5
    arch=$(dpkg --print-architecture) suite=$out/dists/test
    index=main/binary-$arch/Packages
    rm -rf "$out" "$top/tree"
    mkdir -p "$out/pool" "$suite/main/binary-$arch"
    cd "$top"
    package() { # name, version, further fields
      mkdir -p tree/DEBIAN
      printf 'Package: %s\\nVersion: %s\\nArchitecture: %s\\nMaintainer: test <test@localhost>\\nDescription: test\\n%b' \\
        "$1" "$2" "$arch" "$3" >tree/DEBIAN/control
      find tree -exec touch -h -d @1000000000 {} +
      SOURCE_DATE_EPOCH=1000000000 dpkg-deb --root-owner-group -Znone -b tree "$out/pool/$1_$2.deb" >/dev/null
      rm -rf tree
    }
    if [ ! -e base.deb ]; then
      mkdir -p tree/etc tree/tmp tree/usr/bin tree/usr/sbin tree/usr/lib tree/usr/lib64 tree/var/lib/dpkg
      for name in bin sbin lib lib64; do ln -s "usr/$name" "tree/$name"; done
      cp /bin/busybox /usr/bin/dpkg /usr/bin/dpkg-deb /usr/bin/dpkg-split /bin/tar tree/usr/bin/
      for name in sh env rm mkdir ln cat chmod start-stop-daemon true wget diff; do
        ln -s busybox "tree/usr/bin/$name"
      done
      ln -s true tree/usr/bin/ldconfig
      libraries=$(ldd /usr/bin/dpkg /usr/bin/dpkg-deb /bin/tar | awk '/=>/ {print $3} /^[^=]*ld-linux/ {print $1}' | sort -u)
      for file in $libraries; do
        mkdir -p "tree/usr$(dirname "${file#/usr}")"
        cp -L "$file" "tree/usr${file#/usr}"
      done
      echo 'root:x:0:0:root:/root:/bin/sh' >tree/etc/passwd
      echo 'root:x:0:' >tree/etc/group
      package base 1 'Essential: yes\\n'
      mv "$out/pool/base_1.deb" base.deb
    fi
    cp base.deb "$out/pool/base_1.deb"
    mkdir -p tree/opt; echo extra >tree/opt/extra
    package extra 2 ''
    mkdir -p tree/opt tree/DEBIAN; echo "$text" >tree/opt/tool
    printf '#!/bin/sh\\nwget -q -O /dev/null %s || true\\n' "$beacon" >tree/DEBIAN/preinst
    chmod 755 tree/DEBIAN/preinst
    package tool "$version" 'Depends: extra\\n'
    cd "$out"
    for file in pool/*.deb; do
      dpkg-deb -f "$file"
      printf 'Filename: %s\\nSize: %s\\n' "$file" "$(stat -c %s "$file")"
      printf 'SHA256: %s\\n\\n' "$(sha256sum <"$file" | cut -c -64)"
    done >"$suite/$index"
    cd "$suite"
    printf 'Suite: test\\nCodename: test\\nArchitectures: %s\\nComponents: main\\nDate: %s\\nSHA256:\\n %s %s %s\\n' \\
      "$arch" "$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S UTC')" "$(sha256sum <$index | cut -c -64)" \\
      "$(stat -c %s $index)" "$index" >Release
    export GNUPGHOME="$top/keys"
    mkdir -p -m 700 "$GNUPGHOME"
    if [ ! -e "$top/key.gpg" ]; then
      gpg --batch --quiet --passphrase '' --quick-gen-key test ed25519 sign never
      gpg --export >"$top/key.gpg"
    fi
    gpg --batch --quiet --yes --clearsign -o InRelease Release
    gpgconf --kill all
    """
}
