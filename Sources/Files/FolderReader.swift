import Diagnostics
import Glibc
import SystemPackage

/// One look into a folder.
struct FolderContents {
  enum Kind { case file, folder, other }

  /// Before the names were read.
  var stat: FileStat
  var names: [(name: [UInt8], kind: Kind)] = []
  var hasGit = false
  var hasIgnoreFile = false
}

/// Reads folders below a root folder.
struct FolderReader: Sendable {
  /// Of the root.
  let root: Int32

  /// `nil` when there is no folder at that path (any more); `path` is empty for the root.
  func contents(_ path: [UInt8]) throws -> FolderContents? {
    let raw = path.withCPath { openat(root, $0, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
    if raw < 0 {
      let error = Errno.last
      if [.noSuchFileOrDirectory, .notDirectory, .tooManySymbolicLinkLevels].contains(error) { return nil }
      throw Diagnostic.cannot("list the folder", Self.name(path), error, hints: ["add it to `ignore:`"])
    }
    var status = stat()
    guard fstat(raw, &status) == 0, let stream = fdopendir(raw) else {
      let error = Errno.last
      close(raw)
      throw Diagnostic.cannot("list the folder", Self.name(path), error)
    }
    defer { closedir(stream) }
    var result = FolderContents(stat: FileStat(status))
    while true {
      errno = 0
      guard let entry = readdir(stream) else {
        if errno != 0 { throw Diagnostic.cannot("list the folder", Self.name(path), .last) }
        return result
      }
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
      if name == [46] || name == [46, 46] { continue }
      if name.elementsEqual(".git".utf8) { result.hasGit = true }
      if name.elementsEqual(".gitignore".utf8) { result.hasIgnoreFile = true }
      result.names.append((name, kind(of: name, type: Int32(entry.pointee.d_type), in: raw)))
    }
  }

  /// Looks into many folders on all processors; one result a folder, in order.
  func contents(ofAll paths: [[UInt8]]) -> [Result<FolderContents?, any Error>] {
    var results = [Result<FolderContents?, any Error>](repeating: .success(nil), count: paths.count)
    results.withUnsafeMutableBufferPointer { results in
      inParallel(paths.count, chunk: 64) { range in
        // Every position is one thread's only.
        for position in range { results[position] = Result { try contents(paths[position]) } }
      }
    }
    return results
  }

  private func kind(of name: [UInt8], type: Int32, in folder: Int32) -> FolderContents.Kind {
    switch type {
    case Int32(DT_REG), Int32(DT_LNK): return .file
    case Int32(DT_DIR): return .folder
    case Int32(DT_UNKNOWN):
      var status = stat()
      let found = name.withCPath { fstatat(folder, $0, &status, AT_SYMLINK_NOFOLLOW) == 0 }
      guard found else { return .other }
      if status.st_mode & S_IFMT == S_IFDIR { return .folder }
      return SourceFile.Mode(status.st_mode) == nil ? .other : .file
    default: return .other
    }
  }

  /// What `lstat` says of a path below the root; `nil` when it fails.
  func status(_ path: [UInt8]) -> stat? {
    var status = stat()
    return path.withCPath { fstatat(root, $0, &status, AT_SYMLINK_NOFOLLOW) == 0 } ? status : nil
  }

  static func name(_ path: [UInt8]) -> String { path.isEmpty ? "." : String(decoding: path, as: UTF8.self) }

  static func join(_ folder: [UInt8], _ name: [UInt8]) -> [UInt8] {
    folder.isEmpty ? name : folder + [UInt8(ascii: "/")] + name
  }
}

extension [UInt8] {
  /// Calls `body` with the path for a system call; the empty path is the folder itself.
  func withCPath<Result>(_ body: (UnsafePointer<CChar>) throws -> Result) rethrows -> Result {
    try withUnsafeTemporaryAllocation(of: CChar.self, capacity: Swift.max(2, count + 1)) { buffer in
      for (index, byte) in enumerated() { buffer[index] = CChar(bitPattern: byte) }
      if isEmpty { buffer[0] = CChar(bitPattern: UInt8(ascii: ".")) }
      buffer[Swift.max(1, count)] = 0
      guard let base = buffer.baseAddress else { return try body("") }
      return try body(base)
    }
  }
}
