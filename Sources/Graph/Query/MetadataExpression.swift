import Diagnostics

/// A condition on the document of a package's metadata, as in
/// `data.supportLevel == 'certified' and data.ab_internal.ql > 100`.
///
/// Paths are dotted; literals are strings in quotes, numbers, `true`, `false`, `null` and lists in brackets; operators are
/// `== != < <= > >= in`, `not`, `and`, `or`, with parentheses. A path that leads nowhere is null. What cannot be
/// compared, such as null with a number, is not less, not equal and not more.
package struct MetadataExpression: Sendable {
  /// A value of a document.
  package enum Value: Hashable, Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case list([Value])
    case map([String: Value])
  }

  enum Comparison: String, Sendable {
    case equal = "=="
    case unequal = "!="
    case less = "<"
    case lessOrEqual = "<="
    case more = ">"
    case moreOrEqual = ">="
    case contained = "in"
  }

  indirect enum Node: Sendable {
    case literal(Value)
    case path([String])
    case comparison(Node, Comparison, Node)
    case not(Node)
    case and(Node, Node)
    case or(Node, Node)
  }

  let root: Node

  package func matches(_ document: Value) -> Bool { root.value(in: document).isTrue }
}

extension MetadataExpression.Node {
  func value(in document: MetadataExpression.Value) -> MetadataExpression.Value {
    switch self {
    case .literal(let value): return value
    case .path(let names):
      var value = document
      for name in names { value = value[name] }
      return value
    case .comparison(let a, let comparison, let b):
      return .bool(comparison.holds(a.value(in: document), b.value(in: document)))
    case .not(let inner): return .bool(!inner.value(in: document).isTrue)
    case .and(let a, let b): return .bool(a.value(in: document).isTrue && b.value(in: document).isTrue)
    case .or(let a, let b): return .bool(a.value(in: document).isTrue || b.value(in: document).isTrue)
    }
  }
}

extension MetadataExpression.Value {
  /// A name of a map, a number of a list from 0; null for anything else.
  subscript(name: String) -> Self {
    switch self {
    case .map(let values): return values[name] ?? .null
    case .list(let values):
      guard let index = Int(name), values.indices.contains(index) else { return .null }
      return values[index]
    default: return .null
    }
  }

  /// As in Python: nothing, false, zero and what is empty are not.
  var isTrue: Bool {
    switch self {
    case .null: false
    case .bool(let value): value
    case .number(let value): value != 0
    case .string(let value): !value.isEmpty
    case .list(let values): !values.isEmpty
    case .map(let values): !values.isEmpty
    }
  }
}

extension MetadataExpression.Comparison {
  func holds(_ a: MetadataExpression.Value, _ b: MetadataExpression.Value) -> Bool {
    switch self {
    case .equal: return a == b
    case .unequal: return a != b
    case .contained:
      switch (a, b) {
      case (_, .list(let values)): return values.contains(a)
      case (.string(let name), .map(let values)): return values[name] != nil
      case (.string(let part), .string(let whole)): return part.isEmpty || whole.contains(part)
      default: return false
      }
    default:
      switch (a, b) {
      case (.number(let x), .number(let y)): return ordered(x, y)
      case (.string(let x), .string(let y)): return ordered(x, y)
      default: return false
      }
    }
  }

  private func ordered<Operand: Comparable>(_ x: Operand, _ y: Operand) -> Bool {
    switch self {
    case .less: x < y
    case .lessOrEqual: x <= y
    case .more: x > y
    case .moreOrEqual: x >= y
    default: false
    }
  }
}
