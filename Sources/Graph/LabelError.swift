import Diagnostics

/// Why a text is no label or no pattern, and which part of it is to blame.
package struct LabelError: Error, Hashable, Sendable {
  /// As a diagnostic has it: lower case, literals in backticks, no full stop.
  package var message: String
  /// The whole text that was read.
  package var text: String
  /// Unicode scalars before the part to blame.
  package var offset: Int
  /// Unicode scalars of the part to blame, at least 1.
  package var length: Int

  /// Blames the whole text when no part is given.
  package init(_ message: String, in text: String, offset: Int = 0, length: Int? = nil) {
    self.message = message
    self.text = text
    self.offset = offset
    self.length = max(1, length ?? text.unicodeScalars.count)
  }

  /// The error at its place, given the place of the whole text.
  ///
  /// The caret narrows to the part to blame only where the span's excerpt proves that the text stands there as it was
  /// read: a scalar with escapes, or one filled in from elsewhere, keeps the span of the whole.
  package func diagnostic(at span: SourceSpan?) -> Diagnostic {
    guard var narrowed = span else { return .error(message) }
    let excerpt = Array((narrowed.excerpt ?? "").unicodeScalars)
    let scalars = Array(text.unicodeScalars)
    // A quoted scalar begins one character later.
    for start in [narrowed.column - 1, narrowed.column] where start >= 0 && !scalars.isEmpty {
      guard start + scalars.count <= excerpt.count else { continue }
      guard excerpt[start..<start + scalars.count].elementsEqual(scalars) else { continue }
      narrowed.column = start + 1 + offset
      narrowed.length = length
      break
    }
    return .error(message, at: narrowed)
  }

  /// The error beneath the text itself, as for an argument of the command line.
  package func diagnostic(file: String) -> Diagnostic {
    diagnostic(at: SourceSpan(file: file, line: 1, column: 1, length: length, excerpt: text))
  }
}
