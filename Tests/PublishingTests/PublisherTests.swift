import Caching
import Diagnostics
import Digests
import Distribution
import Manifests
import OCI
import SystemPackage
import TestServers
import Testing

@testable import Publishing

/// Against docker-registry.
@Suite struct PublisherTests {
  private let folder: Folder
  private let server: RegistryServer
  private let store: Store
  private let client: RegistryClient

  init() throws {
    folder = try Folder()
    server = try RegistryServer()
    store = try Store(root: FilePath(folder.path + "/store"))
    client = RegistryClient(RegistrySettings())
  }

  /// A release whose image has these layers on top of each other; what a layer holds is its text.
  private func job(_ repository: String, _ version: String, layers: [String]) throws -> PublishJob {
    let reference = try Reference("\(server.host)/\(repository):\(version)")
    let semantic = try #require(SemanticVersion(version))
    let release = Release(
      label: "//\(repository):publish", repository: repository, reference: reference, version: semantic,
      channel: semantic.isStable ? .stable : .candidate)
    let files = try layers.map { try store.insert(Array($0.utf8)) }
    let artifact = try ImageBuilder(store).build(
      base: nil, platform: "linux/amd64",
      layers: files.map { (ImageArtifact.Layer(diffID: $0.digest, digest: $0.digest, size: $0.size), "test") },
      change: ImageChange())
    return try PublishJob(release, artifacts: [artifact], in: store)
  }

  private func journal() throws -> PublishJournal { try PublishJournal(path: FilePath(folder.path + "/journal")) }

  private func state(_ job: PublishJob) async throws -> PublishState {
    let published = try await PublishLookup(client).published(job.release, manifest: job.top.descriptor.digest)
    return job.release.state(built: job.images, manifest: job.top.descriptor.digest, published: published)
  }

  @Test func `a release is absent, then identical; another image under its version is a change`() async throws {
    let first = try job("a", "1.0.0", layers: ["base", "one"])
    #expect(try await state(first) == .absent(tags: ["1.0.0", "latest"]))
    #expect(try await Publisher(client, journal(), store).publish(first) == ["1.0.0", "latest"])
    #expect(try await state(first) == .identical(tags: []))
    let second = try job("a", "1.0.0", layers: ["base", "two"])
    guard case .changed(let differences) = try await state(second) else {
      Issue.record("not a change")
      return
    }
    #expect(differences.map(\.built) == second.images.map(\.config))
    #expect(differences.map(\.published) == first.images.map(\.config))
    let newer = try job("a", "1.0.1", layers: ["base", "two"])
    #expect(try await state(newer) == .absent(tags: ["1.0.1", "latest"]))
    #expect(try await Publisher(client, journal(), store).publish(newer) == ["1.0.1", "latest"])
    #expect(try await state(first) == .identical(tags: []), "latest is not drawn back")
    let older = try job("a", "0.9.0", layers: ["base"])
    #expect(try await state(older) == .older(than: newer.release.version))
    await client.close()
  }

  @Test func `a question about what is identical costs two HEADs`() async throws {
    let job = try job("a", "1.0.0", layers: ["base"])
    _ = try await Publisher(client, journal(), store).publish(job)
    let before = server.requests.count
    _ = try await state(job)
    #expect(server.requests.dropFirst(before).map(\.method).sorted() == ["HEAD", "HEAD"])
    await client.close()
  }

  @Test func `a shared blob is sent once, whoever comes first`() async throws {
    let publisher = Publisher(client, try journal(), store)
    let jobs = try (0..<8).map { try job("r\($0)", "1.0.0", layers: ["base", "shared", "own \($0)"]) }
    try await concurrently(jobs, limit: 8) { _ = try await publisher.publish($0) }
    let uploads = server.uploads().map(\.digest)
    #expect(Set(uploads).count == uploads.count)
    #expect(uploads.count == 2 + 8 * 2)
    for job in jobs { #expect(try await state(job) == .identical(tags: [])) }
    await client.close()
  }

  @Test func `what an earlier run has sent elsewhere is mounted from there`() async throws {
    _ = try await Publisher(client, journal(), store).publish(job("a", "1.0.0", layers: ["base"]))
    let before = server.uploads().count
    let second = try job("b", "1.0.0", layers: ["base"])
    _ = try await Publisher(client, journal(), store).publish(second)
    #expect(server.uploads().count == before, "both layers and configuration are equal")
    await client.close()
  }

  @Test func `a tag that was taken meanwhile is left alone`() async throws {
    let (mine, theirs) = (try job("a", "1.0.0", layers: ["mine"]), try job("a", "1.0.0", layers: ["theirs"]))
    let publisher = Publisher(client, try journal(), store)
    let error = await #expect(throws: Diagnostic.self) {
      _ = try await publisher.publish(mine) { _ = try await publisher.publish(theirs) }
    }
    #expect(error?.cause == .build)
    #expect(error?.message.hasSuffix("was published with another image while this one was being pushed") == true)
    #expect(try await state(theirs) == .identical(tags: []))
    await client.close()
  }

