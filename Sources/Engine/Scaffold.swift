import Caching
import Diagnostics
import Glibc
import Kinds
import SystemPackage

/// Writes what `slipway init` gives; never over a file that is there.
package enum Scaffold {
  private static let template = "templates/python-source/"

  /// A connector from the template, in `connectors/<name>`; gives the files made, relative to the workspace.
  package static func connector(_ name: String, root: FilePath) throws -> [String] {
    let parts = name.split(separator: "-", omittingEmptySubsequences: false)
    guard !name.isEmpty, name.utf8.count <= 100, name.first?.isLetter == true,
      parts.allSatisfy({ !$0.isEmpty && $0.allSatisfy { $0.isASCII && ($0.isLowercase || $0.isNumber) } })
    else {
      throw Diagnostic.error(
        "`\(name)` is no connector name", hints: ["lower-case letters, digits and single dashes: source-mine"])
    }
    guard parts.count > 1, parts[0] == "source" else {
      let rest = parts[0] == "destination" ? parts.dropFirst().joined(separator: "-") : name
      throw Diagnostic.error(
        "`\(name)` does not say that it is a source, and the template is one", hints: ["slipway init source-\(rest)"])
    }
    let snake = parts.joined(separator: "_")
    let identifier = randomIdentifier()
    var files: [(path: String, bytes: [UInt8])] = []
    for file in BuiltInKinds.files where file.path.hasPrefix(template) {
      let path = String(file.path.dropFirst(template.count)).replacing("source_example", with: snake)
      let text = String(decoding: file.bytes, as: UTF8.self).replacing("source-example", with: name)
        .replacing("source_example", with: snake)
        .replacing("00000000-0000-0000-0000-000000000000", with: identifier)
      files.append(("connectors/\(name)/\(path)", Array(text.utf8)))
    }
    return try write(files, below: root)
  }

  /// `slipway.yaml` and a base image of Debian's Python, so that the first build needs nothing else.
  package static func workspace(in root: FilePath) throws -> [String] {
    let name = root.lastComponent?.string ?? "workspace"
    let settings = """
      slipway: 1
      name: \(name.filter { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") })
      # Airbyte's base image, built from Debian packages in this workspace; a target may stand in for any other image.
      images:
        docker.io/airbyte/python-connector-base: //connectors/bases/python:image
      ignore: ["**/secrets/**"]

      """
    let base = """
      # Debian's Python, what installs packages offline, and the layout of Airbyte's own base.
      # To pin its packages add `lock: rootfs.lock` to :rootfs, then: slipway lock //connectors/bases/python:rootfs
      targets:
        rootfs:
          rule: rootfs
          suite: bookworm
          packages:
            - ca-certificates
            - python3
            - python3-pip
            - python3-packaging
            - python3-installer
            - python3-setuptools
            - python3-wheel
            - python3-poetry-core
            - python3-hatchling
          exclude: [/usr/share/doc/*, /usr/share/info/*, /usr/share/locale/*, /usr/share/man/*]
          customize:
            - ln -s python3 /usr/bin/python
            - rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
            - useradd --create-home --uid 1000 --shell /usr/sbin/nologin airbyte
            - mkdir -p /airbyte/integration_code && chown airbyte:airbyte /airbyte /airbyte/integration_code
            # Byte code without times, since layers have times of their own.
            - find /usr/lib -name __pycache__ -prune -exec rm -rf {} +
            - python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3 /usr/lib/python3.11
        image:
          rule: image
          layers: [{from: ":rootfs", to: /}]
          config:
            env: {PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", PYTHONUNBUFFERED: "1"}
            workdir: /airbyte/integration_code
            user: airbyte
      default: image

      """
    return try write(
      [("slipway.yaml", Array(settings.utf8)), ("connectors/bases/python/targets.yaml", Array(base.utf8))],
      below: root)
  }

  private static func write(_ files: [(path: String, bytes: [UInt8])], below root: FilePath) throws -> [String] {
    for file in files where access(root.appending(file.path).string, F_OK) == 0 {
      throw Diagnostic.error(
        "`\(file.path)` is there already; nothing was written",
        hints: ["remove it first if it may go"])
    }
    for file in files {
      let path = root.appending(file.path)
      try Disk.makeFolders(path.removingLastComponent().string)
      let opened = try Disk.open(path.string, O_WRONLY | O_CREAT | O_EXCL)
      defer { try? opened.close() }
      try file.bytes.withUnsafeBytes { try Disk.write(opened, $0, path: file.path) }
    }
    return files.map(\.path).sorted()
  }

  /// A UUID of version 4 (RFC 9562).
  private static func randomIdentifier() -> String {
    var digits = (0..<32).map { _ in Int.random(in: 0..<16) }
    digits[12] = 4
    digits[16] = 8 | digits[16] & 3
    var text = ""
    for (index, digit) in digits.enumerated() {
      if [8, 12, 16, 20].contains(index) { text += "-" }
      text += String(digit, radix: 16)
    }
    return text
  }
}

extension String {
  func replacing(_ old: String, with new: String) -> String {
    var result = ""
    var rest = self[...]
    while let range = rest.firstRange(of: old) {
      result += rest[..<range.lowerBound] + new
      rest = rest[range.upperBound...]
    }
    return result + rest
  }
}
