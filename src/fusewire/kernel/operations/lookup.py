"""LOOKUP: from a name to a dentry, by what is remembered or by asking the daemon.

What is remembered holds until its time is up. Then

    a negative dentry      is thrown away, and the name looked up as if it had never been known
    a positive one         is looked up again (*revalidated*); if the daemon answers with the same
                           inode it lives on, else it is thrown away, and a second LOOKUP follows

Some callers want a positive one revalidated whatever its time: who is about to make the name
(EXCL), who was told that his path is stale (REVAL), and who renames over it (RENAME_TARGET).

Locks: revalidation takes none. What is not known is looked up with the directory's semaphore
shared, unless the caller, who is about to change the directory, holds it alone. Several names of
one directory may be looked up at once, if PARALLEL_DIROPS was negotiated; else the directory's
mutex keeps others out. The same name never is: whoever comes second waits for the first.

Source: fs/namei.c, lookup_fast, __lookup_slow, lookup_one_qstr_excl; fs/fuse/dir.c,
fuse_dentry_revalidate, fuse_lookup.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.attributes import change_attributes, settle_pages
from fusewire.kernel.operations.entries import iget, keep_entry, known, reused, spliced
from fusewire.kernel.tasks import current
from fusewire.kernel.vfs.attr import plausible, seconds
from fusewire.kernel.vfs.dentry import Dentry
from fusewire.kernel.vfs.inode import Inode
from fusewire.kernel.waitq import Sleep, WaitQueue
from fusewire.wire import FUSE_ROOT_ID, AttrFlags, EntryOut, InitFlags, Reply

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection

__all__ = [
    "CREATE",
    "EXCL",
    "RENAME_TARGET",
    "REVAL",
    "known_good",
    "lookup",
    "lookup_held",
    "lookup_last",
    "remembered",
]

# Intents: what for a name is looked up. Any but CREATE has a positive dentry revalidated.
EXCL: Final = 1  # it must not exist
REVAL: Final = 2  # what is remembered has been found wrong
RENAME_TARGET: Final = 4
CREATE: Final = 8  # it need not exist
ASK_ANYWAY: Final = EXCL | REVAL | RENAME_TARGET


async def lookup(parent: Dentry, name: bytes, intent: int = 0) -> Dentry:
    """Return the dentry of `name`, positive or negative, with a reference that is the caller's.

    The caller holds no semaphore of the directory.

    Raises:
        OSError: ENOENT in a directory that was removed; ENAMETOOLONG; EIO if the daemon answers
            nonsense; ELOOP if it says that a directory contains itself; otherwise as it says.
    """
    dentry = await remembered(parent, name, intent)
    if dentry is not None:
        return dentry
    async with parent.positive.rwsem.shared():
        return await lookup_held(parent, name, intent)


async def lookup_held(parent: Dentry, name: bytes, intent: int = 0) -> Dentry:
    """The same, for a caller who holds the directory's semaphore, alone or shared."""
    while True:
        dentry = await remembered(parent, name, intent)
        if dentry is not None:
            return dentry
        if parent.dead:
            raise os_error(errno.ENOENT)
        if not await wait_for_lookup(parent, name):
            return await _look_up(parent, name)


async def wait_for_lookup(parent: Dentry, name: bytes) -> bool:
    """Wait for another's LOOKUP of `name`; False, at once, if there is none.

    For that one only: a later one of the same name has a queue of its own, and wakes nobody here.
    """
    looking_up = parent.superblock.looking_up
    other = looking_up.get((parent, name))
    if other is None:
        return False
    await other.sleep(lambda: looking_up.get((parent, name)) is not other, Sleep.UNINTERRUPTIBLE)
    return True


async def lookup_last(parent: Dentry, name: bytes, intent: int = 0) -> Dentry:
    """The same for a name to be made, removed or renamed: with CREATE it need not exist, with EXCL it must not.

    Raises:
        OSError: ENOENT, EEXIST; and as `lookup`.
    """
    dentry = await lookup_held(parent, name, intent)
    if dentry.inode is None and not intent & CREATE:
        dentry.put()
        raise os_error(errno.ENOENT)
    if dentry.inode is not None and intent & EXCL:
        dentry.put()
        raise os_error(errno.EEXIST)
    return dentry


# What is remembered.


async def remembered(parent: Dentry, name: bytes, intent: int = 0) -> Dentry | None:
    """Return what is remembered of `name` and still holds, with a reference; None if it has to be looked up.

    Raises:
        OSError: ENOMEM or EINTR of a revalidation.
    """
    dentry = parent.child(name)
    if dentry is not None and await _still_valid(dentry.get(), intent):
        return dentry
    return None


def known_good(dentry: Dentry, intent: int) -> bool:
    """Whether `dentry` may be used without asking."""
    if intent & ASK_ANYWAY or dentry.expires <= dentry.superblock.system.clock.now() or _outdated(dentry):
        return False
    if dentry.from_readdirplus:
        _advise_readdirplus(dentry)
    return True


