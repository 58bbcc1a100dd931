import Diagnostics
import Files

/// The packages of a graph, for the patterns of a query.
struct QueryScope {
  let graph: TargetGraph
  let packages: SortedPackages
  /// Where each package's targets stand in the graph.
  private let ranges: [WorkspacePath: Range<Int>]

  init(_ graph: TargetGraph, packages: [WorkspacePath]) {
    self.graph = graph
    var ranges: [WorkspacePath: Range<Int>] = [:]
    var start = 0
    for index in graph.nodes.indices {
      let package = graph.nodes[index].label.package
      if index + 1 == graph.nodes.count || graph.nodes[index + 1].label.package != package {
        ranges[package] = start..<index + 1
        start = index + 1
      }
    }
    self.ranges = ranges
    self.packages = SortedPackages(Array(Set(packages).union(ranges.keys)))
  }

  func range(of package: WorkspacePath) -> Range<Int> { ranges[package] ?? 0..<0 }

  func targets(of package: WorkspacePath) -> [String] { range(of: package).map { graph.nodes[$0].label.name } }
}

/// One run of a query: an expression is a set of targets, and its errors are collected.
struct QueryEvaluation {
  let scope: QueryScope
  /// Of a package with a `metadata.yaml`: its document.
  let metadata: (WorkspacePath) -> MetadataExpression.Value?
  var diagnostics = DiagnosticList()
  private var variables: [(name: String, value: TargetSet)] = []

  private var graph: TargetGraph { scope.graph }
  private var count: Int { scope.graph.nodes.count }

  init(scope: QueryScope, metadata: @escaping (WorkspacePath) -> MetadataExpression.Value?) {
    self.scope = scope
    self.metadata = metadata
  }

  mutating func result(of expression: QueryExpression, defaultTarget: (WorkspacePath) -> String?) -> QueryResult {
    // A path says more in its own order.
    if case .somePath(let from, let to) = expression.kind {
      let start = targets(of: from, defaultTarget)
      return QueryResult(targets: path(from: start, to: targets(of: to, defaultTarget)))
    }
    return QueryResult(targets: targets(of: expression, defaultTarget).members)
  }

  private mutating func targets(
    of expression: QueryExpression, _ defaultTarget: (WorkspacePath) -> String?
  ) -> TargetSet {
    switch expression.kind {
    case .pattern(let pattern): return targets(of: [pattern], defaultTarget)
    case .set(let patterns): return targets(of: patterns, defaultTarget)
    case .variable(let name): return variables.last { $0.name == name }?.value ?? TargetSet(count: count)
    case .binding(let name, let value, let body):
      variables.append((name, targets(of: value, defaultTarget)))
      defer { variables.removeLast() }
      return targets(of: body, defaultTarget)
    case .combination(let first, let rest):
      var result = targets(of: first, defaultTarget)
      for (kind, operand) in rest {
        let other = targets(of: operand, defaultTarget)
        switch kind {
        case .except: result.subtract(other)
        case .intersect: result.formIntersection(other)
        default: result.formUnion(other)
        }
      }
      return result
    case .deps(let roots, let depth):
      return graph.forward.reachable(from: targets(of: roots, defaultTarget), within: depth)
    case .rdeps(let universe, let roots, let depth):
      let scope = graph.forward.reachable(from: targets(of: universe, defaultTarget))
      return graph.backward.reachable(from: targets(of: roots, defaultTarget), within: depth, scope: scope)
    case .allPaths(let from, let to):
      var result = graph.forward.reachable(from: targets(of: from, defaultTarget))
      result.formIntersection(graph.backward.reachable(from: targets(of: to, defaultTarget)))
      return result
    case .somePath(let from, let to):
      let start = targets(of: from, defaultTarget)
      return TargetSet(path(from: start, to: targets(of: to, defaultTarget)), count: count)
    case .kind(let regex, let operand): return kind(regex, targets(of: operand, defaultTarget))
    case .attribute(let name, let regex, let operand):
      return targets(of: operand, defaultTarget).filtered(count: count) { target in
        graph.nodes[target].attributes.contains { $0.name == name && regex.matches($0.value) }
      }
    case .filter(let regex, let operand):
      return targets(of: operand, defaultTarget).filtered(count: count) { target in
        regex.matches(graph.nodes[target].label.description)
      }
    case .owner(let file):
      return TargetSet.all(count: count).filtered(count: count) { graph.nodes[$0].sources.contains(file) }
    case .tests(let operand): return tests(targets(of: operand, defaultTarget))
    case .metadata(let condition, let operand):
      var verdicts: [WorkspacePath: Bool] = [:]
      let operand = operand.map { targets(of: $0, defaultTarget) } ?? TargetSet.all(count: count)
      return operand.filtered(count: count) { target in
        let package = graph.nodes[target].label.package
        if let verdict = verdicts[package] { return verdict }
        let verdict = metadata(package).map(condition.matches) ?? false
        verdicts[package] = verdict
        return verdict
      }
    }
  }

