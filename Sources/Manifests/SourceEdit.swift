/// A change of a few bytes in a file that a user wrote: everything else, comments and layout among it, stays.
package struct SourceEdit: Hashable, Sendable {
  /// Bytes from the start of the text.
  package var offset: Int
  package var length: Int
  package var replacement: String

  package init(offset: Int, length: Int, replacement: String) {
    self.offset = offset
    self.length = length
    self.replacement = replacement
  }
}

extension SourceText {
  /// The edit that makes another text of a scalar; `nil` where the text is not written there as it is, such as one with
  /// escapes or broken over lines.
  package func edit(of scalar: Node, to replacement: String) -> SourceEdit? {
    guard let old = scalar.scalar?.text,
      let start = offset(line: Int(scalar.place.line), column: Int(scalar.place.column))
    else { return nil }
    let isQuoted = start < bytes.count && (bytes[start] == UInt8(ascii: "\"") || bytes[start] == UInt8(ascii: "'"))
    let offset = isQuoted ? start + 1 : start
    guard bytes[offset...].starts(with: old.utf8) else { return nil }
    return SourceEdit(offset: offset, length: old.utf8.count, replacement: replacement)
  }

  /// The text with edits applied, which must not overlap.
  package func applying(_ edits: [SourceEdit]) -> [UInt8] {
    var result = bytes
    for edit in edits.sorted(by: { $0.offset > $1.offset }) {
      result.replaceSubrange(edit.offset..<edit.offset + edit.length, with: Array(edit.replacement.utf8))
    }
    return result
  }

  /// Of a line and a column, counted from 1 in Unicode scalars.
  private func offset(line: Int, column: Int) -> Int? {
    guard let start = lineStart(line), let text = self.line(line) else { return nil }
    let before = String(text.unicodeScalars.prefix(column - 1))
    return column - 1 <= text.unicodeScalars.count ? start + before.utf8.count : nil
  }
}
