/// The sandbox helper: one process a build, which clones a container for each request.
///
/// The helper is this executable again, under another argv[0], taken over by a constructor before Swift starts. This
/// header is the caller's side of it: start, ask, cancel, receive.
#ifndef SLIPWAY_SANDBOX_H
#define SLIPWAY_SANDBOX_H

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SLIPWAY_SANDBOX_FDS_PER_REPLY 128
#define SLIPWAY_SANDBOX_NETWORK_HOST 1u
#define SLIPWAY_SANDBOX_INTERACTIVE 2u
#define SLIPWAY_SANDBOX_SCRATCH_FOLDER 4u
/// The root file system is made here, the rest by an OCI runtime, which is given in the specification.
#define SLIPWAY_SANDBOX_RUNTIME 8u

/// The sandbox as a whole is held to its number of processes, to its memory.
#define SLIPWAY_SANDBOX_LIMITS_PROCESSES 1u
#define SLIPWAY_SANDBOX_LIMITS_MEMORY 2u

enum slipway_sandbox_reply_kind {
  /// Some of the outputs, opened.
  SLIPWAY_SANDBOX_OUTPUTS = 1,
  /// The process has ended; the last reply to a request.
  SLIPWAY_SANDBOX_FINISHED = 2,
  /// The sandbox could not be made; the last reply to a request.
  SLIPWAY_SANDBOX_FAILED = 3,
};

enum slipway_sandbox_status {
  SLIPWAY_SANDBOX_EXITED = 0,
  SLIPWAY_SANDBOX_SIGNALED = 1,
  SLIPWAY_SANDBOX_TIMED_OUT = 2,
  SLIPWAY_SANDBOX_CANCELLED = 3,
};

struct slipway_sandbox_reply {
  uint32_t magic;
  uint32_t kind;
  uint64_t id;
  /// OUTPUTS: the index of the first output of this message, and how many it speaks of.
  uint32_t first, count;
  /// FINISHED.
  uint32_t status;
  int32_t code;
  uint64_t wall_ns, cpu_us, peak_bytes;
  /// SLIPWAY_SANDBOX_LIMITS_…, and how many of its processes the kernel killed for want of memory.
  uint32_t limits, memory_kills;
  /// FAILED: what the helper was doing, and errno.
  int32_t error;
  char message[512];
  /// OUTPUTS: whether output `first + i` is there.
  uint8_t present[SLIPWAY_SANDBOX_FDS_PER_REPLY];
  /// Filled in by the receiver: a descriptor for each present output, -1 for the others.
  int fds[SLIPWAY_SANDBOX_FDS_PER_REPLY];
};

/// Keeps the descriptors that the caller left open from every program that this process starts.
void slipway_sandbox_inherit_nothing(void);

/// Starts the helper with an empty environment; gives the control socket, or -1 and errno.
///
/// The helper and every sandbox die when the socket is closed, however that happens.
int slipway_sandbox_start(const char *executable, pid_t *pid);
/// Asks for one sandbox; `body` is the serialised specification. Gives 0, or -1 and errno.
int slipway_sandbox_request(int socket, uint64_t id, const void *body, size_t length, int in, int out, int err);
/// Asks that every process of a sandbox be killed; unknown ids are ignored.
int slipway_sandbox_cancel(int socket, uint64_t id);
/// Waits for one reply: 1, or 0 when the helper is gone, or -1 and errno.
int slipway_sandbox_receive(int socket, struct slipway_sandbox_reply *reply);

/// `int fd = openat(...)` without following symlinks below `root`; see openat2(2), RESOLVE_IN_ROOT.
int slipway_openat_in_root(int root, const char *path, int flags);
/// The version of Landlock's interface that the kernel offers; 6 can keep abstract sockets out; 0: none.
int slipway_landlock_version(void);

/// Whether files in memory have the extended attributes in which an overlay notes what it hides.
bool slipway_memory_keeps_overlays(void);
/// Removes a tree whose folders may have any mode; gives 0, or -1 and errno. Follows no symlink.
int slipway_remove_tree(const char *path);

#endif