def _outdated(dentry: Dentry) -> bool:
    """Whether asking would be in vain."""
    inode = dentry.inode
    return dentry.epoch < dentry.superblock.connection.epoch or (inode is not None and inode.bad)


async def _still_valid(dentry: Dentry, intent: int) -> bool:
    """Whether `dentry` may be used; otherwise nobody finds it any more, and the caller's reference is gone."""
    if known_good(dentry, intent):
        return True
    inode = dentry.inode
    if inode is not None and not _outdated(dentry):
        try:
            if await _revalidate(dentry, inode):
                return True
        except OSError:
            dentry.put()
            raise
    dentry.invalidate()
    dentry.put()
    return False


def _advise_readdirplus(dentry: Dentry) -> None:
    """What READDIRPLUS told was of use: its directory is to be read so again."""
    dentry.from_readdirplus = False
    dentry.directory.readdirplus_advised = True


@named("fuse_dentry_revalidate")
async def _revalidate(dentry: Dentry, inode: Inode) -> bool:
    """Ask the daemon whether `dentry` still leads to `inode`.

    Raises:
        OSError: ENOMEM or EINTR: nothing is known; any other error means no.
    """
    connection = dentry.superblock.connection
    version = connection.attr_version
    try:
        reply = await _ask_again(connection, dentry)
    except OSError as error:
        if error.errno in (errno.ENOMEM, errno.EINTR):
            raise
        return False
    entry: EntryOut = reply.structs[0]
    if entry.nodeid == 0:
        return False
    if entry.nodeid != inode.nodeid or entry.attr.flags & AttrFlags.FUSE_ATTR_SUBMOUNT:  # which no inode of ours is
        connection.forget(entry.nodeid, 1)
        return False
    inode.nlookup += 1
    if not plausible(entry.attr) or reused(inode, entry.generation, entry.attr):
        return False
    inode.acls = None
    keep_entry(dentry, entry)
    await change_attributes(inode, entry.attr, seconds(entry.attr_valid, entry.attr_valid_nsec), version)
    return True


async def _ask_again(connection: Connection, dentry: Dentry) -> Reply:
    """Send the LOOKUP of a revalidation, which in 2005 could not be begun anew: only a kill ends it."""
    nodeid, names = dentry.directory.nodeid, (dentry.name,)
    if connection.profile.interrupts:
        return await connection.ask("LOOKUP", nodeid, names=names)
    request = await connection.get()
    try:
        request.ask("LOOKUP", nodeid, names=names)
        request.only_killable = True
        return await connection.send(request)
    finally:
        connection.drop(request)


# What is not.


async def _look_up(parent: Dentry, name: bytes) -> Dentry:
    """Have the daemon look `name` up, others who want it waiting meanwhile."""
    looking_up = parent.superblock.looking_up
    task = current()
    queue = looking_up[parent, name] = WaitQueue(f"the lookup of {name!r}", holders=lambda: (task,))
    try:
        return await _fuse_lookup(parent, name)
    finally:
        del looking_up[parent, name]
        if queue.sleepers:
            queue.wake_all()


@named("fuse_lookup")
async def _fuse_lookup(parent: Dentry, name: bytes) -> Dentry:
    directory = parent.positive
    directory.check_bad()
    superblock = parent.superblock
    connection = superblock.connection
    epoch, version, evict_ctr = connection.epoch, connection.attr_version, connection.evict_ctr
    entry = await _ask(directory, name)
    if entry is None or entry.nodeid == 0:
        return known(Dentry(superblock, parent, name), epoch, entry)
    if not plausible(entry.attr):
        raise os_error(errno.EIO)  # and the lookup is never given back, as in Linux
    inode = iget(superblock, entry, version=version, evict_ctr=evict_ctr)
    if entry.nodeid == FUSE_ROOT_ID:
        raise os_error(errno.EIO)
    dentry = known(spliced(Dentry(superblock, parent, name), inode), epoch, entry)
    directory.readdirplus_advised = True
    if inode.stale_pages:
        await settle_pages(inode)
    return dentry


async def _ask(directory: Inode, name: bytes) -> EntryOut | None:
    """Send LOOKUP; None if there is nothing of that name."""
    connection = directory.superblock.connection
    if len(name) > connection.settings.name_max:
        raise os_error(errno.ENAMETOOLONG)
    try:
        if connection.has(InitFlags.FUSE_PARALLEL_DIROPS):
            reply = await connection.ask("LOOKUP", directory.nodeid, names=(name,))
        else:
            async with directory.dir_mutex.exclusive():
                reply = await connection.ask("LOOKUP", directory.nodeid, names=(name,))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return None
    entry: EntryOut = reply.structs[0]
    return entry
