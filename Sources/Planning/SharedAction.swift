import Caching
import Digests
import Files
import Manifests
import RemoteExecutionAPI

/// The name that an action has on every machine: the digest of a Remote Execution API `Action`.
///
/// It covers what the local key covers, with digests in place of fingerprints. The image is in it as a platform
/// property only, so an action can be named without the image's bytes. No timeout and no resources.
package struct SharedAction: Sendable {
  package var digest: Digest
  /// The encoded messages, which an engine has to be given.
  package var action: [UInt8]
  package var command: [UInt8]
  package var inputRoot: DirectoryArtifact

  /// A source is not what its key says any more.
  package struct SourceChanged: Error {
    package var path: WorkspacePath
  }

  private static let salt = Array("slipway/1".utf8)

  private init(_ command: REAPICommand, _ inputRoot: DirectoryArtifact) {
    self.inputRoot = inputRoot
    self.command = command.canonicalBytes
    var action = REAPIAction()
    action.commandDigest = REAPIDigest(of: self.command)
    action.inputRootDigest = REAPIDigest(inputRoot.root, size: inputRoot.size)
    action.salt = .init(Self.salt)
    action.platform = command.platform
    self.action = action.canonicalBytes
    digest = Digest(of: self.action)
  }

  /// The action of a command.
  ///
  /// Throws `SourceChanged`, and what `sources` and `directories` throw.
  package init(_ description: ActionDescription, sources: SharedSources, in directories: any DirectoryStore) throws {
    var tree = TreeBuilder(directories)
    try sources.add(description.inputs, to: &tree)
    var command = REAPICommand()
    command.arguments = description.arguments
    command.environmentVariables = description.environment.map { variable in
      var result = REAPICommand.EnvironmentVariable()
      result.name = variable.name
      result.value = variable.value
      return result
    }
    command.workingDirectory = String(description.workingDirectory.drop { $0 == "/" })
    command.outputPaths = description.outputs.map(\.path).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    var image = DigestSink()
    description.image.describeRun(into: &image)
    var properties = [
      ("slipway-rule", "\(description.rule.rawValue) \(ActionDescription.format)"),
      ("slipway-image", image.finish().hex), ("slipway-platform", description.platform),
      ("slipway-network", description.network.rawValue),
    ]
    properties += description.outputs.map { ("slipway-output", "\($0.name)=\($0.path)") }
    properties += description.secrets.map { ("slipway-secret", $0) }
    if let stdin = description.stdin { properties.append(("slipway-stdin", stdin)) }
    command.platform = REAPIPlatform(properties)
    self.init(command, try tree.finish())
  }

  /// What is done in process: an image, a root file system, a pull, a fetch.
  ///
  /// - Parameters:
  ///   - fields: All that its local key depends on.
  ///   - inputs: Whose content is among the fields, in their order.
  package init(
    _ fields: [KeyField], inputs: [PlacedInput], sources: SharedSources, in directories: any DirectoryStore
  ) throws {
    var tree = TreeBuilder(directories)
    let isHashed = inputs.map { input in
      switch input.content {
      case .source, .bundled: true
      case .file, .directory: false
      }
    }
    // What a fingerprint names locally is named by its digest in the input root.
    let hashed = zip(inputs, isHashed).filter(\.1).map(\.0)
    for (index, input) in hashed.enumerated() {
      var placed = input
      placed.path = "/\(index)" + input.path
      try sources.add([placed], to: &tree)
    }
    var command = REAPICommand()
    let rule = fields.first { $0.category == .rule }
    command.arguments = ["slipway-\(rule?.name ?? "")"]
    command.platform = REAPIPlatform(
      fields.map { field in
        let value = field.category == .input ? String(field.value.prefix { $0 != " " }) : field.value
        return ("slipway-\(field.category.rawValue)", "\(field.name)=\(value)")
      })
    self.init(command, try tree.finish())
  }
}

/// Where the content of inputs that are no outputs of targets is looked up.
package struct SharedSources {
  package var contents: ([WorkspacePath]) throws -> [SourceContent]
  /// A symlink's text.
  package var link: (WorkspacePath) throws -> String
  /// The bytes of a file that ships with Slipway.
  package var bundled: (String) -> [UInt8]?

  package init(
    contents: @escaping ([WorkspacePath]) throws -> [SourceContent], link: @escaping (WorkspacePath) throws -> String,
    bundled: @escaping (String) -> [UInt8]?
  ) {
    self.contents = contents
    self.link = link
    self.bundled = bundled
  }

  func add(_ inputs: [PlacedInput], to tree: inout TreeBuilder) throws {
    var files: [SourceFile] = []
    for case .source(let file) in inputs.map(\.content) { files.append(file) }
    var found = try contents(files.map(\.path)).makeIterator()
    for input in inputs {
      let path = String(input.path.drop { $0 == "/" })
      switch input.content {
      case .source(let file):
        guard let content = found.next(), content.file == file else {
          throw SharedAction.SourceChanged(path: file.path)
        }
        if file.mode == .symlink {
          let text = try link(file.path)
          guard Digest(of: text) == content.digest else { throw SharedAction.SourceChanged(path: file.path) }
          try tree.add(path, .symlink(text))
        } else {
          let isExecutable = file.mode == .executable
          try tree.add(
            path, .file(FileArtifact(digest: content.digest, size: content.size, isExecutable: isExecutable)))
        }
      case .bundled(let name, _):
        let bytes = bundled(name) ?? []
        try tree.add(
          path, .file(FileArtifact(digest: Digest(of: bytes), size: bytes.count, isExecutable: false)))
      case .file(let file): try tree.add(path, .file(file))
      case .directory(let directory): try tree.add(path, .folder(directory))
      }
    }
  }
}

/// The sink that names fields by SHA-256: each part after its length.
struct DigestSink: KeySink {
  private var hasher = DigestHasher()

  mutating func field(_ category: KeyField.Category, _ name: String, _ value: String) {
    for text in [category.rawValue, name, value] {
      withUnsafeBytes(of: UInt64(text.utf8.count).littleEndian) { hasher.update($0) }
      var text = text
      text.withUTF8 { hasher.update(UnsafeRawBufferPointer($0)) }
    }
  }

  func finish() -> Digest { hasher.finish() }
}
