import CYAML
import Diagnostics

/// Reads one YAML document into nodes.
///
/// Stricter than YAML where leniency hides mistakes: one document, unique keys that are scalars, no anchors, no tags.
package enum YAMLParser {
  package enum Limit {
    /// Bytes of a file.
    package static let file = 4 << 20
    /// Bytes of one scalar.
    package static let scalar = 1 << 20
    /// Sequences and mappings inside one another.
    package static let depth = 64
  }

  package static func parse(_ source: SourceText) throws(Diagnostic) -> Node {
    guard source.bytes.count <= Limit.file else {
      throw .error(
        "the file is larger than \(Limit.file >> 20) MiB", at: SourceSpan(file: source.file, line: 1, column: 1))
    }
    let composer = Composer(source)
    return try composer.document()
  }
}

/// Pulls events from libyaml. A class, because `yaml_parser_t` holds pointers into itself and must not move.
private final class Composer {
  private let source: SourceText
  private let parser: UnsafeMutablePointer<yaml_parser_t>
  private var event = yaml_event_t()
  private var hasEvent = false
  private let isReady: Bool

  init(_ source: SourceText) {
    self.source = source
    parser = .allocate(capacity: 1)
    parser.initialize(to: yaml_parser_t())
    isReady = yaml_parser_initialize(parser) == 1
  }

  deinit {
    if hasEvent { yaml_event_delete(&event) }
    if isReady { yaml_parser_delete(parser) }
    parser.deinitialize(count: 1)
    parser.deallocate()
  }

  func document() throws(Diagnostic) -> Node {
    guard isReady else { throw .error("cannot start the YAML parser: out of memory", cause: .environment) }
    // libyaml keeps the pointer until it has read everything, so the whole parse happens inside.
    let result: Result<Node, Diagnostic> = source.bytes.withUnsafeBufferPointer { buffer in
      // An empty buffer may have no address at all; libyaml asserts one.
      var nothing: UInt8 = 0
      return withUnsafePointer(to: &nothing) { fallback in
        yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
        yaml_parser_set_input_string(parser, buffer.baseAddress ?? fallback, buffer.count)
        do throws(Diagnostic) { return .success(try singleDocument()) } catch { return .failure(error) }
      }
    }
    return try result.get()
  }

  private func singleDocument() throws(Diagnostic) -> Node {
    try next()  // stream start
    try next()
    guard event.type == YAML_DOCUMENT_START_EVENT else {
      throw .error("the file is empty", at: SourceSpan(file: source.file, line: 1, column: 1))
    }
    try next()
    let root = try node(depth: 0)
    try next()  // document end
    try next()
    guard event.type == YAML_STREAM_END_EVENT else {
      throw .error(
        "a second document starts here", at: place(event.start_mark, length: 3).span,
        hints: ["a file holds one document: remove the `---` and what follows"])
    }
    if root.isNull, root.scalar?.text.isEmpty == true {
      throw .error("the file is empty", at: SourceSpan(file: source.file, line: 1, column: 1))
    }
    return root
  }

  private func next() throws(Diagnostic) {
    if hasEvent { yaml_event_delete(&event) }
    hasEvent = false
    guard yaml_parser_parse(parser, &event) == 1 else { throw failure() }
    hasEvent = true
  }

  private func node(depth: Int) throws(Diagnostic) -> Node {
    switch event.type {
    case YAML_SCALAR_EVENT: return try scalar()
    case YAML_SEQUENCE_START_EVENT: return try sequence(depth: depth + 1)
    case YAML_MAPPING_START_EVENT: return try mapping(depth: depth + 1)
    case YAML_ALIAS_EVENT:
      throw .error(
        "YAML aliases are not supported", at: place(event.start_mark, event.end_mark).span,
        hints: ["write the value out"])
    default:
      throw .error("unexpected end of the document", at: place(event.start_mark, length: 1).span)
    }
  }

  private func scalar() throws(Diagnostic) -> Node {
    let data = event.data.scalar
    try refuse(anchor: data.anchor, tag: data.tag)
    let place = place(event.start_mark, event.end_mark)
    guard data.length <= YAMLParser.Limit.scalar else {
      throw .error("a value is longer than \(YAMLParser.Limit.scalar >> 20) MiB", at: place.span)
    }
    let text = String(decoding: UnsafeBufferPointer(start: data.value, count: data.length), as: UTF8.self)
    return Node(.scalar(.init(text: text, isPlain: data.style == YAML_PLAIN_SCALAR_STYLE)), at: place)
  }

  private func sequence(depth: Int) throws(Diagnostic) -> Node {
    let data = event.data.sequence_start
    try refuse(anchor: data.anchor, tag: data.tag)
    try checkDepth(depth)
    let (start, startEnd) = (event.start_mark, event.end_mark)
    var elements: [Node] = []
    try next()
    while event.type != YAML_SEQUENCE_END_EVENT {
      elements.append(try node(depth: depth))
      try next()
    }
    return Node(.sequence(elements), at: collectionPlace(start, startEnd))
  }

  private func mapping(depth: Int) throws(Diagnostic) -> Node {
    let data = event.data.mapping_start
    try refuse(anchor: data.anchor, tag: data.tag)
    try checkDepth(depth)
    let (start, startEnd) = (event.start_mark, event.end_mark)
    var pairs: [Node.Pair] = []
    // A linear search is quickest in the small mappings that people write; a large one gets an index.
    var index: [String: Int] = [:]
    try next()
    while event.type != YAML_MAPPING_END_EVENT {
      let key = try key()
      let name = key.text
      let first = pairs.count < 16 ? pairs.index(ofKey: name) : index[name]
      if let first {
        throw .error(
          "the key `\(Diagnostic.shortened(name))` appears twice", at: key.place.span,
          notes: [.init("it first appears here", at: pairs[first].keyPlace.span)])
      }
      try next()
      pairs.append(.init(name: name, keyPlace: key.place, value: try node(depth: depth)))
      if pairs.count == 16 {
        for (position, pair) in pairs.enumerated() { index[pair.name] = position }
      } else if pairs.count > 16 {
        index[name] = pairs.count - 1
      }
      try next()
    }
    return Node(.mapping(pairs), at: collectionPlace(start, startEnd))
  }

