"""Run a program from which facilities of the kernel are hidden: hiding.py PID,PID... FACILITY... -- PROGRAM ARGUMENT...

In a mount namespace of its own, and in no other way than a kernel would do without them:

    fdinfo         /proc/PID/fdinfo tells no connection, and the kernel says that it is Linux 2.6, as Linux can
    stack, syscall, wchan
                   these files of all threads of the processes are empty
    fusectl        is not mounted
    tracing        tracefs is not mounted, and nobody may mount it
    capabilities   root has none: it may not trace others, mount, or see their stacks
    yama           kernel.yama.ptrace_scope is 1, and pidfd_getfd is refused as it would be to a user
    getfd          there is no pidfd_getfd, as before Linux 5.6
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import struct
import sys
from pathlib import Path

from namespaces import MNT_DETACH, bind, call, enter_private_mounts, mount, umount

UNAME26 = 0x0020000  # personality(2)
PR_CAPBSET_DROP = 24
EPERM, ENOSYS = 1, 38
FSOPEN, PIDFD_GETFD = 430, 438  # the same on every architecture but Alpha
PR_SET_SECCOMP, FILTER = 22, 2
REFUSE, ALLOW = 0x00050000, 0x7FFF0000
FUSECTL = Path("/sys/fs/fuse/connections")
NOTHING = Path("/dev/null")


def hide_fdinfo(pids: list[int]) -> None:
    """Show what an older kernel would show of open files."""
    for pid in {*pids, *holders()}:
        place = Path(f"/proc/{pid}/fdinfo")
        told = {file.name: file.read_text() for file in place.iterdir()}
        mount("tmpfs", place, "tmpfs")
        for name, text in told.items():
            (place / name).write_text(re.sub(r"(?m)^fuse_connection:.*\n", "", text))
    call("personality", UNAME26)


def holders() -> set[int]:
    """Return all processes that have /dev/fuse open."""
    found: set[int] = set()
    for place in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(place) == "/dev/fuse":
                found.add(int(place.parts[2]))
    return found


def hide_files(pids: list[int], name: str) -> None:
    """Have a file of every thread be empty."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            bind(NOTHING, task / name)
        bind(NOTHING, Path(f"/proc/{pid}/{name}"))


def hide_fusectl() -> None:
    """Unmount it, however often it is mounted."""
    while os.path.ismount(FUSECTL):
        umount(FUSECTL)


def hide_tracing() -> None:
    """Unmount it wherever it is mounted, and let nobody make a mount of it."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines()[::-1]:
        if " - tracefs " in line:
            umount(Path(line.split()[4]), MNT_DETACH)
    refuse(FSOPEN, EPERM)


def refuse(syscall: int, error: int) -> None:
    """Have a system call fail for the program: a filter of four instructions (seccomp(2), linux/filter.h)."""
    program = struct.pack(
        "=HBBIHBBIHBBIHBBI",
        *(0x20, 0, 0, 0),  # load the number of the call
        *(0x15, 0, 1, syscall),  # unless it is this, go on behind the next
        *(0x06, 0, 0, REFUSE | error),
        *(0x06, 0, 0, ALLOW),
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", 4, ctypes.addressof(buffer))
    call("prctl", PR_SET_SECCOMP, FILTER, header, 0, 0)


def drop_capabilities() -> None:
    """Have the program begin with none; ours go when it begins."""
    for capability in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)


def show_yama() -> None:
    """Have the setting read as Debian and Ubuntu have it."""
    place = Path("/proc/sys/kernel")
    last = (place / "cap_last_cap").read_text()
    mount("tmpfs", place, "tmpfs")
    (place / "cap_last_cap").write_text(last)
    (place / "yama").mkdir()
    (place / "yama/ptrace_scope").write_text("1\n")
    refuse(PIDFD_GETFD, EPERM)


def main(pids: list[int], facilities: list[str], program: list[str]) -> None:
    """Hide, and become the program."""
    enter_private_mounts()
    for facility in facilities:
        match facility:
            case "fdinfo":
                hide_fdinfo(pids)
            case "fusectl":
                hide_fusectl()
            case "yama":
                show_yama()
            case "tracing":
                hide_tracing()
            case "getfd":
                refuse(PIDFD_GETFD, ENOSYS)
            case "capabilities":
                pass
            case _:
                hide_files(pids, facility)
    if "capabilities" in facilities:  # last: the others need them
        drop_capabilities()
    os.execv(program[0], program)


if __name__ == "__main__":
    split = sys.argv.index("--")
    main([int(word) for word in sys.argv[1].split(",")], sys.argv[2:split], sys.argv[split + 1 :])
