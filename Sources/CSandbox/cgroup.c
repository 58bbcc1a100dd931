#include "internal.h"

#include <dirent.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>

// Limits on a sandbox as a whole, where the host has a control group that this process may divide: its own one, of the
// old hierarchies `pids` and `memory` or of the new one. What this process may use is what its group may use, so the
// groups made here lie in it, never beside it. Without one, only the limits on single processes are left.
//
// Only a sandbox whose memory is limited as a whole has one. A group is made once and used by one sandbox after
// another. The command enters it, process 1 does not, lest that be
// killed when memory is full. Nothing is killed by the group at the end: the end of process 1 takes every process of
// its pid namespace along.

struct hierarchy {
  /// The group of this process; the sandboxes' groups lie in it.
  char folder[1024];
  unsigned controllers;
  bool second;
};

struct slot {
  bool made, used;
  uint64_t processes, memory, name;
  /// The folders, locked as long as this process lives: whose lock can be had may be removed.
  int locks[2];
};

static struct hierarchy hierarchies[2];
static unsigned hierarchy_count;
static struct slot slots[1024];

/// The text of a small file, or -1.
static ssize_t read_text(const char *folder, const char *name, char *text, size_t size) {
  char path[2048];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = read(fd, text, size - 1);
  close(fd);
  if (n >= 0) text[n] = 0;
  return n;
}

static int write_file(const char *folder, const char *name, const char *text) {
  char path[2048];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = write(fd, text, strlen(text));
  int error = errno;
  close(fd);
  errno = error;
  return n == (ssize_t)strlen(text) ? 0 : -1;
}

static bool has_word(const char *text, const char *word) {
  size_t length = strlen(word);
  for (const char *at = text; (at = strstr(at, word)) != NULL; at += length)
    if ((at == text || strchr(" ,", at[-1]) != NULL) && strchr(" ,\n", at[length]) != NULL) return true;
  return false;
}

/// The path of this process's group in the hierarchy of `controller`, or in the new one ("").
static bool own_group(const char *controller, char *group, size_t size) {
  FILE *file = fopen("/proc/self/cgroup", "re");
  if (file == NULL) return false;
  char line[2048];
  bool found = false;
  while (!found && fgets(line, sizeof line, file) != NULL) {
    char *names = strchr(line, ':'), *path = names == NULL ? NULL : strchr(names + 1, ':');
    if (path == NULL) continue;
    *names++ = 0;
    *path++ = 0;
    path[strcspn(path, "\n")] = 0;
    found = *controller == 0 ? strcmp(line, "0") == 0 && *names == 0 : has_word(names, controller);
    // A group outside of what this namespace shows is written with `..`.
    if (found && (strncmp(path, "/..", 3) == 0 || (size_t)snprintf(group, size, "%s", path) >= size)) found = false;
  }
  fclose(file);
  return found;
}

/// Enters `folder` as a hierarchy in which groups can be made.
static void add_hierarchy(const char *mount, const char *group, unsigned controllers, bool second) {
  struct hierarchy *next = &hierarchies[hierarchy_count];
  *next = (struct hierarchy){.controllers = controllers, .second = second};
  if ((size_t)snprintf(next->folder, sizeof next->folder, "%s%s", mount, strcmp(group, "/") == 0 ? "" : group) <
        sizeof next->folder &&
      access(next->folder, W_OK) == 0)
    hierarchy_count++;
}

static void find_first(const char *controller, unsigned bit) {
  char mount[64], group[512];
  struct statfs system;
  snprintf(mount, sizeof mount, "/sys/fs/cgroup/%s", controller);
  if (statfs(mount, &system) == 0 && system.f_type == CGROUP_SUPER_MAGIC && own_group(controller, group, sizeof group))
    add_hierarchy(mount, group, bit, false);
}

/// Leaves the group to its children, which alone may have limits in the new hierarchy: all its processes, which must be
/// this one and its parent, go to a child.
static bool make_room(const char *folder) {
  char text[4096], leaf[1100], number[32];
  if (read_text(folder, "cgroup.procs", text, sizeof text) < 0) return false;
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
    if (atoi(line) != getpid() && atoi(line) != getppid()) return false;
  snprintf(leaf, sizeof leaf, "%s/slipway", folder);
  if (mkdir(leaf, 0755) != 0 && errno != EEXIST) return false;
  int members[] = {getppid(), getpid()};
  for (unsigned i = 0; i < 2; i++) {
    snprintf(number, sizeof number, "%d", members[i]);
    if (write_file(leaf, "cgroup.procs", number) != 0) return false;
  }
  return write_file(folder, "cgroup.subtree_control", "+pids +memory") == 0;
}

