import Caching
import Digests
import Files
import Manifests

/// Content that an action sees at one absolute path of its sandbox.
package struct PlacedInput: Sendable {
  package enum Content: Sendable {
    case source(SourceFile)
    case file(FileArtifact)
    /// The folder's content at this path, read-only.
    case directory(DirectoryArtifact)
    /// A file that ships with Slipway.
    case bundled(path: String, Fingerprint)
  }

  package var path: String
  package var content: Content

  package init(path: String, content: Content) {
    self.path = path
    self.content = content
  }
}

/// All that one command's result depends on: the canonical description behind both of its keys.
///
/// What is not here is in no key: timeouts, resources, retries, secret values, Slipway's own release.
package struct ActionDescription: Sendable {
  package var rule: Rule
  package var arguments: [String]
  /// Declared variables and the image's, by name.
  package var environment: [(name: String, value: String)]
  package var workingDirectory: String
  /// Relative to the working directory.
  package var outputs: [(name: String, path: String)]
  package var platform: String
  package var network: TargetDeclaration.Network
  package var image: ImageArtifact
  /// By path, bytewise.
  package var inputs: [PlacedInput]
  /// Names only.
  package var secrets: [String]
  package var stdin: String?

  /// Raised when the meaning of a rule changes, so that older results no longer count.
  package static let format = "2"

  package func describe(into sink: inout some KeySink) {
    sink.field(.rule, rule.rawValue, Self.format)
    for (index, argument) in arguments.enumerated() { sink.field(.command, String(index), argument) }
    if let stdin { sink.field(.command, "stdin", stdin) }
    for (name, value) in environment { sink.field(.env, name, value) }
    sink.field(.directory, "cwd", workingDirectory)
    for (name, path) in outputs { sink.field(.output, name, path) }
    sink.field(.platform, "platform", platform)
    sink.field(.network, "network", network.rawValue)
    image.describeRun(into: &sink)
    for secret in secrets { sink.field(.secret, secret, "") }
    for input in inputs { input.describe(into: &sink) }
  }
}

extension PlacedInput {
  package func describe(into sink: inout some KeySink) {
    switch content {
    case .source(let file): sink.field(.input, path, "\(file.mode) \(file.fingerprint)")
    case .file(let file):
      sink.field(.dependency, path, "\(file.isExecutable ? "executable" : "regular") \(file.digest)")
    case .directory(let directory): sink.field(.dependency, path, "directory \(directory.root)")
    case .bundled(_, let fingerprint): sink.field(.input, path, "regular \(fingerprint)")
    }
  }
}

extension ImageArtifact {
  /// What of an image decides how a process runs in it: its files and run configuration, not its labels.
  package func describeRun(into sink: inout some KeySink) {
    for (index, layer) in layers.enumerated() { sink.field(.image, "layer \(index)", layer.diffID.hex) }
    for variable in run.environment {
      let name = variable.prefix { $0 != "=" }
      sink.field(.image, "env \(name)", String(variable.dropFirst(name.count + 1)))
    }
    for (index, word) in run.entrypoint.enumerated() { sink.field(.image, "entrypoint \(index)", word) }
    for (index, word) in run.command.enumerated() { sink.field(.image, "command \(index)", word) }
    sink.field(.image, "working directory", run.workingDirectory)
    sink.field(.image, "user", run.user)
  }
}

/// The local key of a description, and the fields that made it.
package struct ActionKey: Sendable {
  package var fingerprint: Fingerprint
  package var explanation: [KeyField]

  /// Runs `describe` once for each sink; both see the same fields in the same order.
  package init(_ describe: (inout TeeSink) -> Void) {
    var sink = TeeSink()
    describe(&sink)
    fingerprint = sink.hash.finish()
    explanation = sink.record.fields
  }

  package init(_ description: ActionDescription) {
    self.init { description.describe(into: &$0) }
  }
}

/// Hash and explanation, fed together.
package struct TeeSink: KeySink {
  var hash = FingerprintSink()
  var record = ExplanationSink()

  package mutating func field(_ category: KeyField.Category, _ name: String, _ value: String) {
    hash.field(category, name, value)
    record.field(category, name, value)
  }
}