  private mutating func targets(
    of patterns: [TargetPattern], _ defaultTarget: (WorkspacePath) -> String?
  ) -> TargetSet {
    var result = TargetSet(count: count)
    var others: [TargetPattern] = []
    for pattern in patterns {
      // Whole packages are ranges of the graph; `//...` need not make a label of every target to find it again.
      switch pattern.selection {
      case .below(let folder): insert(scope.packages.below(folder), into: &result, else: pattern, &others)
      case .all(let package):
        insert(scope.packages.contains(package) ? [package] : [], into: &result, else: pattern, &others)
      case .target, .defaultTarget, .path: others.append(pattern)
      }
    }
    do throws(DiagnosticList) {
      let labels = try TargetPatternSet(others).resolve(
        in: scope.packages, targets: scope.targets, defaultTarget: defaultTarget)
      for target in labels.compactMap(graph.index) { result.insert(target) }
    } catch {
      diagnostics.diagnostics += error.diagnostics
    }
    return result
  }

  private func insert(
    _ packages: [WorkspacePath], into result: inout TargetSet, else pattern: TargetPattern,
    _ others: inout [TargetPattern]
  ) {
    if packages.isEmpty { others.append(pattern) }
    for target in packages.flatMap(scope.range) { result.insert(target) }
  }

  private func kind(_ regex: RegularExpression, _ targets: TargetSet) -> TargetSet {
    // Thousands of targets share a handful of rules.
    var verdicts: [String: Bool] = [:]
    return targets.filtered(count: count) { target in
      let rule = graph.nodes[target].rule
      if let verdict = verdicts[rule] { return verdict }
      let verdict = regex.matches(rule)
      verdicts[rule] = verdict
      return verdict
    }
  }

  /// The tests among the targets, and those that suites among them name, however deep.
  private func tests(_ targets: TargetSet) -> TargetSet {
    var seen = targets
    var pending = targets.members
    while let target = pending.popLast() {
      guard graph.nodes[target].rule == "suite" else { continue }
      for edge in graph.nodes[target].dependencies where edge.role == .test {
        if let test = graph.index(of: edge.target), seen.insert(test) { pending.append(test) }
      }
    }
    return seen.filtered(count: count) { graph.nodes[$0].rule == "test" }
  }

  /// A shortest path along dependencies, or nothing.
  private func path(from: TargetSet, to: TargetSet) -> [Int] {
    var cameFrom = Array(repeating: -1, count: count)
    var seen = from
    var queue = from.members
    var head = 0
    while head < queue.count {
      let target = queue[head]
      head += 1
      if to.contains(target) {
        var path = [target]
        while let last = path.last, cameFrom[last] >= 0 { path.append(cameFrom[last]) }
        return path.reversed()
      }
      for dependency in graph.forward[target].map(Int.init) where seen.insert(dependency) {
        cameFrom[dependency] = target
        queue.append(dependency)
      }
    }
    return []
  }
}

extension TargetSet {
  func filtered(count: Int, _ isIncluded: (Int) -> Bool) -> TargetSet {
    TargetSet(members.filter(isIncluded), count: count)
  }
}