static void find_second(void) {
  struct statfs system;
  char group[512], text[512];
  if (statfs("/sys/fs/cgroup", &system) != 0 || system.f_type != CGROUP2_SUPER_MAGIC ||
      !own_group("", group, sizeof group))
    return;
  add_hierarchy("/sys/fs/cgroup", group, SLIPWAY_SANDBOX_LIMITS_PROCESSES | SLIPWAY_SANDBOX_LIMITS_MEMORY, true);
  if (hierarchy_count == 0) return;
  const char *folder = hierarchies[0].folder;
  bool offered = read_text(folder, "cgroup.controllers", text, sizeof text) > 0 && has_word(text, "pids") &&
                 has_word(text, "memory");
  bool enabled = read_text(folder, "cgroup.subtree_control", text, sizeof text) > 0 && has_word(text, "pids") &&
                 has_word(text, "memory");
  if (!offered || (!enabled && !make_room(folder))) hierarchy_count = 0;
}

/// Removes the groups of helpers that were killed.
static void clear_old(const char *folder) {
  DIR *stream = opendir(folder);
  if (stream == NULL) return;
  for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
    if (strncmp(entry->d_name, "slipway.", 8) != 0) continue;
    int old = openat(dirfd(stream), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (old < 0) continue;
    if (flock(old, LOCK_EX | LOCK_NB) == 0) unlinkat(dirfd(stream), entry->d_name, AT_REMOVEDIR);
    close(old);
  }
  closedir(stream);
}

static void find(void) {
  static bool done;
  if (done) return;
  done = true;
  find_second();
  if (hierarchy_count == 0) {
    find_first("pids", SLIPWAY_SANDBOX_LIMITS_PROCESSES);
    find_first("memory", SLIPWAY_SANDBOX_LIMITS_MEMORY);
  }
  for (unsigned i = 0; i < hierarchy_count; i++) clear_old(hierarchies[i].folder);
}

static void slot_folder(const struct hierarchy *hierarchy, unsigned slot, char *folder, size_t size) {
  snprintf(folder, size, "%s/slipway.%d.%016jx", hierarchy->folder, (int)getpid(), (uintmax_t)slots[slot].name);
}

static int set_number(const char *folder, const char *name, uint64_t value, const char *unlimited) {
  char text[32];
  if (value == 0)
    snprintf(text, sizeof text, "%s", unlimited);
  else
    snprintf(text, sizeof text, "%ju", (uintmax_t)value);
  return write_file(folder, name, text);
}

static int set_limits(const struct hierarchy *hierarchy, const char *folder, uint64_t processes, uint64_t memory) {
  if ((hierarchy->controllers & SLIPWAY_SANDBOX_LIMITS_PROCESSES) &&
      set_number(folder, "pids.max", processes, "max") != 0)
    return -1;
  if (!(hierarchy->controllers & SLIPWAY_SANDBOX_LIMITS_MEMORY)) return 0;
  if (hierarchy->second) {
    // There is no such file where the kernel has no swap.
    write_file(folder, "memory.swap.max", memory == 0 ? "max" : "0");
    return set_number(folder, "memory.max", memory, "max");
  }
  // Memory and swap together may never be less than memory alone, on the way neither.
  write_file(folder, "memory.memsw.limit_in_bytes", "-1");
  if (set_number(folder, "memory.limit_in_bytes", memory, "-1") != 0) return -1;
  if (memory != 0) set_number(folder, "memory.memsw.limit_in_bytes", memory, "-1");
  return 0;
}

static void remove_slot(unsigned slot) {
  char folder[1200];
  for (unsigned i = 0; i < hierarchy_count; i++) {
    if (slots[slot].locks[i] < 0) continue;
    slot_folder(&hierarchies[i], slot, folder, sizeof folder);
    rmdir(folder);
    close(slots[slot].locks[i]);
  }
  slots[slot] = (struct slot){.made = false};
}

