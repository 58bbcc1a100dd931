#include "internal.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/// A sandbox that runs: its process 1 and the pipe by which that is told to begin and to end.
struct running {
  uint64_t id;
  pid_t pid;
  int control;
  /// When process 1 is killed, should it not have kept its own deadline.
  uint64_t backstop_ms;
  /// Of its control group, or -1.
  int slot;
};

static struct running *running;
static unsigned running_count, running_capacity;

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/// Whether this is the host's root: a user 0 that is an ordinary user outside of its namespace is not.
static bool is_host_root(void) {
  if (geteuid() != 0) return false;
  FILE *map = fopen("/proc/self/uid_map", "re");
  if (map == NULL) return true;
  unsigned inside, outside, count;
  bool root = true;
  while (fscanf(map, "%u %u %u", &inside, &outside, &count) == 3)
    if (inside == 0) root = outside == 0;
  fclose(map);
  return root;
}

static int write_map(pid_t pid, const char *name, unsigned host, bool with_zero) {
  char path[64], text[64];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  int length = snprintf(text, sizeof text, "%u %u 1\n", INNER_ID, host);
  // An OCI runtime works as user 0 of its namespace, which is nobody outside.
  if (with_zero) length += snprintf(text + length, sizeof text - (size_t)length, "0 %u 1\n", host + 1);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return fail("cannot open `%s`", path);
  ssize_t n = write(fd, text, (size_t)length);
  int error = errno;
  close(fd);
  errno = error;
  return n == length ? 0 : fail("cannot map user %u of the sandbox to user %u of the host", INNER_ID, host);
}

static void start(struct request *request) {
  int control[2] = {-1, -1};
  if (request->as_root && open_handles(request) != 0) goto failed;
  if (running_count == running_capacity) {
    unsigned capacity = running_capacity * 2 + 16;
    struct running *grown = realloc(running, capacity * sizeof *grown);
    if (grown == NULL) {
      fail("cannot remember the sandbox");
      goto failed;
    }
    running = grown;
    running_capacity = capacity;
  }
  if (pipe2(control, O_CLOEXEC) != 0) {
    fail("cannot make a pipe");
    goto failed;
  }
  request->control = control[0];
  cgroup_take(request);
  // Only what must be made by clone is made here: the other namespaces cost up to a millisecond, which process 1 pays
  // itself, beside its siblings.
  long pid = syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
  if (pid < 0) {
    fail("cannot create a user namespace");
    goto failed;
  }
  if (pid == 0) {
    // The other sandboxes' pipes: one that lived on here would keep them from seeing the helper's death.
    for (unsigned i = 0; i < running_count; i++) close(running[i].control);
    close(control[1]);
    run_init(request);
  }
  close(control[0]);
  bool with_zero = request->flags & SLIPWAY_SANDBOX_RUNTIME;
  if (request->as_root && (write_map((pid_t)pid, "uid_map", UNPRIVILEGED_HOST_ID, with_zero) != 0 ||
                           write_map((pid_t)pid, "gid_map", UNPRIVILEGED_HOST_ID, with_zero) != 0)) {
    kill((pid_t)pid, SIGKILL);
    waitpid((pid_t)pid, NULL, 0);
    close(control[1]);
    cgroup_release(request->slot);
    send_failure(request->id);
    return;
  }
  if (request->as_root && write(control[1], "g", 1) != 1) kill((pid_t)pid, SIGKILL);
  running[running_count++] = (struct running){
    .id = request->id, .pid = (pid_t)pid, .control = control[1],
    .backstop_ms = now_ms() + request->wall_clock_ms + 10000, .slot = request->slot};
  return;
failed:
  cgroup_release(request->slot);
  if (control[0] >= 0) {
    close(control[0]);
    close(control[1]);
  }
  send_failure(request->id);
}

