"""SETATTR: chmod, chown, utime and truncate.

The daemon is told what to change by `valid`. It is not told what follows of itself: that ftruncate
and O_TRUNC set mtime, that everything sets ctime. Only under WRITEBACK_CACHE, where times of
regular files are ours, are they sent with each change that we know of.

    chmod                 MODE
    chown                 UID, GID; then MODE too, if suid or sgid go and the daemon has not promised to see to it
    utime                 ATIME, MTIME, and for now ATIME_NOW, MTIME_NOW; the value is sent in any case
    truncate              SIZE, LOCKOWNER
    ftruncate             SIZE, LOCKOWNER, FH
    O_TRUNC               SIZE, LOCKOWNER, unless OPEN itself has done it (ATOMIC_O_TRUNC)
    HANDLE_KILLPRIV_V2    KILL_SUIDGID beside UID, GID and SIZE

Locks: the inode semaphore is the caller's, exclusively. While a size changes no WRITE of pages is
in flight (`no_writes`), and attributes of other replies do not count (`size_unstable`).

Source: fs/fuse/dir.c, fuse_setattr, fuse_do_setattr, iattr_to_fattr; fs/attr.c, notify_change.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from fusewire.events import named
from fusewire.kernel.operations.attributes import check_allowed, check_attr, getattr_now, settle_pages
from fusewire.kernel.operations.lock_owner import lock_owner
from fusewire.kernel.operations.privileges import remove_capabilities
from fusewire.kernel.operations.writeback import no_writes, sync_writes, write_inode
from fusewire.kernel.tasks import current
from fusewire.kernel.vfs.attr import STATX_BASIC, seconds
from fusewire.kernel.vfs.changes import Change, Changing, check_change, lends_group
from fusewire.kernel.vfs.credentials import credentials
from fusewire.kernel.vfs.inode import INVALIDATE, TRUNCATE
from fusewire.wire import Attr, AttrOut, InitFlags, SetattrIn, SetattrValid

if TYPE_CHECKING:
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["KILL_SUIDGID", "fuse_setattr", "set_size"]

SECOND: Final = 1_000_000_000  # nanoseconds
MASK_64: Final = (1 << 64) - 1
KILL_SUIDGID: Final = Changing.KILL_SUID | Changing.KILL_SGID
CHANGES_OWNER: Final = Changing.UID | Changing.GID
WANTS_PAGES_WRITTEN: Final = (
    Changing.MODE | Changing.UID | Changing.GID | Changing.MTIME_SET | Changing.TIMES_SET
)  # before it, under WRITEBACK_CACHE
HANDLED: Final = InitFlags.FUSE_HANDLE_KILLPRIV | InitFlags.FUSE_HANDLE_KILLPRIV_V2


async def set_size(file: OpenFile, size: int) -> None:
    """Set the size of an open file, whoever calls, once a write beyond its end has failed half way.

    The caller holds the inode semaphore. Errors as `fuse_setattr`. Source: fs/fuse/file.c, fuse_do_truncate.
    """
    await _do_setattr(file.inode, Change(Changing.SIZE | Changing.FILE, size=size, file=file))


@named("fuse_setattr")
async def fuse_setattr(inode: Inode, change: Change, dentry: Dentry | None = None) -> None:
    """Have the daemon make `change` of the inode, a directory's that was found by `dentry`.

    Raises:
        OSError: EIO if the inode is bad, or becomes so; EACCES if the caller may not use the mount;
            EPERM and EFBIG as `check_change`; what GETATTR or SETATTR ends in.
    """
    inode.check_bad()
    check_allowed(inode.superblock)
    if change.what & KILL_SUIDGID:
        await _leave_suidgid_to_the_daemon(inode, change)
    if not change.what:
        return
    await _do_setattr(inode, change)
    if inode.superblock.connection.has(InitFlags.FUSE_POSIX_ACL):
        inode.acls = None
    if dentry is not None and inode.is_dir and change.what & Changing.MODE:
        dentry.expire()  # who may pass through it may have changed


async def _leave_suidgid_to_the_daemon(inode: Inode, change: Change) -> None:
    """Take off suid and sgid by mode only for a daemon that does not do so itself, and by the mode of this moment."""
    change.what &= ~(KILL_SUIDGID | Changing.MODE)
    if inode.superblock.connection.has(HANDLED):
        return
    await getattr_now(inode, change.file if change.what & Changing.FILE else None)
    change.mode = inode.mode
    if change.mode & stat.S_ISUID:
        change.what |= Changing.MODE
        change.mode &= ~stat.S_ISUID
    if lends_group(inode.mode):
        change.what |= Changing.MODE
        change.mode &= ~stat.S_ISGID


async def _do_setattr(inode: Inode, change: Change) -> None:
    """Check `change`, send it, and take over what the reply says.

    Source: fs/fuse/dir.c, fuse_do_setattr.
    """
    superblock = inode.superblock
    if not superblock.default_permissions:
        change.what |= Changing.FORCE
    check_change(inode, change)
    if change.what & Changing.KILL_PRIV:
        await remove_capabilities(inode)
    if change.what & Changing.OPEN and superblock.connection.has(InitFlags.FUSE_ATOMIC_O_TRUNC):
        await _was_truncated(inode)
        return
    if inode.written_back and change.what & WANTS_PAGES_WRITTEN:
        await write_inode(inode)
        await sync_writes(inode)
    if change.what & Changing.SIZE:
        await _change_size(inode, change)
    else:
        await _ask(inode, change)
        if inode.stale_pages:
            await settle_pages(inode)


async def _was_truncated(inode: Inode) -> None:
    """OPEN has truncated the file; what is left to us is the page cache."""
    inode.attr.size = 0
    inode.stale_pages = TRUNCATE
    await settle_pages(inode)


async def _change_size(inode: Inode, change: Change) -> None:
    if inode.written_back and change.size != inode.size:
        change.what |= Changing.MTIME | Changing.CTIME
    inode.size_unstable = True
    try:
        async with no_writes(inode):
            await _ask(inode, change)
        if inode.stale_pages:
            await settle_pages(inode)
    finally:
        inode.size_unstable = False


async def _ask(inode: Inode, change: Change) -> None:
    connection = inode.superblock.connection
    version = connection.attr_version
    try:
        reply = await connection.ask("SETATTR", inode.nodeid, _body(inode, change))
    except OSError as error:
        if error.errno == errno.EINTR:  # who knows whether it was done
            inode.invalidate(STATX_BASIC)
        raise
    answer: AttrOut = reply.structs[0]
    check_attr(inode, answer.attr)
    outdated = inode.attr_version > version
    valid = 0.0 if outdated else seconds(answer.attr_valid, answer.attr_valid_nsec)
    _take(inode, change, answer.attr, valid)


def _take(inode: Inode, change: Change, attr: Attr, attr_valid: float) -> None:
    """Take over the reply: what we changed is changed, even if we know of later changes."""
    ours = inode.kept_locally
    mine = inode.attr
    if ours and change.what & Changing.MTIME:
        mine.mtime, mine.mtimensec = _split(change.mtime)
    if ours and change.what & Changing.CTIME:
        mine.ctime, mine.ctimensec = _split(change.ctime)
    inode.take(attr, attr_valid, ours)
    size = mine.size
    if ours and not change.what & Changing.SIZE:
        return
    mine.size = attr.size
    if inode.is_regular and size != attr.size and inode.pages is not None:
        inode.stale_pages |= TRUNCATE | INVALIDATE


def _split(time: int) -> tuple[int, int]:
    seconds, nanoseconds = divmod(time, SECOND)
    return seconds & MASK_64, nanoseconds


def _body(inode: Inode, change: Change) -> SetattrIn:
    body = SetattrIn()
    what, local = change.what, inode.written_back
    if what & Changing.MODE:
        body.valid |= SetattrValid.FATTR_MODE
        body.mode = change.mode
    if what & Changing.UID:
        body.valid |= SetattrValid.FATTR_UID
        body.uid = change.uid
    if what & Changing.GID:
        body.valid |= SetattrValid.FATTR_GID
        body.gid = change.gid
    _say_times(body, change, local)
    if what & Changing.FILE and not what & Changing.OPEN and change.file is not None:
        body.valid |= SetattrValid.FATTR_FH
        body.fh = change.file.fh
    _say_suidgid(body, inode, what)
    if what & Changing.SIZE:
        body.valid |= SetattrValid.FATTR_SIZE | SetattrValid.FATTR_LOCKOWNER
        body.size = change.size
        process = current().process
        body.lock_owner = lock_owner(process.owner if process else 0, inode.superblock.dev)
    return body


def _say_suidgid(body: SetattrIn, inode: Inode, what: int) -> None:
    """Tell a daemon that sees to it when suid and sgid are to go."""
    if not inode.superblock.connection.has(InitFlags.FUSE_HANDLE_KILLPRIV_V2):
        return
    chown = what & CHANGES_OWNER and not inode.is_dir
    if chown or (what & Changing.SIZE and not credentials().privileged):
        body.valid |= SetattrValid.FATTR_KILL_SUIDGID


def _say_times(body: SetattrIn, change: Change, local: bool) -> None:
    """Fill in the times; `local` says that they are ours to keep, so that each is sent as it is."""
    what = change.what
    if what & Changing.ATIME:
        body.valid |= SetattrValid.FATTR_ATIME
        body.atime, body.atimensec = _split(change.atime)
        if not what & Changing.ATIME_SET:
            body.valid |= SetattrValid.FATTR_ATIME_NOW
    if what & Changing.MTIME and _says_mtime(what, local):
        body.valid |= SetattrValid.FATTR_MTIME
        body.mtime, body.mtimensec = _split(change.mtime)
        if not what & Changing.MTIME_SET and not local:
            body.valid |= SetattrValid.FATTR_MTIME_NOW
    if what & Changing.CTIME and local:
        body.valid |= SetattrValid.FATTR_CTIME
        body.ctime, body.ctimensec = _split(change.ctime)


def _says_mtime(what: int, local: bool) -> bool:
    """Whether mtime is sent: it goes without saying in ftruncate(2) and O_TRUNC, unless it is ours."""
    if what & Changing.MTIME_SET or local:
        return True
    return not (what & Changing.SIZE and what & (Changing.OPEN | Changing.FILE))
