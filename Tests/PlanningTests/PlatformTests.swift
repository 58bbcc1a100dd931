import Diagnostics
import Files
import Graph
import Testing

@testable import Planning

/// Targets for another platform beside those for this machine's.
@Suite struct `plans for several platforms` {
  private static let texts: [String: (targets: String, files: [String])] = [
    "base": (
      """
      targets:
        image: {rule: image, layers: [{from: "//native/${platform}:bin", to: /bin}]}
        tool: {rule: fetch, urls: {t: {url: "https://x/t", sha256: "\(String(repeating: "0", count: 64))"}}}
      """, []
    ),
    "native/linux/amd64": ("targets: {bin: {rule: files, srcs: [make]}}", ["make"]),
    "native/linux/arm64": ("targets: {bin: {rule: files, srcs: [make]}}", ["make"]),
    "app": (
      """
      targets:
        text: {rule: files, srcs: [text]}
        native: {rule: files, srcs: ["lib/${platform|snake}/x?"], needs: [":text"]}
        made: {rule: action, image: //base:image, inputs: [":text", "//base:tool"], run: [make, "${in:text}"], outputs: {o: o}}
        image: {rule: image, base: //base:image, layers: [{from: ":made", to: /}, {from: ":text", to: /t}], needs: [":test"]}
        test: {rule: test, image: //base:image, run: [make]}
      """, ["text"]
    ),
  ]

  private func plans() -> (host: Plan, joined: Plan, diagnostics: DiagnosticList) {
    let packages = InMemoryPackages(Self.texts)
    let host = packages.plan("app").plan
    packages.platform = "linux/arm64"
    let foreign = packages.plan("app").plan
    var diagnostics = DiagnosticList()
    let variant = PlatformVariant(platform: "linux/arm64", roots: [label("app", "image")], plan: foreign)
    return (host, host.adding([variant], diagnostics: &diagnostics), diagnostics)
  }

  private func dependencies(_ label: Label, _ plan: Plan) -> [String] {
    guard let index = plan.graph.index(of: label) else { return [] }
    return plan.graph.nodes[index].dependencies.map(\.target.description).sorted()
  }

  @Test func `what runs or is made for a platform is there twice, what is only data once`() throws {
    let (host, joined, diagnostics) = plans()
    #expect(diagnostics.diagnostics.isEmpty)
    let added = Set(joined.targets.keys).subtracting(host.targets.keys).map(\.description).sorted()
    #expect(
      added == [
        "//app:image@linux/arm64", "//app:made@linux/arm64", "//base:image@linux/arm64", "//native/linux/arm64:bin",
      ])
    for label in host.targets.keys { #expect(dependencies(label, joined) == dependencies(label, host), "\(label)") }
  }

  @Test func `a target for a platform depends on others for it, and is ordered after this machine's`() throws {
    let joined = plans().joined
    #expect(
      dependencies(label("app", "image").on("linux/arm64"), joined)
        == ["//app:made@linux/arm64", "//app:test", "//app:text", "//base:image@linux/arm64"])
    #expect(
      dependencies(label("app", "made").on("linux/arm64"), joined)
        == ["//app:text", "//base:image@linux/arm64", "//base:tool"])
    #expect(dependencies(label("base", "image").on("linux/arm64"), joined) == ["//native/linux/arm64:bin"])
    let made = try #require(joined.targets[label("app", "made").on("linux/arm64")])
    #expect(made.platform == "linux/arm64" && made.image?.label == label("base", "image").on("linux/arm64"))
    #expect(joined.targets[label("app", "text")]?.platform == nil)
    #expect(joined.packages[WorkspacePath(unchecked: "native/linux/arm64")] != nil)
  }

  @Test func `a label for a platform gives back the platform and the label`() {
    let digest = "@sha256:" + String(repeating: "a", count: 64)
    for name in ["a", "1.0" + digest, String(digest.dropFirst())] {
      let plain = label("p", name)
      #expect(plain.platform == nil && plain.withoutPlatform == plain)
      for platform in ["linux/amd64", "linux/arm/v7"] {
        #expect(plain.on(platform).platform == platform && plain.on(platform).withoutPlatform == plain)
      }
    }
  }
}