  private func key() throws(Diagnostic) -> (text: String, place: Place) {
    guard event.type == YAML_SCALAR_EVENT else {
      if event.type == YAML_ALIAS_EVENT { _ = try node(depth: 0) }
      throw .error("a key must be a plain text", at: place(event.start_mark, length: 1).span)
    }
    let node = try scalar()
    guard let scalar = node.scalar else { return ("", node.place) }
    if scalar.isPlain, scalar.text == "<<" {
      throw .error(
        "YAML merge keys are not supported", at: node.span, hints: ["write the merged keys out"])
    }
    if scalar.isPlain, scalar.text.isEmpty {
      throw .error("a key is missing before `:`", at: node.span)
    }
    return (scalar.text, node.place)
  }

  private func checkDepth(_ depth: Int) throws(Diagnostic) {
    guard depth > YAMLParser.Limit.depth else { return }
    throw .error(
      "nested deeper than \(YAMLParser.Limit.depth) levels", at: place(event.start_mark, length: 1).span)
  }

  private func refuse(anchor: UnsafeMutablePointer<yaml_char_t>?, tag: UnsafeMutablePointer<yaml_char_t>?)
    throws(Diagnostic)
  {
    if anchor != nil {
      throw .error(
        "YAML anchors are not supported", at: place(event.start_mark, length: 1).span,
        hints: ["write the value out wherever it is needed"])
    }
    if tag != nil {
      throw .error(
        "YAML tags are not supported", at: place(event.start_mark, length: 1).span,
        hints: ["remove the tag; put quotes around a value that is a string"])
    }
  }

  // MARK: Places

  private func place(_ start: yaml_mark_t, length: Int) -> Place {
    Place(source, line: Int(start.line) + 1, column: Int(start.column) + 1, length: length)
  }

  private func place(_ start: yaml_mark_t, _ end: yaml_mark_t) -> Place {
    place(start, length: start.line == end.line ? max(1, Int(end.index) - Int(start.index)) : 0)
  }

  /// A flow collection is shown by its bracket's line, a block one by its first line.
  private func collectionPlace(_ start: yaml_mark_t, _ startEnd: yaml_mark_t) -> Place {
    let isFlow = startEnd.index > start.index
    return place(
      start,
      length: isFlow && event.end_mark.line == start.line
        ? Int(event.end_mark.index) - Int(start.index) : 0)
  }

  // MARK: Failures

  private func failure() -> Diagnostic {
    let problem = parser.pointee.problem.map { String(cString: $0) } ?? "it cannot be read"
    switch parser.pointee.error {
    case YAML_MEMORY_ERROR:
      return .error("cannot parse \(source.file): out of memory", cause: .environment)
    case YAML_READER_ERROR:
      let offset = Int(parser.pointee.problem_offset)
      let (line, column) = source.position(ofByte: offset)
      let span = Place(source, line: line, column: column, length: 1).span
      if problem.contains("control characters") {
        return .error("a control character is not allowed", at: span)
      }
      let byte = offset < source.bytes.count ? String(source.bytes[offset], radix: 16) : "end of file"
      return .error("the file is not UTF-8: unexpected byte 0x\(byte)", at: span)
    default:
      return syntaxError(problem)
    }
  }

  private func syntaxError(_ problem: String) -> Diagnostic {
    let mark = parser.pointee.problem_mark
    let span = place(mark, length: 1).span
    var notes: [Diagnostic.Note] = []
    if let context = parser.pointee.context {
      let contextMark = parser.pointee.context_mark
      // Some contexts carry no mark of their own: the parser leaves the start of the file there.
      let text = String(cString: context)
      if contextMark.line != mark.line || contextMark.column != mark.column {
        notes.append(.init(text, at: place(contextMark, length: 1).span))
      }
    }
    if isTab(span) {
      return .error("a tab cannot indent YAML", at: span, hints: ["indent with spaces"])
    }
    let known: [(String, String)] = [
      ("found character that cannot start any token", "a value cannot start with this character; put it in quotes"),
      ("mapping values are not allowed in this context", "put a value that holds `: ` in quotes"),
      ("could not find expected ':'", "a `:` is missing after a key"),
    ]
    let hints = known.filter { problem == $0.0 }.map(\.1)
    return .error("YAML syntax: \(problem)", at: span, notes: notes, hints: hints)
  }

  /// Whether the blanks up to the reported character hold a tab.
  private func isTab(_ span: SourceSpan) -> Bool {
    guard let excerpt = span.excerpt else { return false }
    let scalars = Array(excerpt.unicodeScalars)
    if span.column <= scalars.count, scalars[span.column - 1] == "\t" { return true }
    return scalars.prefix(span.column - 1).allSatisfy { $0 == " " || $0 == "\t" }
      && scalars.prefix(span.column - 1).contains("\t")
  }
}

extension Diagnostic {
  /// A name from a file, cut to a length that fits a message.
  package static func shortened(_ text: String, to limit: Int = 80) -> String {
    text.unicodeScalars.count <= limit
      ? text : String(String.UnicodeScalarView(text.unicodeScalars.prefix(limit))) + "…"
  }
}
