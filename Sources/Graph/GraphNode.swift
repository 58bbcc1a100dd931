import Diagnostics
import Files

/// Why a target depends on another.
package enum DependencyRole: String, Sendable, CaseIterable {
  case input, image, base, layer, plan, test, needs, when, publish
}

/// A dependency as a manifest has it.
package struct GraphEdge: Hashable, Sendable {
  package var target: Label
  package var role: DependencyRole
  /// The named output that is taken; `nil` for all.
  package var output: String?
  package var span: SourceSpan?

  package init(target: Label, role: DependencyRole, output: String? = nil, span: SourceSpan? = nil) {
    self.target = target
    self.role = role
    self.output = output
    self.span = span
  }
}

/// A target as the graph and its queries see it.
package struct GraphNode: Sendable {
  package var label: Label
  package var rule: String
  /// The kind of its package.
  package var kind: String?
  package var span: SourceSpan?
  /// In written order.
  package var dependencies: [GraphEdge]
  /// What `attr` matches; a name stands once for each value of a list.
  package var attributes: [(name: String, value: String)]
  /// Its source files.
  package var sources: [WorkspacePath]

  package init(
    label: Label, rule: String, kind: String? = nil, span: SourceSpan? = nil, dependencies: [GraphEdge] = [],
    attributes: [(name: String, value: String)] = [], sources: [WorkspacePath] = []
  ) {
    self.label = label
    self.rule = rule
    self.kind = kind
    self.span = span
    self.dependencies = dependencies
    self.attributes = attributes
    self.sources = sources
  }
}
