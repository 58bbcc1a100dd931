import Files

extension TargetPatternSet {
  /// The packages of the patterns when each names one target or one package; `nil` when one reaches further.
  package var namedPackages: [WorkspacePath]? {
    var found: Set<WorkspacePath> = []
    for pattern in patterns {
      switch pattern.selection {
      case .target(let label): found.insert(label.package)
      case .defaultTarget(let package), .all(let package): found.insert(package)
      case .path, .below: return nil
      }
    }
    return found.sorted()
  }
}
