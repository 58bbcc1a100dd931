import Testing

@testable import Manifests

@Suite struct VersionBumpTests {
  @Test(arguments: [
    ("1.2.3", "patch", "1.2.4"), ("1.2.3", "minor", "1.3.0"), ("1.2.3", "major", "2.0.0"),
    ("1.2.3", "rc", "1.2.4-rc.1"),
    ("1.2.4-rc.1", "rc", "1.2.4-rc.2"), ("1.2.4-rc.9", "rc", "1.2.4-rc.10"), ("1.2.4-rc.2", "patch", "1.2.4"),
    ("1.3.0-rc.2", "minor", "1.3.0"), ("1.2.4-rc.2", "minor", "1.3.0"), ("2.0.0-rc.1", "major", "2.0.0"),
    ("2.1.0-rc.1", "major", "3.0.0"), ("1.2.3-alpha", "rc", "1.2.3-rc.1"), ("1.2.3+x", "patch", "1.2.4"),
    ("1.2.3", "4.0.0-rc.1", "4.0.0-rc.1"), ("0.0.0", "patch", "0.0.1"),
  ])
  func `a version is raised as semver orders it`(old: String, bump: String, new: String) throws {
    let version = try #require(SemanticVersion(old))
    let raised = try #require(VersionBump(bump)).applied(to: version)
    #expect("\(raised)" == new)
    #expect(version < raised)
  }

  @Test(arguments: ["", "Patch", "1.2", "v1.2.3", "patch ", "rc.1"])
  func `what says no bump is none`(text: String) { #expect(VersionBump(text) == nil) }

  @Test func `a documentation page gets a row above the last version's`() {
    let page = """
      # X

      ## Changelog

      | Version | Date       | Pull Request | Subject |
      |:--------|:-----------|:-------------|:--------|
      | 1.2.3   | 2024-01-01 | [1](x)       | Old     |

      """
    let raised = Changelog.adding("1.2.4", date: "2024-02-03", message: "New", to: page)
    #expect(raised?.contains("|:--------|\n| 1.2.4 | 2024-02-03 |  | New |\n| 1.2.3 ") == true)
    #expect(raised?.count == page.count + "| 1.2.4 | 2024-02-03 |  | New |\n".count)
  }

  @Test func `a changelog gets a section above the last version's`() {
    let raised = Changelog.adding("2.0.0", date: "2024-02-03", message: "New", to: "# Log\n\n## 1.0.0\n\n- Old\n")
    #expect(raised == "# Log\n\n## 2.0.0 (2024-02-03)\n\n- New\n\n## 1.0.0\n\n- Old\n")
  }

  @Test func `a page without a changelog is left alone`() {
    #expect(Changelog.adding("2.0.0", date: "2024-02-03", message: "New", to: "# X\n\ntext\n") == nil)
  }

  @Test(arguments: [
    ("[project]\nname = 'x'\nversion = \"1.2.3\" # c\n", "[project]\nname = 'x'\nversion = \"2.0.0\" # c\n"),
    ("[tool.poetry]\nversion='1.2.3'\n", "[tool.poetry]\nversion='2.0.0'\n"),
    ("[tool.x]\nversion = \"1.2.3\"\n", nil), ("[project]\nversion = \"1.2.2\"\n", nil),
    ("[project]\nversions = \"1.2.3\"\n", nil), ("[project]\ndynamic = ['version']\n", nil),
  ])
  func `a project's own version is raised, and no other`(text: String, expected: String?) {
    #expect(PythonProject.raising(text, from: "1.2.3", to: "2.0.0") == expected)
  }
}
