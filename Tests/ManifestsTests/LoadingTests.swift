import Diagnostics
import Files
import Testing

@testable import Manifests

private let pythonFiles = ["main.py", "pyproject.toml", "poetry.lock", "source_a/__init__.py", "unit_tests/test_a.py"]

struct LoadingTests {
  @Test func `metadata and files alone give a connector its targets`() throws {
    let loaded = try Loaded(metadata: sampleMetadata, files: pythonFiles, kinds: [pythonKind])
    #expect(loaded.messages == ["warning: Airbyte's schema has no `description` in `data`"])
    let package = try #require(loaded.package)
    #expect(package.kind == "python")
    #expect(
      package.targets.map(\.name.value) == ["code", "image", "plan", "publish", "spec", "test", "unit", "wheels"])
    #expect(package.defaultTarget == "image")
    let image = try #require(package.target("image"))
    #expect(image.base?.value == "docker.io/airbyte/python-connector-base:2.0.0@sha256:abcd")
    #expect(image.base?.span.file == "connectors/source-a/metadata.yaml")
    #expect(image.config.labels.map(\.value.value) == ["1.2.3", "airbyte/source-a"])
    #expect(image.config.user?.name.value == "airbyte")
    #expect(image.config.user?.onlyIfPresent == true)
    #expect(package.target("code")?.sources.map(\.text) == ["main.py", "source_a/**", "pyproject.toml"])
    #expect(package.target("plan")?.inputs.map(\.isOptional) == [false, true, false])
    #expect(package.target("plan")?.inputs.last?.source.value == .bundled("kinds/python/plan.py"))
    #expect(package.target("wheels")?.run.last?.value.segments == [.reference(.input("plan"))])
    #expect(package.target("unit")?.inputs.last?.destination?.value == "/opt/dev")
    #expect(package.target("test")?.tests.map(\.isOptional) == [true, false])
  }

  @Test func `text of metadata is never expanded`() throws {
    let loaded = try Loaded(metadata: sampleMetadata, files: pythonFiles, kinds: [pythonKind])
    let metadata = try #require(loaded.package?.target("publish")?.metadata)
    #expect(metadata["description"]?.string == "uses ${api_url}")
    let quoted = try Loaded(
      metadata: sampleMetadata,
      targets: """
        targets:
          t: {rule: test, image: x, run: ["${data.description}", "a ${data.description} b"],
              env: {A: "${data.description}"}, cwd: "/${data.description}"}
        """)
    let target = try #require(quoted.package?.target("t"))
    #expect(target.run.map(\.value.literal) == ["uses ${api_url}", "a uses ${api_url} b"])
    #expect(target.cwd?.value == "/uses ${api_url}")
    #expect(target.run.map(\.value.description) == ["uses $${api_url}", "a uses $${api_url} b"])
  }

  @Test func `a target exists only where its condition matches a file`() throws {
    let loaded = try Loaded(
      metadata: sampleMetadata, files: ["main.py", "pyproject.toml", "poetry.lock"], kinds: [pythonKind])
    #expect(loaded.package?.target("unit") == nil)
  }

  @Test func `a reference that is the whole value keeps its type`() throws {
    let loaded = try Loaded(
      metadata: "data: {dockerImageTag: 1.0.0, n: 3, b: true, d: 5m, list: [a.py, b.py], tags: [x]}",
      targets: """
        targets:
          t: {rule: test, image: x, run: [a, "${data.n}"], retries: "${data.n}", flaky: "${data.b}",
              timeout: "${data.d}", inputs: "${data.list}", processes: "${data.absent:-7}"}
        """)
    let target = try #require(loaded.package?.target("t"))
    #expect(target.resources.retries == 3)
    #expect(target.resources.timeout == 300)
    #expect(target.resources.processes == 7)
    #expect(target.isFlaky)
    #expect(target.inputs.map(\.text) == ["a.py", "b.py"])
    #expect(target.run[1].value.literal == "3")
  }

  @Test func `a missing reference is an error at the kind with a note at the metadata`() throws {
    let kind = "kind: k\nmatch: {all: [a]}\ntargets:\n  x: {rule: files, srcs: [\"${data.some.where}\"]}\n"
    let loaded = try Loaded(
      metadata: "data:\n  dockerImageTag: 1.0.0\n  some:\n    there: 1\n", files: ["a"], kinds: [kind])
    let errors = loaded.diagnostics.filter { $0.severity == .error }
    #expect(
      errors.map(\.rendered) == [
        """
        kinds/0.yaml:4:27: error: `data.some.where` is missing for `connectors/source-a`
        4 |   x: {rule: files, srcs: ["${data.some.where}"]}
          |                           ^^^^^^^^^^^^^^^^^^^^
        connectors/source-a/metadata.yaml:4:5: note: `some` has no `where` here
        4 |     there: 1
          |     ^^^^^^^^
        hint: did you mean `there`?

        """
      ])
  }

  @Test func `targets of a package are laid over those of its kind`() throws {
    let loaded = try Loaded(
      metadata: sampleMetadata,
      targets: """
        default: extra
        targets:
          spec: ~
          unit: {timeout: 5m, env: {PYTHONPATH: ~, MORE: 1}, "+run": [-x], "+inputs": {/opt/dev: [extra.txt], /y: [y]}}
          plan: {inputs: [only.txt]}
          publish: {rule: files, srcs: [a]}
          test: {tests: [":unit"]}
          extra: {rule: files, "+srcs": [b]}
        """, files: pythonFiles, kinds: [pythonKind])
    #expect(loaded.diagnostics.filter { $0.severity == .error }.isEmpty)
    let package = try #require(loaded.package)
    #expect(package.defaultTarget == "extra")
    #expect(package.target("spec") == nil)
    let unit = try #require(package.target("unit"))
    #expect(unit.resources.timeout == 300)
    #expect(unit.env.map(\.name.value) == ["MORE"])
    #expect(unit.env.map(\.value.value.literal) == ["1"])
    #expect(unit.run.map(\.value.description).suffix(2) == ["${junit}", "-x"])
    #expect(
      unit.inputs.map { "\($0.destination?.value ?? "") \($0.text)" } == [
        "/airbyte/integration_code/unit_tests unit_tests/**", "/opt/dev :wheels#wheels", "/opt/dev extra.txt", "/y y",
      ])
    #expect(package.target("plan")?.inputs.map(\.text) == ["only.txt"])
    #expect(package.target("publish")?.rule == .files)
    #expect(package.target("publish")?.image == nil)
    #expect(package.target("extra")?.sources.map(\.text) == ["b"])
  }

  @Test func `a kind is found by files first and by tags second and in listed order`() throws {
    let byFiles = "kind: f\nmatch: {all: [a]}\ntargets: {}\n"
    let byTags = "kind: t\nmatch: {none: [stop], tags: [language:python]}\ntargets: {}\n"
    func kind(_ files: [String], _ kinds: [String]) throws -> String? {
      try Loaded(metadata: sampleMetadata, files: files, kinds: kinds).package?.kind
    }
    #expect(try kind(["a"], [byTags, byFiles]) == "f")
    #expect(try kind(["b"], [byTags, byFiles]) == "t")
    #expect(try kind(["stop"], [byTags, byFiles, metadataOnlyKind]) == "metadata-only")
    #expect(try kind(["a"], [byFiles, byFiles.replacing("kind: f", with: "kind: g")]) == "f")
    #expect(try Loaded(targets: "targets: {}", files: ["a"], kinds: [byFiles]).package?.kind == nil)
  }

  @Test func `a mistake in one target leaves the others`() throws {
    let loaded = try Loaded(
      targets: """
        targets:
          good: {rule: files, srcs: [a]}
          bad: {rule: files, srcs: ["${data.x}"]}
          worse: {srcs: [b]}
        """)
    #expect(loaded.diagnostics.count == 2)
    #expect(loaded.package?.target("good") != nil)
    #expect(loaded.package?.target("worse") == nil)
  }

  @Test func `defaults of the workspace fill what a target leaves open`() throws {
    let loaded = try Loaded(
      targets: "targets: {t: {rule: test, image: x, run: [a], cpu: 2}}",
      settings: "slipway: 1\ndefaults: {test: {timeout: 10m, cpu: 1, memory: 1GiB}}")
    let resources = try #require(loaded.package?.target("t")?.resources)
    #expect(resources.timeout == 600)
    #expect(resources.cpu == 2)
    #expect(resources.memory == 1 << 30)
  }

  @Test func `a base image's parts can be referred to`() throws {
    let loaded = try Loaded(
      targets: """
        base: docker.io/airbyte/base:2.1@sha256:aa
        targets: {t: {rule: test, image: "${base}", run: ["${base.version}", "${base.repository}", "${base.digest}"]}}
        """)
    #expect(loaded.diagnostics.isEmpty)
    #expect(
      loaded.package?.target("t")?.run.map(\.value.literal) == ["2.1", "docker.io/airbyte/base", "sha256:aa"])
  }

  @Test func `the canonical text does not depend on spelling or order`() throws {
    func text(_ target: String) throws -> String? {
      try Loaded(targets: "targets: {t: \(target)}").package?.target("t")?.canonicalText
    }
    let a = try text("{rule: test, image: x, run: [a], env: {B: 1, A: 2}, timeout: 60s, memory: 1GiB}")
    let b = try text("{memory: 1024MiB, env: {A: \"2\", B: '1'}, timeout: 1m, run: [\"a\"], image: x, rule: test}")
    #expect(a == b)
    #expect(
      a == #"{"env":{"A":"2","B":"1"},"image":"x","memory":1073741824,"rule":"test","run":["a"],"timeout":60}"#)
    #expect(try text("{rule: test, image: x, run: [b]}") != text("{rule: test, image: x, run: [a]}"))
  }

  @Test func `an image is replaced by its repository whatever its tag`() throws {
    var list = DiagnosticList()
    let settings = try #require(
      WorkspaceSettings.decode(
        SourceText(
          file: "slipway.yaml",
          text: """
            slipway: 1
            images: {docker.io/a/b: "//bases/b:image", localhost:5000/c: "//bases:c-${base.version}"}
            """), diagnostics: &list)
    ).0
    func label(_ text: String) -> String? { ImageReference(text).flatMap { settings.replacement(for: $0)?.value } }
    #expect(label("docker.io/a/b:1.2@sha256:ab") == "//bases/b:image")
    #expect(label("docker.io/a/b") == "//bases/b:image")
    #expect(label("localhost:5000/c:3") == "//bases:c-3")
    #expect(label("docker.io/a/bb") == nil)
  }
}
