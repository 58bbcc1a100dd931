import Diagnostics
import Files

/// A parsed query.
struct QueryExpression: Sendable {
  indirect enum Kind: Sendable {
    case pattern(TargetPattern)
    case set([TargetPattern])
    case variable(String)
    case binding(name: String, value: QueryExpression, body: QueryExpression)
    /// Applied from left to right; all operators bind alike, as in Bazel.
    case combination(first: QueryExpression, rest: [(operator: QueryToken.Kind, operand: QueryExpression)])
    case deps(QueryExpression, depth: Int)
    case rdeps(universe: QueryExpression, QueryExpression, depth: Int)
    case allPaths(from: QueryExpression, to: QueryExpression)
    case somePath(from: QueryExpression, to: QueryExpression)
    case kind(RegularExpression, QueryExpression)
    case attribute(name: String, RegularExpression, QueryExpression)
    case filter(RegularExpression, QueryExpression)
    case owner(WorkspacePath)
    case tests(QueryExpression)
    /// Of all targets, where no operand is given.
    case metadata(MetadataExpression, QueryExpression?)
  }

  let kind: Kind
}

extension QueryExpression {
  /// Whether it asks for attributes, source files or metadata.
  var readsDeclarations: Bool {
    switch kind {
    case .pattern, .set, .variable: false
    case .attribute, .owner, .metadata: true
    case .binding(_, let a, let b), .rdeps(let a, let b, _), .allPaths(let a, let b), .somePath(let a, let b):
      a.readsDeclarations || b.readsDeclarations
    case .combination(let first, let rest):
      first.readsDeclarations || rest.contains { $0.operand.readsDeclarations }
    case .deps(let a, _), .kind(_, let a), .filter(_, let a), .tests(let a): a.readsDeclarations
    }
  }
}

/// A function of the query language, and how it is written.
enum QueryFunction: String, CaseIterable {
  case deps, rdeps, allpaths, somepath, kind, attr, filter, owner, tests, metadata

  var usage: String {
    switch self {
    case .deps: "deps(EXPR[, DEPTH])"
    case .rdeps: "rdeps(UNIVERSE, EXPR[, DEPTH])"
    case .allpaths: "allpaths(FROM, TO)"
    case .somepath: "somepath(FROM, TO)"
    case .kind: "kind(REGEX, EXPR)"
    case .attr: "attr(NAME, REGEX, EXPR)"
    case .filter: "filter(REGEX, EXPR)"
    case .owner: "owner(FILE)"
    case .tests: "tests(EXPR)"
    case .metadata: "metadata('CONDITION'[, EXPR])"
    }
  }
}
