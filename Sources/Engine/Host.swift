import Glibc

/// What this machine has.
package enum Host {
  /// Cores that are switched on.
  package static let cores = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))

  /// Bytes of physical memory.
  package static let memory = max(1 << 30, sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE)))
}
