import Caching
import Digests
import Files
import Graph
import Manifests
import Testing

@testable import Planning

@Suite struct KeyTests {
  private static func image(_ seed: String) -> ImageArtifact {
    ImageArtifact(
      platform: "linux/amd64",
      layers: [.init(diffID: Digest(of: seed), digest: Digest(of: seed + "z"), size: 1)],
      config: Digest(of: "c" + seed),
      configSize: 1, manifest: Digest(of: "m" + seed), manifestSize: 1,
      run: .init(environment: ["PATH=/bin", "A=1"], entrypoint: ["/main"], workingDirectory: "/w", user: "u"))
  }

  private static let targets = """
    targets:
      image: {rule: image}
      t:
        rule: test
        image: ":image"
        inputs: [main.py, data/**]
        env: {MODE: fast}
        run: [python, main.py]
    """

  /// Both names of the action: whatever changes one must change the other.
  private struct Keys {
    var local: ActionKey
    var shared: Digest

    func isSame(as other: Keys) throws -> Bool {
      let (local, shared) = (self.local.fingerprint == other.local.fingerprint, self.shared == other.shared)
      let areAgreed = local == shared
      try #require(areAgreed, "the local key says \(local), the shared one \(shared)")
      return local
    }
  }

  private func key(
    _ targets: String = Self.targets, image: ImageArtifact = Self.image("base"),
    prints: [String: String] = [:]
  ) throws -> Keys {
    let (plan, diagnostics) = InMemoryPackages(["a": (targets, ["data/x", "main.py", "other.txt"])]).plan("a")
    try #require(diagnostics == "")
    var planner = ActionPlanner(
      targets: plan.targets, platform: "linux/amd64",
      fingerprints: { paths in
        paths.map {
          SourceFile(path: $0, mode: .regular, fingerprint: Fingerprint(of: prints[$0.string] ?? "content of \($0)"))
        }
      }, bundled: { _ in nil })
    planner.outputs[label("a", "image")] = [.init(name: "image", path: "", artifact: .image(image))]
    let action = try planner.action(of: try #require(plan.targets[label("a", "t")]))
    let sources = SharedSources(
      contents: { paths in
        try zip(paths, planner.fingerprints(paths)).map { path, file in
          let text = prints[path.string] ?? "content of \(path)"
          return SourceContent(file: file, digest: Digest(of: text), size: text.utf8.count)
        }
      }, link: { _ in "" }, bundled: { _ in nil })
    return Keys(
      local: ActionKey(action), shared: try SharedAction(action, sources: sources, in: NoDirectories()).digest)
  }

  @Test func `equal descriptions have equal keys`() throws {
    #expect(try key().isSame(as: key()))
  }

  @Test(arguments: ["a/main.py", "a/data/x"])
  func `another content of an input is another key, and the explanation names it`(path: String) throws {
    let (old, new) = (try key(), try key(prints: [path: "edited"]))
    #expect(try !old.isSame(as: new))
    let changed = zip(old.local.explanation, new.local.explanation).filter { $0 != $1 }
    #expect(changed.map(\.1.name) == ["/src/" + path])
  }

  @Test func `a file that is no input is in no key`() throws {
    #expect(try key().isSame(as: key(prints: ["a/other.txt": "edited"])))
  }

  @Test(arguments: [
    ("MODE: fast", "MODE: slow"), ("MODE: fast", "MODES: fast"), ("python, main.py", "python, -u, main.py"),
    ("[main.py, data/**]", "[main.py]"), ("rule: test", "rule: test\n    cwd: /x"),
    ("rule: test", "rule: test\n    network: host"), ("rule: test", "rule: test\n    secrets: [key]"),
    ("[main.py, data/**]", "{/x: [main.py, data/**]}"), ("rule: test", "rule: test\n    stdin: main.py"),
  ])
  func `whatever an action can see changes its key`(old: String, new: String) throws {
    #expect(try !key().isSame(as: key(Self.targets.replacing(old, with: new))))
  }

  @Test(arguments: ["timeout: 5m", "memory: 2GiB", "cpu: 2", "retries: 3", "flaky: true", "freshness: 24h"])
  func `what only schedules an action is in no key`(line: String) throws {
    #expect(
      try key().isSame(as: key(Self.targets.replacing("rule: test", with: "rule: test\n    \(line)"))))
  }

  @Test func `a key follows the image's layers and run configuration, not its labels`() throws {
    var relabelled = Self.image("base")
    relabelled.config = Digest(of: "another version label")
    relabelled.manifest = Digest(of: "another")
    #expect(try key().isSame(as: key(image: relabelled)))
    #expect(try !key().isSame(as: key(image: Self.image("other"))))
    var rerun = Self.image("base")
    rerun.run.environment = ["PATH=/bin", "A=2"]
    #expect(try !key().isSame(as: key(image: rerun)))
  }
}

/// Names folders, and knows none.
private struct NoDirectories: DirectoryStore {
  func insert(_ directory: Directory) -> DirectoryArtifact {
    DirectoryArtifact(root: Digest(of: directory.encoded), size: directory.encoded.count)
  }

  func directory(_ artifact: DirectoryArtifact) throws -> Directory {
    try #require(nil as Directory?, "no folder is kept here")
  }
}

extension String {
  fileprivate func replacing(_ old: String, with new: String) -> String {
    guard let range = firstRange(of: old) else { return self }
    return String(self[..<range.lowerBound]) + new + String(self[range.upperBound...])
  }
}
