import Caching
import Digests
import Files
import Manifests
import RemoteExecutionAPI
import Testing

@testable import Planning

/// The action as an engine or a cache of the Remote Execution API sees it.
@Suite struct SharedActionTests {
  private struct Directories: DirectoryStore {
    func insert(_ directory: Directory) -> DirectoryArtifact {
      DirectoryArtifact(root: Digest(of: directory.encoded), size: directory.encoded.count)
    }

    func directory(_ artifact: DirectoryArtifact) throws -> Directory { Directory([]) }
  }

  private static let image = ImageArtifact(
    platform: "linux/amd64", layers: [.init(diffID: Digest(of: "layer"), digest: Digest(of: "z"), size: 1)],
    config: Digest(of: "c"), configSize: 1, manifest: Digest(of: "m"), manifestSize: 1, run: .init())

  private static func file(_ path: String, _ mode: SourceFile.Mode = .regular) -> SourceFile {
    SourceFile(path: WorkspacePath(unchecked: path), mode: mode, fingerprint: Fingerprint(of: path))
  }

  private static let description = ActionDescription(
    rule: .action, arguments: ["sh", "-c", "true"], environment: [("A", "1"), ("B", "2")],
    workingDirectory: "/src/app", outputs: [("second", "z.txt"), ("first", "a.txt")], platform: "linux/amd64",
    network: .none, image: image,
    inputs: [
      PlacedInput(path: "/src/app/in", content: .source(file("app/in"))),
      PlacedInput(path: "/src/app/link", content: .source(file("app/link", .symlink))),
      PlacedInput(path: "/src/app/run", content: .source(file("app/run", .executable))),
      PlacedInput(path: "/slipway/x.py", content: .bundled(path: "kinds/x.py", Fingerprint(of: "x"))),
      PlacedInput(path: "/dep", content: .directory(DirectoryArtifact(root: Digest(of: "dir"), size: 9))),
    ], secrets: ["TOKEN"], stdin: nil)

  private static func sources(_ text: String = "text", link: String = "in") -> SharedSources {
    SharedSources(
      contents: { paths in
        paths.map { path in
          let mode: SourceFile.Mode =
            path.string.hasSuffix("link") ? .symlink : path.string.hasSuffix("run") ? .executable : .regular
          let bytes = mode == .symlink ? link : text
          return SourceContent(
            file: file(path.string, mode), digest: Digest(of: bytes), size: bytes.utf8.count)
        }
      }, link: { _ in link }, bundled: { _ in Array("bundled".utf8) })
  }

  private static func action(_ description: ActionDescription = description, _ sources: SharedSources = sources())
    throws -> SharedAction
  {
    try SharedAction(description, sources: sources, in: Directories())
  }

  @Test func `an action names its command and its input root, and has neither timeout nor a mark against caching`()
    throws
  {
    let shared = try Self.action()
    let action = try REAPIAction(serializedBytes: shared.action)
    #expect(action.commandDigest == REAPIDigest(of: shared.command))
    #expect(action.inputRootDigest == REAPIDigest(shared.inputRoot.root, size: shared.inputRoot.size))
    #expect(!action.hasTimeout && !action.doNotCache && Array(action.salt) == Array("slipway/1".utf8))
    #expect(shared.digest == Digest(of: shared.action))
  }

