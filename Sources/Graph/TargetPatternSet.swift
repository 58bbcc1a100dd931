import Diagnostics
import Files

/// Patterns in the order they were given: each adds targets, or takes away some of those that the ones before it added.
package struct TargetPatternSet: Sendable {
  package let patterns: [TargetPattern]

  package init(_ patterns: [TargetPattern]) { self.patterns = patterns }

  /// The selected targets, sorted.
  ///
  /// A negative pattern that matches nothing is no error: what it keeps out may already be gone.
  ///
  /// - Parameters:
  ///   - packages: All packages of the workspace.
  ///   - targets: The names of a package's targets; asked only for `packages(among:)`, and for suggestions.
  /// - Throws: An error for every positive pattern that matches nothing.
  package func resolve(
    packages: [WorkspacePath], targets: (WorkspacePath) -> [String], defaultTarget: (WorkspacePath) -> String?
  ) throws(DiagnosticList) -> [Label] {
    try resolve(in: SortedPackages(packages), targets: targets, defaultTarget: defaultTarget)
  }

  func resolve(
    in folders: SortedPackages, targets: (WorkspacePath) -> [String], defaultTarget: (WorkspacePath) -> String?
  ) throws(DiagnosticList) -> [Label] {
    // By position of the package; few names each, kept in order.
    var selected = [[String]](repeating: [], count: folders.sorted.count)
    var diagnostics = DiagnosticList()
    withoutActuallyEscaping(targets) { targets in
      withoutActuallyEscaping(defaultTarget) { defaultTarget in
        let resolution = Resolution(folders: folders, targets: targets, defaultTarget: defaultTarget)
        for pattern in patterns {
          do throws(Diagnostic) {
            for (package, names) in try resolution.targets(of: pattern) {
              selected[package] =
                pattern.isNegative
                ? selected[package].filter { !names.contains($0) } : Self.union(selected[package], names)
            }
          } catch {
            if !pattern.isNegative { diagnostics.diagnostics.append(error) }
          }
        }
      }
    }
    if diagnostics.hasErrors { throw diagnostics }
    var labels: [Label] = []
    labels.reserveCapacity(selected.reduce(0) { $0 + $1.count })
    for (package, names) in zip(folders.sorted, selected) {
      for name in names { labels.append(Label(package: package, name: name)) }
    }
    return labels
  }

  /// Bytewise ascending, each once.
  private static func union(_ known: [String], _ names: [String]) -> [String] {
    func isSorted(_ names: [String]) -> Bool {
      zip(names, names.dropFirst()).allSatisfy { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }
    if known.isEmpty, isSorted(names) { return names }
    var all: [String] = []
    for name in (known + names).sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) where name != all.last {
      all.append(name)
    }
    return all
  }

  /// The packages that a positive pattern can select from, sorted; those swept in and swept out again are left out.
  package func packages(among packages: [WorkspacePath]) -> [WorkspacePath] {
    let folders = SortedPackages(packages)
    var named = Set<WorkspacePath>()
    var swept = Set<WorkspacePath>()
    for pattern in patterns {
      switch (pattern.selection, pattern.isNegative) {
      case (.target(let label), false): named.insert(label.package)
      case (.defaultTarget(let package), false): named.insert(package)
      case (.path(let path), false): named.formUnion([path, path.parent])
      case (.all(let package), false): swept.insert(package)
      case (.all(let package), true): swept.remove(package)
      case (.below(let folder), false): swept.formUnion(folders.below(folder))
      case (.below(let folder), true): swept.subtract(folders.below(folder))
      case (_, true): break
      }
    }
    return folders.sorted.filter { named.contains($0) || swept.contains($0) }
  }
}

/// Packages in bytewise order, so that those below a folder stand together.
struct SortedPackages {
  let sorted: [WorkspacePath]

  init(_ packages: [WorkspacePath]) {
    sorted = packages.sorted()
  }

  func contains(_ package: WorkspacePath) -> Bool { position(of: package) != nil }

  func position(of package: WorkspacePath) -> Int? {
    let index = lowerBound(package.string.utf8)
    return index < sorted.count && sorted[index] == package ? index : nil
  }

  /// The folder itself, if a package, and all packages below it; `a-b` sorts between `a` and `a/b`.
  func below(_ folder: WorkspacePath) -> [WorkspacePath] { positions(below: folder).map { sorted[$0] } }

