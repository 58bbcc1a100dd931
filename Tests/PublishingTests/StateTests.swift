import Digests
import Distribution
import Manifests
import Testing

@testable import Publishing

/// Every combination of what is built and what is published, and what it comes to.
@Suite struct StateTests {
  private static let one = Digest(of: "one")
  private static let two = Digest(of: "two")
  private static let top = Digest(of: "manifest")
  private static let otherTop = Digest(of: "another manifest")

  private static func release(_ version: String, _ channel: ReleaseChannel? = nil) throws -> Release {
    let semantic = try #require(SemanticVersion(version))
    return Release(
      label: "//a:publish", repository: "airbyte/a", reference: try Reference("localhost:5000/airbyte/a:\(version)"),
      version: semantic, channel: channel ?? (semantic.isStable ? .stable : .candidate))
  }

  private static func built(_ platforms: [String: Digest] = ["linux/amd64": one]) -> [BuiltImage] {
    platforms.sorted { $0.key < $1.key }.map { platform, config in
      BuiltImage(
        platform: platform, config: config, manifest: Descriptor(mediaType: "m", digest: top, size: 1))
    }
  }

  private static func state(
    _ release: Release, _ published: Published, built images: [BuiltImage] = built(), manifest: Digest = top
  ) -> PublishState {
    release.state(built: images, manifest: manifest, published: published)
  }

  // MARK: One rule at a time

  @Test func `a version that nobody has published is absent, and gets its tag and latest`() throws {
    #expect(Self.state(try Self.release("1.0.0"), Published()) == .absent(tags: ["1.0.0", "latest"]))
  }

  @Test(arguments: ["1.0.0-rc.1", "1.0.0-dev.abc", "0.0.1-alpha"])
  func `what is no stable version never gets latest`(version: String) throws {
    #expect(Self.state(try Self.release(version), Published()) == .absent(tags: [version]))
  }

  @Test func `an equal manifest is identical without a look at configurations`() throws {
    let published = Published(version: PublishedVersion(manifest: Self.top), latest: Self.top)
    #expect(Self.state(try Self.release("1.0.0"), published) == .identical(tags: []))
  }

  @Test func `an equal configuration under another manifest is identical: only a compressor changed`() throws {
    let published = Published(
      version: PublishedVersion(manifest: Self.otherTop, configs: ["": Self.one]), latest: Self.otherTop)
    #expect(Self.state(try Self.release("1.0.0"), published) == .identical(tags: []))
  }

