import Caching
import Glibc
import SystemPackage
import Testing

@testable import OCI

/// A folder for one test, with a store in it, gone with the value.
final class Scratch: Sendable {
  let path: String
  let store: Store

  init() throws {
    path = "/tmp/slipway-oci-test.\(getpid()).\(UInt64.random(in: 0 ... .max))"
    try Disk.makeFolders(path)
    store = try Store(root: FilePath(path + "/store"))
  }

  deinit { try? Disk.removeTree(path) }

  func write(_ name: String, _ bytes: [UInt8]) throws {
    let file = path + "/" + name
    let fd = try Disk.open(file, O_WRONLY | O_CREAT | O_TRUNC)
    defer { try? fd.close() }
    try bytes.withUnsafeBytes { try Disk.write(fd, $0, path: file) }
  }

  func text(_ name: String) throws -> String? {
    try Disk.contents(of: path + "/" + name, limit: 1 << 20).map { String(decoding: $0, as: UTF8.self) }
  }

  /// Every path below a folder, with kind, mode and size or target.
  func listing(_ folder: String, modes: Bool = true) throws -> [String] {
    var lines: [String] = []
    func visit(_ folder: String, _ prefix: String) throws {
      for name in try Disk.names(inFolder: folder) {
        let full = folder + "/" + name
        guard let status = try Disk.status(full) else { continue }
        let mode = modes ? " " + String(status.permissions, radix: 8) : ""
        switch status.kind {
        case .folder:
          lines.append(prefix + name + "/" + mode)
          try visit(full, prefix + name + "/")
        case .symlink: lines.append("\(prefix)\(name) -> \(try Disk.linkTarget(full, path: full))")
        case .file: lines.append("\(prefix)\(name)\(mode) \(status.size)")
        case .other: lines.append("\(prefix)\(name) node")
        }
      }
    }
    try visit(folder.hasPrefix("/") ? folder : path + "/" + folder, "")
    return lines
  }

  /// A layer of any bytes that claim to be a tar.
  func layer(_ tar: [UInt8]) throws -> ImageArtifact.Layer {
    let sink = try LayerSink(store)
    try tar.withUnsafeBytes { try sink.write($0) }
    return try sink.finish()
  }

  /// The uncompressed tar of a layer, decompressed by gzip(1).
  func tar(_ layer: ImageArtifact.Layer, as name: String) throws -> String {
    let place = path + "/" + name
    try Tool.run([
      "/bin/sh", "-c", "gzip -dc \"$1\" > \"$2\"", "sh", store.path(of: layer.digest, executable: false).string, place,
    ])
    return place
  }
}

/// Programs from Debian that judge what Slipway writes.
enum Tool {
  struct Failed: Error, CustomStringConvertible {
    let description: String
  }

  /// Standard output; throws when the program is missing or fails.
  @discardableResult
  static func run(_ arguments: [String]) throws -> String {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw Failed(description: "no pipe") }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    posix_spawn_file_actions_addclose(&actions, ends[0])
    posix_spawn_file_actions_addclose(&actions, ends[1])
    var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    let environment = ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C.UTF-8", "HOME=/tmp", "TZ=UTC"]
    var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
    defer { for pointer in argv + variables { free(pointer) } }
    var process: pid_t = 0
    let status = posix_spawnp(&process, arguments[0], &actions, nil, &argv, &variables)
    close(ends[1])
    defer { close(ends[0]) }
    guard status == 0 else {
      throw Failed(description: "cannot run `\(arguments[0])`: install it (apt install \(arguments[0]))")
    }
    var output: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = read(ends[0], &buffer, buffer.count)
      if count > 0 { output += buffer[..<count] } else if count == 0 || errno != EINTR { break }
    }
    var result: Int32 = 0
    while waitpid(process, &result, 0) < 0, errno == EINTR {}
    let text = String(decoding: output, as: UTF8.self)
    guard result == 0 else {
      throw Failed(description: "\(arguments.joined(separator: " ")): status \(result): \(text)")
    }
    return text
  }
}
