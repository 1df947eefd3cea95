"""What READDIRPLUS tells of each name in a directory: as much as a LOOKUP would.

What is remembered of a name and agrees is renewed; what does not is thrown away. An entry that
cannot be remembered (it is nonsense, or of a directory that cannot be moved here now) is an error,
upon which the lookup that it granted is given back at once.

Source: fs/fuse/readdir.c, fuse_direntplus_link.
"""

from __future__ import annotations

import errno

from fusewire.errors import os_error
from fusewire.kernel.operations.attributes import change_attributes, settle_pages
from fusewire.kernel.operations.entries import iget, keep_entry, reused, spliced
from fusewire.kernel.operations.lookup import wait_for_lookup
from fusewire.kernel.vfs.attr import plausible, seconds
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.inode import Inode
from fusewire.wire import FUSE_ROOT_ID, EntryOut, InitFlags

__all__ = ["link_direntplus"]


async def link_direntplus(
    parent: Dentry, name: bytes, entry: EntryOut, *, epoch: int, version: int, evict_ctr: int
) -> None:
    """Remember what READDIRPLUS said of `name`, whose `entry` has a nodeid; `name` is neither '.' nor '..'.

    The caller holds the directory's semaphore, and gives the lookup back if this fails.

    Raises:
        OSError: EIO if the entry is nonsense, or the inode bad; ELOOP or ESTALE of a directory that
            is elsewhere already.
    """
    if entry.nodeid == FUSE_ROOT_ID or not plausible(entry.attr):
        raise os_error(errno.EIO)
    valid = seconds(entry.attr_valid, entry.attr_valid_nsec)
    dentry = await _same(parent, name, entry)
    if dentry is None:
        dentry, inode = _link_new(parent, name, entry, version, evict_ctr)
        if inode.stale_pages:
            await settle_pages(inode)
    else:
        inode = dentry.positive
        inode.nlookup += 1
        inode.acls = None
        await change_attributes(inode, entry.attr, valid, version)
    dentry.from_readdirplus = parent.superblock.connection.has(InitFlags.FUSE_READDIRPLUS_AUTO)
    dentry.epoch = epoch
    keep_entry(dentry, entry)
    dentry.put()


def _link_new(parent: Dentry, name: bytes, entry: EntryOut, version: int, evict_ctr: int) -> tuple[Dentry, Inode]:
    """Make `name` known; return its dentry, referenced, and inode."""
    superblock = parent.superblock
    inode = iget(superblock, entry, version=version, evict_ctr=evict_ctr)
    try:
        dentry = spliced(Dentry(superblock, parent, name), inode)
    except OSError:
        inode.nlookup -= 1
        raise
    if not dentry.hashed:
        dentry.hash()
    return dentry, inode


async def _same(parent: Dentry, name: bytes, entry: EntryOut) -> Dentry | None:
    """Return the dentry of `name`, referenced, if it leads to what `entry` says; whatever else there is is thrown away.

    Raises:
        OSError: EIO if its inode is bad.
    """
    while await wait_for_lookup(parent, name):
        pass
    dentry = parent.child(name)
    if dentry is None:
        return None
    dentry.get()
    inode = dentry.inode
    if inode is not None and inode.nodeid == entry.nodeid and not reused(inode, entry.generation, entry.attr):
        if not inode.bad:
            return dentry
        dentry.put()
        raise os_error(errno.EIO)
    if inode is not None and inode.nodeid == entry.nodeid:
        inode.bad = True
    dentry.invalidate()
    dentry.put()
    return None
