"""Attacks on the sandbox, each run inside one: `attacks.py NAME` exits 0 if it held, 1 if it was broken.

No attack does harm where it succeeds: kernel files are opened for writing and left alone, and calls get arguments that
fail for another reason (EFAULT, EINVAL) when no filter stops them first.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import pty
import resource
import signal
import socket
import stat
import sys
import termios

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
X86 = platform.machine() == "x86_64"
NEWUSER = 0x10000000
NAMESPACES = {"user": NEWUSER, "mnt": 0x20000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x8000000,
              "uts": 0x4000000, "cgroup": 0x2000000}
ATTACKS = {}


class Broken(Exception):
    pass


def attack(function):
    ATTACKS[function.__name__] = function


def call(number, *arguments):
    """The errno of a raw system call, 0 where it succeeded."""
    ctypes.set_errno(0)
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *wide) == -1 else 0


def refused(what, number, *arguments, codes=(errno.EPERM,)):
    error = call(number, *arguments)
    if error not in codes:
        raise Broken(f"{what}: {errno.errorcode.get(error, 'it succeeded')}")


def fails(what, function, *arguments, codes=None):
    try:
        function(*arguments)
    except OSError as error:
        if codes and error.errno not in codes:
            raise Broken(f"{what}: {error}") from None
        return
    raise Broken(f"{what}: it succeeded")


def number(x86, arm):
    return x86 if X86 else arm


@attack
def remount_writable():
    for target in (b"/", b"/input", b"/proc", b"/dev"):
        for flags in (32, 32 | 4096):  # MS_REMOUNT, MS_BIND
            refused(f"remount {target}", number(165, 40), None, target, None, flags, None)


@attack
def mount_something():
    refused("mount", number(165, 40), b"none", b"/tmp", b"tmpfs", 0, None)
    refused("umount", number(166, 39), b"/input", 2)
    refused("pivot_root", number(155, 41), b".", b".")
    refused("chroot", number(161, 51), b"/tmp")
    for name, n in {"open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432,
                    "fspick": 433, "mount_setattr": 442}.items():
        refused(name, n, -1, 0, 0, 0, 0)


@attack
def write_kernel_files():
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches",
                 "/proc/sys/net/ipv4/ip_forward", "/proc/sys/user/max_user_namespaces", "/proc/sysrq-trigger",
                 "/proc/irq/default_smp_affinity", "/proc/self/uid_map", "/proc/self/setgroups"):
        fails(path, os.open, path, os.O_WRONLY)
    for path in ("/proc/kcore", "/proc/kmsg", "/dev/mem", "/dev/kmsg", "/dev/fuse", "/dev/vda", "/dev/sda",
                 "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs"):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        if os.read(descriptor, 1):
            raise Broken(f"{path} can be read")


@attack
def set_user_id_files():
    with open("/setid", "w"):
        pass
    fails("chmod", os.chmod, "/setid", 0o4755)
    fails("chmod of the group", os.chmod, "/setid", 0o2755)
    with open("/setid") as file:
        fails("fchmod", os.fchmod, file.fileno(), 0o6755)
    fails("open", os.open, "/setid2", os.O_CREAT | os.O_WRONLY, 0o4755)
    refused("fchmodat2", 452, -100, b"/setid", 0o4755, 0)
    refused("openat2", 437, -100, b"/setid", None, 0, codes=(errno.ENOSYS,))
    os.chmod("/setid", 0o755)
    if os.stat("/setid").st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise Broken("a set-id file")


@attack
def device_nodes():
    for folder in ("/", "/tmp/", "/dev/shm/"):
        for kind, device in ((stat.S_IFCHR, os.makedev(1, 1)), (stat.S_IFBLK, os.makedev(254, 0))):
            fails("mknod", os.mknod, folder + "node", kind | 0o666, device, codes=(errno.EPERM,))
    fails("mknod of a whiteout", os.mknod, "/whiteout", stat.S_IFCHR, 0)
    fails("a file in /dev", os.open, "/dev/new", os.O_CREAT | os.O_WRONLY)


@attack
def change_inputs():
    fails("write", os.open, "/input/file", os.O_WRONLY)
    fails("create", os.open, "/input/new", os.O_WRONLY | os.O_CREAT)
    fails("chmod", os.chmod, "/input/file", 0o777)
    fails("unlink", os.unlink, "/input/file")
    fails("rename", os.rename, "/input/file", "/input/other")
    fails("utime", os.utime, "/input/file")
    fails("link", os.link, "/input/file", "/stolen")
    fails("setxattr", os.setxattr, "/input/file", "user.x", b"1")
    fails("unlink of the mount point", os.rmdir, "/input", codes=(errno.EBUSY, errno.EROFS))


@attack
def change_layers():
    os.link("/victim", "/linked")
    for path in ("/linked", "/victim"):
        with open(path, "w") as file:
            file.write("changed")
    os.chmod("/linked", 0o777)
    os.rename("/victim", "/renamed")
    os.unlink("/renamed")
    os.unlink("/victim-folder/file")
    os.utime("/victim-folder", (1, 1))


@attack
def trace_init():
    for request in (16, 0x4206):  # PTRACE_ATTACH, PTRACE_SEIZE
        refused("ptrace", number(101, 117), request, 1, 0, 0)
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    refused("process_vm_readv", number(310, 270), 1, vector, 1, vector, 1, 0)
    refused("kcmp", number(312, 272), 1, os.getpid(), 0, 0, 0)
    descriptor = os.pidfd_open(1)
    refused("pidfd_getfd", 438, descriptor, 3, 0)


@attack
def look_into_init():
    for name in ("environ", "mem", "maps", "fd", "root", "cwd", "exe", "ns/user", "fdinfo", "syscall", "stack"):
        path = f"/proc/1/{name}"
        fails(path, os.listdir if name in ("fd", "fdinfo", "root", "cwd") else lambda p: os.open(p, 0), path)
    for name in ("root", "exe", "cwd"):
        fails(name, os.readlink, f"/proc/1/{name}")


@attack
def other_processes():
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    if pids[0] != 1 or any(pid not in (1, os.getpid(), os.getppid()) for pid in pids):
        raise Broken(f"processes {pids}")
    root = os.stat("/")
    for pid in pids[1:]:
        there = os.stat(f"/proc/{pid}/root/")
        if (there.st_dev, there.st_ino) != (root.st_dev, root.st_ino):
            raise Broken(f"/proc/{pid}/root")
    outside = int(os.environ["OUTSIDE_PID"])
    if outside not in pids:
        fails("kill", os.kill, outside, 0, codes=(errno.ESRCH,))


@attack
def kill_init():
    for number_ in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGINT, signal.SIGCHLD):
        os.kill(1, number_)


@attack
def keyrings():
    refused("add_key", number(248, 217), b"user", b"slipway", b"x", 1, -4)
    refused("request_key", number(249, 218), b"user", b"slipway", None, 0)
    refused("keyctl", number(250, 219), 0, -3, 0)
    with open("/proc/keys") as file:
        if file.read():
            raise Broken("/proc/keys tells keys")


@attack
def abstract_sockets():
    client = socket.socket(socket.AF_UNIX)
    fails("connect", client.connect, "\0" + os.environ["OUTSIDE_ABSTRACT"], codes=(errno.ECONNREFUSED, errno.EPERM))


@attack
def network():
    with open("/proc/net/dev") as file:
        names = [line.split(":")[0].strip() for line in file if ":" in line]
    if names != ["lo"]:
        raise Broken(f"interfaces {names}")
    fails("the host's loopback", socket.create_connection, ("127.0.0.1", int(os.environ["OUTSIDE_PORT"])), 2)
    fails("the world", socket.create_connection, ("192.0.2.1", 80), 2, codes=(errno.ENETUNREACH,))
    server = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(server.getsockname(), 2).close()
    fails("raw socket", socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)
    fails("packet socket", socket.socket, socket.AF_PACKET, socket.SOCK_RAW)


@attack
def type_into_terminal():
    master, slave = pty.openpty()
    fails("TIOCSTI", fcntl.ioctl, slave, termios.TIOCSTI, b"x", codes=(errno.EPERM,))
    fails("TIOCLINUX", fcntl.ioctl, slave, 0x541C, b"\3", codes=(errno.EPERM,))
    os.close(master)


@attack
def namespaces():
    for name, flag in NAMESPACES.items():
        refused(f"unshare {name}", number(272, 97), flag)
        error = call(number(56, 220), flag | signal.SIGCHLD, 0, 0, 0, 0)
        if error == 0 and os.getpid() != int(os.readlink("/proc/self")):
            os._exit(0)
        if error != errno.EPERM:
            raise Broken(f"clone {name}")
        descriptor = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
        refused(f"setns {name}", number(308, 268), descriptor, 0)
    refused("clone3", 435, None, 0, codes=(errno.ENOSYS,))


@attack
def own_executable():
    fails("/proc/self/exe", os.open, "/proc/self/exe", os.O_WRONLY)
    fails("the interpreter", os.open, os.readlink("/proc/self/exe"), os.O_WRONLY)


@attack
def become_another_user():
    with open("/owned", "w"):
        pass
    fails("chown", os.chown, "/owned", 0, 0)
    fails("chown to nobody", os.chown, "/owned", 65534, 65534)
    for function in (os.setuid, os.setgid, os.seteuid):
        fails("set id", function, 0)
    fails("setgroups", os.setgroups, [0])
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status[name], 16):
            raise Broken(f"{name} {status[name]}")
    if status["NoNewPrivs"] != "1" or status["Seccomp"] != "2":
        raise Broken("privileges can be gained")
    with open("/proc/self/uid_map") as file:
        inside, outside, count = map(int, file.read().split())
    if (inside, count) != (1000, 1) or outside == 0:
        raise Broken(f"user map {inside} {outside} {count}")


@attack
def file_handles():
    refused("open_by_handle_at", number(304, 265), -100, None, 0)
    refused("name_to_handle_at", number(303, 264), -100, b"/", None, None, 0)


@attack
def kernel_surfaces():
    calls = {"bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "kexec_load": (246, 104),
             "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "syslog": (103, 116),
             "acct": (163, 89), "swapon": (167, 224), "quotactl": (179, 60), "fanotify_init": (300, 262),
             "settimeofday": (170, 170), "clock_settime": (227, 112), "adjtimex": (159, 171)}
    for name, (x86, arm) in calls.items():
        refused(name, number(x86, arm), -1, 0, 0, 0, 0)
    for name, n in {"setup": 425, "enter": 426, "register": 427}.items():
        refused(f"io_uring_{name}", n, -1, 0, 0, 0, 0, 0, codes=(errno.ENOSYS,))
    refused("personality", number(135, 92), 0x40000)
    if X86:
        refused("iopl", 172, 3)


@attack
def foreign_system_calls():
    if not X86:
        return
    # By a filter of libseccomp the process is killed at a foreign call, which holds as well.
    if os.fork() == 0:
        os._exit(0 if call(0x40000000 | 39) == errno.ENOSYS else 1)
    if os.waitstatus_to_exitcode(os.wait()[1]) == 1:
        raise Broken("a call by an x32 number")
    # mov eax, 20 (getpid of 32 bits); int 0x80; ret. A kernel without 32-bit calls ends the process instead.
    if os.fork() == 0:
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")
        function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
        os._exit(0 if function() == -errno.ENOSYS else 1)
    if os.waitstatus_to_exitcode(os.wait()[1]) == 1:
        raise Broken("int 0x80")


@attack
def raise_limits():
    for limit in (resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        try:
            resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except (OSError, ValueError):
            continue
        raise Broken(f"limit {limit}")


@attack
def leaked_descriptors():
    extra = [name for name in os.listdir("/proc/self/fd") if int(name) > 2]
    open_ones = [name for name in extra if os.path.lexists(f"/proc/self/fd/{name}")]
    if open_ones:
        raise Broken(f"descriptors {open_ones}")


@attack
def host_paths():
    folder = os.environ["OUTSIDE_FOLDER"]
    for name in ["mounts", "mountinfo", "mountstats"]:
        with open(f"/proc/self/{name}") as file:
            text = file.read()
        if folder in text or os.path.basename(folder) in text:
            raise Broken(text)
    allowed = {"PATH", "HOME", "LC_CTYPE", "OUTSIDE_PID", "OUTSIDE_PORT", "OUTSIDE_ABSTRACT", "OUTSIDE_FOLDER"}
    if set(os.environ) - allowed:
        raise Broken(f"environment {sorted(set(os.environ) - allowed)}")


def main():
    if sys.argv[1] == "--list":
        print("\n".join(ATTACKS))
        return 0
    try:
        ATTACKS[sys.argv[1]]()
    except Broken as broken:
        print(f"broken: {broken}")
        return 1
    print("held")
    return 0


sys.exit(main())