  @Test func `a command is what runs, its paths relative to the input root and sorted`() throws {
    let command = try REAPICommand(serializedBytes: Self.action().command)
    #expect(command.arguments == ["sh", "-c", "true"] && command.workingDirectory == "src/app")
    #expect(command.environmentVariables.map { "\($0.name)=\($0.value)" } == ["A=1", "B=2"])
    #expect(command.outputPaths == ["a.txt", "z.txt"])
    #expect(
      command.platform.properties.map(\.name) == [
        "slipway-image", "slipway-network", "slipway-output", "slipway-output", "slipway-platform", "slipway-rule",
        "slipway-secret",
      ])
    #expect(command.platform.properties.first { $0.name == "slipway-secret" }?.value == "TOKEN")
  }

  @Test func `the input root holds each input where the command sees it`() throws {
    var top: [String: Directory.Node] = [:]
    final class Kept: DirectoryStore {
      nonisolated(unsafe) var known: [Digest: Directory] = [:]
      func insert(_ directory: Directory) -> DirectoryArtifact {
        let digest = Digest(of: directory.encoded)
        known[digest] = directory
        return DirectoryArtifact(root: digest, size: directory.encoded.count)
      }
      func directory(_ artifact: DirectoryArtifact) throws -> Directory { Directory([]) }
    }
    let kept = Kept()
    let shared = try SharedAction(Self.description, sources: Self.sources(), in: kept)
    func visit(_ artifact: DirectoryArtifact, _ prefix: String) {
      for entry in kept.known[artifact.root]?.entries ?? [] {
        let path = prefix + entry.name
        if case .folder(let inner) = entry.node, kept.known[inner.root] != nil {
          visit(inner, path + "/")
        } else {
          top[path] = entry.node
        }
      }
    }
    visit(shared.inputRoot, "")
    let text = FileArtifact(digest: Digest(of: "text"), size: 4, isExecutable: false)
    var program = text
    program.isExecutable = true
    #expect(
      top == [
        "src/app/in": .file(text), "src/app/link": .symlink("in"), "src/app/run": .file(program),
        "slipway/x.py": .file(FileArtifact(digest: Digest(of: "bundled"), size: 7, isExecutable: false)),
        "dep": .folder(DirectoryArtifact(root: Digest(of: "dir"), size: 9)),
      ])
  }

  @Test func `every part of a description changes the digest`() throws {
    let before = try Self.action().digest
    var changes: [(String, ActionDescription)] = []
    func change(_ name: String, _ edit: (inout ActionDescription) -> Void) {
      var description = Self.description
      edit(&description)
      changes.append((name, description))
    }
    change("rule") { $0.rule = .test }
    change("argument") { $0.arguments[2] = "false" }
    change("environment") { $0.environment[0].value = "x" }
    change("directory") { $0.workingDirectory = "/src" }
    change("output's name") { $0.outputs[0].name = "third" }
    change("output's path") { $0.outputs[0].path = "y.txt" }
    change("names of outputs exchanged") { $0.outputs = [("first", "z.txt"), ("second", "a.txt")] }
    change("platform") { $0.platform = "linux/arm64" }
    change("network") { $0.network = .host }
    change("image") { $0.image.layers[0].diffID = Digest(of: "other") }
    change("secret") { $0.secrets = [] }
    change("stdin") { $0.stdin = "/src/app/in" }
    change("input's path") { $0.inputs[0].path = "/src/app/other" }
    change("no link") { $0.inputs.remove(at: 1) }
    change("bundled file's path") { $0.inputs[3].path = "/slipway/y.py" }
    change("folder") { $0.inputs[4].content = .directory(DirectoryArtifact(root: Digest(of: "other"), size: 9)) }
    var seen: Set<Digest> = [before]
    for (name, description) in changes {
      #expect(seen.insert(try Self.action(description).digest).inserted, "\(name)")
    }
    #expect(seen.insert(try Self.action(Self.description, Self.sources("other")).digest).inserted)
    #expect(seen.insert(try Self.action(Self.description, Self.sources(link: "run")).digest).inserted)
  }

  /// Entries of a shared cache are found under it: another digest here strands all of them, so it must be wanted, and
  /// `ActionDescription.format` raised.
  @Test func `the digest of one action stays what it is`() throws {
    let hex = try Self.action().digest.hex
    #expect(hex == "e5cfcd2ae61c4420b55c71027946de8675a02c1cb0823a6ac0a323fe269e5641")
  }

  @Test func `a source that changed after its key was made has no shared action`() throws {
    var description = Self.description
    description.inputs[0].content = .source(
      SourceFile(path: WorkspacePath(unchecked: "app/in"), mode: .regular, fingerprint: Fingerprint(of: "edited")))
    #expect(throws: SharedAction.SourceChanged.self) { try Self.action(description) }
  }

  @Test func `what is done in process is named by its fields and the content of its inputs`() throws {
    let input = PlacedInput(path: "/app/in", content: .source(Self.file("app/in")))
    func digest(_ setting: String, _ print: String, _ text: String) throws -> Digest {
      let fields = [
        KeyField(.rule, "image", "2"), KeyField(.setting, "label a", setting),
        KeyField(.input, "/app/in", "regular \(Fingerprint(of: print))"),
      ]
      return try SharedAction(fields, inputs: [input], sources: Self.sources(text), in: Directories()).digest
    }
    let first = try digest("1", "one", "text")
    // Fingerprints are of one machine: they are not in it.
    #expect(try digest("1", "two", "text") == first)
    #expect(try digest("2", "one", "text") != first)
    #expect(try digest("1", "one", "other") != first)
  }
}
