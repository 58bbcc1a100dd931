#ifndef SLIPWAY_SANDBOX_INTERNAL_H
#define SLIPWAY_SANDBOX_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slipway_sandbox.h"

#define MAGIC 0x50494c53u
#define CONTROL_FD 3
/// The user and group that a process inside sees itself as.
#define INNER_ID 1000u
/// The host's user and group of a sandbox that root started: outside the ranges that distributions, systemd and
/// subordinate ids hand out, and below 2^31, which some programs read as negative.
#define UNPRIVILEGED_HOST_ID 1879100000u

/// Bytes of a file that is copied rather than mounted.
#define SMALL_FILE (1 << 20)
/// The modification time of all that is an input: 1980-01-01.
#define FILE_TIME 315532800

enum { KIND_RUN = 1, KIND_CANCEL = 2 };
/// How a host path is shown: an input, whose place on the host stays hidden; as it is, read-only; writable.
enum { MOUNT_INPUT = 'i', MOUNT_PLAIN = 'r', MOUNT_WRITABLE = 'w' };

struct message {
  uint32_t magic;
  uint32_t kind;
  uint64_t id;
  uint64_t length;
};

struct list {
  uint32_t count;
  char **items;
};

/// One sandbox that is asked for: the parsed specification, and what has been opened for it.
struct request {
  uint64_t id;
  uint32_t flags;
  uint64_t processes, memory, file_size, scratch, wall_clock_ms;
  /// Bytes of all processes and what they keep in memory; 0: no limit.
  uint64_t total_memory;
  char *scratch_folder, *hostname, *working_directory;
  /// An OCI runtime and its config.json, with SLIPWAY_SANDBOX_RUNTIME.
  char *runtime, *configuration;
  struct list layers, sources, targets, kinds, arguments, environment, outputs;
  int stdio[3];
  /// The control group: its number, the files by which a process enters it, the one that counts kills; -1: none.
  int slot, group_fds[2], memory_events;
  uint32_t limits;
  /// Detached mounts, and -1 where not yet opened; a small file to be copied is open for reading instead.
  int *layer_fds, *mount_fds;
  int scratch_fd;
  /// The helper runs as the host's root: sandboxes are UNPRIVILEGED_HOST_ID there.
  bool as_root;
  /// The helper's own on the host: inside a namespace that does not map them yet, they cannot be asked for.
  uid_t user;
  gid_t group;
  /// A byte "go" after the id maps are written (root only), a byte "cancel" later; end of file: the helper is gone.
  int control;
  void *body;
  size_t body_length;
};

/// What could not be done, for the reply; set by `fail`, which gives -1.
struct failure {
  int error;
  char message[512];
};
extern struct failure failure;
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// request.c
int request_parse(struct request *request, int body_fd, uint64_t length);
void request_free(struct request *request);
// handles.c: what lies on the host's side.
int open_handles(struct request *request);
/// Opens `path` below `root` (O_PATH) as a folder or a file, making it and its parents where missing; -1 and errno.
int ensure_place(int root, const char *path, bool folder);
// cgroup.c: limits on the whole.
/// Fills in the request's control group, if the host offers one.
void cgroup_take(struct request *request);
void cgroup_close(struct request *request);
/// Puts the calling process into it, the command; clears `limits` if that is impossible.
void cgroup_enter(struct request *request);
void cgroup_release(int slot);
void cgroup_remove_all(void);
/// How many processes the kernel has killed in a group for want of memory, ever.
uint64_t cgroup_kills(int events);
// root.c: the file system that the process sees; on success the caller's root and working directory are it.
int enter_root(struct request *request);
// runtime.c: the second backend.
int prepare_runtime(const struct request *request);
int execute_runtime(const struct request *request);
// filter.c
int install_filter(void);
int restrict_scopes(void);
// init.c: process 1 of the sandbox; never returns.
void run_init(struct request *request) __attribute__((noreturn));
// terminal.c
struct terminal {
  int outer_in, outer_out, master, slave;
  bool saved, input_open;
  char settings[128];
};
int terminal_open(struct terminal *terminal, struct request *request);
void terminal_relay(struct terminal *terminal, bool in_ready, bool out_ready);
void terminal_drain(struct terminal *terminal);
void terminal_resize(struct terminal *terminal);
void terminal_close(struct terminal *terminal);
// protocol.c
int send_reply(struct slipway_sandbox_reply *reply, const int *fds, unsigned count);
void send_failure(uint64_t id);

#endif
