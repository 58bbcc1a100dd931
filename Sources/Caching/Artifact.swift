import Digests

/// What a target gives: bytes in the content store, named by digest.
package enum Artifact: Hashable, Sendable {
  case file(FileArtifact)
  /// The root of a REAPI `Directory`; its encoding and all its files are in the content store.
  case directory(DirectoryArtifact)
  case image(ImageArtifact)
}

package struct FileArtifact: Hashable, Sendable {
  package var digest: Digest
  /// Bytes.
  package var size: Int
  package var isExecutable: Bool

  package init(digest: Digest, size: Int, isExecutable: Bool) {
    self.digest = digest
    self.size = size
    self.isExecutable = isExecutable
  }
}

package struct DirectoryArtifact: Hashable, Sendable {
  package var root: Digest
  /// Bytes of the root's encoding.
  package var size: Int

  package init(root: Digest, size: Int) {
    self.root = root
    self.size = size
  }
}

/// An OCI image: enough of it to key and run what depends on it without its bytes.
package struct ImageArtifact: Hashable, Sendable {
  /// What decides how a process in the image runs (OCI image-spec, config.md); labels are not among it.
  package struct RunConfiguration: Hashable, Sendable {
    /// `NAME=value`, in the image's order.
    package var environment: [String]
    package var entrypoint: [String]
    package var command: [String]
    package var workingDirectory: String
    package var user: String

    package init(
      environment: [String] = [], entrypoint: [String] = [], command: [String] = [], workingDirectory: String = "",
      user: String = ""
    ) {
      self.environment = environment
      self.entrypoint = entrypoint
      self.command = command
      self.workingDirectory = workingDirectory
      self.user = user
    }
  }

  /// A layer: its compressed blob in the content store, and the digest of its uncompressed tar.
  package struct Layer: Hashable, Sendable {
    package var diffID: Digest
    package var digest: Digest
    /// Bytes of the compressed blob.
    package var size: Int

    package init(diffID: Digest, digest: Digest, size: Int) {
      self.diffID = diffID
      self.digest = digest
      self.size = size
    }
  }

  /// `linux/amd64` or `linux/arm64`.
  package var platform: String
  /// Lowest first, as in OCI.
  package var layers: [Layer]
  package var config: Digest
  package var configSize: Int
  package var manifest: Digest
  package var manifestSize: Int
  package var run: RunConfiguration

  package init(
    platform: String, layers: [Layer], config: Digest, configSize: Int, manifest: Digest, manifestSize: Int,
    run: RunConfiguration
  ) {
    self.platform = platform
    self.layers = layers
    self.config = config
    self.configSize = configSize
    self.manifest = manifest
    self.manifestSize = manifestSize
    self.run = run
  }
}
