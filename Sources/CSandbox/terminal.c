#include "internal.h"

#include <sys/ioctl.h>
#include <termios.h>

// `slipway shell`: the command gets a terminal of the sandbox's own, so that job control works inside and nothing can
// be typed into the caller's; process 1 carries the bytes.

int terminal_open(struct terminal *terminal, struct request *request) {
  terminal->outer_in = request->stdio[0];
  terminal->outer_out = request->stdio[1];
  terminal->input_open = true;
  terminal->master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  int unlock = 0, number;
  if (terminal->master < 0 || ioctl(terminal->master, TIOCSPTLCK, &unlock) != 0 ||
      ioctl(terminal->master, TIOCGPTN, &number) != 0)
    return fail("cannot open a terminal");
  // By the master's own call: the name in /dev/pts is not to be trusted more than needed.
  terminal->slave = ioctl(terminal->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal->slave < 0) return fail("cannot open a terminal");
  struct termios settings;
  _Static_assert(sizeof settings <= sizeof terminal->settings, "room for the terminal's settings");
  if (tcgetattr(terminal->outer_in, &settings) == 0) {
    memcpy(terminal->settings, &settings, sizeof settings);
    terminal->saved = true;
    tcsetattr(terminal->slave, TCSANOW, &settings);
    cfmakeraw(&settings);
    tcsetattr(terminal->outer_in, TCSADRAIN, &settings);
  }
  terminal_resize(terminal);
  return 0;
}

void terminal_resize(struct terminal *terminal) {
  // Polled: this process is in another session than the caller's terminal, and gets no SIGWINCH.
  struct winsize outer, inner;
  if (ioctl(terminal->outer_out, TIOCGWINSZ, &outer) != 0 || ioctl(terminal->master, TIOCGWINSZ, &inner) != 0) return;
  if (memcmp(&outer, &inner, sizeof outer) != 0) ioctl(terminal->master, TIOCSWINSZ, &outer);
}

static void copy_all(int fd, const char *bytes, ssize_t length) {
  while (length > 0) {
    ssize_t n = write(fd, bytes, (size_t)length);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    bytes += n;
    length -= n;
  }
}

void terminal_drain(struct terminal *terminal) {
  char buffer[8192];
  // With every process gone, what is left ends in EIO.
  for (ssize_t n; (n = read(terminal->master, buffer, sizeof buffer)) > 0;) copy_all(terminal->outer_out, buffer, n);
}

void terminal_relay(struct terminal *terminal, bool in_ready, bool out_ready) {
  char buffer[8192];
  if (out_ready) {
    ssize_t n = read(terminal->master, buffer, sizeof buffer);
    copy_all(terminal->outer_out, buffer, n);
  }
  if (in_ready) {
    ssize_t n = read(terminal->outer_in, buffer, sizeof buffer);
    if (n > 0) {
      copy_all(terminal->master, buffer, n);
    } else if (n == 0 || errno != EINTR) {
      // The end of the input is typed, as a user would: ^D.
      terminal->input_open = false;
      copy_all(terminal->master, "\004", 1);
    }
  }
}

void terminal_close(struct terminal *terminal) {
  if (!terminal->saved) return;
  struct termios settings;
  memcpy(&settings, terminal->settings, sizeof settings);
  tcsetattr(terminal->outer_in, TCSADRAIN, &settings);
}
