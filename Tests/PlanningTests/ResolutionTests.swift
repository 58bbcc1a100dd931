import Files
import Graph
import Manifests
import Testing

@testable import Planning

@Suite struct ResolutionTests {
  @Test func `a label leads to its package, which is loaded too`() {
    let packages = InMemoryPackages([
      "a": ("targets: {t: {rule: suite, tests: ['//b:u']}}", []),
      "b": ("targets: {u: {rule: suite, tests: []}}", []),
    ])
    let (plan, diagnostics) = packages.plan("a")
    #expect(diagnostics == "")
    #expect(plan.targets[label("a", "t")]?.tests == [label("b", "u")])
    #expect(plan.graph.nodes.map(\.label) == [label("a", "t"), label("b", "u")])
  }

  @Test func `a glob that matches nothing names the nearest file`() {
    let packages = InMemoryPackages([
      "a": ("targets: {f: {rule: files, srcs: [main.pyy]}}", ["main.py"])
    ])
    let (_, diagnostics) = packages.plan("a")
    #expect(diagnostics.contains("a/targets.yaml:1:35: error: `main.pyy` matches no source file of //a"))
    #expect(diagnostics.contains("hint: did you mean `main.py`?"))
  }

  @Test func `an optional input may match nothing`() {
    let packages = InMemoryPackages([
      "a": ("targets: {f: {rule: files, srcs: [main.py, 'lock?']}}", ["main.py"])
    ])
    let (plan, diagnostics) = packages.plan("a")
    #expect(diagnostics == "")
    #expect(plan.targets[label("a", "f")]?.sources.map(\.string) == ["a/main.py"])
  }

  @Test func `an optional test that does not exist is left out`() {
    let packages = InMemoryPackages(["a": ("targets: {t: {rule: suite, tests: [':unit?']}}", [])])
    let (plan, diagnostics) = packages.plan("a")
    #expect(diagnostics == "")
    #expect(plan.targets[label("a", "t")]?.tests == [])
  }

  @Test func `an unknown target is said where it is named`() {
    let packages = InMemoryPackages([
      "a": ("targets: {t: {rule: suite, tests: ['//b:ui']}}", []),
      "b": ("targets: {u: {rule: suite, tests: []}}", []),
    ])
    #expect(packages.plan("a").diagnostics.contains("a/targets.yaml:1:36: error: unknown target `//b:ui`"))
  }

  @Test func `an image that a digest pins is pulled, once for all that name it`() {
    let image = "docker.io/x/base:1.2@sha256:\(String(repeating: "ab", count: 32))"
    let packages = InMemoryPackages([
      "a": (
        """
        targets:
          t: {rule: test, image: '\(image)', run: [x]}
          u: {rule: image, base: '\(image)'}
        """, []
      ),
      "b": ("targets: {t: {rule: test, image: '\(image)', run: [x]}}", []),
    ])
    let (plan, diagnostics) = packages.plan("a", "b")
    #expect(diagnostics == "")
    let pull = Label(
      package: WorkspacePath(unchecked: "@docker.io/x/base"),
      name: "1.2@sha256:\(String(repeating: "ab", count: 32))")
    #expect(plan.pulls == [pull])
    #expect(plan.targets[pull]?.rule == .pull)
    for target in [label("a", "t"), label("a", "u"), label("b", "t")] {
      #expect(plan.targets[target]?.image?.label == pull)
    }
    #expect(plan.graph.nodes.count == 4)
  }

  @Test func `a digest that is none pins nothing`() {
    let packages = InMemoryPackages(["a": ("targets: {t: {rule: pull, image: 'x/y@sha256:abc'}}", [])])
    #expect(packages.plan("a").diagnostics.contains("image `x/y@sha256:abc` is not pinned by a digest"))
  }

  @Test func `targets that depend on each other are a cycle`() {
    let packages = InMemoryPackages([
      "a": ("targets: {t: {rule: suite, tests: ['//b:u']}}", []),
      "b": ("targets: {u: {rule: suite, tests: ['//a:t']}}", []),
    ])
    #expect(packages.plan("a").diagnostics.contains("dependency cycle: //a:t -> //b:u -> //a:t"))
  }

  @Test func `an image of a registry is replaced by the workspace's own`() {
    let packages = InMemoryPackages(
      settings: "slipway: 1\nname: test\nimages: {docker.io/x/base: '//base:image'}\n",
      [
        "a": (
          "targets: {i: {rule: image, base: 'docker.io/x/base:1.2@sha256:\(String(repeating: "0", count: 64))'}}", []
        ),
        "base": ("targets: {image: {rule: image}}", []),
      ])
    let (plan, diagnostics) = packages.plan("a")
    #expect(diagnostics == "")
    #expect(plan.targets[label("a", "i")]?.image == TargetOutput(label("base", "image")))
  }

  @Test func `an image that nothing gives is an error with the line to write`() {
    let packages = InMemoryPackages(["a": ("targets: {i: {rule: image, base: 'docker.io/x/base:1.2'}}", [])])
    let diagnostics = packages.plan("a").diagnostics
    #expect(diagnostics.contains("error: image `docker.io/x/base:1.2` is not pinned by a digest"))
    #expect(diagnostics.contains("images: {docker.io/x/base: //path/to:image}"))
  }

  @Test func `a mapped glob keeps what its wildcards matched, and a mapped file its name`() throws {
    let targets = """
      targets:
        image: {rule: image}
        t: {rule: test, image: ":image", run: ["true"], inputs: {/x: [unit_tests/**], /y: [sub/data.json]}}
      """
    let packages = InMemoryPackages(["a": (targets, ["sub/data.json", "unit_tests/deep/test_a.py"])])
    let target = try #require(packages.plan("a").plan.targets[label("a", "t")])
    var places: [String] = []
    for input in target.inputs {
      if case .files(let files) = input.source { places += files.map { "\(input.folder ?? "") \($0.below)" } }
    }
    #expect(places == ["/x deep/test_a.py", "/y data.json"])
  }

  @Test func `an output that a target does not have is an error with the nearest name`() {
    let targets = """
      targets:
        image: {rule: image}
        make: {rule: action, image: ":image", run: ["true"], outputs: {report: r.json}}
        use: {rule: action, image: ":image", inputs: [":make#reprot"], run: ["true"], outputs: {o: o}}
      """
    let diagnostics = InMemoryPackages(["a": (targets, [])]).plan("a").diagnostics
    #expect(diagnostics.contains("`//a:make` has no output `reprot`"))
    #expect(diagnostics.contains("did you mean `//a:make#report`?"))
  }
}
