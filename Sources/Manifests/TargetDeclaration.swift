/// One target of a package as decoded: references are expanded, labels and globs are still text.
package struct TargetDeclaration: Sendable {
  package var name: Located<String>
  package var rule: Rule

  // Every rule.
  /// Globs; the target exists only if one of them matches a file of the package.
  package var conditions: [Located<String>] = []
  package var needs: [Located<String>] = []
  package var when: Located<Condition>?

  // files
  package var sources: [Input] = []

  // fetch, action, test
  package var inputs: [Input] = []
  /// A label, or a reference to an image of a registry; also of pull and publish.
  package var image: Located<String>?
  package var run: [Located<TextTemplate>] = []
  /// A path in the sandbox.
  package var stdin: Located<TextTemplate>?
  /// In written order.
  package var outputs: [Output] = []
  package var env: [EnvironmentVariable] = []
  package var cwd: Located<String>?
  package var network: Located<Network>?
  package var resources = Resources()
  package var secrets: [Secret] = []
  /// Only action, test: platform properties for an engine, beside those of the workspace.
  package var properties: [PlatformProperty] = []
  /// Only fetch: the label of its plan.
  package var plan: Located<String>?
  /// Only fetch: what is fetched in process, without a command.
  package var urls: [Download] = []
  /// Only test.
  package var isFlaky = false
  /// Only test: seconds.
  package var freshness: Located<Int>?

  // image; rootfs has only `config`
  package var base: Located<String>?
  package var layers: [Layer] = []
  package var config = ImageConfiguration()
  /// image, rootfs: `linux/amd64`, each once, as written; empty for those that the base offers, or for this machine's.
  package var platforms: [Located<String>] = []

  package var rootfs: RootFileSystem?

  // suite
  package var tests: [Reference] = []

  // publish
  package var metadata: Node?

  package init(name: Located<String>, rule: Rule) {
    self.name = name
    self.rule = rule
  }

  package var place: Place { name.place }

  /// `when:`, by the label it names.
  package enum Condition: Hashable, Sendable {
    case affected(String)
    case failed(String)
  }

  package enum Network: String, CaseIterable, Sendable { case none, host }

  /// A label with an optional trailing `?`.
  package struct Reference: Sendable {
    package var label: Located<String>
    package var isOptional: Bool

    package init(label: Located<String>, isOptional: Bool) {
      self.label = label
      self.isOptional = isOptional
    }
  }

  package struct Output: Sendable {
    package var name: Located<String>
    /// Relative to the working directory.
    package var path: Located<String>

    package init(name: Located<String>, path: Located<String>) {
      self.name = name
      self.path = path
    }
  }

  package struct EnvironmentVariable: Sendable {
    package var name: Located<String>
    package var value: Located<TextTemplate>
  }

  /// A file from outside, pinned by its digest: an output.
  package struct Download: Sendable {
    package var name: Located<String>
    package var url: Located<String>
    /// 64 lower-case hexadecimal digits.
    package var sha256: Located<String>
    /// Relative to the package, as outputs are.
    package var path: Located<String>
    package var isExecutable: Bool
  }

  /// A file of the package's `secrets/` folder, seen at `/secrets/NAME`.
  package struct Secret: Sendable {
    package var name: Located<String>
    package var isOptional: Bool
  }

  package struct Layer: Sendable {
    /// A label.
    package var from: Located<String>
    /// An absolute path in the image.
    package var to: Located<String>

    package init(from: Located<String>, to: Located<String>) {
      self.from = from
      self.to = to
    }
  }
}

/// What an action may use; nothing of it is in a key.
package struct Resources: Hashable, Sendable {
  /// Seconds.
  package var timeout: Int?
  /// Cores.
  package var cpu: Double?
  /// Bytes.
  package var memory: Int?
  package var processes: Int?
  /// Bytes of the tmpfs that takes what an action writes.
  package var scratch: Int?
  package var retries: Int?

  package init() {}
}

/// One thing that a target reads, and where it appears.
package struct Input: Sendable {
  package enum Source: Hashable, Sendable {
    /// Source files, relative to the package.
    case glob(String)
    /// `//a/b:c`, `:c`, with an optional `#output`.
    case label(String)
    /// `@slipway//kinds/x:f` gives `kinds/x/f`: a file that ships with Slipway, seen at `/slipway/kinds/x/f`.
    case bundled(String)
  }

  /// An absolute path in the sandbox, if not the input's own.
  package var destination: Located<String>?
  package var source: Located<Source>
  /// Whether it may match nothing (a trailing `?`).
  package var isOptional: Bool

  package init(destination: Located<String>? = nil, source: Located<Source>, isOptional: Bool = false) {
    self.destination = destination
    self.source = source
    self.isOptional = isOptional
  }
}

/// The run configuration of an image; what is absent comes from its base.
package struct ImageConfiguration: Sendable {
  package var entrypoint: [Located<String>]?
  package var command: [Located<String>]?
  package var env: [Variable] = []
  package var labels: [Variable] = []
  package var user: User?
  package var workdir: Located<String>?
  /// `8080/tcp`
  package var exposedPorts: [Located<String>] = []

  package init() {}

  package struct Variable: Sendable {
    package var name: Located<String>
    package var value: Located<String>
  }

  package struct User: Sendable {
    package var name: Located<String>
    /// `name?`: only if the base image has that user.
    package var onlyIfPresent: Bool
  }
}

/// What mmdebstrap is asked for.
package struct RootFileSystem: Sendable {
  package var suite: Located<String>
  package var packages: [Located<String>] = []
  /// Path patterns that dpkg leaves out.
  package var exclude: [Located<String>] = []
  /// Shell commands run in the new root, in order.
  package var customize: [Located<String>] = []
  package var components: [Located<String>] = []
  package var variant: Located<String>?
  package var mirror: Located<String>?
  /// The keys of a private mirror, relative to the package: then no others are trusted.
  package var keyring: Located<String>?
  /// The lock file, relative to the package.
  package var lock: Located<String>?
  /// A date that a mirror with history understands.
  package var snapshot: Located<String>?
}
