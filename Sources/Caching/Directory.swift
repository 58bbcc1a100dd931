import Diagnostics
import Digests

/// One folder of a `DirectoryArtifact`, as the Remote Execution API's `Directory` message has it.
///
/// Source: build.bazel.remote.execution.v2, whose canonical form sorts each list by the bytes of the names. Names are
/// compared as bytes everywhere: Swift's own comparison takes different spellings of one accented letter as equal.
package struct Directory: Sendable {
  package enum Node: Hashable, Sendable {
    case file(FileArtifact)
    case folder(DirectoryArtifact)
    /// The link's text, verbatim.
    case symlink(String)
  }

  package struct Entry: Sendable {
    package var name: String
    package var node: Node

    package init(_ name: String, _ node: Node) {
      self.name = name
      self.node = node
    }
  }

  /// Sorted by the bytes of the names, all kinds together.
  package private(set) var entries: [Entry]

  /// Entries in any order, whose names the caller has made unique.
  package init(_ entries: [Entry]) {
    self.entries = entries.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
  }

  // MARK: Encoding

  package var encoded: [UInt8] {
    var writer = ProtobufWriter()
    for entry in entries {
      guard case .file(let file) = entry.node else { continue }
      var node = ProtobufWriter()
      node.field(1, entry.name)
      node.field(2, Self.digest(file.digest, file.size))
      node.field(4, file.isExecutable ? 1 : 0)
      writer.field(1, node.bytes)
    }
    for entry in entries {
      guard case .folder(let folder) = entry.node else { continue }
      var node = ProtobufWriter()
      node.field(1, entry.name)
      node.field(2, Self.digest(folder.root, folder.size))
      writer.field(2, node.bytes)
    }
    for entry in entries {
      guard case .symlink(let target) = entry.node else { continue }
      var node = ProtobufWriter()
      node.field(1, entry.name)
      node.field(2, target)
      writer.field(3, node.bytes)
    }
    return writer.bytes
  }

  private static func digest(_ digest: Digest, _ size: Int) -> [UInt8] {
    var writer = ProtobufWriter()
    writer.field(1, digest.hex)
    writer.field(2, UInt64(size))
    return writer.bytes
  }

  // MARK: Decoding

  /// `nil` unless the bytes are exactly the canonical encoding of a folder with sound names: no `/`, NUL, `.` or `..`,
  /// no name twice, each list sorted.
  ///
  /// Properties that Slipway does not write (modes, times) make it `nil` too: accepting them would give one folder two
  /// digests.
  package init?(decoding bytes: [UInt8]) {
    var entries: [Entry] = []
    var reader = ProtobufReader(bytes[...])
    do {
      var last: UInt64 = 1
      while let (number, value) = try reader.next() {
        guard number >= last, number <= 3, case .bytes(let content) = value,
          let entry = try Self.entry(number, content)
        else { return nil }
        if number == last, let previous = entries.last,
          !previous.name.utf8.lexicographicallyPrecedes(entry.name.utf8)
        {
          return nil
        }
        last = number
        entries.append(entry)
      }
    } catch { return nil }
    self.init(entries)
    for index in self.entries.indices.dropFirst()
    where self.entries[index].name.utf8.elementsEqual(self.entries[index - 1].name.utf8) {
      return nil
    }
    guard encoded == bytes else { return nil }
  }

  private static func entry(_ number: UInt64, _ content: ArraySlice<UInt8>) throws(ProtobufReader.Malformed) -> Entry? {
    var reader = ProtobufReader(content)
    var name: String?
    var target = ""
    var digest: (Digest, Int)?
    var executable = false
    while let (field, value) = try reader.next() {
      switch (field, value) {
      case (1, .bytes(let text)): name = String(validating: text, as: UTF8.self)
      case (2, .bytes(let text)) where number == 3:
        guard let text = String(validating: text, as: UTF8.self) else { return nil }
        target = text
      case (2, .bytes(let message)): digest = try self.digest(message)
      case (4, .integer(let value)) where number == 1: executable = value == 1
      default: return nil
      }
    }
    guard let name, isSound(name) else { return nil }
    if number == 3 {
      guard !target.isEmpty, target.utf8.count <= 4096, !target.utf8.contains(0) else { return nil }
      return Entry(name, .symlink(target))
    }
    guard let (content, size) = digest else { return nil }
    if number == 2 { return Entry(name, .folder(DirectoryArtifact(root: content, size: size))) }
    return Entry(name, .file(FileArtifact(digest: content, size: size, isExecutable: executable)))
  }

  private static func digest(_ message: ArraySlice<UInt8>) throws(ProtobufReader.Malformed) -> (Digest, Int)? {
    var reader = ProtobufReader(message)
    var digest: Digest?
    var size = 0
    while let (field, value) = try reader.next() {
      switch (field, value) {
      case (1, .bytes(let text)): digest = Digest(hex: String(decoding: text, as: UTF8.self))
      case (2, .integer(let value)):
        guard value <= UInt64(Int64.max) else { return nil }
        size = Int(value)
      default: return nil
      }
    }
    return digest.map { ($0, size) }
  }

  /// Whether a name can be that of one entry of a folder.
  package static func isSound(_ name: String) -> Bool {
    !name.isEmpty && name != "." && name != ".." && name.utf8.count <= 255
      && !name.utf8.contains { $0 == 0 || $0 == UInt8(ascii: "/") }
  }
}

extension Store {
  /// Bytes of the largest folder's encoding: some half a million entries.
  static let directoryLimit = 64 << 20
  /// Folders within folders: what a path of 4,096 bytes could hold is more, but nothing real comes near.
  package static let depthLimit = 256

  package func insert(_ directory: Directory) throws -> DirectoryArtifact {
    let blob = try insert(directory.encoded)
    return DirectoryArtifact(root: blob.digest, size: blob.size)
  }

  package func directory(_ artifact: DirectoryArtifact) throws -> Directory {
    let bytes = try read(artifact.root, limit: Self.directoryLimit)
    guard let directory = Directory(decoding: bytes) else { throw damaged(artifact.root) }
    return directory
  }

  /// Calls for every entry, parents before children, each folder's in byte order of their names.
  ///
  /// Paths are relative to the directory, without a leading slash.
  package func walk(_ artifact: DirectoryArtifact, _ visit: (_ path: String, _ node: Directory.Node) throws -> Void)
    throws
  {
    try walk(artifact, prefix: "", depth: 0, visit)
  }

  private func walk(
    _ artifact: DirectoryArtifact, prefix: String, depth: Int,
    _ visit: (_ path: String, _ node: Directory.Node) throws -> Void
  ) throws {
    guard depth < Self.depthLimit else {
      throw Diagnostic.error("`\(prefix)` is deeper than \(Self.depthLimit) folders", cause: .build)
    }
    for entry in try directory(artifact).entries {
      let path = prefix + entry.name
      try visit(path, entry.node)
      if case .folder(let inner) = entry.node { try walk(inner, prefix: path + "/", depth: depth + 1, visit) }
    }
  }
}
