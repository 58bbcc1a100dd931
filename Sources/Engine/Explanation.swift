import Caching
import Digests
import Graph
import Manifests
import Planning

/// Why a target would run, or why it was a hit.
package struct Explanation: Sendable {
  package enum Change: Hashable, Sendable {
    case added(KeyField)
    case removed(KeyField)
    case changed(KeyField, from: String)
  }

  /// One line: `hit …` or `miss: …`.
  package var headline: String
  package var changes: [Change] = []
  /// What the result was made of besides its key; shown below the headline.
  package var notes: [String] = []

  /// The fields in which two keys differ, in the order of the new one; what only the old one had comes last.
  package static func changes(from old: [KeyField], to new: [KeyField]) -> [Change] {
    struct Name: Hashable {
      var category: KeyField.Category
      var name: String
    }
    var before: [Name: String] = [:]
    for field in old { before[Name(category: field.category, name: field.name)] = field.value }
    var seen: Set<Name> = []
    var changes: [Change] = []
    for field in new {
      let name = Name(category: field.category, name: field.name)
      seen.insert(name)
      switch before[name] {
      case nil: changes.append(.added(field))
      case field.value?: break
      case let value?: changes.append(.changed(field, from: value))
      }
    }
    for field in old where !seen.contains(Name(category: field.category, name: field.name)) {
      changes.append(.removed(field))
    }
    return changes
  }

  /// As style.md draws it; paths below `root` are shown without it.
  package func text(root: String) -> String {
    func name(_ field: KeyField) -> String {
      let short = field.name.hasPrefix(root + "/") ? String(field.name.dropFirst(root.count + 1)) : field.name
      switch field.category {
      case .input, .dependency: return short
      default: return "\(field.category.rawValue) \(short)"
      }
    }
    func value(_ field: KeyField) -> String {
      switch field.category {
      case .input, .dependency, .image: ""
      default: field.value.count > 120 ? String(field.value.prefix(117)) + "…" : field.value
      }
    }
    var lines = [headline] + notes.map { "  = " + $0 }
    var rows: [(String, String, String)] = []
    for change in changes {
      switch change {
      case .changed(let field, let old):
        rows.append(("~", name(field), value(field).isEmpty ? "changed" : "\(value(field)) (was \(old.prefix(120)))"))
      case .added(let field): rows.append(("+", name(field), value(field).isEmpty ? "new" : value(field)))
      case .removed(let field): rows.append(("-", name(field), "gone"))
      }
    }
    let width = min(48, rows.map { $0.1.count }.max() ?? 0)
    for (sign, name, value) in rows {
      lines.append("  \(sign) \(name)\(String(repeating: " ", count: max(1, width + 3 - name.count)))\(value)")
    }
    return lines.joined(separator: "\n") + "\n"
  }
}

extension Build {
  /// Walks only what is cached below a target, and says how its key compares with its last result.
  package func explain(_ label: Label) async throws -> Explanation {
    guard let root = plan.graph.index(of: label), let target = plan.targets[label] else {
      return Explanation(headline: "unknown target \(label)")
    }
    for index in plan.graph.closure(of: [root]) where index != root {
      let other = plan.graph.nodes[index].label
      guard let dependency = plan.targets[other], reads(other, below: label) else { continue }
      switch dependency.rule {
      case .files, .suite, .publish: planner.outputs[other] = []
      default:
        let work = try prepare(dependency)
        let found = await known(work)
        guard let record = found.record else {
          var first = try explain(dependency, work, found)
          first.headline = "miss: it reads \(other), which would run first\n\(other): \(first.headline)"
          return first
        }
        planner.outputs[other] = record.outputs
      }
    }
    switch target.rule {
    case .files, .suite, .publish, .pull: return Explanation(headline: "\(target.rule.rawValue): nothing to run")
    default: break
    }
    let work = try prepare(target)
    return try explain(target, work, await known(work))
  }

  /// Where a result is known.
  private enum Knowledge {
    /// With a remote tier its bytes may be elsewhere.
    case here(ActionRecord)
    case elsewhere(ActionRecord)
    /// With the remote tier's reason, if there is one.
    case nowhere(ActionCache.Miss, remote: String?)

    var record: ActionRecord? {
      switch self {
      case .here(let record), .elsewhere(let record): record
      case .nowhere: nil
      }
    }
  }

