import Caching
import Digests
import Distribution
import OCI
import SystemPackage
import TestServers
import Testing

@testable import Publishing

@Suite struct ProvenanceTests {
  private func statement(_ dependencies: [Provenance.Dependency]) -> Provenance {
    Provenance(
      subjectName: "localhost:5000/a/source-x", subject: Digest(of: "image"), label: "//connectors/source-x:image",
      platform: "linux/amd64", builderVersion: "0.3.0", dependencies: dependencies)
  }

  @Test func `the statement is in-toto's, with SLSA's provenance`() throws {
    let digest = Digest(of: "image").hex
    let base = Digest(of: "base").hex
    let lock = Digest(of: "lock").hex
    let bytes = statement([
      .file("connectors/source-x/poetry.lock", Digest(of: "lock")), .commit("abc", remote: "git@github.com:a/b.git"),
      .image("docker.io/airbyte/base:1@sha256:00", Digest(of: "base")),
    ]).encoded
    let expected = """
      {"_type":"https://in-toto.io/Statement/v1","predicate":{"buildDefinition":{"buildType":\
      "urn:slipway:build:image:v1","externalParameters":{"platform":"linux/amd64","target":\
      "//connectors/source-x:image"},"resolvedDependencies":[{"digest":{"sha256":"\(base)"},"uri":\
      "docker://docker.io/airbyte/base:1"},{"digest":{"sha256":"\(lock)"},"uri":\
      "file:connectors/source-x/poetry.lock"},{"digest":{"gitCommit":"abc"},"uri":\
      "git+ssh://github.com/a/b.git"}]},"runDetails":{"builder":{"id":"urn:slipway:builder:unknown","version":\
      {"slipway":"0.3.0"}}}},"predicateType":"https://slsa.dev/provenance/v1","subject":[{"digest":{"sha256":\
      "\(digest)"},"name":"localhost:5000/a/source-x"}]}
      """
    #expect(String(decoding: bytes, as: UTF8.self) == expected)
  }

  @Test func `the order of what went in, and what comes twice, change nothing`() {
    let dependencies: [Provenance.Dependency] = [
      .file("b", Digest(of: "b")), .file("a", Digest(of: "a")), .file("a", Digest(of: "c")),
      .file("b", Digest(of: "b")),
    ]
    #expect(statement(dependencies).encoded == statement(dependencies.reversed()).encoded)
    #expect(statement(dependencies).encoded == statement(Array(dependencies.dropLast())).encoded)
  }

  @Test func `what is changed is named up to a limit, and counted`() throws {
    let names = (0..<103).map { "a/\($0)" }
    let json = try #require(
      JSON(decoding: statement([.commit("abc", remote: nil, changed: names)]).encoded)?["predicate"]?[
        "buildDefinition"]?["resolvedDependencies"]?.array?.first)
    #expect(json["uri"] == .string("git+file:"))
    #expect(json["annotations"]?["changed"]?.strings == Array(names.prefix(100)))
    #expect(json["annotations"]?["changedCount"]?.int == 103)
  }

  @Test(
    arguments: [
      ("https://github.com/a/b.git", "https://github.com/a/b.git"),
      ("https://user:secret@github.com/a/b", "https://github.com/a/b"),
      ("https://secret@github.com:8443/a/b?token=secret#secret", "https://github.com:8443/a/b"),
      ("ssh://git@host:22/a/b", "ssh://host:22/a/b"), ("git@host:a/b.git", "ssh://host/a/b.git"),
      ("git@host:/a/b.git", "ssh://host/a/b.git"), ("https://a@secret@host/x", "https://host/x"), ("/srv/git/a", nil),
      ("../a", nil), ("file:///srv/a", nil), ("./a:b", nil), ("", nil), (":a", nil), ("https://", nil),
    ] as [(String, String?)])
  func `a remote is named without secrets, and not if it is on this machine`(remote: String, url: String?) {
    let found = Provenance.Dependency.gitURL(remote)
    #expect(found == url)
    #expect(found?.contains("secret") != true)
  }
}

/// Against docker-registry, which does not know the referrers API.
@Suite struct ProvenanceReferrersTests {
  private let scratch: MetadataScratch
  private let server: RegistryServer
  private let client: RegistryClient
  private let referrers: Referrers
  private let reference: Reference
  private let subject: Descriptor

  init() async throws {
    scratch = try MetadataScratch()
    server = try RegistryServer()
    client = RegistryClient(RegistrySettings())
    let store = try Store(root: scratch.folder.appending("cache"))
    referrers = Referrers(client, store)
    reference = try Reference("\(server.host)/airbyte/source-x:1.0.0")
    let image = try ImageBuilder(store).build(base: nil, platform: "linux/amd64", layers: [], change: ImageChange())
    let pushable = try PushableImage(manifest: image.manifest, in: store)
    subject = pushable.manifest.descriptor
    try await client.push(pushable, to: reference, tag: "1.0.0")
  }

  private var sbom: Referrers.Document {
    Referrers.Document(
      SBOM(
        name: "airbyte/source-x:1.0.0", platform: "linux/amd64", config: Digest(of: "c"), distribution: nil,
        packages: [SBOM.Package(kind: .pypi, name: "a", version: "1")]))
  }

  private var provenance: Referrers.Document {
    Referrers.Document(
      Provenance(
        subjectName: reference.name, subject: subject.digest, label: "//a:image", platform: "linux/amd64",
        dependencies: []))
  }

