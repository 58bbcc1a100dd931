import Caching
import Diagnostics
import Digests
import OCI
import SystemPackage
import TestServers
import Testing

@testable import Publishing

@Suite struct SBOMTests {
  // MARK: What package managers write

  @Test func `dpkg's installed packages are found, and what was removed is not`() {
    let status = """
      Package: libc6
      Status: install ok installed
      Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
      Architecture: amd64
      Source: glibc
      Version: 2.36-9+deb12u10
      Description: GNU C Library
       Version: not this one
       .
       a longer text
      Homepage: https://www.gnu.org/software/libc/libc.html

      Package: gone
      Status: deinstall ok config-files
      Version: 1

      Package: half
      Status: install ok half-installed
      Version: 1

      Version: 3
      Status: install ok installed

      Package: tzdata\r
      Status: hold ok installed\r
      Version: 2024a-0\r
      """
    let found = SBOM.debianPackages(Array(status.utf8))
    #expect(found.map(\.name) == ["libc6", "tzdata"])
    #expect(found.map(\.version) == ["2.36-9+deb12u10", "2024a-0"])
    #expect(found.first?.source == "glibc")
    #expect(found.first?.homepage == "https://www.gnu.org/software/libc/libc.html")
  }

  @Test(
    arguments: [
      ("License-Expression: MIT OR Apache-2.0", "MIT OR Apache-2.0", nil),
      (
        "License-Expression: (MIT AND BSD-3-Clause) OR GPL-2.0-only WITH Classpath-exception-2.0",
        "(MIT AND BSD-3-Clause) OR GPL-2.0-only WITH Classpath-exception-2.0", nil
      ),
      ("License-Expression: MIT OR", nil, "MIT OR"), ("License-Expression: ((MIT)", nil, "((MIT)"),
      ("License-Expression: MIT Apache-2.0", nil, "MIT Apache-2.0"), ("License: MIT", "MIT", nil),
      ("License: Apache License, Version 2.0", "Apache-2.0", nil), ("License: BSD", nil, "BSD"),
      ("License: Copyright (c) somebody\n  all of\n  the text", nil, "Copyright (c) somebody…"),
      ("Classifier: License :: OSI Approved :: MIT License", "MIT", nil),
      ("Classifier: License :: OSI Approved :: BSD License", nil, "License :: OSI Approved :: BSD License"),
      ("Classifier: License :: A\nClassifier: License :: B", nil, "License :: A, License :: B"),
      ("Summary: x", nil, nil),
      ("License:", nil, nil),
    ] as [(String, String?, String?)])
  func `a Python package's license is an expression or a comment`(lines: String, license: String?, text: String?) {
    let bytes = Array("Metadata-Version: 2.4\nName: a\nVersion: 1\n\(lines)\n\nLicense: not this one\n".utf8)
    let package = SBOM.pythonPackage(bytes)
    #expect(package?.license == license)
    #expect(package?.licenseText == text)
  }

  @Test(arguments: ["", "Name: a", "Version: 1", "\nName: a\nVersion: 1", "Name:\nVersion: 1", "\u{0}\u{1}", ":::\n:"])
  func `what names no package is none`(text: String) {
    #expect(SBOM.pythonPackage(Array(text.utf8)) == nil)
    #expect(SBOM.debianPackages(Array(text.utf8)) == [])
  }

  @Test func `bytes of any kind are read to their end`() {
    var seed: UInt64 = 7
    let alphabet = Array("Package: \n\r\t Name: Version: 1\nStatus: installed\n :\u{0}é".utf8)
    for _ in 0..<500 {
      let bytes = (0..<60).map { _ -> UInt8 in
        seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return alphabet[Int(seed >> 33) % alphabet.count]
      }
      _ = SBOM.pythonPackage(bytes)
      #expect(SBOM.debianPackages(bytes).allSatisfy { !$0.name.isEmpty && !$0.version.isEmpty })
    }
  }

  @Test(
    arguments: [
      ("ID=debian\nVERSION_ID=\"12\"\n", "debian", "12"), ("# ID=x\nID='alpine'", "alpine", nil), ("NAME=x", nil, nil),
    ] as [(String, String?, String?)])
  func `os-release names the distribution`(text: String, id: String?, version: String?) {
    let found = SBOM.distribution(Array(text.utf8))
    #expect(found?.id == id && found?.version == version)
  }

  // MARK: The document

  private func package(_ kind: SBOM.Package.Kind, _ name: String, _ version: String, architecture: String? = nil)
    -> SBOM.Package
  {
    var package = SBOM.Package(kind: kind, name: name, version: version)
    package.architecture = architecture
    return package
  }

