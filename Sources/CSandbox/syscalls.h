/// Thin wrappers of system calls that Debian 12's C library does not have or declares against kernel headers badly.
#ifndef SLIPWAY_SANDBOX_SYSCALLS_H
#define SLIPWAY_SANDBOX_SYSCALLS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self 446
#endif
#ifndef MOUNT_ATTR_IDMAP
#define MOUNT_ATTR_IDMAP 0x00100000
#endif
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

static inline int sys_openat2(int directory, const char *path, uint64_t flags, uint64_t resolve) {
  struct open_how how = {.flags = flags | O_CLOEXEC, .mode = 0, .resolve = resolve};
  // A `..` on the way while anybody renames or mounts anything: the kernel cannot tell that it stayed inside, and says
  // so. A busy machine does that all the time.
  for (unsigned attempt = 0;; attempt++) {
    int fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
    if (fd >= 0 || errno != EAGAIN || attempt == 10000) return fd;
  }
}

static inline int sys_open_tree(int directory, const char *path, unsigned flags) {
  return (int)syscall(SYS_open_tree, directory, path, flags | O_CLOEXEC);
}

/// Attaches a detached mount at `target`, relative to `directory`; an empty path means `directory` itself.
static inline int sys_move_mount(int mount, int directory, const char *target) {
  // MOVE_MOUNT_F_EMPTY_PATH 0x04, MOVE_MOUNT_T_EMPTY_PATH 0x40
  return (int)syscall(SYS_move_mount, mount, "", directory, target, 0x04u | (*target ? 0u : 0x40u));
}

static inline int sys_mount_setattr(int mount, unsigned flags, struct mount_attr *attributes) {
  return (int)syscall(SYS_mount_setattr, mount, "", flags | AT_EMPTY_PATH, attributes, sizeof *attributes);
}

static inline int sys_fsopen(const char *type) {
  return (int)syscall(SYS_fsopen, type, 1u /* FSOPEN_CLOEXEC */);
}

static inline int sys_fsconfig(int context, unsigned command, const char *key, const void *value, int aux) {
  return (int)syscall(SYS_fsconfig, context, command, key, value, aux);
}

static inline int sys_fsmount(int context, unsigned attributes) {
  return (int)syscall(SYS_fsmount, context, 1u /* FSMOUNT_CLOEXEC */, attributes);
}

static inline int sys_pivot_root(const char *root, const char *old) {
  return (int)syscall(SYS_pivot_root, root, old);
}

#endif
