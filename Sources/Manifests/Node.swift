import Diagnostics

/// A value of a YAML document, with its place.
package struct Node: Sendable {
  package enum Content: Sendable {
    case scalar(Scalar)
    case sequence([Node])
    case mapping([Pair])
  }

  package struct Scalar: Sendable {
    package let text: String
    /// Written without quotes and not as a block: only such text can be a number, a boolean or null.
    package let isPlain: Bool

    package init(text: String, isPlain: Bool) {
      self.text = text
      self.isPlain = isPlain
    }
  }

  package struct Pair: Sendable {
    package let name: String
    package let keyPlace: Place
    package let value: Node

    package init(name: String, keyPlace: Place, value: Node) {
      self.name = name
      self.keyPlace = keyPlace
      self.value = value
    }
  }

  package var content: Content
  package var place: Place

  package init(_ content: Content, at place: Place) {
    self.content = content
    self.place = place
  }

  /// A text that is no number, boolean or null, whatever it looks like.
  package init(string: String, at place: Place) {
    self.init(.scalar(Scalar(text: string, isPlain: false)), at: place)
  }

  package var span: SourceSpan { place.span }

  /// The value of a key of a mapping.
  package subscript(name: String) -> Node? {
    guard case .mapping(let pairs) = content, let index = pairs.index(ofKey: name) else { return nil }
    return pairs[index].value
  }

  package var pairs: [Pair]? {
    if case .mapping(let pairs) = content { pairs } else { nil }
  }

  package var elements: [Node]? {
    if case .sequence(let elements) = content { elements } else { nil }
  }

  package var scalar: Scalar? {
    if case .scalar(let scalar) = content { scalar } else { nil }
  }

  /// The text of a string; `nil` for every other type.
  package var string: String? {
    guard let scalar, scalar.type == .string else { return nil }
    return scalar.text
  }

  package var isNull: Bool { scalar?.type == .null }
}

extension [Node.Pair] {
  /// In place: a closure over pairs would retain and release each one that it looks at.
  func index(ofKey name: String) -> Int? {
    var index = 0
    while index < count {
      if self[index].name == name { return index }
      index += 1
    }
    return nil
  }
}