  @Test(
    arguments: [
      (
        SBOM.Package.Kind.deb, "libstdc++6", "1:12.2.0-14+b1", "amd64",
        "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bb1?arch=amd64&distro=debian-12"
      ),
      (.deb, "a", "1~rc1", nil, "pkg:deb/debian/a@1~rc1?distro=debian-12"),
      (.pypi, "Typing_Extensions", "4.0.0", nil, "pkg:pypi/typing-extensions@4.0.0"),
      (.pypi, "zope.interface", "1.0+local", nil, "pkg:pypi/zope.interface@1.0%2Blocal"),
      (.pypi, "a/../b", "1@2?x#y", nil, "pkg:pypi/a%2F..%2Fb@1%402%3Fx%23y"),
    ] as [(SBOM.Package.Kind, String, String, String?, String)])
  func `a package has a URL`(
    kind: SBOM.Package.Kind, name: String, version: String, architecture: String?, purl: String
  ) {
    let package = package(kind, name, version, architecture: architecture)
    #expect(SBOM.purl(package, SBOM.Distribution(id: "debian", version: "12")) == purl)
  }

  @Test func `the document is what SPDX 2.3 wants, whatever order packages come in`() throws {
    let packages = [
      package(.pypi, "b", "1"), package(.deb, "a", "1", architecture: "amd64"), package(.pypi, "a", "1"),
      package(.pypi, "a", "1"), package(.pypi, "a", "2"), package(.deb, "a", "1", architecture: "arm64"),
      package(.pypi, "a b", "1"), package(.pypi, "a?b", "1"),
    ]
    func sbom(_ packages: [SBOM.Package]) -> SBOM {
      SBOM(
        name: "airbyte/source-x:1.0.0", platform: "linux/amd64", config: Digest(of: "config"), distribution: nil,
        packages: packages)
    }
    let bytes = sbom(packages).encoded
    #expect(sbom(packages.reversed()).encoded == bytes)
    let json = try #require(JSON(decoding: bytes))
    #expect(json["spdxVersion"] == .string("SPDX-2.3") && json["dataLicense"] == .string("CC0-1.0"))
    #expect(json["documentNamespace"] == .string("urn:slipway:sbom:\(Digest(of: "config").oci)"))
    #expect(json["creationInfo"]?["created"] == .string("1980-01-01T00:00:00Z"))
    let elements = try #require(json["packages"]?.array)
    #expect(elements.count == 8)
    let ids = elements.compactMap { $0["SPDXID"]?.string }
    #expect(Set(ids).count == 8)
    for id in ids {
      #expect(
        id.hasPrefix("SPDXRef-")
          && id.dropFirst(8).allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == ".") })
    }
    let relationships = try #require(json["relationships"]?.array)
    #expect(relationships.first?["relationshipType"] == .string("DESCRIBES"))
    #expect(relationships.dropFirst().compactMap { $0["relatedSpdxElement"]?.string } == Array(ids.dropFirst()))
  }

  @Test(arguments: [
    (
      "GNU Libc Maintainers <debian-glibc@lists.debian.org>",
      "Organization: GNU Libc Maintainers (debian-glibc@lists.debian.org)"
    ),
    ("Somebody (a group) <a@b>", "Organization: Somebody a group (a@b)"), ("Nobody", "Organization: Nobody"),
    ("X <not an address>", "Organization: X"), ("<a@b>", "NOASSERTION"), ("", "NOASSERTION"),
  ])
  func `a maintainer is the supplier`(maintainer: String, supplier: String) throws {
    var package = package(.deb, "a", "1")
    package.maintainer = maintainer
    let sbom = SBOM(name: "x", platform: "linux/amd64", config: Digest(of: "c"), distribution: nil, packages: [package])
    let json = try #require(JSON(decoding: sbom.encoded))
    #expect(json["packages"]?.array?.last?["supplier"] == .string(supplier))
  }

  // MARK: In images

  private static func python(_ name: String, _ version: String) -> String { "Name: \(name)\nVersion: \(version)\n" }

  /// An image of layers, each of files by path; `.wh.` names remove.
  private func image(_ layers: [[String: String]], in store: Store, _ folder: FilePath) throws -> ImageArtifact {
    var made: [(layer: ImageArtifact.Layer, createdBy: String)] = []
    for (number, files) in layers.enumerated() {
      let root = folder.string + "/layer\(number)"
      try Disk.makeFolders(root)
      for (path, text) in files.sorted(by: { $0.key < $1.key }) {
        let place = root + "/" + path
        try Disk.makeFolders(String(place[..<(place.lastIndex(of: "/") ?? place.startIndex)]))
        try ServerProcess.write(text, to: place)
      }
      let (status, output) = try MetadataServer.run(["tar", "-C", root, "-cf", root + ".tar", "."], in: folder)
      guard status == 0 else { throw Diagnostic.error("tar: \(output)") }
      made.append((try LayerImporter(store).importTar(FilePath(root + ".tar")), "test"))
    }
    return try ImageBuilder(store).build(base: nil, platform: "linux/amd64", layers: made, change: ImageChange())
  }

  private func found(_ layers: [[String: String]]) async throws -> [String] {
    let scratch = try MetadataScratch()
    let store = try Store(root: scratch.folder.appending("cache"))
    let sbom = try await SBOMScanner(store).sbom(of: try image(layers, in: store, scratch.folder), name: "x")
    return sbom.packages.map {
      "\($0.kind.rawValue):\($0.name) \($0.version)" + (sbom.distribution.map { " \($0.id)" } ?? "")
    }
  }

  private static let site = "usr/local/lib/python3.11/site-packages"

  @Test func `packages of dpkg and of Python are found where they are`() async throws {
    let found = try await found([
      [
        "var/lib/dpkg/status": "Package: libc6\nStatus: install ok installed\nVersion: 2\n",
        "usr/lib/os-release": "ID=debian\n",
        "usr/lib/python3/dist-packages/a-1.dist-info/METADATA": Self.python("a", "1"),
        "usr/share/doc/x.dist-info/METADATA": Self.python("doc", "1"),
      ],
      [
        "\(Self.site)/b-2.dist-info/METADATA": Self.python("b", "2"),
        "\(Self.site)/b/METADATA": Self.python("no", "1"),
        "\(Self.site)/b/vendor/c-3.dist-info/METADATA": Self.python("vendored", "3"),
        "opt/venv/lib/python3.12/site-packages/d-4.dist-info/METADATA": Self.python("d", "4"),
        "var/lib/dpkg/status.d/tzdata": "Package: tzdata\nVersion: 5\n",
        "var/lib/dpkg/status.d/tzdata.md5sums": "Package: sums\nVersion: 5\n",
      ],
    ])
    #expect(
      found == ["deb:libc6 2 debian", "deb:tzdata 5 debian", "pypi:a 1 debian", "pypi:b 2 debian", "pypi:d 4 debian"])
  }

  @Test(
    arguments: [
      ("the file again", ["A/METADATA": "Name: a\nVersion: 2\n"], ["pypi:a 2", "pypi:b 1"]),
      ("a whiteout of the file", ["A/.wh.METADATA": ""], ["pypi:b 1"]),
      ("a whiteout of its folder", [".wh.A": ""], ["pypi:b 1"]),
      ("an opaque folder above", [".wh..wh..opq": "", "x": ""], []),
      (
        "an opaque folder with a package of its own", [".wh..wh..opq": "", "C/METADATA": "Name: c\nVersion: 1\n"],
        ["pypi:c 1"]
      ),
      ("a file in place of the folder", ["A": "file"], ["pypi:b 1"]),
      ("something beside it", ["A/RECORD": "", "x/y": ""], ["pypi:a 1", "pypi:b 1"]),
      ("a whiteout of something else", [".wh.other": ""], ["pypi:a 1", "pypi:b 1"]),
    ] as [(String, [String: String], [String])])
  func `what an upper layer hides is not in the image`(what: String, upper: [String: String], expected: [String])
    async throws
  {
    func placed(_ files: [String: String]) -> [String: String] {
      var result: [String: String] = [:]
      for (path, text) in files {
        let path = path.replacing(
          "A", with: "a.dist-info", maxReplacements: path.hasPrefix("A") || path == ".wh.A" ? 1 : 0)
        result["\(Self.site)/" + path.replacing("C/", with: "c.dist-info/")] = text
      }
      return result
    }
    let lower = [
      "\(Self.site)/a.dist-info/METADATA": Self.python("a", "1"),
      "\(Self.site)/b.dist-info/METADATA": Self.python("b", "1"),
    ]
    #expect(try await found([lower, placed(upper)]) == expected, "\(what)")
    // With a layer between that has nothing to do with it.
    #expect(try await found([lower, ["etc/x": ""], placed(upper)]) == expected, "\(what)")
  }

  @Test func `a package that comes back above its removal is there`() async throws {
    let path = "\(Self.site)/a.dist-info/METADATA"
    let found = try await found([
      [path: Self.python("a", "1")], ["\(Self.site)/.wh.a.dist-info": ""], [path: Self.python("a", "3")],
    ])
    #expect(found == ["pypi:a 3"])
  }
}
