import Diagnostics
import Glibc
import SystemPackage

/// Why the helper could not make a sandbox, and what the host's owner can do about it.
struct SandboxFailure {
  /// What was being done, as `cannot …`.
  var message: String
  var errno: Int32

  var diagnostic: Diagnostic {
    .system(message, errno, hints: hints)
  }

  private var hints: [String] {
    if message.contains("file system `proc`") || message.hasSuffix("at `/proc`") {
      return ["parts of `/proc` are hidden by an outer container; run that with `systempaths=unconfined`"]
    }
    if message.contains("idmapped mount") {
      return [
        "the file system does not offer idmapped mounts; put XDG_CACHE_HOME on ext4, xfs, btrfs or tmpfs,"
          + " or run as an ordinary user"
      ]
    }
    if errno == ENOENT { return [] }
    let settings = HostSettings.current
    if let hint = settings.userNamespaceHint { return [hint] }
    if message.contains("(overlay)") || message.contains("`overlay`") {
      return [
        "an overlay in a user namespace needs Linux 5.11; it is refused on some file systems, overlay itself and NFS"
      ]
    }
    if errno == ENOSYS { return ["the sandbox needs Linux 5.12 or later"] }
    if errno == EPERM || errno == EACCES {
      return ["an outer container or a security policy forbids it; `slipway doctor` tests each part"]
    }
    return []
  }
}

/// The host's switches for user namespaces.
struct HostSettings: Sendable {
  /// Debian's and Ubuntu's switch; elsewhere absent.
  var unprivilegedClone: Int?
  var maximumUserNamespaces: Int?
  /// Ubuntu's, from 23.10.
  var appArmorRestriction: Int?

  static var current: HostSettings {
    HostSettings(
      unprivilegedClone: number(at: "/proc/sys/kernel/unprivileged_userns_clone"),
      maximumUserNamespaces: number(at: "/proc/sys/user/max_user_namespaces"),
      appArmorRestriction: number(at: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"))
  }

  var userNamespaceHint: String? {
    if maximumUserNamespaces == 0 {
      return "user namespaces are switched off; `sysctl user.max_user_namespaces=10000` switches them on"
    }
    guard geteuid() != 0 else { return nil }
    if unprivilegedClone == 0 {
      return "user namespaces are for root only; `sysctl kernel.unprivileged_userns_clone=1` opens them to all"
    }
    if appArmorRestriction == 1 {
      return "AppArmor restricts user namespaces; `sysctl kernel.apparmor_restrict_unprivileged_userns=0` lifts that,"
        + " or give slipway a profile with `userns,`"
    }
    return nil
  }

  private static func number(at path: String) -> Int? {
    guard let file = try? FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec) else { return nil }
    defer { try? file.close() }
    var buffer = [UInt8](repeating: 0, count: 32)
    guard let count = try? buffer.withUnsafeMutableBytes({ try file.read(into: $0) }) else { return nil }
    return Int(String(decoding: buffer.prefix(count), as: UTF8.self).filter { $0.isNumber })
  }
}
