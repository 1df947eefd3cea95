"""What goes along with every request that makes a file.

A file may get its directory's group rather than its maker's, and it is for the daemon to give it.
A daemon that does so with the rights of the maker needs to know that he belongs to that group: a
supplementary group, which the header does not show. If CREATE_SUPP_GROUP was negotiated, that one
group is sent as an extension, and no other.

Not modelled: security contexts, which only a security module would ask for. Linux without one
sends, to a daemon that wants them, a list of none; so it says nothing either.

Source: fs/fuse/dir.c, get_create_ext, get_create_supp_group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusewire.kernel.tasks import current
from fusewire.wire import NO_EXTENSIONS, Extensions, InitFlags

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.vfs.inode import Inode

__all__ = ["creation_extensions", "masked"]


def creation_extensions(parent: Inode) -> Extensions:
    """Return the extensions of a CREATE, TMPFILE, MKNOD, MKDIR or SYMLINK in the directory `parent`."""
    process = current().process
    if process is None or not parent.superblock.connection.has(InitFlags.FUSE_CREATE_SUPP_GROUP):
        return NO_EXTENSIONS
    gid = parent.attr.gid
    if gid == process.credentials.fsgid or not process.credentials.in_group(gid):
        return NO_EXTENSIONS
    return Extensions(groups=(gid,))


def masked(connection: Connection, mode: int) -> tuple[int, int]:
    """Return the mode to send, and the caller's umask: the daemon takes it off if it asked for that (DONT_MASK)."""
    process = current().process
    umask = process.umask_ if process is not None else 0
    if not connection.has(InitFlags.FUSE_DONT_MASK):
        mode &= ~umask
    return mode, umask
