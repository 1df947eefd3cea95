"""What chmod, chown, utime and truncate have in common: a change, and whether its caller may make it.

The rules are the VFS's, the same for every filesystem. Without default_permissions they are left
out (FORCE), for then it is the daemon that decides.

    mode      the owner may change it; sgid only if the group is one of his
    owner     only CAP_CHOWN may give a file away
    group     the owner may choose one of his own
    times     the owner may set them; to *now*, whoever may write (TOUCH)

A change of owner, and any change of contents, takes suid, sgid and capabilities away: KILL_SUID,
KILL_SGID and KILL_PRIV. What that means for the daemon is in operations/privileges.py.

Source: fs/attr.c, setattr_prepare, may_setattr, setattr_should_drop_suidgid; include/linux/fs.h.
"""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.vfs.credentials import credentials, owner_or_capable

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = [
    "Change",
    "Changing",
    "check_change",
    "lends_group",
    "lends_ids",
    "sgid_to_drop",
    "strip_sgid",
    "suidgid_to_drop",
]

LARGEST_FILE: Final = (1 << 63) - 1  # bytes (s_maxbytes)
SGID_AND_EXEC: Final = stat.S_ISGID | stat.S_IXGRP


class Changing:
    """Bits of `Change.what` (ATTR_*)."""

    MODE = 1 << 0
    UID = 1 << 1
    GID = 1 << 2
    SIZE = 1 << 3
    ATIME = 1 << 4
    MTIME = 1 << 5
    CTIME = 1 << 6
    ATIME_SET = 1 << 7  # to what the caller says, rather than to now
    MTIME_SET = 1 << 8
    FORCE = 1 << 9  # whoever calls
    KILL_SUID = 1 << 11
    KILL_SGID = 1 << 12
    FILE = 1 << 13  # by ftruncate(2), through `Change.file`
    KILL_PRIV = 1 << 14  # capabilities of a program
    OPEN = 1 << 15  # by open(2) with O_TRUNC
    TIMES_SET = 1 << 16  # utimensat(2) was told times
    TOUCH = 1 << 17  # and here it was not


@dataclass(slots=True)
class Change:
    """What is to change of a file (struct iattr). Times are nanoseconds since 1970."""

    what: int
    mode: int = 0  # with its type
    uid: int = 0
    gid: int = 0
    size: int = 0
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    file: OpenFile | None = None  # through which ftruncate(2) came


def check_change(inode: Inode, change: Change) -> None:
    """Check that the caller may make `change`; take sgid off a mode that he may not give.

    Raises:
        OSError: EFBIG for a size beyond all files; EPERM.

    Source: fs/attr.c, setattr_prepare.
    """
    what = change.what
    if what & Changing.SIZE and change.size > LARGEST_FILE:
        raise os_error(errno.EFBIG)
    if what & Changing.FORCE:
        return
    if what & Changing.UID and not _may_chown(inode, change.uid):
        raise os_error(errno.EPERM)
    if what & Changing.GID and not _may_chgrp(inode, change.gid):
        raise os_error(errno.EPERM)
    if what & Changing.MODE:
        _check_mode(inode, change)
    if what & (Changing.MTIME_SET | Changing.ATIME_SET | Changing.TIMES_SET) and not owner_or_capable(inode):
        raise os_error(errno.EPERM)


def _check_mode(inode: Inode, change: Change) -> None:
    if not owner_or_capable(inode):
        raise os_error(errno.EPERM)
    who = credentials()
    gid = change.gid if change.what & Changing.GID else inode.attr.gid
    if not who.in_group(gid) and not who.privileged:
        change.mode &= ~stat.S_ISGID


def _may_chown(inode: Inode, uid: int) -> bool:
    who = credentials()
    return who.privileged or who.fsuid == inode.attr.uid == uid


def _may_chgrp(inode: Inode, gid: int) -> bool:
    who = credentials()
    return who.privileged or (who.fsuid == inode.attr.uid and (gid == inode.attr.gid or who.in_group(gid)))


def sgid_to_drop(inode: Inode) -> int:
    """Return KILL_SGID if a change of owner costs the file its sgid, else 0.

    Without the right to execute, sgid once meant mandatory locking: it then goes only if the
    caller could not have set it.
    """
    mode = inode.mode
    if not mode & stat.S_ISGID:
        return 0
    who = credentials()
    if mode & stat.S_IXGRP or not (who.in_group(inode.attr.gid) or who.privileged):
        return Changing.KILL_SGID
    return 0


def suidgid_to_drop(inode: Inode) -> int:
    """Return KILL_SUID and KILL_SGID, as far as a change of contents costs them; the privileged lose nothing."""
    if credentials().privileged or not inode.is_regular:
        return 0
    return (Changing.KILL_SUID if inode.mode & stat.S_ISUID else 0) | sgid_to_drop(inode)


def lends_group(mode: int) -> bool:
    """Whether a program of this `mode` runs in its group's name; setgid alone means mandatory locking."""
    return mode & SGID_AND_EXEC == SGID_AND_EXEC


def lends_ids(mode: int) -> bool:
    """Whether a program of this `mode` runs in its owner's or its group's name (is_sxid)."""
    return bool(mode & stat.S_ISUID) or lends_group(mode)


def strip_sgid(directory: Inode, mode: int) -> int:
    """Return `mode` without a setgid bit that would lend its maker a group that is not his (mode_strip_sgid)."""
    if not lends_group(mode) or not directory.mode & stat.S_ISGID:
        return mode
    who = credentials()
    return mode if who.in_group(directory.attr.gid) or who.privileged else mode & ~stat.S_ISGID
