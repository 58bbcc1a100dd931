import Diagnostics
import Files
import Testing

@testable import Planning

@Suite struct BaseVersionsTests {
  private static let settings = """
    slipway: 1
    name: test
    images: {docker.io/airbyte/base: //bases/own:image}
    """

  private func warnings(label: String?, _ connectors: [String: String]) -> [String] {
    let labels = label.map { ", config: {labels: {io.airbyte.version: '\($0)'}}" } ?? ""
    var packages = [
      "bases/own": (targets: "targets:\n  image: {rule: image, layers: []\(labels)}\n", files: [] as [String])
    ]
    for (name, base) in connectors {
      packages[name] = ("targets:\n  image: {rule: image, base: '\(base)', layers: []}\n", [])
    }
    let source = InMemoryPackages(settings: Self.settings, packages)
    let roots = connectors.keys.sorted().map { WorkspacePath(unchecked: $0) }
    var list = DiagnosticList()
    let plan = Plan(roots: roots, source: source, settings: source.settings, diagnostics: &list)
    #expect(list.sorted.map(\.rendered) == [])
    return plan.warnings.map(\.rendered)
  }

  @Test func `a base that stands in for the version that is named is no matter`() {
    let digest = String(repeating: "a", count: 64)
    #expect(warnings(label: "1.2.0", ["a": "docker.io/airbyte/base:1.2.0@sha256:\(digest)"]) == [])
  }

  @Test func `a base of another version is said, with both versions`() {
    #expect(
      warnings(label: "1.2.0", ["a": "docker.io/airbyte/base:1.3.0"]) == [
        "warning: //a names `docker.io/airbyte/base` 1.3.0, and //bases/own:image stands in for 1.2.0\n"
          + "hint: what a base stands in for is its label `io.airbyte.version`\n"
      ])
  }

  @Test func `six hundred connectors on another version give one warning`() {
    let connectors = Dictionary(
      uniqueKeysWithValues: (0..<600).map { ("c\($0)", "docker.io/airbyte/base:1.\($0 % 7).0") })
    let found = warnings(label: "1.2.0", connectors)
    #expect(found.count == 1)
    #expect(
      found.first?.hasPrefix(
        "warning: 514 connectors name `docker.io/airbyte/base` 1.0.0, 1.1.0, 1.3.0 and 3 more, and //bases/own:image ")
        == true, "\(found)")
  }

  @Test func `a base that claims no version, and one without a tag, are not compared`() {
    #expect(warnings(label: nil, ["a": "docker.io/airbyte/base:1.3.0"]) == [])
    #expect(warnings(label: "1.2.0", ["a": "docker.io/airbyte/base"]) == [])
    #expect(warnings(label: "1.2.0", ["a": "//bases/own:image"]) == [])
  }
}
