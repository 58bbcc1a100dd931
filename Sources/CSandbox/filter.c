#include "internal.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "syscalls.h"

#if defined(__x86_64__)
#define NATIVE_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the sandbox's filter knows x86-64 and arm64"
#endif

// Numbers that are the same on every architecture and younger than Debian 12's headers.
#define NR_quotactl_fd 443
#define NR_memfd_secret 447
#define NR_lsm_set_self_attr 460
#define NR_fchmodat2 452
#define NR_open_tree_attr 467
#define NR_clone3 435

#define DATA(field) ((uint32_t)offsetof(struct seccomp_data, field))
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, DATA(field))
#define LOAD_ARGUMENT(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (n)))
#define ANSWER(what) BPF_STMT(BPF_RET | BPF_K, (what))
#define DENY ANSWER(SECCOMP_RET_ERRNO | EPERM)
#define ABSENT ANSWER(SECCOMP_RET_ERRNO | ENOSYS)
#define ALLOW ANSWER(SECCOMP_RET_ALLOW)
#define REFUSE(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), DENY
#define MISSING(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), ABSENT
/// Refuses the call if any of `bits` is set in argument `n`; the accumulator holds the number again after a mismatch.
#define REFUSE_BITS(number, n, bits) \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 4), LOAD_ARGUMENT(n), \
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), 0, 1), DENY, ALLOW
/// Refuses to create (O_CREAT, O_TMPFILE) with any of `bits` in the mode; without these the mode means nothing.
#define REFUSE_CREATION(number, flags, mode, bits) \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 6), LOAD_ARGUMENT(flags), \
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_CREAT | (O_TMPFILE & ~O_DIRECTORY), 0, 3), LOAD_ARGUMENT(mode), \
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), 0, 1), DENY, ALLOW

#define NAMESPACES \
  (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)
#define SET_ID (S_ISUID | S_ISGID)

static struct sock_filter program[] = {
  LOAD(arch),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCHITECTURE, 1, 0),
  ABSENT,
  LOAD(nr),
#if defined(__x86_64__)
  // The x32 numbers would be a second door to every call below.
  BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
  ABSENT,
#endif
  // New namespaces would give capabilities back. clone3 passes its flags in memory, where a filter cannot look; without
  // it C libraries use clone.
  MISSING(NR_clone3),
  REFUSE_BITS(SYS_clone, 0, NAMESPACES),
  REFUSE_BITS(SYS_unshare, 0, NAMESPACES | 0x80 /* CLONE_NEWTIME */),
  REFUSE(SYS_setns),
  // Mounts.
  REFUSE(SYS_mount), REFUSE(SYS_umount2), REFUSE(SYS_pivot_root), REFUSE(SYS_chroot), REFUSE(SYS_open_tree),
  REFUSE(SYS_move_mount), REFUSE(SYS_fsopen), REFUSE(SYS_fsconfig), REFUSE(SYS_fsmount), REFUSE(SYS_fspick),
  REFUSE(SYS_mount_setattr), REFUSE(NR_open_tree_attr), REFUSE(SYS_quotactl), REFUSE(NR_quotactl_fd),
  REFUSE(SYS_swapon), REFUSE(SYS_swapoff), REFUSE(SYS_acct),
  // Files by handle, past every path check.
  REFUSE(SYS_open_by_handle_at), REFUSE(SYS_name_to_handle_at), REFUSE(SYS_fanotify_init),
  // Keyrings belong to the host's user, whatever the namespace.
  REFUSE(SYS_keyctl), REFUSE(SYS_add_key), REFUSE(SYS_request_key),
  // Large kernel surfaces that no build step needs.
  REFUSE(SYS_bpf), REFUSE(SYS_perf_event_open), REFUSE(SYS_userfaultfd), REFUSE(SYS_kcmp),
  MISSING(SYS_io_uring_setup), MISSING(SYS_io_uring_enter), MISSING(SYS_io_uring_register),
  // The kernel itself and its clock.
  REFUSE(SYS_kexec_load), REFUSE(SYS_kexec_file_load), REFUSE(SYS_init_module), REFUSE(SYS_finit_module),
  REFUSE(SYS_delete_module), REFUSE(SYS_reboot), REFUSE(SYS_settimeofday), REFUSE(SYS_clock_settime),
  REFUSE(SYS_clock_adjtime), REFUSE(SYS_adjtimex), REFUSE(SYS_syslog), REFUSE(SYS_vhangup),
  REFUSE(NR_lsm_set_self_attr), REFUSE(NR_memfd_secret), REFUSE(SYS_pidfd_getfd),
#if defined(__x86_64__)
  REFUSE(SYS_iopl), REFUSE(SYS_ioperm), REFUSE(SYS_modify_ldt),
#endif
  // Typing into the terminal: what is pushed back there, the caller's shell would run.
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 5),
  LOAD_ARGUMENT(1),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TIOCSTI, 2, 0),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TIOCLINUX, 1, 0),
  ALLOW,
  DENY,
  // Set-id files must not come to be in a scratch folder on the host. openat2 passes the mode in memory.
  MISSING(SYS_openat2),
  REFUSE_BITS(SYS_fchmod, 1, SET_ID), REFUSE_BITS(SYS_fchmodat, 2, SET_ID), REFUSE_BITS(NR_fchmodat2, 2, SET_ID),
  REFUSE_CREATION(SYS_openat, 2, 3, SET_ID), REFUSE_BITS(SYS_mknodat, 2, SET_ID),
#if defined(__x86_64__)
  REFUSE_BITS(SYS_chmod, 1, SET_ID), REFUSE_CREATION(SYS_open, 1, 2, SET_ID), REFUSE_BITS(SYS_creat, 1, SET_ID),
  REFUSE_BITS(SYS_mknod, 1, SET_ID),
#endif
  // personality: a query, and the value that is in force, are harmless; others switch off address randomisation.
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_personality, 0, 5),
  LOAD_ARGUMENT(0),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xffffffff, 2, 0),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
  DENY,
  ALLOW,
  ALLOW,
};

int install_filter(void) {
  struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

int slipway_landlock_version(void) {
  // LANDLOCK_CREATE_RULESET_VERSION
  int version = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
  return version < 0 ? 0 : version;
}

int restrict_scopes(void) {
  // On the host's network, the host's abstract sockets are in reach (X11, D-Bus, container daemons); Landlock from
  // ABI 6 (Linux 6.12) keeps them, and signals, inside. An older kernel gives EINVAL or E2BIG, and goes without.
  struct {
    uint64_t files, network, scoped;
  } rules = {.scoped = 3};
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
  if (ruleset < 0) return 0;
  int result = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
  close(ruleset);
  return result;
}
