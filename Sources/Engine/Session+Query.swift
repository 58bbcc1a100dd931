import Diagnostics
import Graph
import Manifests
import Planning

extension Session {
  /// The rendered answer to a question about the whole workspace.
  package func query(_ text: String, output: QueryOutput) throws -> String {
    // Mistakes in the question are told before the whole workspace is read.
    let query = try Query.parse(text, relativeTo: folder)
    let plan = try plan(for: query, needsMore: output == .json)
    return output.render(try query.evaluate(in: plan), in: plan.graph)
  }

  /// The targets that a question about the whole workspace selects, in order.
  package func targets(of query: String) throws -> [Label] {
    let query = try Query.parse(query, relativeTo: folder)
    return try plan(for: query).targets(of: query)
  }

  /// The whole workspace: of packages that are known by their outlines no more than these, where that is enough.
  private func plan(for query: Query, needsMore: Bool = false) throws -> Plan {
    if needsMore || query.readsDeclarations { return try graph().plan }
    try workspace.tree.refresh(.all)
    let packages = workspace.tree.packages
    let source = OutlinedPackages(
      workspace, outlines(), whole: [], definition: workspace.definition.fingerprint
    ) { [tree = workspace.tree] in tree.stamps(of: $0) }
    var diagnostics = DiagnosticList()
    let plan = Plan(roots: packages, source: source, settings: workspace.settings, diagnostics: &diagnostics)
    source.outlines.save()
    retained.append(plan)
    // Mistakes are told with their places.
    return diagnostics.hasErrors ? try graph().plan : plan
  }
}

extension Query {
  fileprivate func evaluate(in plan: Plan) throws(DiagnosticList) -> QueryResult {
    try evaluate(
      in: plan.graph, packages: plan.packages.keys.sorted(),
      metadata: { plan.packages[$0]?.declaration.metadata.map { MetadataExpression.Value($0.document) } },
      defaultTarget: { plan.packages[$0]?.declaration.defaultTarget })
  }
}

extension Plan {
  /// The targets that a question about this plan selects, in order.
  func targets(of query: Query) throws(DiagnosticList) -> [Label] {
    try query.evaluate(in: self).targets.map { graph.nodes[$0].label }
  }
}

extension MetadataExpression.Value {
  /// As YAML's core schema types it; a number that does not fit is a string.
  init(_ node: Node) {
    switch node.content {
    case .sequence(let elements): self = .list(elements.map { Self($0) })
    case .mapping(let pairs):
      self = .map(Dictionary(pairs.map { ($0.name, Self($0.value)) }) { first, _ in first })
    case .scalar(let scalar):
      switch scalar.type {
      case .null: self = .null
      case .boolean: self = .bool(scalar.boolean ?? false)
      case .integer, .number: self = scalar.number.map { .number($0) } ?? .string(scalar.text)
      case .string: self = .string(scalar.text)
      }
    }
  }
}
