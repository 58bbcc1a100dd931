import Glibc
import Testing

/// What a command printed, compared with a file of `Goldens/`; `SLIPWAY_RECORD=1` writes the file instead.
enum Golden {
  private static let folder: String = {
    let parts = String(describing: #filePath).split(separator: "/", omittingEmptySubsequences: false)
    return parts.dropLast().joined(separator: "/") + "/Goldens"
  }()

  static var isRecording: Bool { getenv("SLIPWAY_RECORD").map { String(cString: $0) } == "1" }

  /// What differs from run to run: paths, times and keys.
  static func filter(_ text: String, paths: [String: String]) -> String {
    var text = text
    for (path, name) in paths.sorted(by: { $0.key.utf8.count > $1.key.utf8.count }) {
      text = text.split(separator: path, omittingEmptySubsequences: false).joined(separator: name)
    }
    text = text.replacing(/\b[0-9a-f]{64}\b|\b[0-9a-f]{32}\b|\([0-9a-f]{8}\)|\([0-9a-f]{8},/) { match in
      match.output.hasPrefix("(") ? (match.output.hasSuffix(",") ? "([KEY]," : "([KEY])") : "[KEY]"
    }
    return text.replacing(/\b(?:\d+h\d\dm|\d+m\d\ds|\d+(?:\.\d)?(?:ms|s)|\d+ ms)\b/, with: "[TIME]")
  }

  /// The text with an end of its last line.
  static func lines(_ text: String) -> String { text.hasSuffix("\n") ? text : text + "\n[no end of line]\n" }

  static func compare(_ text: String, with name: String) throws {
    let path = "\(folder)/\(name).txt"
    if isRecording {
      guard let file = fopen(path, "w") else { throw Failure("cannot write \(path): error \(errno)") }
      defer { fclose(file) }
      fputs(text, file)
      return
    }
    guard let bytes = try? readBytes(path) else {
      Issue.record("no golden file \(name).txt; `make goldens` writes it\n\(text)")
      return
    }
    let expected = String(decoding: bytes, as: UTF8.self)
    guard expected != text else { return }
    let old = expected.split(separator: "\n", omittingEmptySubsequences: false)
    let new = text.split(separator: "\n", omittingEmptySubsequences: false)
    let first = zip(old, new).prefix { $0 == $1 }.count
    func line(_ lines: [Substring]) -> Substring { first < lines.count ? lines[first] : "(end)" }
    Issue.record(
      "\(name).txt:\(first + 1): expected `\(line(old))`, found `\(line(new))`; all of it:\n\(text)")
  }
}
