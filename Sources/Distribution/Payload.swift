import AsyncHTTPClient
import Caching
import Diagnostics
import Glibc
import struct NIOCore.ByteBuffer
import struct NIOCore.ByteBufferAllocator
import SystemPackage

/// What a request carries.
enum Payload: Sendable {
  case none
  case bytes([UInt8])
  case file(FilePiece)
}

/// A stretch of a file, read as the connection takes it.
package struct FilePiece: AsyncSequence, Sendable {
  package typealias Element = ByteBuffer

  let file: OpenFile
  let offset: Int
  package let length: Int
  /// Bytes that are read at once.
  let window: Int

  init(file: OpenFile, offset: Int, length: Int, window: Int = 256 << 10) {
    self.file = file
    self.offset = offset
    self.length = length
    self.window = window
  }

  /// All of a file.
  package init(_ path: FilePath, window: Int = 256 << 10) throws {
    let file = try OpenFile(path)
    self.init(file: file, offset: 0, length: file.size, window: window)
  }

  package struct Iterator: AsyncIteratorProtocol {
    let piece: FilePiece
    var position = 0

    package mutating func next() async throws -> ByteBuffer? {
      let count = Swift.min(piece.window, piece.length - position)
      guard count > 0 else { return nil }
      var buffer = ByteBufferAllocator().buffer(capacity: count)
      let start = piece.offset + position
      try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { space in
        try piece.file.read(into: UnsafeMutableRawBufferPointer(rebasing: space[..<count]), at: start)
        return count
      }
      position += count
      return buffer
    }
  }

  package func makeAsyncIterator() -> Iterator { Iterator(piece: self) }
}

/// A file that stays open as long as somebody may read it.
final class OpenFile: Sendable {
  private let descriptor: FileDescriptor
  let path: String
  /// Bytes when it was opened.
  let size: Int

  init(_ path: FilePath) throws {
    self.path = path.string
    descriptor = try Disk.open(path.string, O_RDONLY)
    do { size = try Disk.status(of: descriptor, path: path.string).size } catch {
      try? descriptor.close()
      throw error
    }
  }

  deinit { try? descriptor.close() }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws {
    var filled = 0
    while filled < buffer.count, let base = buffer.baseAddress {
      let count = pread(descriptor.rawValue, base + filled, buffer.count - filled, off_t(offset + filled))
      if count > 0 {
        filled += count
      } else if count == 0 {
        throw Diagnostic.error("`\(path)` became shorter while it was read", cause: .environment)
      } else if errno != EINTR {
        throw Disk.failure("read", path)
      }
    }
  }
}
