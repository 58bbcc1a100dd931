import Caching
import Diagnostics
import Digests
import Files
import Glibc
import Graph
import Manifests
import Planning
import SystemPackage

/// What was last seen to be up to date, so that a build of what did not change neither parses, plans nor hashes.
///
/// A target is *verified* when it was a hit or a success at the stamps of its own and all its dependencies' packages. A
/// stamp covers the stat of every file of a package (`WorkingTree.stamp`), so equal stamps mean equal inputs. Settings,
/// kinds, Slipway itself and the store's generation are in `basis`: another basis verifies nothing. Everything here can
/// be lost: then keys are computed again, and give the same answer.
struct BuildState {
  struct Target {
    var name: String
    var sort: Sort
    var isVerified: Bool
    /// What is for other platforms than this machine's too is verified for all of them.
    var isWhole = true
    /// Milliseconds since 1970 until which a result with a `freshness` counts.
    var validUntil: Int64
    /// Indices of its direct dependencies.
    var dependencies: [Int32]
    var package: Int32
  }

  /// What of a rule the summary needs.
  enum Sort: UInt64 {
    /// Runs nothing itself: `files`, `publish`.
    case passive = 0
    case suite = 1
    case test = 2
    /// Gives outputs.
    case builds = 3

    var isCounted: Bool { self == .test || self == .builds }

    init(_ rule: Rule) {
      switch rule {
      case .files, .publish: self = .passive
      case .suite: self = .suite
      case .test: self = .test
      case .action, .fetch, .image, .pull, .rootfs: self = .builds
      }
    }
  }

  struct Package {
    var path: WorkspacePath
    var stamp: Fingerprint
    var defaultTarget: String?
    var targets: Range<Int>
  }

  var basis: Fingerprint
  /// By path.
  private(set) var packages: [Package] = []
  /// By package and name.
  private(set) var targets: [Target] = []

  init(basis: Fingerprint, packages: [Package] = [], targets: [Target] = []) {
    self.basis = basis
    self.packages = packages
    self.targets = targets
  }

  func package(at path: WorkspacePath) -> Int? {
    var low = 0
    var high = packages.count
    while low < high {
      let middle = (low + high) / 2
      if packages[middle].path < path { low = middle + 1 } else { high = middle }
    }
    return low < packages.count && packages[low].path == path ? low : nil
  }

  func index(of label: Label) -> Int? {
    package(at: label.package).flatMap { index(of: label.name, in: $0) }
  }

  func index(of name: String, in package: Int) -> Int? {
    var low = packages[package].targets.lowerBound
    var high = packages[package].targets.upperBound
    while low < high {
      let middle = (low + high) / 2
      if targets[middle].name.utf8.lexicographicallyPrecedes(name.utf8) { low = middle + 1 } else { high = middle }
    }
    return low < packages[package].targets.upperBound && targets[low].name == name ? low : nil
  }

  func label(_ index: Int) -> Label {
    Label(package: packages[Int(targets[index].package)].path, name: targets[index].name)
  }

  /// The targets that `roots` reach, in order of their index.
  func closure(of roots: [Int]) -> [Int] {
    var seen = [Bool](repeating: false, count: targets.count)
    var pending = roots
    while let next = pending.popLast() {
      guard !seen[next] else { continue }
      seen[next] = true
      for other in targets[next].dependencies { pending.append(Int(other)) }
    }
    return seen.indices.filter { seen[$0] }
  }

  /// Which targets are up to date, given which packages are unchanged.
  func verified(unchanged: [Bool], now: Int64) -> [Bool] {
    var answer = [Int8](repeating: -1, count: targets.count)
    for start in targets.indices where answer[start] < 0 {
      var stack = [start]
      while let index = stack.last {
        let target = targets[index]
        if answer[index] >= 0 {
          stack.removeLast()
          continue
        }
        guard target.isVerified, unchanged[Int(target.package)], now < target.validUntil else {
          answer[index] = 0
          stack.removeLast()
          continue
        }
        if let open = target.dependencies.first(where: { answer[Int($0)] < 0 }) {
          stack.append(Int(open))
          continue
        }
        answer[index] = target.dependencies.allSatisfy { answer[Int($0)] == 1 } ? 1 : 0
        stack.removeLast()
      }
    }
    return answer.map { $0 == 1 }
  }
}

// MARK: Taking in a build

extension BuildState {
  /// What a walk saw of one target.
  struct Seen {
    var isVerified: Bool
    var isWhole = true
    var validUntil: Int64 = .max
  }

