import Diagnostics
import Files
import Graph
import Manifests

/// A target whose labels and globs are resolved: what the planner knows before anything has run.
package struct Target: Sendable {
  package var label: Label
  package var kind: String?
  package let rule: Rule
  private let written: Written
  /// The platform that it is built for; `nil` for this machine's.
  package var platform: String?

  /// `files`: the matched files of its own package.
  package var sources: [WorkspacePath] = []
  /// `files`: further `files` targets that it holds.
  package var parts: [Label] = []
  package var inputs: [ResolvedInput] = []
  /// The image that its command runs in, or that it builds on, or that it publishes.
  package var image: TargetOutput?
  package var layers: [ResolvedLayer] = []
  package var plan: TargetOutput?
  package var tests: [Label] = []
  package var needs: [Label] = []
  package var when: ResolvedCondition?

  package var declaration: TargetDeclaration { _read { yield written.declaration } }

  /// Behind a reference: a declaration has dozens of members to count for each copy of a target that is passed on.
  private final class Written: Sendable {
    let declaration: TargetDeclaration

    init(_ declaration: TargetDeclaration) { self.declaration = declaration }
  }

  package init(label: Label, kind: String?, declaration: TargetDeclaration) {
    self.label = label
    self.kind = kind
    rule = declaration.rule
    written = Written(declaration)
  }

  package enum ResolvedCondition: Hashable, Sendable {
    case affected(Label)
    case failed(Label)
  }
}

/// A target, or one named output of it.
package struct TargetOutput: Hashable, Sendable {
  package var label: Label
  /// `nil`: all its outputs.
  package var output: String?

  package init(_ label: Label, output: String? = nil) {
    self.label = label
    self.output = output
  }
}

/// One input with its place in the sandbox.
package struct ResolvedInput: Sendable {
  package enum Source: Sendable {
    /// Matched source files, each with its path below `folder`.
    case files([(path: WorkspacePath, below: String)])
    case target(TargetOutput)
    /// `kinds/x/f`, seen at `/slipway/kinds/x/f`.
    case bundled(String)
  }

  /// The folder that it appears in; `nil` for a target's outputs at their own workspace path.
  package var folder: String?
  package var source: Source
  package var place: Place
}

/// One layer of an image.
package struct ResolvedLayer: Sendable {
  package var from: TargetOutput
  /// Absolute, in the image.
  package var to: String
  package var place: Place
}
