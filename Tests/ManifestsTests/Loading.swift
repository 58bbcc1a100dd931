import Diagnostics
import Files
import Testing

@testable import Manifests

/// A package loaded from texts.
struct Loaded {
  var package: PackageDeclaration?
  var diagnostics: [Diagnostic]

  var messages: [String] { diagnostics.map { "\($0.severity.rawValue): \($0.message)" } }
  var rendered: String { diagnostics.map(\.rendered).joined(separator: "\n") }

  init(
    metadata: String? = nil, targets: String? = nil, files: [String] = [], kinds: [String] = [],
    settings: String = "slipway: 1\nname: shop\n", path: String = "connectors/source-a"
  ) throws {
    var list = DiagnosticList()
    let decodedSettings = WorkspaceSettings.decode(SourceText(file: "slipway.yaml", text: settings), diagnostics: &list)
    let decodedKinds = kinds.enumerated().compactMap {
      Kind.decode(SourceText(file: "kinds/\($0.offset).yaml", text: $0.element), diagnostics: &list)
    }
    let context = LoadingContext(
      settings: decodedSettings?.0 ?? WorkspaceSettings(), kinds: decodedKinds, platform: "linux/amd64")
    package = loadPackage(
      path: try #require(WorkspacePath(path)),
      metadata: metadata.map { SourceText(file: "\(path)/metadata.yaml", text: $0, role: .data) },
      targets: targets.map { SourceText(file: "\(path)/targets.yaml", text: $0) },
      files: files.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }, context: context, diagnostics: &list)
    diagnostics = list.sorted
  }
}

let pythonKind = """
  kind: python
  match: {all: [pyproject.toml, main.py], any: [poetry.lock, requirements.lock], none: [manifest.yaml]}
  base: ${data.connectorBuildOptions.baseImage:-docker.io/airbyte/python-connector-base}
  targets:
    plan:   {rule: action, image: "${base}", inputs: [pyproject.toml, "poetry.lock?", "@slipway//kinds/python:plan.py"],
             run: [python3, /slipway/kinds/python/plan.py, --group, main], outputs: {plan: plan.jsonl}}
    wheels: {rule: fetch, plan: ":plan#plan", image: "${base}", run: [python3, fetch.py, "${in:plan}"],
             outputs: {wheels: wheels}}
    code:   {rule: files, srcs: [main.py, "${name|snake}/**", pyproject.toml]}
    image:
      rule: image
      base: ${base}
      layers: [{from: ":wheels#wheels", to: /usr/local}, {from: ":code", to: /airbyte/integration_code}]
      config:
        entrypoint: [python, /airbyte/integration_code/main.py]
        env: {AIRBYTE_ENTRYPOINT: "python /airbyte/integration_code/main.py"}
        labels: {io.airbyte.version: "${data.dockerImageTag}", io.airbyte.name: "${data.dockerRepository}"}
        user: airbyte?
    unit:   {rule: test, if: ["unit_tests/**/*.py"], image: ":image", cwd: /airbyte/integration_code,
             inputs: {/airbyte/integration_code/unit_tests: [unit_tests/**], /opt/dev: [":wheels#wheels"]},
             env: {PYTHONPATH: /opt/dev}, run: [python, -m, pytest, unit_tests, --junitxml, "${junit}"]}
    spec:   {rule: test, image: ":image", run: [slipway-protocol, spec]}
    test:   {rule: suite, tests: [":unit?", ":spec"]}
    publish: {rule: publish, image: ":image", metadata: "${data}"}
  """

let metadataOnlyKind = "kind: metadata-only\ntargets: {publish: {rule: files, srcs: [metadata.yaml]}}\n"

let sampleMetadata = """
  metadataSpecVersion: "1.0"
  data:
    name: Source A
    definitionId: 00000000-0000-0000-0000-000000000000
    connectorType: source
    connectorSubtype: api
    dockerRepository: airbyte/source-a
    dockerImageTag: 1.2.3
    documentationUrl: https://docs.example.com/a
    githubIssueLabel: source-a
    license: MIT
    releaseStage: alpha
    releaseDate: 2024-01-02
    connectorBuildOptions: {baseImage: "docker.io/airbyte/python-connector-base:2.0.0@sha256:abcd"}
    tags: [language:python]
    description: "uses ${api_url}"
  """
