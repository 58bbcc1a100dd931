#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

struct failure failure;

int fail(const char *format, ...) {
  failure.error = errno;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(failure.message, sizeof failure.message, format, arguments);
  va_end(arguments);
  return -1;
}

int send_reply(struct slipway_sandbox_reply *reply, const int *fds, unsigned count) {
  reply->magic = MAGIC;
  struct iovec part = {.iov_base = reply, .iov_len = sizeof *reply};
  union {
    char bytes[CMSG_SPACE(sizeof(int) * SLIPWAY_SANDBOX_FDS_PER_REPLY)];
    struct cmsghdr align;
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
  if (count > 0) {
    header.msg_control = &control;
    header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(rights), fds, sizeof(int) * count);
  }
  for (unsigned attempt = 0;; attempt++) {
    if (sendmsg(CONTROL_FD, &header, MSG_NOSIGNAL) == sizeof *reply) return 0;
    if (errno == EINTR) continue;
    // Too many descriptors of this user are on their way; the caller takes some out soon.
    if (errno != ETOOMANYREFS || attempt > 2000) return -1;
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  }
}

void send_failure(uint64_t id) {
  struct slipway_sandbox_reply reply = {.kind = SLIPWAY_SANDBOX_FAILED, .id = id, .error = failure.error};
  memcpy(reply.message, failure.message, sizeof reply.message);
  send_reply(&reply, NULL, 0);
}
