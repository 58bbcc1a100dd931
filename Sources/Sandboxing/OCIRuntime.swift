/// How an OCI runtime is told what `SandboxSpec` says.
///
/// Source: opencontainers/runtime-spec 1.0.2, config.md and config-linux.md.
struct OCIRuntime: Sendable {
  var path: String
  /// The user and group inside.
  var user: Int

  func configuration(for spec: SandboxSpec) -> String {
    let limits = spec.limits
    // RLIMIT_NOFILE is inherited: runc could not raise it.
    var resources = [limit("NPROC", limits.processes + 1), limit("FSIZE", limits.fileSize), limit("CORE", 0)]
    if let memory = limits.memory { resources.append(limit("AS", memory)) }
    let process = object([
      ("terminal", "false"), ("user", object([("uid", "\(user)"), ("gid", "\(user)"), ("umask", "18")])),
      ("args", array(spec.arguments.map(string))), ("env", array(spec.environment.map(string))),
      ("cwd", string(spec.workingDirectory)), ("noNewPrivileges", "true"),
      (
        "capabilities",
        object(["bounding", "effective", "inheritable", "permitted", "ambient"].map { ($0, "[]") })
      ), ("rlimits", array(resources)),
    ])
    var namespaces = ["pid", "ipc", "uts", "mount", "cgroup"]
    if spec.network == .none { namespaces.append("network") }
    let linux = object([
      ("namespaces", array(namespaces.map { object([("type", string($0))]) })),
      ("maskedPaths", array(["/proc/keys", "/proc/kcore", "/proc/timer_list"].map(string))),
      (
        "readonlyPaths",
        array(["/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"].map(string))
      ), ("seccomp", filter),
    ])
    return object([
      ("ociVersion", string("1.0.2")), ("process", process),
      ("root", object([("path", string("root")), ("readonly", "false")])), ("hostname", string(spec.hostname)),
      ("mounts", array(mounts(scratch: limits.scratch))), ("linux", linux),
    ])
  }

  private func mounts(scratch: Int) -> [String] {
    func mount(_ type: String, _ target: String, _ options: [String]) -> String {
      object([
        ("destination", string(target)), ("type", string(type)), ("source", string(type)),
        ("options", array(options.map(string))),
      ])
    }
    return [
      mount("proc", "/proc", ["nosuid", "nodev", "noexec"]),
      mount("tmpfs", "/dev", ["nosuid", "ro", "mode=755", "size=65536k"]),
      mount("devpts", "/dev/pts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
      mount("tmpfs", "/dev/shm", ["nosuid", "nodev", "mode=1777", "size=\(scratch)"]),
    ]
  }

  /// The calls that `CSandbox/filter.c` refuses outright, by name.
  private var filter: String {
    func rule(_ names: [String], _ error: Int, _ conditions: [String] = []) -> String {
      object([
        ("names", array(names.map(string))), ("action", string("SCMP_ACT_ERRNO")), ("errnoRet", "\(error)"),
        ("args", array(conditions)),
      ])
    }
    func compare(_ index: Int, _ value: Int, _ operation: String) -> String {
      object([("index", "\(index)"), ("value", "\(value)"), ("op", string(operation))])
    }
    func bits(_ index: Int, _ mask: Int) -> String {
      object([
        ("index", "\(index)"), ("value", "\(mask)"), ("valueTwo", "\(mask)"), ("op", string("SCMP_CMP_MASKED_EQ")),
      ])
    }
    var rules = [
      rule(
        [
          "setns", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig",
          "fsmount", "fspick", "mount_setattr", "quotactl", "swapon", "swapoff", "acct", "open_by_handle_at",
          "name_to_handle_at", "fanotify_init", "keyctl", "add_key", "request_key", "bpf", "perf_event_open",
          "userfaultfd", "kcmp", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
          "reboot", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "syslog", "vhangup", "pidfd_getfd",
          "iopl", "ioperm", "modify_ldt",
        ], 1),
      rule(["clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "openat2"], 38),
    ]
    let namespaces = [0x1000_0000, 0x2_0000, 0x2000_0000, 0x4000_0000, 0x800_0000, 0x400_0000, 0x200_0000]
    for flag in namespaces { rules.append(rule(["clone", "unshare"], 1, [bits(0, flag)])) }
    for bit in [0o4000, 0o2000] {
      rules.append(rule(["chmod", "fchmod"], 1, [bits(1, bit)]))
      rules.append(rule(["fchmodat", "fchmodat2", "mknodat"], 1, [bits(2, bit)]))
      rules.append(rule(["creat", "mknod"], 1, [bits(1, bit)]))
      // O_CREAT, and the bit of O_TMPFILE that is its own.
      for creation in [0o100, 0o20_000_000] {
        rules.append(rule(["open"], 1, [bits(1, creation), bits(2, bit)]))
        rules.append(rule(["openat"], 1, [bits(2, creation), bits(3, bit)]))
      }
    }
    // TIOCSTI and TIOCLINUX.
    for command in [0x5412, 0x541c] { rules.append(rule(["ioctl"], 1, [compare(1, command, "SCMP_CMP_EQ")])) }
    rules.append(rule(["personality"], 1, [compare(0, 0, "SCMP_CMP_NE"), compare(0, 0xffff_ffff, "SCMP_CMP_NE")]))
    return object([("defaultAction", string("SCMP_ACT_ALLOW")), ("syscalls", array(rules))])
  }

  private func limit(_ name: String, _ value: Int) -> String {
    object([("type", string("RLIMIT_\(name)")), ("soft", "\(value)"), ("hard", "\(value)")])
  }

  private func object(_ members: [(String, String)]) -> String {
    "{" + members.map { "\(string($0)):\($1)" }.joined(separator: ",") + "}"
  }

  private func array(_ elements: [String]) -> String { "[" + elements.joined(separator: ",") + "]" }

  private func string(_ value: String) -> String {
    var text = "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"", "\\": text += "\\\(scalar)"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text + "\""
  }
}
