import Glibc

/// Gives a child the signals of a fresh login: NIO's threads block all of them and ignore SIGPIPE, this program ignores
/// SIGINT and SIGTERM in favour of its own handling, and a child inherits both.
package enum ChildSignals {
  /// - Parameter flags: Further flags of the attributes, which are set together.
  package static func reset(_ attributes: inout posix_spawnattr_t, flags: Int32 = 0) {
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    var defaults = sigset_t()
    sigemptyset(&defaults)
    for signal in [SIGPIPE, SIGINT, SIGTERM] { sigaddset(&defaults, signal) }
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    posix_spawnattr_setflags(&attributes, Int16(flags | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
  }
}