  @Test func `who tagged in the same instant and lost is told, and latest follows the tag`() async throws {
    let (mine, theirs) = (try job("a", "1.0.0", layers: ["mine"]), try job("a", "1.0.0", layers: ["theirs"]))
    let publisher = Publisher(client, try journal(), store)
    _ = try await publisher.publish(mine)
    try await publisher.confirm(mine)
    try await publisher.push(theirs.under("0.9.0"))
    // What a tag that is moved without a look does; `latest` stays mine, as after my slower hand.
    try await client.pushManifest(
      theirs.top.bytes, mediaType: theirs.top.descriptor.mediaType, to: theirs.release.reference, byDigest: false)
    let error = await #expect(throws: Diagnostic.self) { try await publisher.confirm(mine) }
    #expect(error?.hints == ["give this one a new version: slipway bump //a"])
    let latest = try await client.resolve(try mine.release.reference.tagged("latest"), direct: true)
    #expect(latest?.digest == theirs.top.descriptor.digest)
    try await publisher.confirm(theirs)
    await client.close()
  }

  @Test func `two publishes of the same image do not hinder each other`() async throws {
    let job = try job("a", "1.0.0", layers: ["same"])
    let publisher = Publisher(client, try journal(), store)
    let tags = try await publisher.publish(job) { _ = try await publisher.publish(job) }
    #expect(tags == ["1.0.0", "latest"])
    await client.close()
  }

  @Test func `latest is left to a newer version that came meanwhile`() async throws {
    let (older, newer) = (try job("a", "1.0.0", layers: ["1"]), try job("a", "1.1.0", layers: ["2"]))
    let publisher = Publisher(client, try journal(), store)
    let tags = try await publisher.publish(older) { _ = try await publisher.publish(newer) }
    #expect(tags == ["1.0.0"])
    #expect(try await state(newer) == .identical(tags: []))
    await client.close()
  }

  @Test func `an index of two platforms is published and compared platform by platform`() async throws {
    let layer = try store.insert(Array("data".utf8))
    let images = try ["linux/arm64", "linux/amd64"].map { platform in
      try ImageBuilder(store).build(
        base: nil, platform: platform,
        layers: [(ImageArtifact.Layer(diffID: layer.digest, digest: layer.digest, size: layer.size), "test")],
        change: ImageChange())
    }
    let release = try job("a", "1.0.0", layers: ["x"]).release
    let both = try PublishJob(release, artifacts: images, in: store)
    #expect(both.images.map(\.platform) == ["linux/amd64", "linux/arm64"])
    _ = try await Publisher(client, journal(), store).publish(both)
    #expect(try await state(both) == .identical(tags: []))
    var one = try PublishJob(release, artifacts: [images[0]], in: store)
    #expect(try await state(one).name == "refused", "the other platform would be lost")
    one.release.isNarrowed = true
    #expect(try await state(one) == .identical(tags: []), "what is left out on purpose is not compared")
    let uploads = server.uploads().map(\.digest)
    #expect(Set(uploads).count == uploads.count)
    await client.close()
  }

  @Test func `a registry that is not there fails all, and is not asked by each`() async throws {
    let port = try ServerProcess.freePort()
    var settings = RegistrySettings()
    settings.retry.attempts = 1
    let client = RegistryClient(settings)
    let questions = try (0..<200).map { number in
      PublishSurvey.Question(
        release: Release(
          label: "//a:publish", repository: "a", reference: try Reference("127.0.0.1:\(port)/r\(number):1.0.0"),
          version: try #require(SemanticVersion("1.0.0")), channel: .stable), manifest: nil)
    }
    let answers = try await PublishSurvey(client).answers(questions)
    let messages = answers.map { answer -> String in
      guard case .failure(let error as Diagnostic) = answer else { return "" }
      return error.message
    }
    #expect(messages.allSatisfy { !$0.isEmpty })
    #expect(messages.count { $0.contains("was not looked up") } > 150)
    await client.close()
  }
}

extension Publisher {
  fileprivate func publish(_ job: PublishJob, beforeTags: @Sendable () async throws -> Void = {}) async throws
    -> [String]
  {
    try await push(job, describe: beforeTags)
    return try await tag(job)
  }
}

extension PublishJob {
  /// The same bytes as another version.
  fileprivate func under(_ version: String) throws -> PublishJob {
    var job = self
    job.release.reference = try release.reference.tagged(version)
    return job
  }
}
