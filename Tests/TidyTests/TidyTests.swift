import Glibc
import Testing

/// Rules that neither compiler nor formatter keeps; each failure says what to do.
@Suite struct TidyTests {
  private static let root: String = {
    "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
  }()

  private static let files: [(path: String, lines: [Substring])] = {
    var found: [(String, [Substring])] = []
    for folder in ["Sources", "Tests"] {
      for path in swiftFiles(below: root + "/" + folder) {
        guard let text = text(path) else { continue }
        found.append(
          (String(path.dropFirst(root.count + 1)), text.split(separator: "\n", omittingEmptySubsequences: false)))
      }
    }
    return found.sorted { $0.0 < $1.0 }
  }()

  @Test func `the sources are found`() {
    #expect(Self.files.count > 50)
  }

  @Test func `no file is longer than 600 lines`() {
    for file in Self.files where file.lines.count > 600 && !file.path.contains("/Generated/") {
      Issue.record("\(file.path) has \(file.lines.count) lines; a reader holds 600: split it where it does two things")
    }
  }

  @Test(arguments: [
    ("import Foundation", "FoundationEssentials is free, Foundation costs 50 MB and 4 ms a start"),
    ("fatalError(", "a user's mistake is a diagnostic, a bug a precondition with its reason"),
    ("try!", "let the caller know"), ("as! ", "use a conditional cast"),
  ])
  func `a banned call is not used`(call: String, instead: String) {
    for file in Self.files where file.path.hasPrefix("Sources/") && !file.path.contains("/Generated/") {
      for (number, line) in file.lines.enumerated() {
        let isComment = line.drop { $0 == " " }.hasPrefix("//")
        let isWhole = call != "import Foundation" || line == call
        if line.contains(call), isWhole, !isComment {
          Issue.record("\(file.path):\(number + 1): `\(call)`: \(instead)")
        }
      }
    }
  }

  @Test func `no module is named for being shared`() {
    for name in ["Util", "Utils", "Common", "Core", "Base", "Helpers"] {
      #expect(access(Self.root + "/Sources/" + name, F_OK) != 0, "Sources/\(name) collects what nobody placed")
    }
  }

  private static func swiftFiles(below folder: String) -> [String] {
    guard let directory = opendir(folder) else { return [] }
    defer { closedir(directory) }
    var found: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      guard name != ".", name != ".." else { continue }
      let path = folder + "/" + name
      if entry.pointee.d_type == UInt8(DT_DIR) {
        found += swiftFiles(below: path)
      } else if name.hasSuffix(".swift") {
        found.append(path)
      }
    }
    return found
  }

  private static func text(_ path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = fread(&buffer, 1, buffer.count, file)
      if count == 0 { break }
      bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
