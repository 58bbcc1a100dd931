import Files

/// How the result of a query is printed.
package enum QueryOutput: String, CaseIterable, Sendable {
  /// One label a line.
  case label
  /// One array, one target a line.
  case json
  /// Graphviz: the targets and the dependencies among them.
  case dot

  package func render(_ result: QueryResult, in graph: TargetGraph) -> String {
    switch self {
    case .label: result.targets.map { "\(graph.nodes[$0].label)\n" }.joined()
    case .json: Self.json(result, graph)
    case .dot: Self.dot(result, graph)
    }
  }

  private static func dot(_ result: QueryResult, _ graph: TargetGraph) -> String {
    let included = TargetSet(result.targets, count: graph.nodes.count)
    var text = "digraph slipway {\n  node [shape=box];\n"
    for target in included.members {
      let label = quoted(graph.nodes[target].label.description)
      text += "  \(label);\n"
      for dependency in graph.dependencies(of: target) where included.contains(dependency) {
        text += "  \(label) -> \(quoted(graph.nodes[dependency].label.description));\n"
      }
    }
    return text + "}\n"
  }

  private static func json(_ result: QueryResult, _ graph: TargetGraph) -> String {
    if result.targets.isEmpty { return "[]\n" }
    return "[\n" + result.targets.map { json(graph.nodes[$0]) }.joined(separator: ",\n") + "\n]\n"
  }

  private static func json(_ node: GraphNode) -> String {
    var fields = ["\"label\":\(quoted(node.label.description))", "\"rule\":\(quoted(node.rule))"]
    if let kind = node.kind { fields.append("\"kind\":\(quoted(kind))") }
    if let span = node.span {
      fields.append("\"location\":\(quoted("\(span.file):\(span.line):\(span.column)"))")
    }
    fields.append("\"dependencies\":[\(dependencies(node).joined(separator: ","))]")
    fields.append("\"attributes\":{\(attributes(node).joined(separator: ","))}")
    let sources = Set(node.sources).sorted().map { quoted($0.string) }
    fields.append("\"sources\":[\(sources.joined(separator: ","))]")
    return "{\(fields.joined(separator: ","))}"
  }

  private static func dependencies(_ node: GraphNode) -> [String] {
    let sorted = node.dependencies.sorted { a, b in
      if a.target != b.target { return a.target < b.target }
      return (a.role.rawValue, a.output ?? "") < (b.role.rawValue, b.output ?? "")
    }
    var objects: [String] = []
    for edge in sorted {
      var object = "{\"label\":\(quoted(edge.target.description)),\"role\":\(quoted(edge.role.rawValue))"
      if let output = edge.output { object += ",\"output\":\(quoted(output))" }
      object += "}"
      if objects.last != object { objects.append(object) }
    }
    return objects
  }

  /// Every attribute is a list: one shape for readers, whether it stands once or often.
  private static func attributes(_ node: GraphNode) -> [String] {
    var values: [String: [String]] = [:]
    for (name, value) in node.attributes { values[name, default: []].append(quoted(value)) }
    return values.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
      .map { "\(quoted($0.key)):[\($0.value.joined(separator: ","))]" }
  }

  /// A JSON string; Graphviz reads the same escapes of quote and backslash.
  private static func quoted(_ text: String) -> String {
    var view = "\"".unicodeScalars
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\": view.append(contentsOf: ["\\", scalar])
      case "\n": view.append(contentsOf: "\\n".unicodeScalars)
      case "\t": view.append(contentsOf: "\\t".unicodeScalars)
      case "\r": view.append(contentsOf: "\\r".unicodeScalars)
      case _ where scalar.value < 32 || scalar.value == 127:
        let digits = String(scalar.value, radix: 16)
        view.append(contentsOf: ("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).unicodeScalars)
      default: view.append(scalar)
      }
    }
    view.append("\"")
    return String(view)
  }
}
