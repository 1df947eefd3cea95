"""Whose a new file is, and when a file loses the privileges that it lends.

Who may do what is not decided here: Linux checks it before it asks (`default_permissions`),
the sticky bit included. These two rules are left to the filesystem.

Source: fs/inode.c, inode_init_owner; fs/attr.c, setattr_should_drop_suidgid; for what Linux
asks of a filesystem that took FUSE_HANDLE_KILLPRIV_V2, include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import stat as modes

from fusewire.daemon.request import Request
from fusewire.daemon.values import SetAttributes
from fusewire.filesystems.memory.inodes import Directory, Inode
from fusewire.filesystems.memory.xattrs import CAPABILITY

__all__ = ["kill_as_asked", "kill_privileges", "new_owner"]


def new_owner(request: Request, parent: Directory, mode: int) -> tuple[int, int, int]:
    """Return mode, uid and gid of what the caller makes in `parent`.

    A set-group-id directory gives its group to what is made in it, and its bit to directories. A
    program cannot be made with the set-group-id bit of a group in which its maker is not.
    """
    if not parent.mode & modes.S_ISGID:
        return mode, request.uid, request.gid
    if modes.S_ISDIR(mode):
        mode |= modes.S_ISGID
    elif mode & modes.S_ISGID and mode & modes.S_IXGRP and not is_member(request, parent.gid):
        mode &= ~modes.S_ISGID
    return mode, request.uid, parent.gid


def is_member(request: Request, gid: int) -> bool:
    """The caller is in the group, or is root, who need not be."""
    return request.uid == 0 or request.gid == gid or gid in request.groups


def kill_privileges(request: Request, inode: Inode, suidgid: bool) -> None:
    """Take from a file, as the caller changes its content or owner, what running it would give.

    Capabilities always. With `suidgid` also set-user-id and set-group-id: the kernel says so where it
    can, for it alone knows whether the caller may keep them (CAP_FSETID). Of a group that may not run it, the
    bit stays if the caller is one of them: it once meant mandatory locking.
    """
    if suidgid and not modes.S_ISDIR(inode.mode):
        inode.mode &= ~modes.S_ISUID
        if inode.mode & modes.S_ISGID and (inode.mode & modes.S_IXGRP or not is_member(request, inode.gid)):
            inode.mode &= ~modes.S_ISGID
    if inode.xattrs is not None:
        inode.xattrs.discard(CAPABILITY)


def kill_as_asked(request: Request, inode: Inode, changes: SetAttributes) -> None:
    """Take away privileges where a SETATTR means it: with a new owner, a new size, or no change at all.

    The last is a chown(2) that keeps both owner and group, where Linux does not say `kill_suidgid`
    (fs/fuse/dir.c, fuse_setattr); or a write is to follow (fs/inode.c, file_remove_privs), which takes
    them by itself.
    """
    owner_or_size = not (changes.uid is None and changes.gid is None and changes.size is None)
    nothing = not owner_or_size and changes.mode is None and changes.atime_ns is None and changes.mtime_ns is None
    if owner_or_size or nothing:
        suidgid = changes.kill_suidgid or (nothing and must_be_chown(request, inode))
        kill_privileges(request, inode, suidgid)


def must_be_chown(request: Request, inode: Inode) -> bool:
    """A SETATTR of nothing comes before no write: of a stranger, or of root, who takes capabilities alone."""
    if request.uid == 0:
        return not modes.S_ISREG(inode.mode)
    return request.uid == inode.uid