  /// The state after a walk over `plan`; other packages are kept, with their old stamps, as long as they are there.
  ///
  /// What the walk did not see is no longer verified once anything that it depends on changed: that may be up to date
  /// again by now, but not as it was then.
  ///
  /// - `stamp`: of the tree as the walk saw it; `nil` for a package that was too new to be stamped.
  func updated(
    with plan: Plan, seen: [Label: Seen], among existing: Set<WorkspacePath>, stamp: (WorkspacePath) -> Fingerprint?
  ) -> BuildState {
    var next = BuildState(basis: basis)
    /// Where each target of this state is in the next one; -1: nowhere.
    var moved = [Int32](repeating: -1, count: targets.count)
    let unchanged = packages.map { plan.packages[$0.path] == nil || stamp($0.path) == $0.stamp }
    let verified = self.verified(unchanged: unchanged, now: .min)
    /// Targets of the next state whose dependencies are still indices of this one.
    var isKept: [Bool] = []
    let variants = Self.variants(in: plan)
    /// Where a target of the next state was here, if what was known of other platforms still holds.
    var wholes: [Int: Int] = [:]
    let kept = packages.filter { plan.packages[$0.path] == nil && existing.contains($0.path) }
    for path in (kept.map(\.path) + plan.packages.keys).sorted() {
      let old = package(at: path)
      let start = next.targets.count
      let index = Int32(next.packages.count)
      if let package = plan.packages[path] {
        guard let stamp = stamp(path) else { continue }
        for declaration in package.declaration.targets.sorted(by: { $0.name.value.utf8Precedes($1.name.value) }) {
          let label = Label(package: path, name: declaration.name.value)
          guard plan.graph.index(of: label) != nil else { continue }
          let before = old.flatMap { self.index(of: label.name, in: $0) }
          if let before { moved[before] = Int32(next.targets.count) }
          var known =
            seen[label]
            // For this machine's platform nothing may need it.
            ?? (declaration.rule.isImage ? nil : variants[label]?.lazy.compactMap { seen[$0] }.first)
            ?? before.map {
              Seen(isVerified: verified[$0], isWhole: targets[$0].isWhole, validUntil: targets[$0].validUntil)
            } ?? Seen(isVerified: false)
          if let before, verified[before], targets[before].isWhole, !known.isWhole {
            // Walked for this machine's platform only, which takes nothing away from the others.
            known.isWhole = true
            wholes[next.targets.count] = before
          }
          next.targets.append(
            Target(
              name: label.name, sort: Sort(declaration.rule), isVerified: known.isVerified, isWhole: known.isWhole,
              validUntil: known.validUntil, dependencies: [], package: index))
        }
        next.packages.append(
          Package(
            path: path, stamp: stamp, defaultTarget: package.declaration.defaultTarget,
            targets: start..<next.targets.count))
      } else if let old {
        for position in packages[old].targets {
          moved[position] = Int32(next.targets.count)
          var target = targets[position]
          target.package = index
          target.isVerified = verified[position]
          next.targets.append(target)
        }
        var package = packages[old]
        package.targets = start..<next.targets.count
        next.packages.append(package)
      }
      isKept += repeatElement(plan.packages[path] == nil, count: next.targets.count - start)
    }
    for index in next.targets.indices {
      var found =
        isKept[index]
        ? next.targets[index].dependencies.map { moved[Int($0)] }
        : next.dependencies(of: next.label(index), variants, in: plan)
      if let old = wholes[index] { found = Set(found + targets[old].dependencies.map { moved[Int($0)] }).sorted() }
      next.targets[index].dependencies = found.filter { $0 >= 0 }
      if found.contains(-1) { next.targets[index].isVerified = false }
    }
    return next
  }

  /// The targets for other platforms, by their labels in manifests.
  private static func variants(in plan: Plan) -> [Label: [Label]] {
    var found: [Label: [Label]] = [:]
    for node in plan.graph.nodes where node.label.platform != nil {
      found[node.label.withoutPlatform, default: []].append(node.label)
    }
    return found
  }

  /// Indices, in their order, of what a target of the plan depends on; -1 for what is not here.
  ///
  /// What is pinned by a digest in the package's own manifest changes with that manifest only, and is left out.
  private func dependencies(of label: Label, _ variants: [Label: [Label]], in plan: Plan) -> [Int32] {
    guard let node = plan.graph.index(of: label) else { return [] }
    var names = Set(plan.graph.nodes[node].dependencies.map(\.target).filter { !plan.pulls.contains($0) })
    for variant in (variants[label] ?? []).compactMap(plan.graph.index) {
      // For another platform it may read what this machine's does not.
      let others = plan.graph.nodes[variant].dependencies.map(\.target).filter { !plan.pulls.contains($0) }
      names.formUnion(others.map(\.withoutPlatform))
    }
    return names.map { index(of: $0).map(Int32.init) ?? -1 }.sorted()
  }
}

extension String {
  fileprivate func utf8Precedes(_ other: String) -> Bool { utf8.lexicographicallyPrecedes(other.utf8) }
}
