"""Private mount namespaces, by system call: how a test mounts and leaves no trace.

What is mounted in a mount namespace of one's own is seen nowhere else and is gone with its last
process. Root gets one from unshare(2). Anybody else needs a user namespace with it, in which he
keeps his uid but holds every capability; they are lost at exec, except those raised to *ambient*
ones first, and a command under test that is to mount needs CAP_SYS_ADMIN.

Python has os.unshare only since 3.12, so all of this goes through ctypes. Nothing here uses
fusewire: the tests must not trust what they test.

Source: mount_namespaces(7), user_namespaces(7), capabilities(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000

MS_NOSUID, MS_NODEV = 0x2, 0x4
MS_BIND, MS_MOVE, MS_REC = 0x1000, 0x2000, 0x4000
MS_PRIVATE = 0x40000

MNT_FORCE, MNT_DETACH = 0x1, 0x2

PR_SET_DUMPABLE = 4
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAP_SYS_ADMIN = 21
CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def call(function: str, *arguments: object) -> None:
    """Call `function` of libc; OSError with its errno where it returns -1."""
    if getattr(libc, function)(*arguments) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")


def mount(source: str, target: Path, fstype: str, flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    arguments = source.encode(), os.fsencode(target), fstype.encode()
    call("mount", *arguments, ctypes.c_ulong(flags), options.encode())


def bind(source: Path, target: Path) -> None:
    """Let `target` (which must exist) show what `source` is."""
    call("mount", os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(MS_BIND | MS_REC), None)


def umount(target: Path, flags: int = 0) -> None:
    """umount2(2)."""
    call("umount2", os.fsencode(target), flags)


def enter_private_mounts() -> None:
    """Move this process into a mount namespace of its own, from which nothing comes back out."""
    call("unshare", CLONE_NEWNS)
    make_mounts_private()


def enter_private_user() -> None:
    """Move this process into user and mount namespaces of its own, in which its uid and gid stay.

    It may mount there, and so may the programs that it starts.

    Raises:
        OSError: EPERM where the system forbids user namespaces; EINVAL in a process with threads.
    """
    uid, gid = os.getuid(), os.getgid()
    call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")  # without it an ordinary user may not write gid_map
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    make_mounts_private()
    keep_over_exec(CAP_SYS_ADMIN)


def make_mounts_private() -> None:
    """Stop mounts from propagating to the namespace that this one was copied from, and back."""
    call("mount", None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)


def keep_over_exec(capability: int) -> None:
    """Make a capability that this process holds an ambient one."""
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable: low words, then high words
    call("capget", header, sets)
    words = list(struct.unpack("=6I", sets.raw))
    words[2] |= 1 << capability
    call("capset", header, struct.pack("=6I", *words))
    call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)
