#include "internal.h"

#include <sys/mman.h>

/// A position in the body. Integers are little-endian, as is every machine that Slipway runs on; strings are a length,
/// the bytes and a zero, so that they can be used in place.
struct reader {
  char *next, *end;
};

static int read_bytes(struct reader *reader, void *value, size_t size) {
  if ((size_t)(reader->end - reader->next) < size) return fail("cannot read the specification: it is cut off");
  memcpy(value, reader->next, size);
  reader->next += size;
  return 0;
}

static int read_string(struct reader *reader, char **value) {
  uint32_t length;
  if (read_bytes(reader, &length, sizeof length) != 0) return -1;
  if ((size_t)(reader->end - reader->next) < (size_t)length + 1 || reader->next[length] != 0 ||
      memchr(reader->next, 0, length) != NULL)
    return fail("cannot read the specification: a string is cut off or holds a zero byte");
  *value = reader->next;
  reader->next += length + 1;
  return 0;
}

static int read_list(struct reader *reader, struct list *list) {
  uint32_t count;
  if (read_bytes(reader, &count, sizeof count) != 0) return -1;
  // Each string takes at least five bytes: a larger count is a lie, and would be allocated.
  if (count > (size_t)(reader->end - reader->next) / 5) return fail("cannot read the specification: a list is cut off");
  list->items = calloc((size_t)count + 1, sizeof *list->items);
  if (list->items == NULL) return fail("cannot read the specification");
  list->count = count;
  for (uint32_t i = 0; i < count; i++)
    if (read_string(reader, &list->items[i]) != 0) return -1;
  return 0;
}

static int *no_handles(uint32_t count) {
  int *handles = malloc(sizeof(int) * ((size_t)count + 1));
  for (uint32_t i = 0; handles != NULL && i < count; i++) handles[i] = -1;
  return handles;
}

int request_parse(struct request *request, int body_fd, uint64_t length) {
  errno = EPROTO;
  if (length == 0 || length > (1u << 28)) return fail("cannot read the specification: it has %ju bytes", length);
  // A private mapping: strings are used in place, and a later write by the sender is not wanted.
  void *body = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, body_fd, 0);
  if (body == MAP_FAILED) return fail("cannot read the specification");
  request->body = body;
  request->body_length = length;
  errno = EPROTO;
  struct reader reader = {.next = body, .end = (char *)body + length};
  uint64_t numbers[6];
  if (read_bytes(&reader, &request->flags, sizeof request->flags) != 0 ||
      read_bytes(&reader, numbers, sizeof numbers) != 0 || read_string(&reader, &request->scratch_folder) != 0 ||
      read_string(&reader, &request->hostname) != 0 || read_string(&reader, &request->working_directory) != 0 ||
      read_string(&reader, &request->runtime) != 0 || read_string(&reader, &request->configuration) != 0 ||
      read_list(&reader, &request->layers) != 0 || read_list(&reader, &request->sources) != 0 ||
      read_list(&reader, &request->targets) != 0 || read_list(&reader, &request->kinds) != 0 ||
      read_list(&reader, &request->arguments) != 0 ||
      read_list(&reader, &request->environment) != 0 || read_list(&reader, &request->outputs) != 0)
    return -1;
  request->processes = numbers[0];
  request->memory = numbers[1];
  request->file_size = numbers[2];
  request->scratch = numbers[3];
  request->wall_clock_ms = numbers[4];
  request->total_memory = numbers[5];
  if (request->arguments.count == 0 || request->sources.count != request->targets.count ||
      request->sources.count != request->kinds.count)
    return fail("cannot read the specification: it has no command, or mounts without targets");
  request->layer_fds = no_handles(request->layers.count);
  request->mount_fds = no_handles(request->sources.count);
  if (request->layer_fds == NULL || request->mount_fds == NULL) return fail("cannot read the specification");
  return 0;
}

static void close_all(int *handles, uint32_t count) {
  for (uint32_t i = 0; handles != NULL && i < count; i++)
    if (handles[i] >= 0) close(handles[i]);
  free(handles);
}

void request_free(struct request *request) {
  close_all(request->layer_fds, request->layers.count);
  close_all(request->mount_fds, request->sources.count);
  if (request->scratch_fd >= 0) close(request->scratch_fd);
  cgroup_close(request);
  for (int i = 0; i < 3; i++)
    if (request->stdio[i] >= 0) close(request->stdio[i]);
  free(request->layers.items);
  free(request->sources.items);
  free(request->targets.items);
  free(request->kinds.items);
  free(request->arguments.items);
  free(request->environment.items);
  free(request->outputs.items);
  if (request->body != NULL) munmap(request->body, request->body_length);
}
