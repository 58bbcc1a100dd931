import Digests
import Manifests

/// How a version that was built here stands to what is published.
package enum PublishState: Hashable, Sendable {
  /// Nothing is published under this version: it will be pushed and get these tags.
  case absent(tags: [String])
  /// The same image is published. Tags are what is missing all the same: a publish was killed before it moved `latest`.
  case identical(tags: [String])
  /// Another image is published under this version.
  case changed([Difference])
  /// A newer stable version is published.
  case older(than: SemanticVersion)
  case skipped(String)
  /// A rule of publishing stands against it.
  case refused(String, hint: String)

  /// One platform whose image differs.
  package struct Difference: Hashable, Sendable {
    package var platform: String
    package var built: Digest
    /// `nil`: the published version has no image for this platform.
    package var published: Digest?

    package init(platform: String, built: Digest, published: Digest?) {
      self.platform = platform
      self.built = built
      self.published = published
    }
  }

  package var name: String {
    switch self {
    case .absent: "absent"
    case .identical: "identical"
    case .changed: "changed"
    case .older: "older"
    case .skipped: "skipped"
    case .refused: "refused"
    }
  }

  package var isError: Bool {
    switch self {
    case .changed, .older, .refused: true
    case .absent, .identical, .skipped: false
    }
  }
}

extension Release {
  /// The state of this release.
  ///
  /// Identity is by configuration digests, which name diffIDs and run configuration: what a compressor does to the
  /// layers' bytes changes a manifest, but no image. An equal manifest is only the quicker answer.
  ///
  /// - Parameters:
  ///   - images: What was built here, one for each platform.
  ///   - manifest: What the tag would name.
  package func state(built images: [BuiltImage], manifest: Digest, published: Published) -> PublishState {
    if let version = published.version {
      let differences = version.manifest == manifest ? [] : Self.differences(images, version)
      if !differences.isEmpty { return .changed(differences) }
      // Another machine may build the rest, if somebody said so; else it would be lost with nobody noticing.
      let missing = version.configs.keys.filter { name in !name.isEmpty && !images.contains { $0.platform == name } }
      if !missing.isEmpty, !images.isEmpty, !isNarrowed, version.manifest != manifest {
        let list = missing.sorted().joined(separator: ", ")
        return .refused(
          "it is published for \(list) too, which the image is not for any more",
          hint: "give it a new version: slipway bump \(package) patch; or leave it out on purpose: "
            + images.map { "--platform \($0.platform)" }.joined(separator: " "))
      }
      return .identical(tags: movesLatest(published) && published.latest != version.manifest ? ["latest"] : [])
    }
    if channel != .preview, let newest = published.newest, version < newest { return .older(than: newest) }
    return .absent(tags: [tag] + (movesLatest(published) ? ["latest"] : []))
  }

  /// The state of a release that is not built: whatever is published under its version is taken for it.
  package func stateWithoutImage(_ published: Published) -> PublishState {
    guard let version = published.version else { return .skipped("it is not published") }
    return state(built: [], manifest: version.manifest, published: published)
  }

  /// Whether `latest` is to name this version once it is there: only the newest stable one is the latest.
  package func movesLatest(_ published: Published) -> Bool {
    guard channel == .stable else { return false }
    return published.newest.map { !(version < $0) } ?? true
  }

  private static func differences(_ images: [BuiltImage], _ version: PublishedVersion) -> [PublishState.Difference] {
    images.compactMap { image in
      // A lone manifest does not say its platform; it is for this one if there is but one, or if it is the very image.
      let lone = version.configs[""].flatMap { images.count == 1 || $0 == image.config ? $0 : nil }
      let published = version.configs[image.platform] ?? lone
      if published == image.config { return nil }
      return PublishState.Difference(platform: image.platform, built: image.config, published: published)
    }
  }
}

extension SemanticVersion {
  /// A release proper: no release candidate, no preview.
  package var isStable: Bool { prerelease.isEmpty }

  /// The newest stable version among tags.
  package static func newest(among tags: [String]) -> SemanticVersion? {
    tags.compactMap { SemanticVersion($0) }.filter(\.isStable).max()
  }

  /// As it is written in a tag; build metadata has no place there.
  package var text: String {
    "\(major).\(minor).\(patch)" + (prerelease.isEmpty ? "" : "-" + prerelease.joined(separator: "."))
  }
}