  func positions(below folder: WorkspacePath) -> [Int] {
    if folder.isRoot { return Array(sorted.indices) }
    let children = lowerBound((folder.string + "/").utf8)..<lowerBound((folder.string + "0").utf8)
    return (position(of: folder).map { [$0] } ?? []) + children
  }

  private func lowerBound(_ text: String.UTF8View) -> Int {
    var (low, high) = (0, sorted.count)
    while low < high {
      let middle = (low + high) / 2
      if sorted[middle].string.utf8.lexicographicallyPrecedes(text) { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

/// One pattern against the packages of a workspace.
private struct Resolution {
  let folders: SortedPackages
  let targets: (WorkspacePath) -> [String]
  let defaultTarget: (WorkspacePath) -> String?

  /// Names of targets by the position of their package; each package once.
  func targets(of pattern: TargetPattern) throws(Diagnostic) -> [(package: Int, names: [String])] {
    switch pattern.selection {
    case .target(let label):
      let package = try require(label.package, pattern)
      return [(package, [try existing(label, pattern)])]
    case .defaultTarget(let package):
      return [(try require(package, pattern), [try defaultName(package, pattern)])]
    case .path(let path):
      if let package = folders.position(of: path) { return [(package, [try defaultName(path, pattern)])] }
      if let package = folders.position(of: path.parent) {
        if targets(path.parent).contains(path.name) { return [(package, [path.name])] }
        if Label.isName(path.name), folders.below(path).isEmpty {
          return [(package, [try existing(Label(package: path.parent, name: path.name), pattern)])]
        }
      }
      _ = try require(path, pattern)
      return []
    case .all(let package):
      return [(try require(package, pattern), targets(package))]
    case .below(let folder):
      let packages = folders.positions(below: folder)
      if packages.isEmpty {
        throw .error("no packages below `//\(folder)`", at: pattern.span, hints: suggestion(folder, pattern))
      }
      return packages.map { ($0, targets(folders.sorted[$0])) }
    }
  }

  private func require(_ package: WorkspacePath, _ pattern: TargetPattern) throws(Diagnostic) -> Int {
    if let position = folders.position(of: package) { return position }
    let nested = folders.below(package)
    guard nested.isEmpty else {
      let count = nested.count == 1 ? "1 package is" : "\(nested.count) packages are"
      throw .error(
        "`//\(package)` is no package: the folder has no manifest", at: pattern.span,
        notes: [Diagnostic.Note("\(count) below it")], hints: ["`//\(package)/...` selects what lies below it"])
    }
    throw .error("unknown package `//\(package)`", at: pattern.span, hints: suggestion(package, pattern))
  }

  private func existing(_ label: Label, _ pattern: TargetPattern) throws(Diagnostic) -> String {
    let names = targets(label.package)
    if names.contains(label.name) { return label.name }
    var error = Diagnostic.error("unknown target `\(label)`", at: pattern.span)
    UnknownTarget.explain(&error, label, siblings: names, elsewhere: [])
    throw error
  }

  private func defaultName(_ package: WorkspacePath, _ pattern: TargetPattern) throws(Diagnostic) -> String {
    if let name = defaultTarget(package) { return name }
    var error = Diagnostic.error("`//\(package)` has no default target", at: pattern.span)
    error.hints = ["name a target, or `//\(package):all`; `default:` in its manifest chooses one"]
    if let list = UnknownTarget.list(targets(package)) {
      error.notes = [Diagnostic.Note("its targets are \(list)")]
    }
    throw error
  }

  /// The pattern again, with the nearest package or folder in place of one that does not exist.
  private func suggestion(_ folder: WorkspacePath, _ pattern: TargetPattern) -> [String] {
    var candidates = folders.sorted.map(\.string)
    if case .below = pattern.selection {
      var folders = Set<String>()
      for package in self.folders.sorted {
        var ancestor = package.parent
        while !ancestor.isRoot, folders.insert(ancestor.string).inserted { ancestor = ancestor.parent }
      }
      candidates += folders.sorted()
    }
    guard let nearest = didYouMean(folder.string, among: candidates) else { return [] }
    let package = WorkspacePath(unchecked: nearest)
    switch pattern.selection {
    case .below: return ["did you mean `//\(nearest)/...`?"]
    case .all: return ["did you mean `//\(nearest):all`?"]
    case .target(let label) where targets(package).contains(label.name):
      return ["did you mean `\(Label(package: package, name: label.name))`?"]
    case .target, .defaultTarget, .path: return ["did you mean `//\(nearest)`?"]
    }
  }
}
