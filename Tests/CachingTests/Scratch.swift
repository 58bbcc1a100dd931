import Glibc
import SystemPackage
import Testing

@testable import Caching

/// A folder for one test, gone with the value.
final class Scratch: Sendable {
  let path: String

  init() throws {
    path = "/tmp/slipway-test.\(getpid()).\(UInt64.random(in: 0 ... .max))"
    try Disk.makeFolders(path)
  }

  deinit { try? Disk.removeTree(path) }

  func store() throws -> Store { try Store(root: FilePath(path + "/store")) }

  func write(_ name: String, _ text: String, mode: mode_t = 0o644) throws {
    let file = path + "/" + name
    if let slash = file.lastIndex(of: "/") { try Disk.makeFolders(String(file[..<slash])) }
    let fd = try Disk.open(file, O_WRONLY | O_CREAT | O_TRUNC)
    defer { try? fd.close() }
    try Array(text.utf8).withUnsafeBytes { try Disk.write(fd, $0, path: file) }
    fchmod(fd.rawValue, mode)
  }

  func open(_ name: String) throws -> FileDescriptor { try Disk.open(path + "/" + name, O_RDONLY) }

  func text(_ name: String) throws -> String? {
    try Disk.contents(of: path + "/" + name, limit: 1 << 20).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Every path below a folder, with what it is.
  func listing(_ name: String) throws -> [String] {
    var lines: [String] = []
    func visit(_ folder: String, _ prefix: String) throws {
      for entry in try Disk.names(inFolder: folder) {
        let full = folder + "/" + entry
        guard let status = try Disk.status(full) else { continue }
        switch status.kind {
        case .folder:
          lines.append("\(prefix)\(entry)/ \(String(status.permissions, radix: 8))")
          try visit(full, prefix + entry + "/")
        case .symlink: lines.append("\(prefix)\(entry) -> \(try Disk.linkTarget(full, path: full))")
        default: lines.append("\(prefix)\(entry) \(String(status.permissions, radix: 8)) \(status.size)")
        }
      }
    }
    try visit(path + "/" + name, "")
    return lines
  }
}

extension Store {
  /// Bytes of text as a blob.
  func insert(text: String, executable: Bool = false) throws -> FileArtifact {
    try insert(Array(text.utf8), executable: executable)
  }
}
