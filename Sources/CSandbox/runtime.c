#include "internal.h"

#include <signal.h>
#include <sys/stat.h>

#include "syscalls.h"

// The second backend: process 1 makes the root file system as ever, and an OCI runtime all the rest. The scaffold,
// which lies at /tmp, is the runtime's bundle. It runs inside of this sandbox's user namespace, so that what it makes
// is never more than an unprivileged user's.

int prepare_runtime(const struct request *request) {
  int file = open("config.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) return fail("cannot create `config.json`");
  for (size_t done = 0, length = strlen(request->configuration); done < length;) {
    ssize_t n = write(file, request->configuration + done, length - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      fail("cannot write `config.json`");
      close(file);
      return -1;
    }
    done += (size_t)n;
  }
  close(file);
  if (mkdir("state", 0700) != 0) return fail("cannot make scaffold `state`");
  // The runtime looks up its own processes, by the numbers of this namespace.
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
    return fail("cannot mount file system `proc`");
  return 0;
}

int execute_runtime(const struct request *request) {
  // User 0 of the namespace, where it is mapped beside the sandbox's user.
  if (request->as_root && (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0))
    return fail("cannot become the runtime's user");
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
  char *const arguments[] = {request->runtime, "--root", "/tmp/state", "run", "--bundle", "/tmp", "slipway", NULL};
  char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "XDG_RUNTIME_DIR=/tmp/state", NULL};
  execve(request->runtime, arguments, environment);
  return fail("cannot execute `%s`", request->runtime);
}