  private func known(_ work: Work) async -> Knowledge {
    let key = work.key.fingerprint
    switch shared == nil ? actions.lookup(key) : actions.recorded(key) {
    case .hit(let record): return .here(record)
    case .miss(let reason):
      guard let shared else { return .nowhere(reason, remote: nil) }
      switch await Self.lookUp(0, work, recorded: nil, bringsBytes: false, shared, watch).answer {
      case .hit(let record): return .elsewhere(record)
      case .miss(let remote): return .nowhere(reason, remote: remote ?? "not asked")
      }
    }
  }

  /// Compares a target's key with its last result.
  private func explain(_ target: Target, _ work: Work, _ known: Knowledge) throws -> Explanation {
    var explanation = try explainLocally(target, work, known)
    if case .nowhere(_, let remote?) = known { explanation.notes.append("remote cache: \(remote)") }
    return explanation
  }

  private func explainLocally(_ target: Target, _ work: Work, _ known: Knowledge) throws -> Explanation {
    let label = target.label
    let key = work.key.fingerprint.description.prefix(8)
    switch known {
    case .elsewhere(let record):
      return Explanation(headline: "hit in the remote cache (\(key)), executed in \(record.duration) ms")
    case .here(let record):
      if let freshness = target.declaration.freshness,
        !record.isFresh(at: CommandExecution.now(), within: Int64(freshness.value) * 1000)
      {
        return Explanation(headline: "miss: the result \(key) is older than its freshness of \(freshness.value) s")
      }
      return Explanation(
        headline: "hit (\(key)), executed in \(record.duration) ms", notes: try releases(of: record))
    case .nowhere(let reason, _):
      if let failure = actions.failure(work.key.fingerprint) {
        return Explanation(
          headline: "miss: it failed with these inputs (\(key), \(failure.failureReason)), and runs again")
      }
      guard let last = history.entry(of: label), last.key != work.key.fingerprint else {
        return Explanation(headline: "miss: \(reason.text) (\(key))")
      }
      let short = last.key.description.prefix(8)
      guard let old = actions.any(last.key) else {
        return Explanation(headline: "miss: inputs differ from the last result (\(short)), which is gone")
      }
      return Explanation(
        headline: "miss: inputs differ from the last result (\(short))",
        changes: Explanation.changes(from: old.explanation, to: work.key.explanation))
    }
  }

  /// The archive's state at the first use of a floating root file system.
  private func releases(of record: ActionRecord) throws -> [String] {
    guard case .file(let file)? = record.output(named: ActionRecord.releasesOutput), record.rule == Rule.rootfs.rawValue
    else { return [] }
    let text = String(decoding: try store.read(file.digest, limit: 1 << 20), as: UTF8.self)
    return text.split(separator: "\n").map { line in
      let parts = line.split(separator: " ", maxSplits: 1)
      return parts.count == 2 ? "floating: \(parts[1].drop { $0 == " " }) \(parts[0])" : String(line)
    }
  }

  /// Whether `label` needs the outputs of `other`, directly or through what it reads.
  private func reads(_ other: Label, below label: Label) -> Bool {
    var pending = [label]
    var seen: Set<Label> = [label]
    while let next = pending.popLast() {
      guard let index = plan.graph.index(of: next) else { continue }
      for edge in plan.graph.nodes[index].dependencies {
        switch edge.role {
        case .needs, .when, .test: continue
        default: break
        }
        if edge.target == other { return true }
        if seen.insert(edge.target).inserted { pending.append(edge.target) }
      }
    }
    return false
  }
}

extension ActionCache {
  /// The record of a key, a success or a failure.
  func any(_ key: Fingerprint) -> ActionRecord? {
    if case .hit(let record) = lookup(key) { return record }
    return failure(key)
  }
}

extension ActionCache.Miss {
  /// For a person.
  var text: String {
    switch self {
    case .absent: "never built with these inputs"
    case .corrupt: "its cached result is damaged"
    case .missingBlob(let digest): "an output is gone from the cache, \(digest)"
    case .evicted(_, let policy): "evicted from the cache (\(policy))"
    }
  }

  /// For a count.
  var kind: String {
    switch self {
    case .absent: "never built"
    case .corrupt: "damaged"
    case .missingBlob: "output gone"
    case .evicted: "evicted"
    }
  }
}
