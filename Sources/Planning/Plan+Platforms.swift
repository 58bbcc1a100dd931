import Diagnostics
import Files
import Graph
import Manifests

/// Targets that are wanted for another platform than this machine's.
package struct PlatformVariant: Sendable {
  package var platform: String
  package var roots: [Label]
  /// The plan of the same packages as `${platform}` reads there; the machine's own where nothing asks for it.
  package var plan: Plan

  package init(platform: String, roots: [Label], plan: Plan) {
    self.platform = platform
    self.roots = roots
    self.plan = plan
  }
}

extension Plan {
  /// The plan with targets for other platforms besides: each bears the label of its target with `@PLATFORM` behind it.
  ///
  /// What the roots build on is added too. What runs nowhere and is the same everywhere, such as source files, is shared;
  /// what only orders (`needs`, `when`) stays with this machine's targets.
  package func adding(_ variants: [PlatformVariant], diagnostics: inout DiagnosticList) -> Plan {
    var result = self
    var nodes: [GraphNode] = []
    for variant in variants {
      var configuration = Configuration(variant: variant, known: result.targets)
      nodes += configuration.add(to: &result)
    }
    if !nodes.isEmpty { result.graph = TargetGraph(graph.nodes + nodes, diagnostics: &diagnostics) }
    return result
  }
}

/// Makes the targets of one variant.
private struct Configuration {
  let variant: PlatformVariant
  /// The targets that are there already.
  let known: [Label: Target]
  private var shared: [Label: Bool] = [:]

  init(variant: PlatformVariant, known: [Label: Target]) {
    self.variant = variant
    self.known = known
  }

  /// Adds the targets, and gives the nodes for the graph.
  mutating func add(to plan: inout Plan) -> [GraphNode] {
    var nodes: [GraphNode] = []
    var pending = variant.roots
    var seen = Set(pending)
    while let label = pending.popLast() {
      guard let target = variant.plan.targets[label], let index = variant.plan.graph.index(of: label) else { continue }
      let own = name(label)
      guard plan.targets[own] == nil else { continue }
      var node = variant.plan.graph.nodes[index]
      node.label = own
      node.dependencies = node.dependencies.compactMap { edge in
        var edge = edge
        switch edge.role {
        case .needs, .when, .test: return known[edge.target] == nil ? nil : edge
        default:
          if seen.insert(edge.target).inserted { pending.append(edge.target) }
          edge.target = name(edge.target)
          return edge
        }
      }
      nodes.append(node)
      plan.targets[own] = configured(target, as: own)
      if variant.plan.pulls.contains(label) { plan.pulls.insert(own) }
      if let package = variant.plan.packages[label.package], plan.packages[label.package] == nil {
        plan.packages[label.package] = package
      }
    }
    return nodes
  }

  private mutating func configured(_ target: Target, as label: Label) -> Target {
    var copy = target
    copy.label = label
    if label != target.label { copy.platform = variant.platform }
    copy.parts = copy.parts.map { name($0) }
    copy.image = copy.image.map { name($0) }
    copy.plan = copy.plan.map { name($0) }
    for index in copy.layers.indices { copy.layers[index].from = name(copy.layers[index].from) }
    for index in copy.inputs.indices {
      if case .target(let output) = copy.inputs[index].source { copy.inputs[index].source = .target(name(output)) }
    }
    copy.needs = copy.needs.filter { known[$0] != nil }
    switch copy.when {
    case .affected(let other), .failed(let other): if known[other] == nil { copy.when = nil }
    case nil: break
    }
    return copy
  }

  private mutating func name(_ output: TargetOutput) -> TargetOutput {
    TargetOutput(name(output.label), output: output.output)
  }

  private mutating func name(_ label: Label) -> Label { isShared(label) ? label : label.on(variant.platform) }

  /// Whether the target gives the same on every platform without running anything.
  private mutating func isShared(_ label: Label) -> Bool {
    if let answer = shared[label] { return answer }
    guard let target = variant.plan.targets[label] else { return false }
    let answer: Bool
    switch target.rule {
    case .files:
      // It may name files by `${platform}`.
      let isSame = known[label].map { $0.sources == target.sources && $0.parts == target.parts } ?? true
      answer = isSame && target.parts.allSatisfy { isShared($0) }
    case .fetch where !target.declaration.urls.isEmpty:
      answer = known[label].map { $0.declaration.canonicalText == target.declaration.canonicalText } ?? true
    default: answer = false
    }
    shared[label] = answer
    return answer
  }
}
