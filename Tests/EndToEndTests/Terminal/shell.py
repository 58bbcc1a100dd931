"""Types into `slipway shell` as a person at a terminal does; the arguments are its command line.

Ends with 0 when everything was as it should be; else it says what was missing, and shows all that was printed.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

TIMEOUT = 60


class Terminal:
    def __init__(self, command):
        self.text = ""
        self.seen = 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)
        # As the terminal was before anybody changed it: the child has not run yet, or has not come that far.
        self.settings = termios.tcgetattr(self.fd)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 4096)
        except OSError:
            return False
        self.text += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)

    def expect(self, wanted):
        """Waits for a text behind all that was waited for before."""
        end = time.monotonic() + TIMEOUT
        while wanted not in self.text[self.seen :]:
            if time.monotonic() > end or not self.read(1):
                self.fail(f"no {wanted!r}")
        self.seen = self.text.index(wanted, self.seen) + len(wanted)

    def type(self, text):
        os.write(self.fd, text.encode())

    def fail(self, message):
        sys.exit(f"{message} in:\n{self.text}")


def main():
    terminal = Terminal(sys.argv[1:])
    terminal.resize(31, 97)
    terminal.expect("/src/app $ ")
    # The echo of what is typed must not pass for its output: the words differ.
    terminal.type("cat in$((1))\n")
    terminal.expect("\nthe input\n")
    terminal.type("echo $OWN $(id -u) $(ls /)\n")
    terminal.expect("\ndeclared 1000 bin dev proc src tmp\n")
    terminal.type("stty size\n")
    terminal.expect("\n31 97\n")
    terminal.resize(40, 120)
    # A change of the size is looked for a few times a second.
    time.sleep(1)
    terminal.type("stty size\n")
    terminal.expect("\n40 120\n")
    terminal.type("sleep 300\n")
    time.sleep(1)
    terminal.type("\x03")
    terminal.expect("^C")
    terminal.type("echo after:$?\n")
    terminal.expect("\nafter:130\n")
    terminal.type("exit 7\n")
    while terminal.read(TIMEOUT):
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1])
    if status != 7:
        terminal.fail(f"exit status {status}, not 7,")


main()
