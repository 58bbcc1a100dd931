import Testing

/// `slipway bump`: three files of a connector, and only their versions.
@Suite struct `bump` {
  private func connector(_ project: Project, version: String = "1.2.3") throws {
    try project.write(
      "connectors/source-x/metadata.yaml",
      """
      # The connector's own words.
      data:
        name: X   # as users see it
        connectorType: source
        definitionId: 6f2ac653-8623-43c4-8950-19218c7caf3d
        dockerRepository: airbyte/source-x
        dockerImageTag: \(version)  # raised by every change
        license: MIT
        documentationUrl: https://docs.example.com/x
      metadataSpecVersion: "1.0"

      """)
    try project.write(
      "connectors/source-x/pyproject.toml", "[project]\nname = \"source-x\"\nversion = \"\(version)\"\n")
    try project.write(
      "docs/integrations/sources/x.md",
      "# X\n\n| Version | Date | Pull Request | Subject |\n|---|---|---|---|\n| 1.2.3 | 2024-01-01 | | First |\n")
  }

  @Test func `a bump raises metadata, pyproject and documentation, and keeps all else`() throws {
    let project = try Project()
    try connector(project)
    let before = try project.read("connectors/source-x/metadata.yaml")
    try project.note("bump", "//connectors/source-x", "minor", "--message", "New stream")
    try project.note("bump", "//connectors/source-x", "rc")
    try project.note("bump", "//connectors/...", "patch")
    try project.expectGolden("bump")
    #expect(
      try project.read("connectors/source-x/metadata.yaml") == before.replacingOccurrence("1.2.3", with: "1.3.1"))
    #expect(try project.read("connectors/source-x/pyproject.toml").contains("version = \"1.3.1\"\n"))
    let rows = try project.read("docs/integrations/sources/x.md").split(separator: "\n").filter { $0.hasPrefix("| 1") }
    #expect(rows.map { $0.split(separator: " ")[1] } == ["1.3.1", "1.3.1-rc.1", "1.3.0", "1.2.3"])
    #expect(rows[2].hasSuffix("| New stream |"))
  }

  @Test func `a version that is not above the last is refused, and nothing is written`() throws {
    let project = try Project()
    try connector(project)
    let before = try project.read("connectors/source-x/metadata.yaml")
    try project.note("bump", "//connectors/source-x", "1.2.3")
    try project.note("bump", "//connectors/source-x", "later")
    try project.note("bump", "//base", "patch")
    try project.note("bump", "patch")
    try project.expectGolden("bump-errors")
    #expect(try project.read("connectors/source-x/metadata.yaml") == before)
  }
}

extension String {
  fileprivate func replacingOccurrence(_ old: String, with new: String) -> String {
    firstRange(of: old).map { self[..<$0.lowerBound] + new + self[$0.upperBound...] } ?? self
  }
}
