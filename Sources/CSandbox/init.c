#include "internal.h"

#include <linux/capability.h>
#include <linux/magic.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <grp.h>
#include <time.h>

#include "syscalls.h"

// Process 1 of a sandbox. It makes the sandbox around itself, starts the command as its child, waits for it, kills
// whatever is left, opens the outputs and answers the caller directly.

/// How a failed start of the command ends, as in a shell.
enum { NOT_FOUND = 127, NOT_EXECUTABLE = 126 };

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int write_own(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return fail("cannot open `%s`", path);
  ssize_t n = write(fd, text, strlen(text));
  int error = errno;
  close(fd);
  errno = error;
  return n == (ssize_t)strlen(text) ? 0 : fail("cannot write `%s`", path);
}

static int become_inner_user(struct request *request) {
  if (!request->as_root) {
    // An ordinary user may map only itself, and only once it can no longer drop its groups. The files are the host
    // root's while this process is not dumpable.
    char map[64];
    unsigned inner = request->flags & SLIPWAY_SANDBOX_RUNTIME ? 0 : INNER_ID;
    prctl(PR_SET_DUMPABLE, 1);
    snprintf(map, sizeof map, "%u %u 1\n", inner, request->user);
    int result = write_own("/proc/self/setgroups", "deny");
    if (result == 0) result = write_own("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "%u %u 1\n", inner, request->group);
    if (result == 0) result = write_own("/proc/self/gid_map", map);
    prctl(PR_SET_DUMPABLE, 0);
    return result;
  }
  char go;
  ssize_t n;
  do n = read(request->control, &go, 1);
  while (n < 0 && errno == EINTR);
  if (n != 1) _exit(1);
  prctl(PR_SET_KEEPCAPS, 1);
  if (setgroups(0, NULL) != 0 || setresgid(INNER_ID, INNER_ID, INNER_ID) != 0 ||
      setresuid(INNER_ID, INNER_ID, INNER_ID) != 0)
    return fail("cannot become the sandbox's user");
  prctl(PR_SET_DUMPABLE, 0);
  return 0;
}

static int raise_loopback(void) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail("cannot open a socket");
  struct ifreq interface = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  int result = ioctl(fd, SIOCSIFFLAGS, &interface);
  if (result != 0) fail("cannot bring the loopback interface up");
  close(fd);
  return result;
}

static int build(struct request *request) {
  if (become_inner_user(request) != 0) return -1;
  // After the change of user, which clears it.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int spaces = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
  bool runtime = request->flags & SLIPWAY_SANDBOX_RUNTIME;
  bool own_network = !runtime && !(request->flags & SLIPWAY_SANDBOX_NETWORK_HOST);
  if (own_network) spaces |= CLONE_NEWNET;
  if (unshare(spaces) != 0) return fail("cannot create the namespaces");
  if (enter_root(request) != 0) return -1;
  if (own_network && raise_loopback() != 0) return -1;
  if (sethostname(request->hostname, strlen(request->hostname)) != 0) return fail("cannot set the host name");
  return 0;
}

static void limit(int resource, uint64_t soft, uint64_t hard) {
  struct rlimit now, wanted;
  if (getrlimit((__rlimit_resource_t)resource, &now) != 0) return;
  wanted.rlim_max = hard < now.rlim_max ? hard : now.rlim_max;
  wanted.rlim_cur = soft < wanted.rlim_max ? soft : wanted.rlim_max;
  setrlimit((__rlimit_resource_t)resource, &wanted);
}

static int drop_capabilities(void) {
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (int capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++) {}
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2];
  memset(none, 0, sizeof none);
  return (int)syscall(SYS_capset, &header, none);
}

/// What the command's process needs; it shares the memory of process 1 until it executes.
struct command {
  struct request *request;
  int terminal;
  /// The call that failed before the command was executed; `failure` has the rest.
  bool failed;
};

static const char *variable(const struct request *request, const char *name) {
  size_t length = strlen(name);
  for (uint32_t i = 0; i < request->environment.count; i++)
    if (strncmp(request->environment.items[i], name, length) == 0 && request->environment.items[i][length] == '=')
      return request->environment.items[i] + length + 1;
  return NULL;
}

/// Executes the command, found by the PATH of its own environment; on return it could not be, errno says why.
static void execute(struct request *request) {
  char **arguments = request->arguments.items, **environment = request->environment.items;
  if (strchr(arguments[0], '/') != NULL) {
    execve(arguments[0], arguments, environment);
    return;
  }
  const char *path = variable(request, "PATH");
  if (path == NULL) path = "/usr/local/bin:/usr/bin:/bin";
  int result = ENOENT;
  for (const char *end; path != NULL; path = *end == 0 ? NULL : end + 1) {
    end = strchrnul(path, ':');
    char full[4096];
    int length = snprintf(full, sizeof full, "%.*s%s%s", (int)(end - path), path, end == path ? "" : "/", arguments[0]);
    if (length >= (int)sizeof full) continue;
    execve(full, arguments, environment);
    if (errno != ENOENT && errno != ENOTDIR) result = errno;
  }
  errno = result;
}

