import Diagnostics
import Files

/// A question about the target graph, in Bazel's query language.
///
/// Functions: `deps rdeps allpaths somepath kind attr filter owner tests metadata`; `set(a b)`; `let x = e in e` with `$x`;
/// `+ - ^` or `union except intersect`, which bind alike and from the left.
package struct Query: Sendable {
  private let source: QuerySource
  private let expression: QueryExpression

  /// - Throws: The first error, with its place in the text (file `query`).
  package static func parse(_ text: String, relativeTo folder: WorkspacePath) throws(Diagnostic) -> Query {
    let source = QuerySource(text)
    return Query(source: source, expression: try QueryParser.parse(source, relativeTo: folder))
  }

  /// Whether it asks for more than rules, kinds and dependencies of targets.
  package var readsDeclarations: Bool { expression.readsDeclarations }

  /// The targets that the query selects.
  ///
  /// - Parameters:
  ///   - packages: Packages that may have no target, beside those of the graph.
  ///   - metadata: The document of a package's `metadata.yaml`; `nil` for one without.
  /// - Throws: An error for every pattern that matches nothing, with its place in the text.
  package func evaluate(
    in graph: TargetGraph, packages: [WorkspacePath] = [],
    metadata: @escaping (WorkspacePath) -> MetadataExpression.Value? = { _ in nil },
    defaultTarget: (WorkspacePath) -> String?
  ) throws(DiagnosticList) -> QueryResult {
    let scope = QueryScope(graph, packages: packages)
    var evaluation = QueryEvaluation(scope: scope, metadata: metadata)
    let result = evaluation.result(of: expression, defaultTarget: defaultTarget)
    if evaluation.diagnostics.hasErrors { throw evaluation.diagnostics }
    return result
  }
}

/// What a query selects.
package struct QueryResult: Hashable, Sendable {
  /// Indices into the graph: by label, or for `somepath` along the path.
  package var targets: [Int]
}
