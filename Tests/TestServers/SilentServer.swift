import Glibc

/// Takes connections and never answers.
package final class SilentServer {
  package let port: Int
  private let listener: Int32

  package init() throws {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    self.listener = listener
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    port = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address -> Int in
        var length = size
        guard bind(listener, address, size) == 0, listen(listener, 50) == 0,
          getsockname(listener, address, &length) == 0
        else { return 0 }
        return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
          Int(UInt16(bigEndian: $0.pointee.sin_port))
        }
      }
    }
    guard port != 0 else { throw ServerFailure("no silent server") }
  }

  deinit { close(listener) }
}