static int command_main(void *opaque) {
  struct command *command = opaque;
  struct request *request = command->request;
  command->failed = true;
  int streams[3] = {request->stdio[0], request->stdio[1], request->stdio[2]};
  if (command->terminal >= 0) streams[0] = streams[1] = streams[2] = command->terminal;
  // Above the numbers that dup2 overwrites.
  for (int i = 0; i < 3; i++)
    if ((streams[i] = fcntl(streams[i], F_DUPFD_CLOEXEC, 10)) < 0) {
      fail("cannot pass the standard streams");
      _exit(1);
    }
  for (int i = 0; i < 3; i++) dup2(streams[i], i);
  setsid();
  if (command->terminal >= 0) ioctl(0, TIOCSCTTY, 0);
  umask(022);
  cgroup_enter(request);
  // Only now, so that the group's name is not seen.
  if (unshare(CLONE_NEWCGROUP) != 0) {
    fail("cannot create a control group namespace");
    _exit(1);
  }
  if (request->flags & SLIPWAY_SANDBOX_RUNTIME) {
    limit(RLIMIT_NOFILE, 1024, 65536);
    command->failed = false;
    execute_runtime(request);
    command->failed = true;
    _exit(1);
  }
  if (chdir(request->working_directory) != 0) {
    fail("cannot enter the working directory `%s`", request->working_directory);
    _exit(1);
  }
  // Process 1 counts, too.
  limit(RLIMIT_NPROC, request->processes + 1, request->processes + 1);
  limit(RLIMIT_FSIZE, request->file_size, request->file_size);
  limit(RLIMIT_CORE, 0, 0);
  limit(RLIMIT_NOFILE, 1024, 65536);
  if (request->memory > 0) limit(RLIMIT_AS, request->memory, request->memory);
  sigset_t none;
  sigemptyset(&none);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || drop_capabilities() != 0 ||
      ((request->flags & SLIPWAY_SANDBOX_NETWORK_HOST) && restrict_scopes() != 0) || install_filter() != 0) {
    fail("cannot drop the privileges");
    _exit(1);
  }
  syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
  sigprocmask(SIG_SETMASK, &none, NULL);
  command->failed = false;
  execute(request);
  int error = errno;
  dprintf(2, "slipway: cannot execute `%s`: %s\n", request->arguments.items[0], strerror(error));
  _exit(error == ENOENT || error == ENOTDIR ? NOT_FOUND : NOT_EXECUTABLE);
}

/// Starts the command; -1 if it could not be confined, and then it was not executed.
static pid_t start_command(struct request *request, int terminal) {
  struct command command = {.request = request, .terminal = terminal};
  size_t size = 64 * 1024;
  char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return fail("cannot allocate a stack");
  // As vfork, on a stack of its own: copying this process's page tables would cost more than all the rest of it.
  pid_t pid = clone(command_main, stack + size, CLONE_VM | CLONE_VFORK | SIGCHLD, &command);
  if (pid < 0) return fail("cannot start a process");
  munmap(stack, size);
  if (!command.failed) return pid;
  waitpid(pid, NULL, 0);
  return -1;
}

struct ending {
  uint32_t status;
  int32_t code;
};

