import FoundationEssentials
import Testing

@testable import Kinds

struct BuiltInKindsTests {
  static let folder = #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" } + "/Sources/Kinds"

  @Test func `every file of the folder is embedded, byte for byte, under its path`() throws {
    var onDisk: [String] = []
    for path in try FileManager.default.subpathsOfDirectory(atPath: Self.folder) {
      let full = "\(Self.folder)/\(path)"
      var isFolder = false
      guard FileManager.default.fileExists(atPath: full, isDirectory: &isFolder), !isFolder else { continue }
      if path.hasSuffix(".swift") || path.contains("__pycache__") { continue }
      onDisk.append(path)
    }
    #expect(BuiltInKinds.files.map(\.path) == onDisk.sorted())
    for file in BuiltInKinds.files {
      let bytes = try Data(contentsOf: URL(filePath: "\(Self.folder)/\(file.path)"))
      #expect(file.bytes == [UInt8](bytes), "\(file.path) differs")
    }
  }
}
