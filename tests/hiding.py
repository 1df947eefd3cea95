"""Run a program from which facilities of the kernel are hidden: hiding.py PID,PID... FACILITY... -- PROGRAM ARGUMENT...

In a mount namespace of its own, and in no other way than a kernel would do without them:

    fdinfo         /proc/PID/fdinfo tells no connection, and the kernel says that it is Linux 2.6, as Linux can
    stack, syscall, wchan
                   these files of all threads of the processes are empty
    fusectl        is not mounted
    capabilities   root has none: it may not trace others, mount, or see their stacks
    yama           kernel.yama.ptrace_scope is 1 (it refuses nobody by itself: drop the capabilities as well)
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from namespaces import bind, call, enter_private_mounts, mount, umount

UNAME26 = 0x0020000  # personality(2)
PR_CAPBSET_DROP = 24
FUSECTL = Path("/sys/fs/fuse/connections")
NOTHING = Path("/dev/null")


def hide_fdinfo(pids: list[int]) -> None:
    """Show what an older kernel would show of open files."""
    for pid in pids:
        place = Path(f"/proc/{pid}/fdinfo")
        told = {file.name: file.read_text() for file in place.iterdir()}
        mount("tmpfs", place, "tmpfs")
        for name, text in told.items():
            (place / name).write_text(re.sub(r"(?m)^fuse_connection:.*\n", "", text))
    call("personality", UNAME26)


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
