/// What a command line asks for, in words.
package enum TargetSelection: Sendable {
  case all
  /// Target patterns.
  case patterns([String])
  /// A question in the query language, about the whole workspace.
  case query(String)
}
