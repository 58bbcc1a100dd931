#include "internal.h"

#include <dirent.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "syscalls.h"

void slipway_sandbox_inherit_nothing(void) { syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */); }

int slipway_sandbox_start(const char *executable, pid_t *pid) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return -1;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &none);
  // Where the socket already has the helper's number, dup2 onto itself would leave it close-on-exec; posix_spawn
  // clears the flag in that case (POSIX.1-2024, glibc 2.29).
  posix_spawn_file_actions_adddup2(&actions, pair[1], CONTROL_FD);
  // The environment is empty, so that /proc/1/environ of a sandbox could not tell the host's secrets.
  char *const arguments[] = {"slipway-sandbox", NULL}, *const environment[] = {NULL};
  int error = posix_spawn(pid, executable, &actions, &attributes, arguments, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(pair[1]);
  if (error == 0) return pair[0];
  close(pair[0]);
  errno = error;
  return -1;
}

int slipway_sandbox_request(int socket, uint64_t id, const void *body, size_t length, int in, int out, int err) {
  // The body travels in a memory file: a socket's message is bounded by its send buffer, a specification is not.
  int memory = memfd_create("slipway-sandbox", MFD_CLOEXEC);
  if (memory < 0) return -1;
  for (size_t done = 0; done < length;) {
    ssize_t n = write(memory, (const char *)body + done, length - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      int error = n < 0 ? errno : EIO;
      close(memory);
      errno = error;
      return -1;
    }
    done += (size_t)n;
  }
  struct message message = {.magic = MAGIC, .kind = KIND_RUN, .id = id, .length = length};
  struct iovec part = {.iov_base = &message, .iov_len = sizeof message};
  int fds[4] = {memory, in, out, err};
  union {
    char bytes[CMSG_SPACE(sizeof fds)];
    struct cmsghdr align;
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof fds);
  memcpy(CMSG_DATA(rights), fds, sizeof fds);
  ssize_t sent;
  do sent = sendmsg(socket, &header, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  int error = errno;
  close(memory);
  errno = error;
  return sent == sizeof message ? 0 : -1;
}

int slipway_sandbox_cancel(int socket, uint64_t id) {
  struct message message = {.magic = MAGIC, .kind = KIND_CANCEL, .id = id};
  return send(socket, &message, sizeof message, MSG_NOSIGNAL) == sizeof message ? 0 : -1;
}

int slipway_sandbox_receive(int socket, struct slipway_sandbox_reply *reply) {
  struct iovec part = {.iov_base = reply, .iov_len = sizeof *reply};
  union {
    char bytes[CMSG_SPACE(sizeof reply->fds)];
    struct cmsghdr align;
  } control;
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t n;
  do n = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n == 0 || (n < 0 && errno == ECONNRESET)) return 0;
  if (n < 0) return -1;

  int received[SLIPWAY_SANDBOX_FDS_PER_REPLY];
  unsigned count = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(received, CMSG_DATA(c), count * sizeof(int));
  }
  unsigned next = 0;
  bool sound = n == sizeof *reply && reply->magic == MAGIC && reply->count <= SLIPWAY_SANDBOX_FDS_PER_REPLY;
  for (unsigned i = 0; i < SLIPWAY_SANDBOX_FDS_PER_REPLY; i++) {
    bool here = sound && i < reply->count && reply->present[i] && next < count;
    reply->fds[i] = here ? received[next++] : -1;
  }
  while (next < count) close(received[next++]);
  if (sound) return 1;
  errno = EPROTO;
  return -1;
}

int slipway_openat_in_root(int root, const char *path, int flags) {
  return sys_openat2(root, path, (uint64_t)flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

static int remove_below(int folder, unsigned depth) {
  // A bound on the recursion, for descriptors and stack alike; deeper trees are moved up by nobody, so say so.
  if (depth > 500) {
    errno = ELOOP;
    return -1;
  }
  int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *stream = copy < 0 ? NULL : fdopendir(copy);
  if (stream == NULL) {
    if (copy >= 0) close(copy);
    return -1;
  }
  int result = 0;
  for (struct dirent *entry; result == 0 && (entry = readdir(stream)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (unlinkat(folder, entry->d_name, 0) == 0) continue;
    if (errno != EISDIR && errno != EPERM) {
      result = -1;
      break;
    }
    fchmodat(folder, entry->d_name, 0700, 0);
    int child = openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child < 0) {
      result = -1;
      break;
    }
    result = remove_below(child, depth + 1);
    close(child);
    if (result == 0) result = unlinkat(folder, entry->d_name, AT_REMOVEDIR);
  }
  int error = errno;
  closedir(stream);
  errno = error;
  return result;
}

int slipway_remove_tree(const char *path) {
  if (unlink(path) == 0 || errno == ENOENT) return 0;
  // An overlay leaves its work folder, and an action any folder, at mode 000.
  chmod(path, 0700);
  int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (folder < 0) return -1;
  int result = remove_below(folder, 0);
  int error = errno;
  close(folder);
  errno = error;
  return result == 0 ? rmdir(path) : -1;
}
