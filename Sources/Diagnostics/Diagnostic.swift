/// A place in a file that a user wrote.
///
/// Lines and columns count from 1; columns and `length` count characters (Unicode scalars).
package struct SourceSpan: Hashable, Sendable {
  package var file: String
  package var line: Int
  package var column: Int
  package var length: Int
  /// The text of the line, without its newline; `nil` when it is not worth showing.
  package var excerpt: String?

  package init(file: String, line: Int, column: Int, length: Int = 1, excerpt: String? = nil) {
    self.file = file
    self.line = line
    self.column = column
    self.length = length
    self.excerpt = excerpt
  }
}

/// One fact that the user must know, with its place and what to do next.
package struct Diagnostic: Error, Hashable, Sendable {
  package enum Severity: String, Sendable { case error, warning }

  /// Whose fault it is; it decides the exit status (Bazel's codes).
  package enum Cause: Int32, Sendable {
    /// An action or an output of it failed.
    case build = 1
    /// The command line or a file that the user wrote.
    case input = 2
    /// The host: sandbox, disk, registry, network.
    case environment = 36
    /// A bug in Slipway.
    case `internal` = 37
  }

  package struct Note: Hashable, Sendable {
    package var message: String
    package var span: SourceSpan?

    package init(_ message: String, at span: SourceSpan? = nil) {
      self.message = message
      self.span = span
    }
  }

  package var severity: Severity
  package var cause: Cause
  /// Lower case, literals in backticks, no full stop.
  package var message: String
  package var span: SourceSpan?
  package var notes: [Note]
  package var hints: [String]

  package init(
    _ severity: Severity = .error, _ message: String, at span: SourceSpan? = nil, cause: Cause = .input,
    notes: [Note] = [], hints: [String] = []
  ) {
    self.severity = severity
    self.cause = cause
    self.message = message
    self.span = span
    self.notes = notes
    self.hints = hints
  }

  package static func error(
    _ message: String, at span: SourceSpan? = nil, cause: Cause = .input, notes: [Note] = [], hints: [String] = []
  ) -> Diagnostic {
    Diagnostic(.error, message, at: span, cause: cause, notes: notes, hints: hints)
  }

  package static func warning(
    _ message: String, at span: SourceSpan? = nil, notes: [Note] = [], hints: [String] = []
  ) -> Diagnostic {
    Diagnostic(.warning, message, at: span, notes: notes, hints: hints)
  }
}

/// All that went wrong in one step; thrown when it holds an error.
package struct DiagnosticList: Error, Sendable {
  package var diagnostics: [Diagnostic]

  package init(_ diagnostics: [Diagnostic] = []) {
    self.diagnostics = diagnostics
  }

  package var hasErrors: Bool { diagnostics.contains { $0.severity == .error } }

  /// By file, line and column, those without a place last; equal ones once.
  package var sorted: [Diagnostic] {
    var seen = Set<Diagnostic>()
    return diagnostics.filter { seen.insert($0).inserted }.enumerated().sorted { a, b in
      switch (a.element.span, b.element.span) {
      case (let x?, let y?):
        if x.file != y.file { return x.file < y.file }
        if x.line != y.line { return x.line < y.line }
        if x.column != y.column { return x.column < y.column }
        return a.offset < b.offset
      case (_?, nil): return true
      case (nil, _?): return false
      case (nil, nil): return a.offset < b.offset
      }
    }.map(\.element)
  }
}
