"""What a reply that grants an inode makes of it: an inode with attributes, and a dentry that leads there.

LOOKUP, READDIRPLUS and everything that makes a file bring an entry: nodeid, generation, attributes,
and how long name and attributes may be believed. Each counts a lookup, which is given back when the
inode is evicted.

A directory has one dentry. If it is found under a second name it moves there (d_splice_alias).

Nothing here sleeps.

Source: fs/fuse/inode.c, fuse_iget; fs/fuse/dir.c, create_new_entry; fs/dcache.c, d_splice_alias.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.vfs.attr import STATX_BASIC, seconds
from fusewire.kernel.vfs.dentry import EXPIRED, Dentry
from fusewire.kernel.vfs.inode import Inode
from fusewire.wire import FUSE_ROOT_ID, Attr, EntryOut

if TYPE_CHECKING:
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = [
    "directory_changed",
    "iget",
    "instantiate",
    "keep_entry",
    "known",
    "place",
    "reused",
    "spliced",
]

U32: Final = 0xFFFFFFFF


def iget(superblock: Superblock, entry: EntryOut, *, version: int, evict_ctr: int = 0) -> Inode:
    """Return the inode that a reply has granted, with its attributes, and count the lookup.

    It comes without a reference: who calls it attaches a dentry before the next await, and then
    sees to `stale_pages`. A nodeid that comes back with another generation or type is another
    file: what we had under it is bad from now on.

    Args:
        version: the connection's `attr_version` before the request was sent; 0 of what makes a file.
        evict_ctr: the connection's, likewise.
    """
    nodeid, attr = entry.nodeid, entry.attr
    generation = 0 if nodeid == FUSE_ROOT_ID else entry.generation
    inode = superblock.inodes.get(nodeid)
    if inode is not None and reused(inode, generation, attr):
        inode.bad = True
        if inode is not superblock.root.inode:
            inode = None
    if inode is None:
        inode = superblock.inodes[nodeid] = Inode(superblock, nodeid, generation, attr)
    inode.nlookup += 1
    inode.accept(attr, seconds(entry.attr_valid, entry.attr_valid_nsec), version, evict_ctr)
    return inode


def reused(inode: Inode, generation: int, attr: Attr) -> bool:
    """Whether a reply under the nodeid of `inode` speaks of another file (fuse_stale_inode)."""
    other_generation = (inode.generation ^ generation) & U32  # which is all that i_generation holds
    return bool(other_generation) or stat.S_IFMT(inode.attr.mode) != stat.S_IFMT(attr.mode)


def known(dentry: Dentry, epoch: int, entry: EntryOut | None) -> Dentry:
    """Let others find `dentry`, for as long as `entry` says; without one not at all."""
    dentry.epoch = epoch
    if entry is None:
        dentry.expire()
    else:
        keep_entry(dentry, entry)
    if not dentry.hashed:
        dentry.hash()
    return dentry


def keep_entry(dentry: Dentry, entry: EntryOut) -> None:
    """Believe `dentry` for as long as a reply says (fuse_change_entry_timeout)."""
    valid = seconds(entry.entry_valid, entry.entry_valid_nsec)
    dentry.expires = dentry.superblock.system.clock.now() + valid if valid else EXPIRED


def spliced(dentry: Dentry, inode: Inode) -> Dentry:
    """Make `dentry`, negative and unhashed, a name of `inode`; or move the one that a directory has to its place.

    Takes over the caller's reference, and returns one, on the dentry to use (d_splice_alias).

    Raises:
        OSError: ELOOP if the directory would contain itself; ESTALE if it cannot be moved now.
    """
    alias = inode.alias if inode.is_dir else None
    if alias is None:
        dentry.attach(inode)
        return dentry
    parent, name = dentry.parent, dentry.name
    assert parent is not None
    try:
        if alias.leads_to(parent):
            raise os_error(errno.ELOOP)
        if alias.parent is not parent and _is_being_changed(alias):
            raise os_error(errno.ESTALE)
        alias.get().move(parent, name)
    finally:
        dentry.put()
    return alias


def place(dentry: Dentry, inode: Inode, entry: EntryOut, epoch: int) -> None:
    """Make `dentry` the name of what was just made, as `entry` says; `epoch` is the connection's before that."""
    dentry.drop()
    known(spliced(dentry.get(), inode), epoch, entry).put()


def _is_being_changed(dentry: Dentry) -> bool:
    """Whether somebody else may be moving `dentry`, so that it is not ours to move."""
    return bool(dentry.superblock.rename_mutex.holders) or dentry.directory.rwsem.owner is not None


def instantiate(dentry: Dentry, inode: Inode, entry: EntryOut) -> None:
    """Make the negative `dentry` a name of `inode`, which was just made and opened (d_instantiate)."""
    dentry.attach(inode)
    dentry.epoch = dentry.superblock.connection.epoch
    keep_entry(dentry, entry)


def directory_changed(directory: Inode) -> None:
    """Note that a name was made or removed: its directory's attributes, and what is kept of its contents, are old."""
    directory.invalidate(STATX_BASIC)
    directory.version += 1
