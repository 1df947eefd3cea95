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

A directory has one dentry. If it is found under a second name it moves there (d_splice_alias).

Source: fs/namei.c, lookup_fast, __lookup_slow, lookup_one_qstr_excl; fs/fuse/dir.c,
fuse_dentry_revalidate, fuse_lookup; fs/fuse/inode.c, fuse_iget; fs/fuse/readdir.c,
fuse_direntplus_link.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.attributes import change_attributes, settle_pages
from fusewire.kernel.tasks import current
from fusewire.kernel.vfs.dentry import EXPIRED, Dentry
from fusewire.kernel.vfs.inode import STATX_BASIC, Inode, plausible, seconds
from fusewire.kernel.waitq import Sleep, WaitQueue
from fusewire.wire import FUSE_ROOT_ID, Attr, EntryOut, InitFlags

if TYPE_CHECKING:
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = [
    "CREATE",
    "EXCL",
    "RENAME_TARGET",
    "REVAL",
    "directory_changed",
    "iget",
    "instantiate",
    "keep_entry",
    "known_good",
    "link_direntplus",
    "lookup",
    "lookup_held",
    "lookup_last",
    "place",
    "remembered",
    "seconds",
    "spliced",
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
    superblock = parent.superblock
    while True:
        dentry = await remembered(parent, name, intent)
        if dentry is not None:
            return dentry
        if parent.dead:
            raise os_error(errno.ENOENT)
        other = superblock.looking_up.get((parent, name))
        if other is None:
            return await _look_up(parent, name)
        await other.sleep(lambda: (parent, name) not in superblock.looking_up, Sleep.UNINTERRUPTIBLE)


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


async def _revalidate(dentry: Dentry, inode: Inode) -> bool:
    """Ask the daemon whether `dentry` still leads to `inode`.

    Raises:
        OSError: ENOMEM or EINTR: nothing is known; any other error means no.
    """
    connection = dentry.superblock.connection
    version = connection.attr_version
    try:
        reply = await connection.ask("LOOKUP", dentry.directory.nodeid, names=(dentry.name,))
    except OSError as error:
        if error.errno in (errno.ENOMEM, errno.EINTR):
            raise
        return False
    entry: EntryOut = reply.structs[0]
    if entry.nodeid == 0:
        return False
    if entry.nodeid != inode.nodeid:
        connection.forget(entry.nodeid, 1)
        return False
    inode.nlookup += 1
    if not plausible(entry.attr) or _reused(inode, entry.generation, entry.attr):
        return False
    inode.acls = None
    keep_entry(dentry, entry)
    await change_attributes(inode, entry.attr, seconds(entry.attr_valid, entry.attr_valid_nsec), version)
    return True


def _reused(inode: Inode, generation: int, attr: Attr) -> bool:
    """Whether a reply under the nodeid of `inode` speaks of another file (fuse_stale_inode)."""
    return inode.generation != generation or stat.S_IFMT(inode.attr.mode) != stat.S_IFMT(attr.mode)


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


async def _fuse_lookup(parent: Dentry, name: bytes) -> Dentry:
    directory = parent.positive
    directory.check_bad()
    superblock = parent.superblock
    connection = superblock.connection
    epoch, version, evict_ctr = connection.epoch, connection.attr_version, connection.evict_ctr
    entry = await _ask(directory, name)
    if entry is None or entry.nodeid == 0:
        return _known(Dentry(superblock, parent, name), epoch, entry)
    if not plausible(entry.attr):
        raise os_error(errno.EIO)  # and the lookup is never given back, as in Linux
    inode = iget(
        superblock,
        entry.nodeid,
        0 if entry.nodeid == FUSE_ROOT_ID else entry.generation,
        entry.attr,
        attr_valid=seconds(entry.attr_valid, entry.attr_valid_nsec),
        version=version,
        evict_ctr=evict_ctr,
    )
    if entry.nodeid == FUSE_ROOT_ID:
        raise os_error(errno.EIO)
    dentry = _known(spliced(Dentry(superblock, parent, name), inode), epoch, entry)
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


def _known(dentry: Dentry, epoch: int, entry: EntryOut | None) -> Dentry:
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
    _known(spliced(dentry.get(), inode), epoch, entry).put()


def _is_being_changed(dentry: Dentry) -> bool:
    """Whether somebody else may be moving `dentry`, so that it is not ours to move."""
    return bool(dentry.superblock.rename_mutex.holders) or dentry.directory.rwsem.owner is not None


# Inodes of replies.


def iget(
    superblock: Superblock,
    nodeid: int,
    generation: int,
    attr: Attr,
    *,
    attr_valid: float,
    version: int,
    evict_ctr: int = 0,
) -> Inode:
    """Return the inode that a reply has granted, with its attributes, and count the lookup.

    It comes without a reference: who calls it attaches a dentry before the next await, and then
    sees to `stale_pages`. A nodeid that comes back with another generation or type is another
    file: what we had under it is bad from now on.

    Args:
        attr_valid: seconds for which the attributes hold.
        version: the connection's `attr_version` before the request was sent; 0 of what makes a file.
        evict_ctr: the connection's, likewise.
    """
    inode = superblock.inodes.get(nodeid)
    if inode is not None and _reused(inode, generation, attr):
        inode.bad = True
        if inode is not superblock.root.inode:
            inode = None
    if inode is None:
        inode = superblock.inodes[nodeid] = Inode(superblock, nodeid, generation, attr)
    inode.nlookup += 1
    inode.accept(attr, attr_valid, version, evict_ctr)
    return inode


def instantiate(dentry: Dentry, inode: Inode, entry: EntryOut) -> None:
    """Make the negative `dentry` a name of `inode`, which was just made and opened (d_instantiate)."""
    dentry.attach(inode)
    dentry.epoch = dentry.superblock.connection.epoch
    keep_entry(dentry, entry)


def directory_changed(directory: Inode) -> None:
    """Note that a name was made or removed: its directory's attributes, and what is kept of its contents, are old."""
    directory.invalidate(STATX_BASIC)
    directory.version += 1


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
        superblock = parent.superblock
        inode = iget(
            superblock,
            entry.nodeid,
            entry.generation,
            entry.attr,
            attr_valid=valid,
            version=version,
            evict_ctr=evict_ctr,
        )
        try:
            dentry = spliced(Dentry(superblock, parent, name), inode)
        except OSError:
            inode.nlookup -= 1
            raise
        if not dentry.hashed:
            dentry.hash()
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


async def _same(parent: Dentry, name: bytes, entry: EntryOut) -> Dentry | None:
    """Return the dentry of `name`, referenced, if it leads to what `entry` says; whatever else there is is thrown away.

    Raises:
        OSError: EIO if its inode is bad.
    """
    looking_up = parent.superblock.looking_up
    while (other := looking_up.get((parent, name))) is not None:
        await other.sleep(lambda: (parent, name) not in looking_up, Sleep.UNINTERRUPTIBLE)
    dentry = parent.child(name)
    if dentry is None:
        return None
    dentry.get()
    inode = dentry.inode
    if inode is not None and inode.nodeid == entry.nodeid and not _reused(inode, entry.generation, entry.attr):
        if not inode.bad:
            return dentry
        dentry.put()
        raise os_error(errno.EIO)
    if inode is not None and inode.nodeid == entry.nodeid:
        inode.bad = True
    dentry.invalidate()
    dentry.put()
    return None
