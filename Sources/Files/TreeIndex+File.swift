import Diagnostics
import Digests
import Glibc
import SystemPackage

/// The index file: a header, then controls, folders, entries and the arena, as they lie in memory.
///
/// It belongs to one machine: another byte order or layout fails the checksum or a stride, and the index is built anew.
extension TreeIndex {
  private struct Header {
    var magic: UInt64 = 0x3130_5844_4950_4C53  // "SLPIDX01"
    /// Of all that follows it.
    var checksum = Fingerprint(high: 0, low: 0)
    var strides = UInt64(MemoryLayout<IndexEntry>.stride) << 32 | UInt64(MemoryLayout<IndexFolder>.stride)
    var settings = Fingerprint(high: 0, low: 0)
    var controlsAt = ObservationTime.never
    var usesGit: UInt64 = 0
    var controls: UInt64 = 0
    var folders: UInt64 = 0
    var entries: UInt64 = 0
    var arena: UInt64 = 0
  }

  private static let checksumEnd = 24
  /// 100 million files would not fit; a larger file is none of ours.
  private static let sizeLimit = 4 << 30

  /// The index in a file; `nil` when there is none, or it is torn, corrupt or of another format.
  ///
  /// Whatever the bytes are, all that is returned is in bounds and sorted.
  init?(file: String) {
    guard let file = MappedFile(file, limit: Self.sizeLimit) else { return nil }
    self.init(file.bytes, in: file)
  }

  /// - Parameter file: What holds the bytes; without one, they are copied.
  init?(_ bytes: UnsafeRawBufferPointer, in file: MappedFile? = nil) {
    guard bytes.count >= MemoryLayout<Header>.size else { return nil }
    let header = bytes.loadUnaligned(as: Header.self)
    guard header.magic == Header().magic, header.strides == Header().strides else { return nil }
    var position = MemoryLayout<Header>.size
    func section<Element>(_ count: UInt64, _: Element.Type) -> UnsafeRawBufferPointer? {
      guard count <= UInt64(bytes.count - position) / UInt64(MemoryLayout<Element>.stride) else { return nil }
      let length = Int(count) * MemoryLayout<Element>.stride
      defer { position += length }
      return UnsafeRawBufferPointer(rebasing: bytes[position..<position + length])
    }
    guard let controls = section(header.controls, IndexControl.self),
      let folders = section(header.folders, IndexFolder.self), let entries = section(header.entries, IndexEntry.self),
      let arena = section(header.arena, UInt8.self), position == bytes.count,
      Fingerprint(of: UnsafeRawBufferPointer(rebasing: bytes[Self.checksumEnd...])) == header.checksum
    else { return nil }
    if let file, let base = arena.baseAddress {
      self.arena = ByteArena(base.assumingMemoryBound(to: UInt8.self), count: arena.count, in: file)
    } else {
      self.arena = ByteArena(arena)
    }
    self.controls = Self.array(controls)
    self.folders = Self.array(folders)
    self.entries = Self.array(entries)
    settings = header.settings
    controlsAt = header.controlsAt
    usesGit = header.usesGit != 0
    guard isSound() else { return nil }
    for index in self.entries.indices { self.entries[index].checkedAt = .never }
  }

  /// Only for plain data.
  private static func array<Element>(_ bytes: UnsafeRawBufferPointer) -> [Element] {
    let count = bytes.count / MemoryLayout<Element>.stride
    return [Element](unsafeUninitializedCapacity: count) { buffer, filled in
      if let source = bytes.baseAddress, let target = buffer.baseAddress { memcpy(target, source, bytes.count) }
      filled = count
    }
  }

  /// A checksum can be forged: every reference must lie in the arena, and both lists must be strictly sorted.
  private func isSound() -> Bool {
    func isInside(_ path: PathReference) -> Bool {
      let end = Int(path.offset) + Int(path.length)
      return end < arena.count && arena.base[end] == 0
    }
    func isSorted<Element>(_ elements: [Element], _ path: (Element) -> PathReference) -> Bool {
      var previous: PathReference?
      for element in elements {
        let next = path(element)
        guard isInside(next) else { return false }
        if let previous, Self.compare(arena.bytes(previous), arena.bytes(next)) >= 0 { return false }
        previous = next
      }
      return true
    }
    return isSorted(entries) { $0.path } && isSorted(folders) { $0.path } && controls.allSatisfy { isInside($0.path) }
      && entries.allSatisfy { $0.path.length > 0 && SourceFile.Mode(rawValue: $0.modeBits) != nil }
  }

  /// Replaces the file atomically; the last of two writers wins.
  func write(to file: FilePath) throws {
    var header = Header()
    header.settings = settings
    header.controlsAt = controlsAt
    header.usesGit = usesGit ? 1 : 0
    header.controls = UInt64(controls.count)
    header.folders = UInt64(folders.count)
    header.entries = UInt64(entries.count)
    header.arena = UInt64(arena.count)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(
      MemoryLayout<Header>.size + controls.count * MemoryLayout<IndexControl>.stride
        + folders.count * MemoryLayout<IndexFolder>.stride + entries.count * MemoryLayout<IndexEntry>.stride
        + arena.count)
    withUnsafeBytes(of: header) { bytes.append(contentsOf: $0) }
    controls.withUnsafeBytes { bytes.append(contentsOf: $0) }
    folders.withUnsafeBytes { bytes.append(contentsOf: $0) }
    entries.withUnsafeBytes { bytes.append(contentsOf: $0) }
    bytes.append(contentsOf: UnsafeBufferPointer(start: arena.base, count: arena.count))
    header.checksum = bytes.withUnsafeBytes {
      Fingerprint(of: UnsafeRawBufferPointer(rebasing: $0[Self.checksumEnd...]))
    }
    bytes.withUnsafeMutableBytes { buffer in
      withUnsafeBytes(of: header) { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<Self.checksumEnd])) }
    }
    try Self.replace(file, with: bytes)
  }

  private static func replace(_ file: FilePath, with bytes: [UInt8]) throws {
    let folder = file.removingLastComponent()
    if mkdir(folder.string, 0o777) == 0, folder.lastComponent?.string == ".slipway" {
      try? write(Array("*\n".utf8), to: folder.appending(".gitignore"))
    }
    let temporary = FilePath(file.string + ".\(getpid()).\(UInt64.random(in: .min ... .max)).tmp")
    do {
      try write(bytes, to: temporary)
      guard rename(temporary.string, file.string) == 0 else { throw Errno.last }
    } catch let error as Errno {
      unlink(temporary.string)
      throw Diagnostic.cannot("write the file index", file.string, error)
    }
  }

  private static func write(_ bytes: [UInt8], to file: FilePath) throws {
    let descriptor = try FileDescriptor.open(
      file, .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec],
      permissions: [.ownerReadWrite, .groupRead, .otherRead])
    try descriptor.closeAfter { _ = try descriptor.writeAll(bytes) }
  }
}
