import Digests
import OCI

/// A software bill of materials: what packages an image holds (SPDX 2.3, as JSON).
///
/// It depends on the image's content alone: its name is derived from the configuration's digest, its time is that of
/// all things made here, so the same image has the same bill everywhere.
package struct SBOM: Sendable {
  /// A package that a package manager has noted in the image.
  package struct Package: Hashable, Sendable {
    package enum Kind: String, Hashable, Sendable {
      case deb, pypi
    }

    package var kind: Kind
    package var name: String
    package var version: String
    /// Debian's name of it; `nil` elsewhere.
    package var architecture: String?
    /// The Debian source package, if it has another name.
    package var source: String?
    /// As SPDX writes it; `nil` where the package says nothing that can be taken for one.
    package var license: String?
    /// What the package itself says of its license, if that is no expression.
    package var licenseText: String?
    package var homepage: String?
    /// `Name <address>`, as Debian has it.
    package var maintainer: String?

    package init(kind: Kind, name: String, version: String) {
      self.kind = kind
      self.name = name
      self.version = version
    }
  }

  /// The distribution, by `os-release`: `debian`, `12`.
  package struct Distribution: Hashable, Sendable {
    package var id: String
    package var version: String?

    package init(id: String, version: String? = nil) {
      self.id = id
      self.version = version
    }
  }

  /// `airbyte/source-faker:6.2.21`, for people.
  package var name: String
  package var platform: String
  /// The digest of the image's configuration: its identity.
  package var config: Digest
  package var distribution: Distribution?
  package private(set) var packages: [Package]

  package init(name: String, platform: String, config: Digest, distribution: Distribution?, packages: [Package]) {
    self.name = name
    self.platform = platform
    self.config = config
    self.distribution = distribution
    var byPurl: [String: Package] = [:]
    // The same package in two places counts once.
    for package in packages { byPurl[Self.purl(package, distribution)] = package }
    self.packages = byPurl.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }.map(\.value)
  }

  package static let mediaType = "application/spdx+json"
  static let created = "1980-01-01T00:00:00Z"

  /// Name and version of each Python package, as `dependencies.json` lists them.
  package var pythonPackages: [(name: String, version: String)] {
    packages.filter { $0.kind == .pypi }.map { ($0.name, $0.version) }
  }

  /// The document.
  package var encoded: [UInt8] {
    let image = "SPDXRef-Image"
    var elements: [JSON] = [
      .object([
        "SPDXID": .string(image), "name": .string(name), "versionInfo": .string(config.oci),
        "primaryPackagePurpose": .string("CONTAINER"), "downloadLocation": .string("NOASSERTION"),
        "filesAnalyzed": .bool(false), "licenseConcluded": .string("NOASSERTION"),
        "licenseDeclared": .string("NOASSERTION"), "copyrightText": .string("NOASSERTION"),
        "supplier": .string("NOASSERTION"),
        "comment": .string("The version is the digest of the image's configuration for \(platform)."),
      ])
    ]
    var relationships = [Self.relationship("SPDXRef-DOCUMENT", "DESCRIBES", image)]
    for package in packages {
      let purl = Self.purl(package, distribution)
      let id = Self.identifier(package, purl)
      elements.append(element(package, id: id, purl: purl))
      relationships.append(Self.relationship(image, "CONTAINS", id))
    }
    return JSON.object([
      "spdxVersion": .string("SPDX-2.3"), "dataLicense": .string("CC0-1.0"), "SPDXID": .string("SPDXRef-DOCUMENT"),
      "name": .string(name), "documentNamespace": .string("urn:slipway:sbom:\(config.oci)"),
      "creationInfo": .object(["created": .string(Self.created), "creators": .strings(["Tool: slipway"])]),
      "packages": .array(elements), "relationships": .array(relationships),
    ]).encoded
  }

  private static func relationship(_ from: String, _ type: String, _ to: String) -> JSON {
    .object([
      "spdxElementId": .string(from), "relationshipType": .string(type), "relatedSpdxElement": .string(to),
    ])
  }

  private func element(_ package: Package, id: String, purl: String) -> JSON {
    var members: [String: JSON] = [
      "SPDXID": .string(id), "name": .string(package.name), "versionInfo": .string(package.version),
      "downloadLocation": .string("NOASSERTION"), "filesAnalyzed": .bool(false),
      "licenseConcluded": .string("NOASSERTION"), "licenseDeclared": .string(package.license ?? "NOASSERTION"),
      "copyrightText": .string("NOASSERTION"),
      "supplier": .string(package.maintainer.flatMap(Self.organization) ?? "NOASSERTION"),
      "externalRefs": .array([
        .object([
          "referenceCategory": .string("PACKAGE-MANAGER"), "referenceType": .string("purl"),
          "referenceLocator": .string(purl),
        ])
      ]),
    ]
    members["licenseComments"] = package.licenseText.map { .string("The package says: \($0)") }
    members["sourceInfo"] = package.source.map { .string("built from the source package \($0)") }
    if let homepage = package.homepage, Self.isURL(homepage) { members["homepage"] = .string(homepage) }
    return .object(members)
  }

  /// SPDX's form of an actor: `Organization: NAME (ADDRESS)`.
  private static func organization(_ maintainer: String) -> String? {
    let name = maintainer.prefix { $0 != "<" }.filter { !"()".contains($0) }
    let trimmed = name.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
    guard !trimmed.isEmpty else { return nil }
    let address = maintainer.drop { $0 != "<" }.dropFirst().prefix { $0 != ">" }
    let isSound = address.contains("@") && !address.contains { $0 == " " || $0 == "(" || $0 == ")" }
    return "Organization: \(String(trimmed))" + (isSound ? " (\(address))" : "")
  }

  private static func isURL(_ text: String) -> Bool {
    (text.hasPrefix("https://") || text.hasPrefix("http://"))
      && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && !"\"<>\\^`{|}".utf8.contains($0) } && text.utf8.count < 2048
  }

  /// Letters, digits, `.` and `-`, and enough of the purl's digest to be the only one.
  private static func identifier(_ package: Package, _ purl: String) -> String {
    let name = String(package.name.map { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == ".") ? $0 : "-" })
    return "SPDXRef-\(package.kind.rawValue)-\(name)-\(Digest(of: purl).hex.prefix(12))"
  }

  /// A package URL (package-url/purl-spec).
  static func purl(_ package: Package, _ distribution: Distribution?) -> String {
    switch package.kind {
    case .deb:
      let id = distribution?.id ?? "debian"
      var qualifiers: [String] = []
      if let architecture = package.architecture { qualifiers.append("arch=" + escaped(architecture)) }
      if let version = distribution?.version { qualifiers.append("distro=" + escaped("\(id)-\(version)")) }
      return "pkg:deb/\(escaped(id))/\(escaped(package.name))@\(escaped(package.version))"
        + (qualifiers.isEmpty ? "" : "?" + qualifiers.joined(separator: "&"))
    case .pypi:
      let name = String(package.name.lowercased().map { $0 == "_" ? "-" : $0 })
      return "pkg:pypi/\(escaped(name))@\(escaped(package.version))"
    }
  }

  private static func escaped(_ text: String) -> String {
    var output = ""
    for byte in text.utf8 {
      switch byte {
      case 48...57, 65...90, 97...122: output.unicodeScalars.append(Unicode.Scalar(byte))
      case _ where "-._~:".utf8.contains(byte): output.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let hex = String(byte, radix: 16, uppercase: true)
        output += hex.utf8.count == 1 ? "%0" + hex : "%" + hex
      }
    }
    return output
  }
}
