/// A text whose last references only the planner can fill in.
package struct TextTemplate: Hashable, Sendable {
  package enum Segment: Hashable, Sendable {
    case literal(String)
    case reference(RuntimeReference)
  }

  package var segments: [Segment]

  package init(_ segments: [Segment]) { self.segments = segments }
  package init(_ text: String) { segments = text.isEmpty ? [] : [.literal(text)] }

  /// The text, if no reference is left in it.
  package var literal: String? {
    switch segments.count {
    case 0: return ""
    case 1: if case .literal(let text) = segments[0] { return text }
    default: break
    }
    return nil
  }

  /// The text with its references as `fill` gives them.
  package func filled<E: Error>(_ fill: (RuntimeReference) throws(E) -> String) throws(E) -> String {
    var text = ""
    for segment in segments {
      switch segment {
      case .literal(let literal): text += literal
      case .reference(let reference): text += try fill(reference)
      }
    }
    return text
  }
}

/// What is known only once an action is planned.
package enum RuntimeReference: Hashable, Sendable, CustomStringConvertible {
  /// `${in:x}`: the path in the sandbox of the input that target or output `x` gives.
  case input(String)
  /// `${out:x}`: the path of the declared output `x`.
  case output(String)
  /// `${junit}`: where a test may write its JUnit XML.
  case junit

  package var description: String {
    switch self {
    case .input(let name): "${in:\(name)}"
    case .output(let name): "${out:\(name)}"
    case .junit: "${junit}"
    }
  }
}
