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
    packages[package].targets.first { targets[$0].name == name }
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
    var validUntil: Int64 = .max
  }

  /// The state after a walk over `plan`; what the walk did not see is kept as far as its packages are unchanged.
  ///
  /// - `stamps`: of the tree as the walk saw it; `nil` for a package that was too new to be stamped.
  func updated(with plan: Plan, seen: [Label: Seen], stamp: (WorkspacePath) -> Fingerprint?) -> BuildState {
    var entries: [Label: (sort: Sort, seen: Seen, dependencies: [Label])] = [:]
    var heads: [WorkspacePath: (stamp: Fingerprint, defaultTarget: String?)] = [:]
    for package in packages {
      if plan.packages[package.path] != nil { continue }
      guard stamp(package.path) == package.stamp else { continue }
      heads[package.path] = (package.stamp, package.defaultTarget)
      for index in package.targets {
        let target = targets[index]
        entries[label(index)] = (
          target.sort, Seen(isVerified: target.isVerified, validUntil: target.validUntil),
          target.dependencies.map { label(Int($0)) }
        )
      }
    }
    for (path, package) in plan.packages {
      guard let stamp = stamp(path) else { continue }
      heads[path] = (stamp, package.declaration.defaultTarget)
      let isSame = self.package(at: path).map { packages[$0].stamp == stamp } ?? false
      for declaration in package.declaration.targets {
        let label = Label(package: path, name: declaration.name.value)
        guard let node = plan.graph.index(of: label) else { continue }
        var known = seen[label]
        if known == nil, isSame, let old = index(of: label) {
          known = Seen(isVerified: targets[old].isVerified, validUntil: targets[old].validUntil)
        }
        entries[label] = (
          Sort(declaration.rule), known ?? Seen(isVerified: false),
          // What is pinned by a digest in the package's own manifest changes with that manifest only.
          plan.graph.nodes[node].dependencies.map(\.target).filter { !plan.pulls.contains($0) }
        )
      }
    }
    return BuildState(basis: basis, heads: heads, entries: entries)
  }

  private init(
    basis: Fingerprint, heads: [WorkspacePath: (stamp: Fingerprint, defaultTarget: String?)],
    entries: [Label: (sort: Sort, seen: Seen, dependencies: [Label])]
  ) {
    self.basis = basis
    let labels = entries.keys.sorted()
    var position: [Label: Int32] = [:]
    for (index, label) in labels.enumerated() { position[label] = Int32(index) }
    var next = 0
    for path in heads.keys.sorted() {
      guard let head = heads[path] else { continue }
      let start = next
      while next < labels.count, labels[next].package == path {
        let label = labels[next]
        if let entry = entries[label] {
          let known = Set(entry.dependencies).sorted().compactMap { position[$0] }
          let isWhole = known.count == Set(entry.dependencies).count
          targets.append(
            Target(
              name: label.name, sort: entry.sort, isVerified: entry.seen.isVerified && isWhole,
              validUntil: entry.seen.validUntil, dependencies: known, package: Int32(packages.count)))
        }
        next += 1
      }
      packages.append(
        Package(path: path, stamp: head.stamp, defaultTarget: head.defaultTarget, targets: start..<next))
    }
  }
}