  @Test func `another configuration is a change that names both`() throws {
    let published = Published(
      version: PublishedVersion(manifest: Self.otherTop, configs: ["": Self.two]), latest: Self.otherTop)
    #expect(
      Self.state(try Self.release("1.0.0"), published)
        == .changed([.init(platform: "linux/amd64", built: Self.one, published: Self.two)]))
  }

  @Test func `of an index each platform is compared with its own`() throws {
    let images = Self.built(["linux/amd64": Self.one, "linux/arm64": Self.two])
    func published(_ configs: [String: Digest]) -> Published {
      Published(version: PublishedVersion(manifest: Self.otherTop, configs: configs), latest: Self.otherTop)
    }
    let release = try Self.release("1.0.0")
    #expect(
      Self.state(release, published(["linux/amd64": Self.one, "linux/arm64": Self.two]), built: images)
        == .identical(tags: []))
    #expect(
      Self.state(release, published(["linux/amd64": Self.two, "linux/arm64": Self.one]), built: images)
        == .changed([
          .init(platform: "linux/amd64", built: Self.one, published: Self.two),
          .init(platform: "linux/arm64", built: Self.two, published: Self.one),
        ]))
    #expect(
      Self.state(release, published(["linux/amd64": Self.one]), built: images)
        == .changed([.init(platform: "linux/arm64", built: Self.two, published: nil)]))
    // A lone manifest says no platform: it cannot stand for two.
    #expect(
      Self.state(release, published(["": Self.one]), built: images)
        == .changed([.init(platform: "linux/arm64", built: Self.two, published: nil)]))
    #expect(
      Self.state(release, published(["": Self.top]), built: images)
        == .changed([
          .init(platform: "linux/amd64", built: Self.one, published: nil),
          .init(platform: "linux/arm64", built: Self.two, published: nil),
        ]))
  }

  @Test func `a platform that is left out on purpose is not compared, and one that is lost is refused`() throws {
    let published = Published(
      version: PublishedVersion(
        manifest: Self.otherTop, configs: ["linux/amd64": Self.one, "linux/arm64": Self.two]), latest: Self.otherTop)
    var release = try Self.release("1.0.0")
    guard case .refused(let reason, let hint) = Self.state(release, published) else {
      Issue.record("\(Self.state(release, published))")
      return
    }
    #expect(reason.contains("linux/arm64") && !reason.contains("linux/amd64"))
    #expect(hint.contains("slipway bump //a patch") && hint.contains("--platform linux/amd64"))
    release.isNarrowed = true
    #expect(Self.state(release, published) == .identical(tags: []))
    #expect(
      Self.state(release, published, built: Self.built(["linux/amd64": Self.two]))
        == .changed([.init(platform: "linux/amd64", built: Self.two, published: Self.one)]))
  }

  @Test func `a version below the newest published one is older, a preview is not`() throws {
    let published = Published(newest: SemanticVersion("1.0.1"))
    let newest = try #require(SemanticVersion("1.0.1"))
    #expect(Self.state(try Self.release("1.0.0"), published) == .older(than: newest))
    #expect(Self.state(try Self.release("1.0.1-rc.1"), published) == .older(than: newest))
    #expect(
      Self.state(try Self.release("1.0.0-dev.abc", .preview), published) == .absent(tags: ["1.0.0-dev.abc"]))
    #expect(Self.state(try Self.release("1.0.2-rc.1"), published) == .absent(tags: ["1.0.2-rc.1"]))
  }

  @Test func `latest that a kill left behind is missing of an identical version`() throws {
    let version = PublishedVersion(manifest: Self.top)
    let release = try Self.release("1.1.0")
    for latest in [nil, Self.otherTop] {
      let published = Published(version: version, latest: latest, newest: SemanticVersion("1.1.0"))
      #expect(Self.state(release, published) == .identical(tags: ["latest"]))
    }
  }

  @Test func `latest stays where a newer version is published`() throws {
    let published = Published(
      version: PublishedVersion(manifest: Self.top), latest: Self.otherTop, newest: SemanticVersion("2.0.0"))
    #expect(Self.state(try Self.release("1.1.0"), published) == .identical(tags: []))
  }

  // MARK: All of it

  /// Versions in their order, each with whether it is stable.
  private static let versions = ["0.9.0", "1.0.0-dev.x", "1.0.0-rc.1", "1.0.0", "1.0.1", "2.0.0"]

  @Test func `of all combinations, none overwrites, none goes back, and latest is always the newest stable`() throws {
    var count = 0
    for own in Self.versions {
      let release = try Self.release(own)
      for newest in [nil] + Self.versions.filter({ SemanticVersion($0)?.isStable == true }).map(Optional.some) {
        let newestVersion = newest.flatMap { SemanticVersion($0) }
        for manifest in [Self.top, Self.otherTop] {
          for config in [Self.one, Self.two] {
            for latest in [nil, Self.top, Self.otherTop] {
              for isPublished in [false, true] {
                // A registry that is in order: what is published and stable is among what the newest is taken from.
                if isPublished, release.channel == .stable,
                  newestVersion.map({ $0 < release.version }) ?? true
                {
                  continue
                }
                let version =
                  isPublished ? PublishedVersion(manifest: manifest, configs: ["": config]) : nil
                let published = Published(version: version, latest: latest, newest: newestVersion)
                try check(release, published, Self.state(release, published))
                count += 1
              }
            }
          }
        }
      }
    }
    #expect(count > 400, "\(count) combinations")
  }

  private func check(_ release: Release, _ published: Published, _ state: PublishState) throws {
    let isSame = published.version.map { $0.manifest == Self.top || $0.configs[""] == Self.one }
    let isOutdone = published.newest.map { release.version < $0 } ?? false
    switch state {
    case .absent(let tags):
      #expect(published.version == nil && !isOutdone)
      #expect(tags.first == release.tag)
      #expect(tags.contains("latest") == (release.channel == .stable))
    case .identical(let tags):
      #expect(isSame == true)
      let isStale = release.channel == .stable && !isOutdone && published.latest != published.version?.manifest
      #expect(tags == (isStale ? ["latest"] : []))
    case .changed(let differences):
      #expect(isSame == false)
      #expect(differences.count == 1)
    case .older(let newest):
      #expect(published.version == nil && isOutdone && newest == published.newest)
    case .skipped, .refused: Issue.record("a comparison never skips or refuses")
    }
  }
}
