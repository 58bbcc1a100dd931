import Glibc
import Synchronization
import SystemPackage

/// Where finished bytes go.
package protocol ByteOutput: Sendable {
  func write(_ bytes: [UInt8])
}

/// Bytes to an open descriptor, each call one `write(2)` as long as the kernel takes it whole.
///
/// After a failure (a full disk, a reader that went away) it writes nothing more: what is told about a build must
/// not break the build. `failure` says so afterwards.
package final class DescriptorOutput: ByteOutput {
  private let descriptor: FileDescriptor
  private let state = Mutex<Errno?>(nil)

  /// The descriptor stays the caller's, to be closed after the last write.
  package init(_ descriptor: FileDescriptor) { self.descriptor = descriptor }

  /// What the first failing write reported.
  package var failure: Errno? { state.withLock { $0 } }

  package func write(_ bytes: [UInt8]) {
    state.withLock { failure in
      guard failure == nil else { return }
      var rest = bytes[...]
      while !rest.isEmpty {
        do {
          let written = try rest.withUnsafeBytes { try descriptor.write($0) }
          rest = rest.dropFirst(written)
        } catch Errno.resourceTemporarilyUnavailable {
          // A terminal that another program has set to non-blocking.
          var poll = pollfd(fd: descriptor.rawValue, events: Int16(POLLOUT), revents: 0)
          _ = Glibc.poll(&poll, 1, 1000)
        } catch {
          failure = error as? Errno ?? .ioError
          return
        }
      }
    }
  }
}
