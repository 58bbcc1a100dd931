import Files

/// A template that gives every connector of one sort its targets.
package struct Kind: Sendable {
  package var name: Located<String>
  package var match: Match
  /// With its references unexpanded, as are `targets`.
  package var base: Node?
  package var targets: [Node.Pair]
  package var defaultTarget: Located<String>?
  package var document: Node

  package struct Match: Sendable {
    package var all: [Glob] = []
    package var any: [Glob] = []
    package var none: [Glob] = []
    package var tags: [String] = []
  }
}
