#include "internal.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "syscalls.h"

/// A user namespace that maps one owner on disk to the unprivileged host user, for idmapped mounts.
struct mapping {
  uid_t user;
  gid_t group;
  int namespace;
};

static int write_text(pid_t pid, const char *name, unsigned inside) {
  char path[64], text[64];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  int length = snprintf(text, sizeof text, "%u %u 1\n", inside, UNPRIVILEGED_HOST_ID);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = write(fd, text, (size_t)length);
  close(fd);
  return n == length ? 0 : -1;
}

/// The namespace that shows files of `user` and `group` as the unprivileged user's, or -1; kept for later sandboxes.
static int namespace_for(uid_t user, gid_t group) {
  static struct mapping known[16];
  static unsigned count;
  for (unsigned i = 0; i < count; i++)
    if (known[i].user == user && known[i].group == group) return known[i].namespace;
  if (count == sizeof known / sizeof *known) {
    errno = EUSERS;
    return -1;
  }
  long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (pid < 0) return -1;
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  int namespace = -1;
  if (write_text((pid_t)pid, "uid_map", user) == 0 && write_text((pid_t)pid, "gid_map", group) == 0) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
    namespace = open(path, O_RDONLY | O_CLOEXEC);
  }
  int error = errno;
  kill((pid_t)pid, SIGKILL);
  waitpid((pid_t)pid, NULL, 0);
  errno = error;
  if (namespace >= 0) known[count++] = (struct mapping){.user = user, .group = group, .namespace = namespace};
  return namespace;
}

/// Opens a copy of the mount at `path`, detached: what was opened is what will be seen, whatever happens to the path.
static int open_one(const struct request *request, const char *what, const char *path, uint64_t attributes,
                    bool recursive, bool writable) {
  int mount = sys_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | (recursive ? AT_RECURSIVE : 0));
  // A folder with another mount inside cannot be cloned alone where that mount is locked (by a user namespace).
  if (mount < 0 && errno == EINVAL && !recursive) mount = sys_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | AT_RECURSIVE);
  if (mount < 0) return fail("cannot open %s `%s`", what, path);
  struct mount_attr private = {.attr_set = attributes, .propagation = request->as_root ? MS_PRIVATE : 0};
  if ((attributes != 0 || request->as_root) && sys_mount_setattr(mount, AT_RECURSIVE, &private) != 0) {
    fail("cannot make %s `%s` read-only", what, path);
    close(mount);
    return -1;
  }
  if (!request->as_root) return mount;

  // Its files are some host user's, often root's, which is nobody inside: then nothing could be copied up, and a
  // private file not be read. The owner of the top is shown as the sandbox's user.
  struct stat status;
  if (fstat(mount, &status) != 0) {
    fail("cannot look at %s `%s`", what, path);
    close(mount);
    return -1;
  }
  int namespace = namespace_for(status.st_uid, status.st_gid);
  struct mount_attr idmap = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)namespace};
  if (namespace < 0 || sys_mount_setattr(mount, recursive ? AT_RECURSIVE : 0, &idmap) != 0) {
    // What is only read can do without: whoever may read it, may.
    if (!writable && recursive) return mount;
    fail("cannot show the files of %s `%s` as the sandbox's own (idmapped mount)", what, path);
    close(mount);
    return -1;
  }
  return mount;
}

/// Opens a file that is small enough to be copied, or gives -1: where it lies on the host is then told to nobody.
static int open_small_file(const char *path) {
  int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  struct stat status;
  if (file < 0 || (fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_size <= SMALL_FILE)) return file;
  close(file);
  return -1;
}

static int open_mount(const struct request *request, uint32_t i) {
  const char *path = request->sources.items[i];
  bool writable = *request->kinds.items[i] == MOUNT_WRITABLE;
  int file = *request->kinds.items[i] == MOUNT_INPUT ? open_small_file(path) : -1;
  if (file >= 0) return file;
  uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (writable ? 0 : MOUNT_ATTR_RDONLY);
  return open_one(request, "mount", path, attributes, true, writable);
}

int open_handles(struct request *request) {
  for (uint32_t i = 0; i < request->layers.count; i++) {
    request->layer_fds[i] = open_one(request, "layer", request->layers.items[i], 0, false, true);
    if (request->layer_fds[i] < 0) return -1;
  }
  for (uint32_t i = 0; i < request->sources.count; i++) {
    request->mount_fds[i] = open_mount(request, i);
    if (request->mount_fds[i] < 0) return -1;
  }
  if (request->flags & SLIPWAY_SANDBOX_SCRATCH_FOLDER) {
    request->scratch_fd = open_one(request, "scratch folder", request->scratch_folder, 0, false, true);
    if (request->scratch_fd < 0) return -1;
  }
  return 0;
}

static int in_root(int root, const char *path, uint64_t flags) {
  return sys_openat2(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

static int ensure(int root, const char *path, bool folder, unsigned depth);

/// Goes on where the link `name` in `directory` points, which is nowhere yet: an image's /etc/resolv.conf is often
/// such.
static int ensure_link(int root, const char *path, size_t parent_length, size_t end, int directory, const char *name,
                       bool folder, unsigned depth) {
  char link[4096], next[4096];
  ssize_t length = readlinkat(directory, name, link, sizeof link - 1);
  if (length < 0) return -1;
  link[length] = 0;
  int written = link[0] == '/' ? snprintf(next, sizeof next, "%s%s", link, path + end)
                               : snprintf(next, sizeof next, "%.*s/%s%s", (int)parent_length, path, link, path + end);
  if (depth > 40 || written >= (int)sizeof next) {
    errno = depth > 40 ? ELOOP : ENAMETOOLONG;
    return -1;
  }
  return ensure(root, next, folder, depth + 1);
}

/// Opens `path` below `root` (O_PATH), making what is missing on the way and, at the end, a folder or a file.
static int ensure(int root, const char *path, bool folder, unsigned depth) {
  int place = in_root(root, path, O_PATH | (folder ? O_DIRECTORY : 0));
  if (place >= 0 || errno != ENOENT) return place;
  char prefix[4096];
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  if (length >= sizeof prefix) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(prefix, path, length);
  prefix[length] = 0;
  int directory = in_root(root, "/", O_PATH | O_DIRECTORY);
  for (size_t end = 0; directory >= 0 && end < length;) {
    size_t parent_length = end, begin = end;
    while (path[begin] == '/') begin++;
    end = begin;
    while (end < length && path[end] != '/') end++;
    bool directory_wanted = folder || end < length;
    prefix[end] = 0;
    // Every step is resolved from the root, so that a symlink of the image stays inside.
    int next = in_root(root, prefix, O_PATH | (directory_wanted ? O_DIRECTORY : 0));
    if (next < 0 && errno == ENOENT) {
      int made = directory_wanted
                   ? mkdirat(directory, prefix + begin, 0755)
                   : openat(directory, prefix + begin, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
      if (made < 0 && errno == EEXIST) {
        next = ensure_link(root, path, parent_length, end, directory, prefix + begin, folder, depth);
        end = length;
      } else if (made >= 0) {
        if (!directory_wanted) close(made);
        next = in_root(root, prefix, O_PATH | (directory_wanted ? O_DIRECTORY : 0));
      }
    }
    int error = errno;
    close(directory);
    errno = error;
    directory = next;
    if (end < length) prefix[end] = '/';
  }
  return directory;
}

int ensure_place(int root, const char *path, bool folder) { return ensure(root, path, folder, 0); }
