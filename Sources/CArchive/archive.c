// libarchive, loaded by whoever first calls it.
//
// It brings libxml2 and ICU with it: linked, they cost every start of the program a millisecond, of which a build of
// what did not change has twenty. Each function below is libarchive's own of the same name; one that is used and not
// listed here fails to link.

#include "include/CArchive.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const char library_name[] = "libarchive.so.13";
static void *library;

static void load(void) { library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL); }

static void *function(const char *name) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  void *found = library ? dlsym(library, name) : NULL;
  if (!found) {
    fprintf(stderr, "error: cannot load `%s`: %s\nhint: install libarchive: apt-get install libarchive13\n",
            library_name, dlerror());
    _Exit(36);
  }
  return found;
}

// Two threads that meet here store the same pointer.
#define FORWARD(result, name, parameters, arguments)                              \
  __attribute__((visibility("hidden"))) result name parameters {                  \
    static result(*cached) parameters;                                            \
    result(*known) parameters = __atomic_load_n(&cached, __ATOMIC_RELAXED);       \
    if (!known) {                                                                 \
      known = (result(*) parameters)function(#name);                              \
      __atomic_store_n(&cached, known, __ATOMIC_RELAXED);                         \
    }                                                                             \
    return known arguments;                                                       \
  }

typedef struct archive Archive;
typedef struct archive_entry Entry;

FORWARD(int, archive_errno, (Archive * a), (a))
FORWARD(const char *, archive_error_string, (Archive * a), (a))

FORWARD(Entry *, archive_entry_new, (void), ())
FORWARD(Entry *, archive_entry_clear, (Entry * e), (e))
FORWARD(void, archive_entry_free, (Entry * e), (e))
FORWARD(const char *, archive_entry_hardlink, (Entry * e), (e))
FORWARD(const char *, archive_entry_pathname, (Entry * e), (e))
FORWARD(const char *, archive_entry_symlink, (Entry * e), (e))
FORWARD(__LA_MODE_T, archive_entry_mode, (Entry * e), (e))
FORWARD(time_t, archive_entry_mtime, (Entry * e), (e))
FORWARD(long, archive_entry_mtime_nsec, (Entry * e), (e))
FORWARD(la_int64_t, archive_entry_size, (Entry * e), (e))
FORWARD(void, archive_entry_set_filetype, (Entry * e, unsigned type), (e, type))
FORWARD(void, archive_entry_set_gid, (Entry * e, la_int64_t id), (e, id))
FORWARD(void, archive_entry_set_uid, (Entry * e, la_int64_t id), (e, id))
FORWARD(void, archive_entry_set_mtime, (Entry * e, time_t s, long ns), (e, s, ns))
FORWARD(void, archive_entry_set_pathname, (Entry * e, const char *path), (e, path))
FORWARD(void, archive_entry_set_symlink, (Entry * e, const char *target), (e, target))
FORWARD(void, archive_entry_set_perm, (Entry * e, __LA_MODE_T mode), (e, mode))
FORWARD(void, archive_entry_set_size, (Entry * e, la_int64_t size), (e, size))

FORWARD(Archive *, archive_read_new, (void), ())
FORWARD(int, archive_read_free, (Archive * a), (a))
FORWARD(int, archive_read_support_filter_gzip, (Archive * a), (a))
FORWARD(int, archive_read_support_filter_zstd, (Archive * a), (a))
FORWARD(int, archive_read_support_format_empty, (Archive * a), (a))
FORWARD(int, archive_read_support_format_raw, (Archive * a), (a))
FORWARD(int, archive_read_support_format_tar, (Archive * a), (a))
FORWARD(int, archive_filter_code, (Archive * a, int number), (a, number))
FORWARD(int, archive_read_open_memory, (Archive * a, const void *bytes, size_t count), (a, bytes, count))
FORWARD(int, archive_read_open_fd, (Archive * a, int file, size_t block), (a, file, block))
FORWARD(int, archive_read_open,
        (Archive * a, void *data, archive_open_callback *open, archive_read_callback *read,
         archive_close_callback *close),
        (a, data, open, read, close))
FORWARD(int, archive_read_next_header, (Archive * a, Entry **e), (a, e))
FORWARD(int, archive_read_data_block, (Archive * a, const void **bytes, size_t *count, la_int64_t *offset),
        (a, bytes, count, offset))

FORWARD(Archive *, archive_write_new, (void), ())
FORWARD(int, archive_write_free, (Archive * a), (a))
FORWARD(int, archive_write_close, (Archive * a), (a))
FORWARD(int, archive_write_fail, (Archive * a), (a))
FORWARD(int, archive_write_add_filter_gzip, (Archive * a), (a))
FORWARD(int, archive_write_add_filter_zstd, (Archive * a), (a))
FORWARD(int, archive_write_add_filter_none, (Archive * a), (a))
FORWARD(int, archive_write_set_format_pax_restricted, (Archive * a), (a))
FORWARD(int, archive_write_set_format_raw, (Archive * a), (a))
FORWARD(int, archive_write_set_bytes_in_last_block, (Archive * a, int count), (a, count))
FORWARD(int, archive_write_set_bytes_per_block, (Archive * a, int count), (a, count))
FORWARD(int, archive_write_set_filter_option,
        (Archive * a, const char *module, const char *option, const char *value), (a, module, option, value))
FORWARD(int, archive_write_open,
        (Archive * a, void *data, archive_open_callback *open, archive_write_callback *write,
         archive_close_callback *close),
        (a, data, open, write, close))
FORWARD(int, archive_write_open_memory, (Archive * a, void *buffer, size_t size, size_t *used),
        (a, buffer, size, used))
FORWARD(int, archive_write_header, (Archive * a, Entry *e), (a, e))
FORWARD(la_ssize_t, archive_write_data, (Archive * a, const void *bytes, size_t count), (a, bytes, count))
