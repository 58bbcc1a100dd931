import Digests
import Distribution
import Manifests

/// Which tags a version gets, and what it may come after.
package enum ReleaseChannel: String, Hashable, Sendable, CaseIterable {
  /// `1.2.3`: moves `latest` when it is the newest.
  case stable
  /// `1.2.3-rc.1`: a version of its own, never `latest`.
  case candidate
  /// `1.2.3-dev.SUFFIX`, made by `--prerelease`: beside the order of versions.
  case preview
}

/// The image of one platform, as it was built here.
package struct BuiltImage: Hashable, Sendable {
  /// `linux/amd64`.
  package var platform: String
  /// Names the diffIDs and the run configuration: the image's identity.
  package var config: Digest
  package var manifest: Descriptor

  package init(platform: String, config: Digest, manifest: Descriptor) {
    self.platform = platform
    self.config = config
    self.manifest = manifest
  }
}

/// What is to be published under one version of one repository.
package struct Release: Hashable, Sendable {
  /// The `publish` target.
  package var label: String
  /// `airbyte/source-faker`, as the metadata has it.
  package var repository: String
  /// Where it goes, with the version as its tag.
  package var reference: Reference
  package var version: SemanticVersion
  package var channel: ReleaseChannel
  /// Repositories whose releases must be out first, since this one's metadata names their images.
  package var after: [String] = []
  /// Platforms that the image is for were left out on purpose.
  package var isNarrowed = false

  package init(
    label: String, repository: String, reference: Reference, version: SemanticVersion, channel: ReleaseChannel
  ) {
    self.label = label
    self.repository = repository
    self.reference = reference
    self.version = version
    self.channel = channel
  }

  package var tag: String { reference.tag ?? "" }
}

/// What the registry has; only what was needed to decide is filled in.
package struct Published: Hashable, Sendable {
  /// What the version's tag names.
  package var version: PublishedVersion?
  /// What `latest` names; asked for stable versions only.
  package var latest: Digest?
  /// The newest stable version among all tags; asked where it decides.
  package var newest: SemanticVersion?

  package init(version: PublishedVersion? = nil, latest: Digest? = nil, newest: SemanticVersion? = nil) {
    self.version = version
    self.latest = latest
    self.newest = newest
  }
}

/// What one tag names.
package struct PublishedVersion: Hashable, Sendable {
  /// Of the manifest or index.
  package var manifest: Digest
  /// Configurations by platform; a lone manifest does not name its own, which is then empty. Empty as a whole when the
  /// manifest's digest made the question moot.
  package var configs: [String: Digest]

  package init(manifest: Digest, configs: [String: Digest] = [:]) {
    self.manifest = manifest
    self.configs = configs
  }
}
