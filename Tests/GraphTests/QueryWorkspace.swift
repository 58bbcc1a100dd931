import Diagnostics
import Files

@testable import Graph

/// A small workspace for queries.
enum QueryWorkspace {
  static func node(
    _ label: String, _ rule: String, _ dependencies: [(String, DependencyRole)] = [],
    attributes: [(name: String, value: String)] = [], sources: [String] = []
  ) -> GraphNode {
    let label = Drawing.label(label)
    return GraphNode(
      label: label, rule: rule, kind: label.package.string.hasPrefix("src/") ? "python" : nil,
      span: SourceSpan(file: label.package.appending("targets.yaml").string, line: 3, column: 5),
      dependencies: dependencies.map { GraphEdge(target: Drawing.label($0.0), role: $0.1) },
      attributes: attributes, sources: sources.map { WorkspacePath(unchecked: $0) })
  }

  /// `base` <- `lib` <- two connectors, each with code, image, unit, spec, and a suite; `all` is a suite of suites.
  static let graph: TargetGraph = {
    var nodes = [
      node("//base:image", "rootfs", attributes: [("network", "none")]),
      node("//lib:lib", "files", sources: ["lib/lib.py", "lib/shared.txt"]),
      node("//lib:unit", "test", [("//base:image", .image), ("//lib:lib", .input)], attributes: [("size", "small")]),
      node("//:all", "suite", [("//src/a:test", .test), ("//src/b:test", .test), ("//lib:unit", .test)]),
    ]
    for name in ["a", "b"] {
      let package = "//src/" + name
      nodes += [
        node(package + ":code", "files", sources: ["src/\(name)/main.py", "src/\(name)/x y.txt"]),
        node(
          package + ":image", "image",
          [
            ("//base:image", .base), (package + ":code", .layer), ("//lib:lib", .layer),
          ]),
        node(
          package + ":unit", "test", [(package + ":image", .image)],
          attributes: [("size", name == "a" ? "large" : "small"), ("env", "A=1"), ("env", "B=\(name)")]),
        node(package + ":spec", "test", [(package + ":image", .image), (package + ":unit", .needs)]),
        node(package + ":test", "suite", [(package + ":unit", .test), (package + ":spec", .test)]),
      ]
    }
    var diagnostics = DiagnosticList()
    let graph = TargetGraph(nodes, diagnostics: &diagnostics)
    return diagnostics.hasErrors ? TargetGraph([], diagnostics: &diagnostics) : graph
  }()

  static func result(_ query: Query) throws(DiagnosticList) -> QueryResult {
    try query.evaluate(in: graph, packages: [WorkspacePath(unchecked: "docs")]) { package in
      package.string.hasPrefix("src/") || package.string == "base" ? "image" : package.string == "" ? "all" : nil
    }
  }

  static func evaluate(_ text: String, _ folder: String = "") throws -> QueryResult {
    try result(try Query.parse(text, relativeTo: WorkspacePath(unchecked: folder)))
  }

  static func names(_ result: QueryResult) -> [String] {
    result.targets.map { graph.nodes[$0].label.description }
  }
}
