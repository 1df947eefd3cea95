"""A place of one's own to hang in: mounts that nobody else sees, and that are gone with their last process.

Root enters a mount namespace. Anybody else needs a user namespace with it, in which he keeps his uid and may mount;
for that /dev/fuse must let him in. The rights of the namespace end at exec, so who has entered forks, and never execs.

Source: mount_namespaces(7), user_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

from fusewire.mounting.device import DEVICE, mode_and_owner
from fusewire.mounting.errors import CONTAINER
from fusewire.mounting.syscalls import libc, mount

__all__ = ["CannotStage", "adopt_orphans", "die_with_parent", "enter", "prepare"]

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
MS_REC_PRIVATE: Final = 0x4000 | 0x40000
PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
SIGKILL: Final = 9
COVERED: Final = "/mnt"  # a tmpfs may be laid over it: there is nothing in it that we need


class CannotStage(Exception):
    """It cannot be shown on a real kernel here. `str()` is a sentence for people."""


def enter() -> None:
    """Move this process into a mount namespace of its own, and a user namespace if need be.

    Raises:
        CannotStage: that is forbidden here, or there is no /dev/fuse to be had.
    """
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise CannotStage(why_no_device())
    try:
        if os.geteuid() == 0:
            unshare(CLONE_NEWNS)
        else:
            enter_user_namespace()
        libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC_PRIVATE), None)
    except OSError as error:
        cure = f"If this is a container, start it with {CONTAINER}" if os.geteuid() == 0 else "Run it with sudo"
        raise CannotStage(f"a namespace of one's own is refused here ({error.strerror}). {cure}") from error


def why_no_device() -> str:
    if not os.path.exists(DEVICE):
        return f"there is no {DEVICE} here: --real needs Linux's own FUSE. Load it with: sudo modprobe fuse"
    return f"you may not open {DEVICE}{mode_and_owner()}. Run it with sudo, or let everybody: sudo chmod 0666 {DEVICE}"


def unshare(flags: int) -> None:
    if libc.unshare(flags) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def enter_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def prepare(directory: str) -> None:
    """See to it that there is a directory to mount on, without leaving one behind.

    One that exists is used: what is mounted on it is seen by us alone. Below /mnt one is made, in a tmpfs of ours.

    Raises:
        CannotStage: it is no directory, or lies where none can be made.
    """
    if os.path.isdir(directory):
        return
    if not directory.startswith(f"{COVERED}/") or not os.path.isdir(COVERED) or is_needed(COVERED):
        raise CannotStage(f"there is no directory {directory} to mount on: name a --path in one that exists")
    mount("fusewire", COVERED, "tmpfs", 0, "mode=0755")
    try:
        os.makedirs(directory)
    except OSError as error:
        raise CannotStage(f"{directory} cannot be made: {error.strerror}") from error


def is_needed(directory: str) -> bool:
    """Tell whether Python, or a module of ours, lies there."""
    places = [sys.prefix, sys.base_prefix, os.getcwd(), *sys.path]
    return any(os.path.realpath(place).startswith(f"{directory}/") for place in places)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that forked it ends."""
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of those below us whose parent dies, so that we hear how they end."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
