import Files

/// A folder with a manifest, as decoded.
package struct PackageDeclaration: Sendable {
  package var path: WorkspacePath
  /// The kind that gave it targets; `nil` for a plain package.
  package var kind: String?
  package var metadata: ConnectorMetadata?
  /// By name.
  package var targets: [TargetDeclaration]
  /// The target of `//a`; `nil` when none can be told.
  package var defaultTarget: String?

  package init(
    path: WorkspacePath, kind: String?, metadata: ConnectorMetadata?, targets: [TargetDeclaration],
    defaultTarget: String?
  ) {
    self.path = path
    self.kind = kind
    self.metadata = metadata
    self.targets = targets
    self.defaultTarget = defaultTarget
  }

  package func target(_ name: String) -> TargetDeclaration? {
    targets.first { $0.name.value == name }
  }
}
