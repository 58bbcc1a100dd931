/// What package managers write down, in the format of mail headers.
extension SBOM {
  /// The fields of one paragraph, by name in lower case; a name that comes again has all its values.
  struct Paragraph {
    private var fields: [String: [String]] = [:]

    /// The first value of a field, its lines joined as they are.
    subscript(name: String) -> String? {
      guard let text = fields[name]?.first, !text.isEmpty else { return nil }
      return text
    }

    func all(_ name: String) -> [String] { fields[name] ?? [] }
    var isEmpty: Bool { fields.isEmpty }

    /// Bytes of a value; what is beyond is no name, version or license.
    private static let limit = 64 << 10

    /// Reads up to an empty line, or to the end.
    init(_ lines: inout ArraySlice<Substring>) {
      var current: String?
      while let line = lines.popFirst() {
        let text = line.last == "\r" ? line.dropLast() : line
        if text.isEmpty { return }
        if text.first == " " || text.first == "\t" {
          guard let current, let count = fields[current]?.count, count > 0,
            fields[current]?[count - 1].utf8.count ?? 0 < Self.limit
          else { continue }
          fields[current]?[count - 1] += "\n" + SBOM.trimmed(text)
        } else if let colon = text.firstIndex(of: ":") {
          let name = text[..<colon].lowercased()
          fields[name, default: []].append(SBOM.trimmed(text[colon...].dropFirst()))
          current = name
        } else {
          current = nil
        }
      }
    }
  }

  static func trimmed(_ text: some StringProtocol) -> String {
    let start = text.drop { $0 == " " || $0 == "\t" }
    guard let last = start.lastIndex(where: { $0 != " " && $0 != "\t" }) else { return "" }
    return String(start[...last])
  }

  private static func lines(_ bytes: [UInt8]) -> ArraySlice<Substring> {
    // By bytes: a carriage return and a line feed are one character of a string.
    bytes.split(separator: 10, omittingEmptySubsequences: false).map { Substring(decoding: $0, as: UTF8.self) }[...]
  }

  /// The installed packages of `var/lib/dpkg/status`, or of a file below `status.d` (distroless images).
  static func debianPackages(_ bytes: [UInt8]) -> [Package] {
    var lines = lines(bytes)
    var packages: [Package] = []
    while !lines.isEmpty {
      let paragraph = Paragraph(&lines)
      guard let name = paragraph["package"], let version = paragraph["version"] else { continue }
      // Removed packages whose configuration is left stay in the file; `status.d` has no such field.
      if let status = paragraph["status"], status.split(separator: " ").last != "installed" { continue }
      var package = Package(kind: .deb, name: name, version: version)
      package.architecture = paragraph["architecture"]
      package.source = paragraph["source"]
      package.homepage = paragraph["homepage"]
      package.maintainer = paragraph["maintainer"]
      packages.append(package)
    }
    return packages
  }

  /// The package that a `METADATA` file of a `.dist-info` folder describes (core metadata).
  static func pythonPackage(_ bytes: [UInt8]) -> Package? {
    var lines = lines(bytes)
    let fields = Paragraph(&lines)
    guard let name = fields["name"], let version = fields["version"] else { return nil }
    var package = Package(kind: .pypi, name: name, version: version)
    let classifiers = fields.all("classifier").filter { $0.hasPrefix("License :: ") }
    if let expression = fields["license-expression"] {
      if isExpression(expression) { package.license = expression } else { package.licenseText = bounded(expression) }
    } else if let text = fields["license"] {
      // Some packages put the whole text of the license here.
      package.license = known[text.lowercased()]
      if package.license == nil { package.licenseText = bounded(text) }
    } else if let classifier = classifiers.first {
      package.licenseText = classifiers.map(bounded).joined(separator: ", ")
      if classifiers.count == 1, let last = classifier.split(separator: ":").last {
        package.license = known[trimmed(last).lowercased()]
        if package.license != nil { package.licenseText = nil }
      }
    }
    package.homepage =
      fields["home-page"]
      ?? fields.all("project-url").lazy.compactMap { line -> String? in
        let parts = line.split(separator: ",", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "homepage" else { return nil }
        return trimmed(parts[1])
      }.first
    return package
  }

  private static func bounded(_ text: String) -> String {
    let line = text.prefix { $0 != "\n" }
    return line.count < text.count || line.count > 200 ? line.prefix(200) + "…" : String(line)
  }

  /// Identifiers and operators in SPDX's grammar (annex D), as the Python index takes them.
  static func isExpression(_ text: String) -> Bool {
    guard text.utf8.count <= 500 else { return false }
    var depth = 0
    var needsOperand = true
    for token in text.replacing("(", with: " ( ").replacing(")", with: " ) ").split(separator: " ") {
      switch token {
      case "(":
        guard needsOperand else { return false }
        depth += 1
      case ")":
        guard !needsOperand, depth > 0 else { return false }
        depth -= 1
      case "AND", "OR", "WITH":
        guard !needsOperand else { return false }
        needsOperand = true
      default:
        let isIdentifier = token.utf8.allSatisfy {
          (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || "-.+".utf8.contains($0)
        }
        guard needsOperand, isIdentifier else { return false }
        needsOperand = false
      }
    }
    return !needsOperand && depth == 0
  }

  /// Names in `License` and in classifiers that mean one license of SPDX's list, in lower case. `BSD` and
  /// `GPL` mean several, and so none.
  private static let known: [String: String] = {
    var names = [
      "mit license": "MIT", "the mit license": "MIT", "the mit license (mit)": "MIT", "mit license (mit)": "MIT",
      "apache 2.0": "Apache-2.0", "apache 2": "Apache-2.0", "apache license 2.0": "Apache-2.0",
      "apache license, version 2.0": "Apache-2.0", "apache license version 2.0": "Apache-2.0",
      "apache-2": "Apache-2.0", "apache license 2": "Apache-2.0",
      "bsd 3-clause": "BSD-3-Clause", "bsd 3-clause license": "BSD-3-Clause", "3-clause bsd license": "BSD-3-Clause",
      "bsd 2-clause license": "BSD-2-Clause", "isc license": "ISC", "isc license (iscl)": "ISC",
      "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0", "mpl 2.0": "MPL-2.0", "the unlicense (unlicense)": "Unlicense",
      "python software foundation license": "PSF-2.0",
      "gnu general public license v3 (gplv3)": "GPL-3.0-only",
      "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    ]
    for id in [
      "MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0", "PSF-2.0", "Unlicense", "0BSD", "Zlib",
      "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "LGPL-2.1-only", "LGPL-2.1-or-later",
      "LGPL-3.0-only", "LGPL-3.0-or-later", "CC0-1.0", "BSL-1.0", "HPND", "MIT-CMU", "Elastic-2.0",
    ] {
      names[id.lowercased()] = id
    }
    return names
  }()

  /// The distribution that an `os-release` names (os-release(5)).
  static func distribution(_ bytes: [UInt8]) -> Distribution? {
    var values: [String: String] = [:]
    for line in lines(bytes) {
      guard let equals = line.firstIndex(of: "="), line.first != "#" else { continue }
      let value = trimmed(line[equals...].dropFirst()).filter { $0 != "\"" && $0 != "'" }
      values[String(line[..<equals])] = value
    }
    guard let id = values["ID"], !id.isEmpty else { return nil }
    return Distribution(id: id.lowercased(), version: values["VERSION_ID"].flatMap { $0.isEmpty ? nil : $0 })
  }
}
