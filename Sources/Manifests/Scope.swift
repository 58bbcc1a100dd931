import Diagnostics
import Files

/// What the references of one package stand for.
final class Scope {
  enum Base {
    /// Neither the kind nor the package names one.
    case absent
    /// It was named, wrongly; that is reported already.
    case broken
    case known(Node)
  }

  /// What became of a reference.
  enum Outcome {
    case node(Node)
    /// `note` says where it should have been.
    case missing(note: Diagnostic.Note?, hint: String?)
    /// Reported before.
    case broken
  }

  /// The `data` of the package's metadata.
  let data: Node?
  let name: String
  let package: WorkspacePath
  let platform: String
  let base: Base

  init(data: Node?, name: String, package: WorkspacePath, platform: String, base: Base = .absent) {
    self.data = data
    self.name = name
    self.package = package
    self.platform = platform
    self.base = base
  }

  func value(of reference: ValueReference, at place: Place) -> Outcome {
    let outcome = lookUp(reference, at: place)
    switch outcome {
    case .broken: return .broken
    case .node(let node) where !node.isNull: return .node(node)
    default: break
    }
    if let fallback = reference.fallback {
      return .node(Node(.scalar(.init(text: fallback, isPlain: !fallback.isEmpty)), at: place))
    }
    if case .node(let node) = outcome {
      return .missing(note: .init("it is null here", at: node.span), hint: nil)
    }
    return outcome
  }

  private func lookUp(_ reference: ValueReference, at place: Place) -> Outcome {
    switch reference.root {
    case .name: return .node(Node(string: name, at: place))
    case .package: return .node(Node(string: package.string, at: place))
    case .platform: return .node(Node(string: platform, at: place))
    case .data: return lookUpData(reference.path)
    case .base:
      switch base {
      case .broken: return .broken
      case .absent: return .missing(note: nil, hint: "name one with `base:` at the top of the file")
      case .known(let node):
        guard let property = reference.path.first else { return .node(node) }
        let image = node.string.flatMap { ImageReference($0) }
        let part: String? =
          switch property {
          case "version": image?.tag
          case "digest": image?.digest
          default: image?.repository
          }
        guard let part else {
          return .missing(note: .init("the base image has no \(property) here", at: node.span), hint: nil)
        }
        return .node(Node(string: part, at: node.place))
      }
    }
  }

  private func lookUpData(_ path: [String]) -> Outcome {
    guard let data else {
      return .missing(note: .init("this package has no `metadata.yaml`"), hint: nil)
    }
    var node = data
    var name = "data"
    for key in path {
      guard let pairs = node.pairs else {
        return .missing(note: .init("`\(name)` is \(node.typeDescription) here", at: node.span), hint: nil)
      }
      guard let next = pairs.index(ofKey: key) else {
        let near = didYouMean(key, among: pairs.map(\.name))
        return .missing(
          note: .init("`\(name)` has no `\(key)` here", at: node.span), hint: near.map { "did you mean `\($0)`?" })
      }
      node = pairs[next].value
      name = key
    }
    return .node(node)
  }
}

extension Node {
  /// `a list`, `an integer`, …
  var typeDescription: String {
    switch content {
    case .sequence: "a list"
    case .mapping: "a mapping"
    case .scalar(let scalar):
      switch scalar.type {
      case .string: "a string"
      case .integer: "an integer"
      case .number: "a number"
      case .boolean: "a boolean"
      case .null: "null"
      }
    }
  }
}