/// Takes one message from the control socket; false when it is closed.
static bool take_message(bool as_root) {
  struct message message;
  struct iovec part = {.iov_base = &message, .iov_len = sizeof message};
  int fds[4] = {-1, -1, -1, -1};
  union {
    char bytes[CMSG_SPACE(sizeof fds)];
    struct cmsghdr align;
  } control;
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t n = recvmsg(CONTROL_FD, &header, MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (n <= 0) return false;
  unsigned count = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    if (count <= 4) memcpy(fds, CMSG_DATA(c), count * sizeof(int));
  }
  if (n != sizeof message || message.magic != MAGIC) return false;
  if (message.kind == KIND_CANCEL) {
    for (unsigned i = 0; i < running_count; i++)
      if (running[i].id == message.id && write(running[i].control, "c", 1) != 1) kill(running[i].pid, SIGKILL);
    return true;
  }
  struct request request = {
    .id = message.id, .as_root = as_root, .user = geteuid(), .group = getegid(), .scratch_fd = -1,
    .slot = -1, .group_fds = {-1, -1}, .memory_events = -1,
    .stdio = {fds[1], fds[2], fds[3]}};
  errno = EMFILE;
  if (count != 4)
    fail("cannot receive the specification");
  else if (request_parse(&request, fds[0], message.length) == 0) {
    start(&request);
    goto done;
  }
  send_failure(request.id);
done:
  if (fds[0] >= 0) close(fds[0]);
  request_free(&request);
  return true;
}

static void reap(void) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
    for (unsigned i = 0; i < running_count; i++) {
      if (running[i].pid != pid) continue;
      if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        errno = ECHILD;
        fail("process 1 of the sandbox ended before its time, with wait status %d", status);
        send_failure(running[i].id);
      }
      close(running[i].control);
      cgroup_release(running[i].slot);
      running[i] = running[--running_count];
      break;
    }
}

static int keep_deadlines(void) {
  uint64_t now = now_ms(), next = UINT64_MAX;
  for (unsigned i = 0; i < running_count; i++) {
    if (running[i].backstop_ms <= now) kill(running[i].pid, SIGKILL);
    else if (running[i].backstop_ms < next) next = running[i].backstop_ms;
  }
  return next == UINT64_MAX ? -1 : next - now > 1000000 ? 1000000 : (int)(next - now) + 1;
}

static void supervise(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_SETMASK, &set, NULL);
  int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) return;
  bool as_root = is_host_root();
  for (;;) {
    struct pollfd waits[2] = {{.fd = CONTROL_FD, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    poll(waits, 2, keep_deadlines());
    if (waits[1].revents & POLLIN) {
      struct signalfd_siginfo info[8];
      while (read(signals, info, sizeof info) > 0) {}
      reap();
    }
    if (waits[0].revents != 0 && !take_message(as_root)) return;
  }
}

static int helper(void) {
  // Its memory and its /proc files belong to nobody: neither a sandbox nor another process of the user looks in.
  prctl(PR_SET_DUMPABLE, 0);
  for (int signal = 1; signal < NSIG; signal++)
    if (signal != SIGKILL && signal != SIGSTOP) sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
  // The caller's end of the socket decides when to stop; ^C at a terminal goes to the caller alone.
  setsid();
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3 && null >= 0; fd++) dup2(null, fd);
  syscall(SYS_close_range, CONTROL_FD + 1, ~0u, 0);
  fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
  // The host's session keyring is not for the sandboxes (1: KEYCTL_JOIN_SESSION_KEYRING).
  syscall(SYS_keyctl, 1, NULL);
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  umask(0);
  supervise();
  for (unsigned i = 0; i < running_count; i++) kill(running[i].pid, SIGKILL);
  for (unsigned i = 0; i < running_count; i++) waitpid(running[i].pid, NULL, 0);
  cgroup_remove_all();
  return 0;
}

/// Runs before Swift starts, and before `main`; the C library hands constructors the arguments.
__attribute__((constructor)) static void become_helper(int count, char **arguments) {
  if (count == 1 && arguments != NULL && arguments[0] != NULL && strcmp(arguments[0], "slipway-sandbox") == 0)
    _exit(helper());
}
