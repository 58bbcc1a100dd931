import Glibc

/// A path inside the workspace: relative, `/`-separated, no empty, `.` or `..` component; the root is the empty path.
package struct WorkspacePath: Hashable, Comparable, Sendable, CustomStringConvertible {
  package let string: String

  package static let root = WorkspacePath(unchecked: "")

  package init(unchecked string: String) { self.string = string }

  /// `nil` when the text is absolute, empty, or has an empty, `.` or `..` component, a NUL or a newline.
  package init?(_ text: String) {
    guard !text.isEmpty else { return nil }
    var componentStart = true
    var dots = 0
    var length = 0
    for byte in text.utf8 {
      if byte == 0 || byte == 10 { return nil }
      if byte == 47 {
        if componentStart || (dots == length && dots <= 2) { return nil }
        (componentStart, dots, length) = (true, 0, 0)
      } else {
        componentStart = false
        length += 1
        if byte == 46 { dots += 1 }
      }
    }
    if componentStart || (dots == length && dots <= 2) { return nil }
    string = text
  }

  package var isRoot: Bool { string.isEmpty }
  package var description: String { string }

  package var name: String {
    guard let slash = string.utf8.lastIndex(of: 47) else { return string }
    return String(string[string.utf8.index(after: slash)...])
  }

  package var parent: WorkspacePath {
    guard let slash = string.utf8.lastIndex(of: 47) else { return .root }
    return WorkspacePath(unchecked: String(string[..<slash]))
  }

  package func appending(_ relative: String) -> WorkspacePath {
    WorkspacePath(unchecked: string.isEmpty ? relative : relative.isEmpty ? string : string + "/" + relative)
  }

  /// Whether this path is `other` or lies under it.
  package func isInside(_ other: WorkspacePath) -> Bool {
    if other.isRoot { return true }
    return string == other.string
      || (string.utf8.count > other.string.utf8.count && string.hasPrefix(other.string + "/"))
  }

  /// The path below `ancestor`; the ancestor itself gives the empty text.
  package func relative(to ancestor: WorkspacePath) -> String {
    ancestor.isRoot ? string : String(string.utf8.dropFirst(ancestor.string.utf8.count + 1)) ?? ""
  }

  // By bytes, as git and the file system compare names: `String` takes two spellings of one letter for equal.

  package static func == (a: WorkspacePath, b: WorkspacePath) -> Bool {
    a.string.utf8.count == b.string.utf8.count && compare(a, b) == 0
  }

  package static func < (a: WorkspacePath, b: WorkspacePath) -> Bool { compare(a, b) < 0 }

  package func hash(into hasher: inout Hasher) {
    var string = string
    string.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }

  private static func compare(_ a: WorkspacePath, _ b: WorkspacePath) -> Int {
    var (a, b) = (a.string, b.string)
    return a.withUTF8 { a in
      b.withUTF8 { b in
        let common = min(a.count, b.count)
        if common > 0, let left = a.baseAddress, let right = b.baseAddress {
          let order = memcmp(left, right, common)
          if order != 0 { return Int(order) }
        }
        return a.count - b.count
      }
    }
  }
}
