import Diagnostics

/// Lays a `targets.yaml` over a kind: mappings by key; lists and scalars replace; `+name` appends; `null` removes.
struct Merging {
  private(set) var diagnostics: [Diagnostic] = []

  mutating func targets(_ kind: [Node.Pair], _ changes: [Node.Pair]) -> [Node.Pair] {
    var merged: [Node.Pair] = []
    var position: [String: Int] = [:]
    for pair in kind where !pair.value.isNull {
      position[pair.name] = merged.count
      merged.append(.init(name: pair.name, keyPlace: pair.keyPlace, value: settled(pair.value)))
    }
    var removed: Set<Int> = []
    for pair in changes {
      guard let index = position[pair.name] else {
        if pair.value.isNull {
          let near = didYouMean(pair.name, among: merged.map(\.name))
          diagnostics.append(
            .warning(
              "there is no target `\(Diagnostic.shortened(pair.name))` to remove", at: pair.keyPlace.span,
              hints: near.map { ["did you mean `\($0)`?"] } ?? []))
        } else {
          merged.append(.init(name: pair.name, keyPlace: pair.keyPlace, value: settled(pair.value)))
        }
        continue
      }
      if pair.value.isNull {
        removed.insert(index)
      } else if let rule = pair.value["rule"]?.string, rule != merged[index].value["rule"]?.string {
        // Attributes of the old rule mean nothing to the new one.
        merged[index] = .init(name: pair.name, keyPlace: pair.keyPlace, value: settled(pair.value))
      } else {
        merged[index] = .init(
          name: pair.name, keyPlace: pair.keyPlace, value: merge(merged[index].value, pair.value))
      }
    }
    return merged.enumerated().filter { !removed.contains($0.offset) }.map(\.element)
  }

  private mutating func merge(_ base: Node, _ change: Node) -> Node {
    guard let basePairs = base.pairs, let changes = change.pairs else { return settled(change) }
    var merged = basePairs
    for pair in changes {
      let appends = pair.name.hasPrefix("+")
      let name = appends ? String(pair.name.dropFirst()) : pair.name
      let index = merged.index(ofKey: name)
      if pair.value.isNull {
        if let index, !appends { merged.remove(at: index) }
      } else if let index {
        let value = appends ? append(merged[index].value, pair) : merge(merged[index].value, pair.value)
        merged[index] = .init(name: name, keyPlace: pair.keyPlace, value: value)
      } else {
        merged.append(.init(name: name, keyPlace: pair.keyPlace, value: settled(pair.value)))
      }
    }
    return Node(.mapping(merged), at: base.place)
  }

  private mutating func append(_ base: Node, _ pair: Node.Pair) -> Node {
    switch (base.content, pair.value.content) {
    case (.sequence(let old), .sequence(let new)):
      return Node(.sequence(old + new), at: base.place)
    case (.mapping(var pairs), .mapping(let new)):
      for addition in new where !addition.value.isNull {
        if let index = pairs.index(ofKey: addition.name) {
          pairs[index] = .init(
            name: addition.name, keyPlace: addition.keyPlace, value: append(pairs[index].value, addition))
        } else {
          pairs.append(.init(name: addition.name, keyPlace: addition.keyPlace, value: settled(addition.value)))
        }
      }
      return Node(.mapping(pairs), at: base.place)
    default:
      diagnostics.append(
        .error(
          "`\(Diagnostic.shortened(pair.name))` cannot append \(pair.value.typeDescription) to \(base.typeDescription)",
          at: pair.value.span, notes: [.init("the kind has it here", at: base.span)]))
      return base
    }
  }

  /// A value with nothing under it: nulls remove nothing, `+name` appends to nothing.
  private mutating func settled(_ node: Node) -> Node {
    guard let pairs = node.pairs,
      pairs.contains(where: { $0.value.isNull || $0.name.hasPrefix("+") || $0.value.pairs != nil })
    else { return node }
    return merge(Node(.mapping([]), at: node.place), node)
  }
}
