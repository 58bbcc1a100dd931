import Graph

extension Session {
  /// The rendered answer to a question about the whole workspace.
  package func query(_ text: String, output: QueryOutput) throws -> String {
    // Mistakes in the question are told before the whole workspace is read.
    let query = try Query.parse(text, relativeTo: folder)
    let (plan, _) = try graph()
    let result = try query.evaluate(
      in: plan.graph, packages: plan.packages.keys.sorted(),
      defaultTarget: { plan.packages[$0]?.declaration.defaultTarget })
    return output.render(result, in: plan.graph)
  }
}
