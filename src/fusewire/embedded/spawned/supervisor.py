"""The process between us and a spawned daemon: it starts the daemon, and ends all that comes of it.

A program of its own, `supervisor.py CONTROL PASSED COMMAND...`, copied to where it is run
(directory.py). It imports nothing of ours and little else, for whoever spawns a daemon waits for it.

It is the *subreaper* of the daemon: a process of the daemon's whose parent has ended becomes our
child, so a daemon that goes to the background is found here. The daemon gets no CAP_SYS_ADMIN, and
no program that it executes gets more rights than it has, so it cannot mount by itself. And it gets
no vmsplice(2): libfuse would splice replies into its device, and a socket cuts what is spliced into
pieces. Where vmsplice fails libfuse writes.

Over the socket CONTROL each message is one line:

    here: 'signal N'        send it to every process of the daemon's
    here: the end           kill them all, remove the directory that we lie in, and exit; it comes also if
                            whoever spawned us has died
    there: 'started N'      the daemon's pid; or 'failed N': it could not be executed, errno N
    there: 'ended N'        the process that was started has ended, with this status of waitpid(2)
    there: 'sent N'         the signal has been sent
    there: 'gone'           no process is left

Source: prctl(2), PR_SET_CHILD_SUBREAPER, PR_CAPBSET_DROP; capabilities(7).
"""

import ctypes
import errno
import os
import select
import signal
import socket
import struct
import sys
import time
from typing import Final

PR_SET_SECCOMP: Final = 22  # include/uapi/linux/prctl.h
PR_CAPBSET_DROP: Final = 24
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
CAP_SYS_ADMIN: Final = 21
CAPABILITIES: Final = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
SECCOMP_MODE_FILTER: Final = 2  # include/uapi/linux/seccomp.h
REFUSE: Final = 0x0005_0000 | errno.ENOSYS  # SECCOMP_RET_ERRNO
ALLOW: Final = 0x7FFF_0000  # SECCOMP_RET_ALLOW
VMSPLICE: Final = {"x86_64": (0xC000_003E, 278), "aarch64": (0xC000_00B7, 75)}  # AUDIT_ARCH_..., its number there
PAUSE: Final = 0.005  # seconds between two looks at whether what was killed has gone
PATIENCE: Final = 10.0  # seconds after which we give up on what cannot even be killed
FAILED: Final = 127  # what a child ends with that could not execute its program

libc = ctypes.CDLL(None, use_errno=True)


def main(control: socket.socket, passed: int, command: list[str]) -> None:
    """Start `command` and look after it. It gets the descriptor `passed`, unless that is negative."""
    woken = wake_on_child()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        daemon = start(command, control)
        if passed >= 0:
            os.close(passed)
        look_after(daemon, control, woken)
    except (BrokenPipeError, ConnectionResetError):
        pass  # whoever spawned us has died
    finally:
        kill_all()
        tidy_up(os.path.dirname(os.path.abspath(__file__)))


def wake_on_child() -> int:
    """Return a descriptor that becomes readable when a child has ended; have other signals do nothing."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    return reading


# --- starting


def start(command: list[str], control: socket.socket) -> int:
    """Start the daemon; return its pid. Tells it, or why it cannot be executed."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if not pid:
        become(command, writing)
    os.close(writing)
    with open(reading, "rb") as failure:
        code = failure.read()
    control.send(b"failed " + code if code else b"started %d" % pid)
    return pid


def become(command: list[str], writing: int) -> None:
    """Be the daemon from now on; if that fails, write the errno. Does not return."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        give_up_rights()
        give_up_vmsplice()
        os.execvp(command[0], command)
    except OSError as error:
        os.write(writing, str(error.errno or errno.EIO).encode())
    finally:
        os._exit(FAILED)


def give_up_rights() -> None:
    """Be unable to mount, whatever is executed. Who may not give that up cannot mount either."""
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    libc.prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0)
    head = (ctypes.c_uint32 * 2)(CAPABILITIES, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the first three have CAP_SYS_ADMIN
    if libc.capget(head, sets) == 0:
        for number in range(3):
            sets[number] &= ~(1 << CAP_SYS_ADMIN)
        libc.capset(head, sets)


def give_up_vmsplice() -> None:
    """Have vmsplice(2) fail with ENOSYS, here and in whatever is executed; on other machines than these do nothing."""
    if os.uname().machine not in VMSPLICE:
        return
    architecture, number = VMSPLICE[os.uname().machine]
    rows = (
        (0x20, 0, 0, 4),  # BPF_LD: seccomp_data.arch
        (0x15, 0, 3, architecture),  # BPF_JEQ: another's calls are allowed
        (0x20, 0, 0, 0),  # seccomp_data.nr
        (0x15, 0, 1, number),
        (0x06, 0, 0, REFUSE),  # BPF_RET
        (0x06, 0, 0, ALLOW),
    )
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in rows))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(rows), ctypes.addressof(instructions)))
    libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)


# --- looking after it


def look_after(daemon: int, control: socket.socket, woken: int) -> None:
    """Tell who ends, and pass signals on, until we are to end."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(woken, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == woken:
                os.read(woken, 4096)
                tell_who_ended(daemon, control)
            elif not obey(control.recv(4096), control):
                return


def tell_who_ended(daemon: int, control: socket.socket) -> None:
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            if pid == daemon:
                control.send(b"ended %d" % status)
    except ChildProcessError:
        control.send(b"gone")


def obey(order: bytes, control: socket.socket) -> bool:
    """Do what we are told; False if that is to end."""
    word, _, number = order.partition(b" ")
    if word == b"signal":
        send(int(number))
        control.send(b"sent " + number)
    return bool(order)


def send(number: int) -> None:
    for pid in descendants():
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # it has just ended; or it is another user's by now


def descendants() -> list[int]:
    """Return the pids of all processes that come of us."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            children.setdefault(parent(name), []).append(int(name))
    found = children.get(os.getpid(), [])
    for pid in found:  # which grows meanwhile
        found += children.get(pid, [])
    return found


def parent(name: str) -> int:
    """Return the pid of the parent of a process; 0 if it is gone."""
    try:
        with open(f"/proc/{name}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


# --- ending


def kill_all() -> None:
    """Kill until no process is left: one that was stopped dies of it as well."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        send(signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(PAUSE)


def tidy_up(directory: str) -> None:
    """Remove the directory that was made for this daemon, and nothing that is mounted below it."""
    device = os.lstat(directory).st_dev
    for parent, directories, files in os.walk(directory, topdown=False):
        if os.lstat(parent).st_dev != device:
            return
        for name in files + [name for name in directories if os.path.islink(os.path.join(parent, name))]:
            os.unlink(os.path.join(parent, name))
        os.rmdir(parent)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), sys.argv[3:])