  @Test func `both documents are found from the image's digest, by this client and by skopeo`() async throws {
    #expect(try await client.referrers(of: subject.digest, in: reference) == [])
    guard case .attached(let first) = try await referrers.attach(sbom, to: subject, in: reference),
      case .attached(let second) = try await referrers.attach(provenance, to: subject, in: reference)
    else {
      Issue.record("a document was there before it was attached")
      return
    }
    let tag = "sha256-" + subject.digest.hex
    let source = "docker://\(server.host)/airbyte/source-x"
    let raw = try MetadataServer.run(
      ["skopeo", "inspect", "--tls-verify=false", "--raw", "\(source):\(tag)"], in: scratch.folder)
    #expect(raw.status == 0, "\(raw.output)")
    let index = try #require(JSON(decoding: Array(raw.output.utf8)))
    #expect(index["mediaType"] == .string("application/vnd.oci.image.index.v1+json"))
    let entries = try #require(index["manifests"]?.array)
    #expect(Set(entries.compactMap { $0["digest"]?.string }) == Set([first.oci, second.oci]))
    #expect(
      Set(entries.compactMap { $0["artifactType"]?.string }) == [
        "application/spdx+json", "application/vnd.in-toto+json",
      ])
    for (digest, document) in [(first, sbom), (second, provenance)] {
      let raw = try MetadataServer.run(
        ["skopeo", "inspect", "--tls-verify=false", "--raw", "\(source)@\(digest.oci)"], in: scratch.folder)
      let manifest = try #require(JSON(decoding: Array(raw.output.utf8)))
      #expect(manifest["subject"]?["digest"] == .string(subject.digest.oci))
      #expect(manifest["subject"]?["size"] == .number(subject.size))
      #expect(manifest["artifactType"] == .string(document.artifactType))
      #expect(manifest["config"]?["mediaType"] == .string("application/vnd.oci.empty.v1+json"))
      #expect(manifest["layers"]?.array?.first?["digest"] == .string(Digest(of: document.bytes).oci))
      #expect(
        try await referrers.documents(document.artifactType, of: subject.digest, in: reference) == [document.bytes])
    }
    await client.close()
  }

  @Test func `a document that is attached again changes nothing`() async throws {
    guard case .attached(let digest) = try await referrers.attach(sbom, to: subject, in: reference) else {
      Issue.record("the document was there before it was attached")
      return
    }
    let tag = try reference.tagged("sha256-" + subject.digest.hex)
    let before = try await client.resolve(tag)
    #expect(try await referrers.attach(sbom, to: subject, in: reference) == .present(digest))
    #expect(try await client.resolve(tag) == before)
    var other = sbom
    other.bytes += [32]
    #expect(try await referrers.attach(other, to: subject, in: reference, unlessPresent: true) == .present(digest))
    #expect(try await client.resolve(tag) == before)
    _ = try await referrers.attach(other, to: subject, in: reference)
    #expect(try await client.referrers(of: subject.digest, in: reference).count == 2)
    await client.close()
  }

  @Test func `writers at once all end up in the list`() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<3 {
        let document = Referrers.Document(artifactType: "application/x-\(number)", bytes: Array("\(number)".utf8))
        group.addTask { _ = try await referrers.attach(document, to: subject, in: reference) }
      }
      try await group.waitForAll()
    }
    // Whoever was overwritten between its write and its look adds itself again; the rest is up to the next publish.
    for number in 0..<3 {
      let document = Referrers.Document(artifactType: "application/x-\(number)", bytes: Array("\(number)".utf8))
      _ = try await referrers.attach(document, to: subject, in: reference)
    }
    #expect(try await client.referrers(of: subject.digest, in: reference).count == 3)
    await client.close()
  }

  /// nginx answers for a registry of 1.1 what a list says; the rest goes to docker-registry.
  @Test func `where the registry keeps the list, it is believed, and no tag is made`() async throws {
    let digest = Digest(of: Referrers.manifest(sbom, subject: subject))
    let other = Digest(of: "an older statement")
    func entry(_ digest: Digest, _ type: String) -> JSON {
      .object([
        "mediaType": .string(MediaType.manifest), "digest": .string(digest.oci), "size": .number(1),
        "artifactType": .string(type),
      ])
    }
    let list = JSON.object([
      "schemaVersion": .number(2), "mediaType": .string(MediaType.index),
      "manifests": .array([entry(digest, SBOM.mediaType), entry(other, Provenance.mediaType)]),
    ])
    let folder = scratch.folder.appending("proxy")
    try Disk.makeFolders(folder.string)
    let proxy = try MetadataServer.nginx(
      in: folder,
      location: """
        dav_methods off; proxy_pass http://\(server.host); proxy_set_header Host $http_host;
        location ~ /referrers/ {
          default_type \(MediaType.index);
          return 200 '\(String(decoding: list.encoded, as: UTF8.self))';
        }
        """)
    let reference = try Reference("127.0.0.1:\(proxy.port)/airbyte/source-x:1.0.0")
    #expect(try await referrers.attach(sbom, to: subject, in: reference) == .present(digest))
    #expect(
      try await referrers.attach(provenance, to: subject, in: reference, unlessPresent: true) == .present(other))
    #expect(try await client.tags(reference) == ["1.0.0"])
    await client.close()
  }
}
