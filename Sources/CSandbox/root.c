#include "internal.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "syscalls.h"

// The scaffold is one tmpfs; the new root and all that is writable in memory lie on it, under one cap:
//
//     0, 1, 2, …   the layers, topmost first
//     upper work   what the process writes (or in `folder`, on the host)
//     root         the overlay of them all
//     m0 f1 …      folders and small files that are inputs: seen through an overlay, or as a copy, since
//                  /proc/self/mountinfo tells of a bound one where it lies on the host
//     tmp shm dev  become /tmp, /dev/shm and /dev
//
// Its names are all that /proc/mounts tells of where things come from.

static int fs_mount(const char *type, const char *const options[][2], unsigned attributes) {
  int context = sys_fsopen(type);
  if (context < 0) return fail("cannot open file system `%s`", type);
  for (unsigned i = 0; options[i][0] != NULL; i++) {
    bool flag = options[i][1] == NULL;
    if (sys_fsconfig(context, flag ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING, options[i][0], options[i][1], 0) != 0) {
      fail("cannot set `%s` of file system `%s`", options[i][0], type);
      close(context);
      return -1;
    }
  }
  int mount = -1;
  if (sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
    fail("cannot create file system `%s`", type);
  else if ((mount = sys_fsmount(context, attributes)) < 0)
    fail("cannot mount file system `%s`", type);
  close(context);
  return mount;
}

static int attach(int mount, int directory, const char *target) {
  int result = sys_move_mount(mount, directory, target);
  if (result != 0) fail("cannot attach a mount at `%s`", target);
  close(mount);
  return result;
}

static int raise_scaffold(const struct request *request) {
  char size[32], inodes[32];
  uint64_t copies = 0;
  struct stat status;
  for (uint32_t i = 0; i < request->sources.count; i++)
    if (fstat(request->mount_fds[i], &status) == 0 && S_ISREG(status.st_mode) && status.st_size <= SMALL_FILE)
      copies += ((uint64_t)status.st_size + 4095) / 4096 * 4096;
  snprintf(size, sizeof size, "%ju", (uintmax_t)(request->scratch + copies));
  // One inode for each 4 KiB, but enough for a small scratch space to hold its folders and the mount points.
  uint64_t places = request->layers.count + request->sources.count;
  snprintf(inodes, sizeof inodes, "%ju", (uintmax_t)(request->scratch / 4096 + 1024 + places));
  const char *const options[][2] = {{"size", size}, {"nr_inodes", inodes}, {"mode", "0755"}, {NULL, NULL}};
  int tmpfs = fs_mount("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  if (tmpfs < 0) return -1;
  if (sys_move_mount(tmpfs, AT_FDCWD, "/tmp") != 0) {
    fail("cannot attach the scaffold at `/tmp`");
    close(tmpfs);
    return -1;
  }
  if (fchdir(tmpfs) != 0) return fail("cannot enter the scaffold");
  close(tmpfs);
  static const char *const folders[] = {"upper", "work", "root", "tmp", "shm", "dev", "empty"};
  for (unsigned i = 0; i < sizeof folders / sizeof *folders; i++)
    if (mkdir(folders[i], i == 3 || i == 4 ? 01777 : 0755) != 0) return fail("cannot make scaffold `%s`", folders[i]);
  return 0;
}

static int place_layers(struct request *request, const char **upper, const char **work) {
  for (uint32_t i = 0; i < request->layers.count; i++) {
    char name[16];
    snprintf(name, sizeof name, "%u", i);
    if (mkdir(name, 0755) != 0) return fail("cannot make scaffold `%s`", name);
    if (sys_move_mount(request->layer_fds[i], AT_FDCWD, name) != 0)
      return fail("cannot attach layer `%s`", request->layers.items[i]);
  }
  *upper = "upper";
  *work = "work";
  if (request->scratch_fd < 0) return 0;
  if (mkdir("folder", 0755) != 0) return fail("cannot make scaffold `folder`");
  if (sys_move_mount(request->scratch_fd, AT_FDCWD, "folder") != 0 ||
      (mkdir("folder/upper", 0755) != 0 && errno != EEXIST) || (mkdir("folder/work", 0755) != 0 && errno != EEXIST))
    return fail("cannot use scratch folder `%s`", request->scratch_folder);
  *upper = "folder/upper";
  *work = "folder/work";
  return 0;
}

/// The old way, for kernels before 6.5: one option string, which is cut at 4 KiB.
static int mount_overlay_by_options(const struct request *request, const char *upper, const char *work) {
  char options[4000];
  int used = snprintf(options, sizeof options, "userxattr,volatile,upperdir=%s,workdir=%s,lowerdir=", upper, work);
  for (uint32_t i = 0; i < request->layers.count && used < (int)sizeof options; i++)
    used += snprintf(options + used, sizeof options - (size_t)used, i == 0 ? "%u" : ":%u", i);
  if (request->layers.count == 0 && used < (int)sizeof options) used += snprintf(options + used, 8, "empty");
  if (used >= (int)sizeof options) {
    errno = E2BIG;
    return fail("cannot mount the root file system: %u layers need Linux 6.5", request->layers.count);
  }
  if (mount("overlay", "root", "overlay", MS_NOSUID | MS_NODEV, options) != 0)
    return fail("cannot mount the root file system (overlay)");
  return 0;
}

/// A detached overlay of any number of layers; -1 with `errno` where there is none.
static int open_overlay(const struct request *request, const char *upper, const char *work) {
  int context = sys_fsopen("overlay"), mount = -1;
  if (context < 0) return -1;
  bool set = true;
  for (uint32_t i = 0; set && (i < request->layers.count || i == 0); i++) {
    char name[16] = "empty";
    if (request->layers.count > 0) snprintf(name, sizeof name, "%u", i);
    set = sys_fsconfig(context, FSCONFIG_SET_STRING, "lowerdir+", name, 0) == 0;
  }
  if (set && sys_fsconfig(context, FSCONFIG_SET_STRING, "upperdir", upper, 0) == 0 &&
      sys_fsconfig(context, FSCONFIG_SET_STRING, "workdir", work, 0) == 0 &&
      sys_fsconfig(context, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) == 0 &&
      sys_fsconfig(context, FSCONFIG_SET_FLAG, "volatile", NULL, 0) == 0 &&
      sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
    mount = sys_fsmount(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  int error = errno;
  close(context);
  errno = error;
  return mount;
}

static int mount_overlay(const struct request *request, const char *upper, const char *work) {
  int mount = open_overlay(request, upper, work);
  if (mount >= 0) return attach(mount, AT_FDCWD, "root");
  // Before Linux 6.5 overlays do not know `lowerdir+`, and say so only when all is set: Debian 12's is one of these.
  if (errno == ENOSYS || errno == EINVAL) return mount_overlay_by_options(request, upper, work);
  return fail("cannot mount the root file system (overlay)");
}

/// Makes `target` below the root show `mount`, which is closed.
static int attach_inside(int root, int mount, const char *target) {
  struct stat status;
  int place = fstat(mount, &status) == 0 ? ensure_place(root, target, S_ISDIR(status.st_mode)) : -1;
  if (place < 0) {
    fail("cannot make mount point `%s`", target);
    close(mount);
    return -1;
  }
  int result = sys_move_mount(mount, place, "");
  if (result != 0) fail("cannot mount at `%s`", target);
  close(place);
  close(mount);
  return result;
}

static int attach_scaffold(int root, const char *folder, const char *target, unsigned attributes, unsigned flags) {
  int mount = sys_open_tree(AT_FDCWD, folder, OPEN_TREE_CLONE | flags);
  struct mount_attr set = {.attr_set = attributes};
  if (mount < 0) return fail("cannot open scaffold `%s`", folder);
  if (attributes != 0 && sys_mount_setattr(mount, 0, &set) != 0) {
    fail("cannot protect `%s`", target);
    close(mount);
    return -1;
  }
  return attach_inside(root, mount, target);
}

/// Fills the scaffold's `dev`: device files cannot be made in a user namespace, so the host's harmless ones are bound.
static int fill_dev(void) {
  static const char *const devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
  int dev = open("dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (dev < 0) return fail("cannot open scaffold `dev`");
  for (unsigned i = 0; i < sizeof devices / sizeof *devices; i++) {
    char host[32];
    snprintf(host, sizeof host, "/dev/%s", devices[i]);
    int mount = sys_open_tree(AT_FDCWD, host, OPEN_TREE_CLONE);
    if (mount < 0) return fail("cannot open device `%s`", host);
    int place = openat(dev, devices[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (place >= 0) close(place);
    if (attach(mount, dev, devices[i]) != 0) return -1;
  }
  static const char *const links[][2] = {
    {"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
    {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}};
  for (unsigned i = 0; i < sizeof links / sizeof *links; i++)
    if (symlinkat(links[i][0], dev, links[i][1]) != 0) return fail("cannot make `/dev/%s`", links[i][1]);
  if (mkdirat(dev, "shm", 0755) != 0 || mkdirat(dev, "pts", 0755) != 0) return fail("cannot fill `/dev`");
  close(dev);
  return 0;
}

static int mount_kernel_file_systems(int root) {
  static const char *const none[][2] = {{NULL, NULL}};
  // Read-only as a whole: /proc/sys, /proc/sysrq-trigger and the like are then out of reach whoever the process is.
  int proc = fs_mount("proc", none, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (proc < 0 || attach_inside(root, proc, "/proc") != 0) return -1;
  // The names of the host user's keys, and the kernel's memory.
  static const char *const masked[] = {"/proc/keys", "/proc/kcore", "/proc/timer_list"};
  for (unsigned i = 0; i < sizeof masked / sizeof *masked; i++) {
    int place = sys_openat2(root, masked[i], O_PATH, RESOLVE_IN_ROOT);
    if (place < 0) continue;
    int null = sys_open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE);
    int result = null < 0 ? -1 : sys_move_mount(null, place, "");
    if (null >= 0) close(null);
    close(place);
    if (result != 0) return fail("cannot mask `%s`", masked[i]);
  }
  if (fill_dev() != 0) return -1;
  if (attach_scaffold(root, "dev", "/dev", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC, AT_RECURSIVE) != 0) return -1;
  static const char *const pts_options[][2] = {
    {"newinstance", NULL}, {"ptmxmode", "0666"}, {"mode", "0620"}, {NULL, NULL}};
  int pts = fs_mount("devpts", pts_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  if (pts < 0 || attach_inside(root, pts, "/dev/pts") != 0) return -1;
  return attach_scaffold(root, "shm", "/dev/shm", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0);
}

static int make_folder(int root, const char *path) {
  int folder = ensure_place(root, path, true);
  if (folder < 0) return fail("cannot make folder `%s`", path);
  close(folder);
  return 0;
}

static int read_only(int mount) {
  struct mount_attr set = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
  if (mount >= 0 && sys_mount_setattr(mount, 0, &set) == 0) return mount;
  if (mount >= 0) close(mount);
  return -1;
}

/// A mount of a copy of an open file; -1 if it cannot be made.
static int copy_file(int file, uint32_t number) {
  char name[16], buffer[16384];
  struct stat status;
  snprintf(name, sizeof name, "f%u", number);
  if (fstat(file, &status) != 0) return -1;
  int copy = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (copy < 0) return -1;
  ssize_t n;
  while ((n = read(file, buffer, sizeof buffer)) > 0)
    for (ssize_t done = 0, m; done < n; done += m)
      if ((m = write(copy, buffer + done, (size_t)(n - done))) <= 0) {
        close(copy);
        return -1;
      }
  const struct timespec times[2] = {{.tv_sec = FILE_TIME}, {.tv_sec = FILE_TIME}};
  bool made = n == 0 && fchmod(copy, status.st_mode & 0111 ? 0555 : 0444) == 0 && futimens(copy, times) == 0;
  close(copy);
  return made ? read_only(sys_open_tree(AT_FDCWD, name, OPEN_TREE_CLONE)) : -1;
}

/// An overlay of nothing but the folder that is mounted at `name`; -1 if it cannot be made.
static int cover_folder(const char *name) {
  char lower[32];
  // One lower alone is refused.
  snprintf(lower, sizeof lower, "%s:empty", name);
  int context = sys_fsopen("overlay"), mount = -1;
  if (context < 0) return -1;
  if (sys_fsconfig(context, FSCONFIG_SET_STRING, "lowerdir", lower, 0) == 0 &&
      sys_fsconfig(context, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) == 0 &&
      sys_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
    mount = sys_fsmount(context, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  close(context);
  return mount;
}

/// What to attach for mount `i`, whose descriptor is taken over.
static int prepare_mount(struct request *request, uint32_t i) {
  int mount = request->mount_fds[i];
  request->mount_fds[i] = -1;
  if (*request->kinds.items[i] != MOUNT_INPUT) return mount;
  bool file = !(fcntl(mount, F_GETFL) & O_PATH);
  int hidden = -1;
  struct stat status;
  if (file) {
    hidden = copy_file(mount, i);
    if (hidden < 0) fail("cannot copy `%s`", request->sources.items[i]);
  } else if (fstat(mount, &status) == 0 && S_ISDIR(status.st_mode)) {
    char name[16];
    snprintf(name, sizeof name, "m%u", i);
    if (mkdir(name, 0755) == 0 && sys_move_mount(mount, AT_FDCWD, name) == 0 && (hidden = cover_folder(name)) < 0)
      // Some file systems cannot lie below an overlay; they are shown as they are.
      hidden = sys_open_tree(AT_FDCWD, name, OPEN_TREE_CLONE | AT_RECURSIVE);
    if (hidden < 0) fail("cannot open mount `%s`", request->sources.items[i]);
  } else {
    return mount;
  }
  close(mount);
  return hidden;
}

int enter_root(struct request *request) {
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return fail("cannot make the mounts private");
  if (!request->as_root && open_handles(request) != 0) return -1;
  const char *upper, *work;
  if (raise_scaffold(request) != 0 || place_layers(request, &upper, &work) != 0 ||
      mount_overlay(request, upper, work) != 0)
    return -1;
  int root = open("root", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return fail("cannot open the root file system");
  bool runtime = request->flags & SLIPWAY_SANDBOX_RUNTIME;
  if (!runtime && mount_kernel_file_systems(root) != 0) return -1;
  if (attach_scaffold(root, "tmp", "/tmp", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0) != 0) return -1;
  for (uint32_t i = 0; i < request->sources.count; i++) {
    int mount = prepare_mount(request, i);
    if (mount < 0 || attach_inside(root, mount, request->targets.items[i]) != 0) return -1;
  }
  for (uint32_t i = 0; i < request->environment.count; i++) {
    const char *variable = request->environment.items[i];
    if (strncmp(variable, "HOME=/", 6) == 0 && make_folder(root, variable + 5) != 0) return -1;
    if (strncmp(variable, "TMPDIR=/", 8) == 0 && make_folder(root, variable + 7) != 0) return -1;
  }
  if (make_folder(root, request->working_directory) != 0) return -1;
  if (runtime) {
    close(root);
    return prepare_runtime(request);
  }
  // The old root is stacked on the new one by this form of pivot_root, and taken off.
  if (fchdir(root) != 0 || sys_pivot_root(".", ".") != 0) return fail("cannot change the root");
  if (umount2(".", MNT_DETACH) != 0) return fail("cannot take the host's root away");
  close(root);
  return chdir("/") == 0 ? 0 : fail("cannot enter the root");
}

bool slipway_memory_keeps_overlays(void) {
  int file = memfd_create("slipway", MFD_CLOEXEC);
  bool kept = file >= 0 && fsetxattr(file, "user.overlay.opaque", "y", 1, 0) == 0;
  if (file >= 0) close(file);
  return kept;
}