static bool make_slot(unsigned number) {
  struct slot *slot = &slots[number];
  *slot = (struct slot){.made = true, .locks = {-1, -1}};
  // Process ids repeat from one pid namespace to another.
  if (getrandom(&slot->name, sizeof slot->name, 0) != sizeof slot->name) return false;
  for (unsigned i = 0; i < hierarchy_count; i++) {
    char folder[1200];
    slot_folder(&hierarchies[i], number, folder, sizeof folder);
    if (mkdir(folder, 0755) != 0) return false;
    slot->locks[i] = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (slot->locks[i] < 0 || flock(slot->locks[i], LOCK_EX | LOCK_NB) != 0) return false;
  }
  return true;
}

static bool prepare_slot(unsigned number, uint64_t processes, uint64_t memory) {
  struct slot *slot = &slots[number];
  if (slot->made && slot->processes == processes && slot->memory == memory) return true;
  bool ready = slot->made || make_slot(number);
  for (unsigned i = 0; ready && i < hierarchy_count; i++) {
    char folder[1200];
    slot_folder(&hierarchies[i], number, folder, sizeof folder);
    ready = set_limits(&hierarchies[i], folder, processes, memory) == 0;
  }
  if (!ready) {
    remove_slot(number);
    return false;
  }
  slot->processes = processes;
  slot->memory = memory;
  return true;
}

/// Opens what the command needs to enter the group, and process 1 to look at it.
static bool open_slot(struct request *request, unsigned number) {
  for (unsigned i = 0; i < hierarchy_count; i++) {
    const struct hierarchy *hierarchy = &hierarchies[i];
    char folder[1200], path[1300];
    slot_folder(hierarchy, number, folder, sizeof folder);
    snprintf(path, sizeof path, "%s/cgroup.procs", folder);
    request->group_fds[i] = open(path, O_WRONLY | O_CLOEXEC);
    if (request->group_fds[i] < 0) return false;
    request->limits |= hierarchy->controllers;
    if (!(hierarchy->controllers & SLIPWAY_SANDBOX_LIMITS_MEMORY)) continue;
    snprintf(path, sizeof path, "%s/%s", folder, hierarchy->second ? "memory.events" : "memory.oom_control");
    request->memory_events = open(path, O_RDONLY | O_CLOEXEC);
  }
  return true;
}

void cgroup_take(struct request *request) {
  // Processes are counted by the user namespace, too (init.c), and to enter a group of the old hierarchies takes 10 ms:
  // the kernel waits until every processor has seen that it begins.
  if (request->total_memory == 0) return;
  find();
  unsigned number = 0;
  while (number < sizeof slots / sizeof *slots && slots[number].used) number++;
  if (hierarchy_count == 0 || number == sizeof slots / sizeof *slots) return;
  // A helper that starts may take a group that is not locked yet for an old one.
  for (unsigned attempt = 0; attempt < 5; attempt++) {
    if (prepare_slot(number, request->processes, request->total_memory)) {
      if (open_slot(request, number)) {
        slots[number].used = true;
        request->slot = (int)number;
        return;
      }
      remove_slot(number);
    }
    cgroup_close(request);
  }
}

void cgroup_close(struct request *request) {
  for (unsigned i = 0; i < 2; i++) {
    if (request->group_fds[i] >= 0) close(request->group_fds[i]);
    request->group_fds[i] = -1;
  }
  if (request->memory_events >= 0) close(request->memory_events);
  request->memory_events = -1;
  request->limits = 0;
}

void cgroup_enter(struct request *request) {
  for (unsigned i = 0; i < 2; i++)
    if (request->group_fds[i] >= 0 && write(request->group_fds[i], "0", 1) != 1) request->limits = 0;
}

void cgroup_release(int slot) {
  if (slot >= 0) slots[slot].used = false;
}

void cgroup_remove_all(void) {
  for (unsigned i = 0; i < sizeof slots / sizeof *slots; i++)
    if (slots[i].made) remove_slot(i);
}

uint64_t cgroup_kills(int events) {
  char text[1024];
  ssize_t n = events < 0 ? -1 : pread(events, text, sizeof text - 1, 0);
  if (n <= 0) return 0;
  text[n] = 0;
  const char *found = strstr(text, "oom_kill ");
  return found == NULL ? 0 : strtoull(found + 9, NULL, 10);
}
