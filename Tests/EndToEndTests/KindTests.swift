import Testing

/// What the kinds that ship with Slipway give connectors of several shapes.
@Suite struct `kinds` {
  private func connector(_ files: String..., tags: String = "") throws -> Project {
    let project = try Project()
    try project.write(
      "slipway.yaml",
      "slipway: 1\nname: demo\nimages: {docker.io/airbyte/source-declarative-manifest: //base:image}\n")
    try project.write(
      "c/metadata.yaml",
      """
      data:
        name: C
        definitionId: 1f2e3d4c-0000-4000-8000-000000000001
        connectorType: source
        connectorSubtype: api
        dockerRepository: airbyte/source-c
        dockerImageTag: 1.0.0
        githubIssueLabel: source-c
        documentationUrl: https://example.com
        license: MIT
        releaseStage: alpha
        connectorBuildOptions: {baseImage: 'docker.io/airbyte/source-declarative-manifest:6.5.2'}
        tags: [language:manifest-only]

      """)
    for file in files { try project.write("c/\(file)", "{}\n") }
    return project
  }

  private func targets(_ project: Project, _ expression: String) throws -> [String] {
    let end = try project.run("query", expression)
    #expect(end.status == 0, "\(end.standardError)")
    return end.standardOutput.split(separator: "\n").map(String.init)
  }

  @Test func `a manifest-only connector without unit tests has no target for them`() throws {
    let project = try connector("manifest.yaml", "components.py")
    #expect(
      try targets(project, "//c:all") == ["//c:code", "//c:image", "//c:publish", "//c:spec", "//c:test"])
  }

  @Test func `unit_tests of a manifest-only connector are run, with packages of their own lock`() throws {
    let project = try connector("manifest.yaml", "unit_tests/test_c.py", "unit_tests/pyproject.toml")
    #expect(
      try targets(project, "//c:all") == [
        "//c:code", "//c:dev-plan", "//c:dev-site", "//c:dev-wheels", "//c:image", "//c:publish", "//c:spec",
        "//c:test", "//c:unit",
      ])
    #expect(try targets(project, "deps(//c:test) intersect //c:unit") == ["//c:unit"])
    #expect(try targets(project, "deps(//c:unit) intersect //c:dev-plan") == ["//c:dev-plan"])
  }

  @Test func `a folder of fixtures alone makes no tests`() throws {
    let project = try connector("manifest.yaml", "unit_tests/data.json")
    #expect(try targets(project, "//c:all").contains("//c:unit") == false)
  }

  @Test func `a base that stands in for another version is said by a build, once`() throws {
    let project = try connector("manifest.yaml")
    try project.copy(project.path("c/metadata.yaml"), to: "d/metadata.yaml", mode: 0o644)
    try project.write("d/manifest.yaml", "{}\n")
    try project.write(
      "base/targets.yaml",
      """
      targets:
        root: {rule: files, srcs: ["bin/**"]}
        image: {rule: image, layers: [{from: ":root", to: /}], config: {labels: {io.airbyte.version: 6.5.1}}}

      """)
    let result = try project.build("//c:image", "//d:image")
    #expect(result.status == 0, "\(result.error)")
    #expect(
      ("\n" + result.error).contains(
        "\nwarning: 2 connectors name `docker.io/airbyte/source-declarative-manifest` 6.5.2, "
          + "and //base:image stands in for 6.5.1\n"), "\(result.error)")
    #expect(result.error.split(separator: "connectors name").count == 2, "\(result.error)")
    #expect(!result.error.contains("warning: warning"))
  }
}
