/// The decoded `slipway.yaml`.
package struct WorkspaceSettings: Sendable {
  package var name: Located<String>?
  /// The least release of Slipway that may read this workspace.
  package var minimum: Located<String>?
  /// In written order.
  package var images: [ImageReplacement] = []
  /// Globs of files, relative to the workspace.
  package var kinds: [Located<String>] = []
  package var ignore: [Located<String>] = []
  /// What images are built for, of the platforms that they are for; empty for all.
  package var platforms: [Located<String>] = []
  package var registries: [Registry] = []
  package var cache = Cache()
  package var executor: Executor?
  package var publish = Publish()
  package var defaults: [Rule: Resources] = [:]

  package init() {}

  /// A base image that a target of this workspace stands in for.
  package struct ImageReplacement: Sendable {
    /// Without tag and digest, as written.
    package var repository: Located<String>
    package var label: Located<String>
  }

  package struct Registry: Sendable {
    package var host: Located<String>
    package var mirrors: [Located<String>] = []
    /// Plain HTTP is allowed beyond this machine.
    package var isInsecure = false
    /// A PEM file of the workspace: authorities that may vouch for the registry, beside the system's.
    package var authority: Located<String>?
  }

  package struct Cache: Sendable {
    /// Bytes.
    package var maxSize: Int?
    package var remote: Remote?
    /// `ed25519:…`; whose entries count. `nil`: unsigned ones do.
    package var trust: [Located<String>]?

    package init() {}
  }

  package struct Remote: Sendable {
    package enum Mode: String, CaseIterable, Sendable {
      case read
      /// Reads, too.
      case write
      case off
    }

    package var url: Located<String>
    package var mode: Mode
    /// A PEM file, relative to the workspace.
    package var authority: Located<String>?
  }

  /// Where `slipway publish` puts what it publishes, unless it is told otherwise.
  package struct Publish: Sendable {
    /// `HOST` or `HOST/PREFIX`; without it each repository goes where its name says.
    package var registry: Located<String>?
    /// The URL of the metadata store.
    package var metadata: Located<String>?

    package init() {}
  }

  package struct Executor: Sendable {
    /// How a worker comes to an action's image.
    package enum Image: String, CaseIterable, Sendable {
      /// It starts a container of the reference that the platform property `container-image` names.
      case property
      /// The image's files are a part of the input root, which is the root for the action.
      case inputRoot = "input-root"
    }

    package var url: Located<String>
    package var image: Image
    /// `HOST` or `HOST/PREFIX`: where images that no registry holds are put for workers to pull.
    package var registry: Located<String>?
    package var fallback: Bool
    /// A PEM file of the authority that alone may vouch for the engine, relative to the workspace.
    package var authority: Located<String>?
    /// What else its workers can do.
    package var offers: Set<Offer> = []
    /// Of every action.
    package var properties: [PlatformProperty] = []
  }

  /// What keeps an action from an engine that does not offer it.
  package enum Offer: Hashable, Sendable {
    /// The network, for tests that may use it.
    case network
    /// Secrets, of which it is told the names: the files are the workers' own.
    case secrets
    /// `linux/arm64`.
    case platform(String)
  }
}
