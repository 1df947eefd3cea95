"""POSIX ACLs: permissions for further users and groups, beside the nine bits of the mode.

Linux enforces them by itself (FUSE_POSIX_ACL); what it reads and writes are two xattrs:

    system.posix_acl_access    who may use this file. The mode is a part of it: owner and others as
                               they are, and as the group's bits the *mask*, the most that anybody
                               but owner and others may do
    system.posix_acl_default   of a directory: the ACL that new files in it begin with

So the filesystem's part is to keep ACL and mode in step, in three places: a new access ACL changes
the mode (`set_acl`), chmod changes the access ACL (`follow_mode`), and what is made in a directory
with a default ACL gets both from there, where otherwise the umask would count (`inherit`). That is
why Linux must leave the umask to us (FUSE_DONT_MASK).

An access ACL that says no more than the mode is not stored.

Source: acl(5); fs/posix_acl.c, posix_acl_create_masq, __posix_acl_chmod_masq, posix_acl_valid;
include/uapi/linux/posix_acl_xattr.h.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import struct
from typing import Final, NamedTuple

from fusewire.errors import os_error
from fusewire.filesystems.memory.budget import Budget
from fusewire.filesystems.memory.inodes import Directory, Inode
from fusewire.filesystems.memory.xattrs import ACCESS_ACL, DEFAULT_ACL
from fusewire.wire import Buffer

__all__ = ["follow_mode", "inherit", "set_acl"]

HEADER: Final = struct.Struct("<I")  # version
ENTRY: Final = struct.Struct("<HHI")  # tag, permissions, uid or gid
VERSION: Final = 2

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
ORDER: Final = (USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER)
EXACTLY_ONE: Final = (USER_OBJ, GROUP_OBJ, OTHER)


class AclEntry(NamedTuple):
    """What one user, or one group, may do."""

    tag: int
    permissions: int  # rwx
    id: int  # of USER and GROUP


Acl = list[AclEntry]


def parse(value: Buffer) -> Acl:
    """Read an ACL as it stands in an xattr. EINVAL if it is none."""
    body = bytes(value)[HEADER.size :]
    if len(value) < HEADER.size or HEADER.unpack_from(value) != (VERSION,) or len(body) % ENTRY.size:
        raise os_error(errno.EINVAL)
    acl = [AclEntry(*fields) for fields in ENTRY.iter_unpack(body)]
    if not is_valid(acl):
        raise os_error(errno.EINVAL)
    return acl


def is_valid(acl: Acl) -> bool:
    """The entries are in order, each of the three classes is there once, and whoever needs a mask has one."""
    tags = [entry.tag for entry in acl]
    if not set(tags) <= set(ORDER) or any(entry.permissions > 7 for entry in acl):
        return False
    in_order = tags == sorted(tags, key=ORDER.index)
    named = USER in tags or GROUP in tags
    return in_order and all(tags.count(tag) == 1 for tag in EXACTLY_ONE) and named <= tags.count(MASK) <= 1


def pack(acl: Acl) -> bytes:
    """The reverse of `parse`."""
    return HEADER.pack(VERSION) + b"".join(ENTRY.pack(*entry) for entry in acl)


def shifts(acl: Acl) -> dict[int, int]:
    """Where in a mode the permissions of which tag stand. The group's bits are the mask, if there is one."""
    has_mask = any(entry.tag == MASK for entry in acl)
    return {USER_OBJ: 6, MASK if has_mask else GROUP_OBJ: 3, OTHER: 0}


def mode_of(acl: Acl) -> int:
    """The nine permission bits that the ACL amounts to."""
    where = shifts(acl)
    return sum(entry.permissions << where[entry.tag] for entry in acl if entry.tag in where)


def with_mode(acl: Acl, mode: int) -> Acl:
    """The ACL after a chmod."""
    where = shifts(acl)
    return [entry._replace(permissions=mode >> where[entry.tag] & 7) if entry.tag in where else entry for entry in acl]


def set_acl(inode: Inode, name: str, value: Buffer, flags: int, room: Budget) -> None:
    """Set one of the two ACLs, and the mode with it.

    Raises:
        OSError: EINVAL if it is no ACL, EACCES for the default ACL of what is no directory, ENOSPC.
    """
    acl = parse(value)
    if name == DEFAULT_ACL:
        if not isinstance(inode, Directory):
            raise os_error(errno.EACCES)
        inode.set_xattr(name, pack(acl), flags, room)
        return
    if len(acl) > len(EXACTLY_ONE):
        inode.set_xattr(name, pack(acl), flags, room)
    elif inode.xattrs is not None:
        inode.xattrs.discard(name)
    inode.mode = inode.mode & ~0o777 | mode_of(acl)


def follow_mode(inode: Inode) -> None:
    """Make the access ACL, if there is one, say what the mode says."""
    if inode.xattrs is not None and (value := inode.xattrs.find(ACCESS_ACL)) is not None:
        inode.xattrs.set(ACCESS_ACL, pack(with_mode(parse(value), inode.mode)), os.XATTR_REPLACE)


def inherit(inode: Inode, parent: Directory, umask: int, room: Budget) -> None:
    """Give a new file the permissions that its maker asked for, within the parent's default ACL, or else the umask.

    Raises:
        OSError: ENOSPC if there is no room for its ACLs.
    """
    if modes.S_ISLNK(inode.mode):
        return
    value = None if parent.xattrs is None else parent.xattrs.find(DEFAULT_ACL)
    if value is None:
        inode.mode &= ~umask
        return
    default = parse(value)
    if isinstance(inode, Directory):
        inode.set_xattr(DEFAULT_ACL, value, 0, room)
    acl = with_mode(default, inode.mode & mode_of(default))
    if len(acl) > len(EXACTLY_ONE):
        inode.set_xattr(ACCESS_ACL, pack(acl), 0, room)
    inode.mode = inode.mode & ~0o777 | mode_of(acl)