/// Waits for the command, the deadline, or the caller's word.
static struct ending wait_for(struct request *request, pid_t command, int signals, struct terminal *terminal) {
  uint64_t deadline = now_ns() + request->wall_clock_ms * 1000000u;
  for (;;) {
    uint64_t now = now_ns();
    if (now >= deadline) return (struct ending){SLIPWAY_SANDBOX_TIMED_OUT, 0};
    uint64_t left = (deadline - now) / 1000000u + 1;
    int timeout = left > 1000000 ? 1000000 : (int)left;
    struct pollfd waits[4] = {{.fd = signals, .events = POLLIN}, {.fd = request->control, .events = POLLIN},
                              {.fd = -1, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    if (terminal != NULL) {
      if (terminal->input_open) waits[2].fd = terminal->outer_in;
      waits[3].fd = terminal->master;
      if (timeout > 250) timeout = 250;
      terminal_resize(terminal);
    }
    if (poll(waits, 4, timeout) < 0) continue;
    if (waits[1].revents != 0) {
      char word;
      // Without the helper nobody hears the answer.
      if (read(request->control, &word, 1) != 1) _exit(1);
      return (struct ending){SLIPWAY_SANDBOX_CANCELLED, 0};
    }
    if (terminal != NULL) terminal_relay(terminal, waits[2].revents != 0, waits[3].revents != 0);
    if (!(waits[0].revents & POLLIN)) continue;
    struct signalfd_siginfo info[8];
    while (read(signals, info, sizeof info) > 0) {}
    int status;
    // Orphans come to process 1 and are reaped on the way.
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (pid != command) continue;
      if (WIFSIGNALED(status)) return (struct ending){SLIPWAY_SANDBOX_SIGNALED, WTERMSIG(status)};
      return (struct ending){SLIPWAY_SANDBOX_EXITED, WEXITSTATUS(status)};
    }
  }
}

/// Opens an output; -1 where there is none. No process is left that could change it meanwhile.
static int open_output(int root, const char *path) {
  int place = slipway_openat_in_root(root, path, O_PATH | O_NOFOLLOW);
  struct stat status;
  struct statfs system;
  if (place < 0) return -1;
  // /proc would show process 1, not an output.
  if (fstat(place, &status) != 0 || fstatfs(place, &system) != 0 || system.f_type == PROC_SUPER_MAGIC) {
    close(place);
    return -1;
  }
  if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return place;
  int file = slipway_openat_in_root(root, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return place;
  close(place);
  return file;
}

static int send_outputs(struct request *request) {
  if (request->outputs.count == 0) return 0;
  const char *path = request->flags & SLIPWAY_SANDBOX_RUNTIME ? "/tmp/root" : "/";
  int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return fail("cannot open the root file system");
  for (uint32_t first = 0; first < request->outputs.count; first += SLIPWAY_SANDBOX_FDS_PER_REPLY) {
    uint32_t count = request->outputs.count - first;
    if (count > SLIPWAY_SANDBOX_FDS_PER_REPLY) count = SLIPWAY_SANDBOX_FDS_PER_REPLY;
    struct slipway_sandbox_reply reply = {
      .kind = SLIPWAY_SANDBOX_OUTPUTS, .id = request->id, .first = first, .count = count};
    int fds[SLIPWAY_SANDBOX_FDS_PER_REPLY];
    unsigned open_count = 0;
    for (uint32_t i = 0; i < count; i++) {
      int fd = open_output(root, request->outputs.items[first + i]);
      reply.present[i] = fd >= 0;
      if (fd >= 0) fds[open_count++] = fd;
    }
    if (send_reply(&reply, fds, open_count) != 0) return fail("cannot pass the outputs on");
    for (unsigned i = 0; i < open_count; i++) close(fds[i]);
  }
  close(root);
  return 0;
}

void run_init(struct request *request) {
  // For the scratch folder's sake, kept open beyond the change of root.
  int scratch = -1;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_SETMASK, &set, NULL);
  int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) fail("cannot watch signals");
  if (signals < 0 || build(request) != 0) goto failed;
  scratch = request->scratch_fd;

  struct terminal terminal = {.master = -1, .slave = -1};
  bool interactive = request->flags & SLIPWAY_SANDBOX_INTERACTIVE;
  if (interactive && terminal_open(&terminal, request) != 0) goto failed;
  uint64_t begin = now_ns(), kills = cgroup_kills(request->memory_events);
  pid_t command = start_command(request, interactive ? terminal.slave : -1);
  if (command < 0) {
    if (interactive) terminal_close(&terminal);
    goto failed;
  }
  if (interactive) {
    close(terminal.slave);
  } else {
    // The readers of these pipes are to see their end when the last process inside closes them.
    for (int i = 0; i < 3; i++) close(request->stdio[i]);
  }
  struct ending ending = wait_for(request, command, signals, interactive ? &terminal : NULL);
  kill(-1, SIGKILL);
  while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {}
  uint64_t end = now_ns();
  if (interactive) {
    terminal_drain(&terminal);
    terminal_close(&terminal);
  }
  // An overlay leaves this folder at mode 000, where its owner could not remove it.
  if (scratch >= 0) fchmodat(scratch, "work/work", 0700, 0);
  struct rusage usage;
  getrusage(RUSAGE_CHILDREN, &usage);
  if (send_outputs(request) != 0) goto failed;
  struct slipway_sandbox_reply reply = {
    .kind = SLIPWAY_SANDBOX_FINISHED,
    .id = request->id,
    .status = ending.status,
    .code = ending.code,
    .wall_ns = end - begin,
    .cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
              (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec),
    .peak_bytes = (uint64_t)usage.ru_maxrss * 1024,
    .limits = request->limits,
    .memory_kills = (uint32_t)(cgroup_kills(request->memory_events) - kills),
  };
  _exit(send_reply(&reply, NULL, 0) == 0 ? 0 : 1);
failed:
  send_failure(request->id);
  _exit(0);
}
