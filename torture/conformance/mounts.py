"""Mounts that one actor sees alone: calls of a process that has parted from the mounts of the others."""

from __future__ import annotations

import os

from torture.conformance.libc import checked, libc

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
CLONE_NEWNS = 0x20000


def own_mounts() -> None:
    """Enter a mount namespace of one's own; EPERM where that is forbidden."""
    checked(libc.unshare(CLONE_NEWNS))
    checked(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))


def bind(source: str, target: str) -> None:
    """Let `target` show what `source` is."""
    checked(libc.mount(os.fsencode(source), os.fsencode(target), None, MS_BIND, None))


def unmount(target: str) -> None:
    """Take a mount away again."""
    checked(libc.umount2(os.fsencode(target), 0))


def mount_read_only() -> None:
    """Have the current directory read-only, for this process alone."""
    own_mounts()
    here = os.getcwd()
    bind(here, here)
    checked(libc.mount(b"none", os.fsencode(here), None, MS_BIND | MS_REMOUNT | MS_RDONLY, None))
    os.chdir(here)
