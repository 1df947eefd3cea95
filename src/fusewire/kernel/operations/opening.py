"""OPEN, CREATE, FLUSH and RELEASE, and their likes for directories and unnamed files.

The daemon's reply decides how the file will be read and written (FOPEN_*):

    nothing        through the page cache, which is emptied first
    KEEP_CACHE     through the page cache as it is
    DIRECT_IO      each read is a READ, each write a WRITE
    PASSTHROUGH    by a file of the daemon's own; refused, since no daemon can register one here

Those who use the page cache of an inode and those who write past it side by side must not meet.
`iocachectr` counts the former upwards, the latter downwards; who finds it on the wrong side waits
or, if he cannot, takes a lock that excludes the others (fs/fuse/iomode.c).

FLUSH goes out at each close, and its error is what close(2) says. RELEASE goes out when the last
reference is gone, in the background: its error is nobody's. It holds the inode until it has been
answered, so that no FORGET overtakes it.

Not modelled: ETXTBSY (nothing is ever executed), files longer than O_LARGEFILE allows.

Source: fs/fuse/file.c, fuse_open, fuse_flush, fuse_release_common; fs/fuse/dir.c, fuse_create_open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.attributes import settle_pages
from fusewire.kernel.operations.creation import creation_extensions
from fusewire.kernel.operations.entries import directory_changed, iget, instantiate, seconds
from fusewire.kernel.operations.lock_owner import lock_owner
from fusewire.kernel.operations.pages import invalidate_pages, truncate_pages
from fusewire.kernel.operations.write_pages import link_write_file
from fusewire.kernel.tasks import current
from fusewire.kernel.vfs.inode import STATX_BLOCKS, STATX_CTIME, STATX_MTIME, STATX_SIZE, plausible
from fusewire.kernel.vfs.open_file import O_LARGEFILE, OpenFile
from fusewire.kernel.waitq import Sleep, WaitQueue
from fusewire.wire import (
    FUSE_ROOT_ID,
    CreateIn,
    EntryOut,
    FlushIn,
    InitFlags,
    OpenFlags,
    OpenIn,
    OpenInFlags,
    OpenOut,
    ReleaseFlags,
    ReleaseIn,
)

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.syscalls.base import Caller
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.inode import Inode

__all__ = [
    "close_file",
    "direct_io_waitq",
    "flush",
    "fuse_create",
    "fuse_open",
    "fuse_tmpfile",
    "owner_of",
    "owner_of_file",
    "put_file",
    "release_now",
    "use_page_cache",
]

OPEN_FILES: Final = 1 << 32  # open files as owners of locks are numbered from here on, processes below
NOT_SENT: Final = os.O_CREAT | os.O_EXCL | os.O_NOCTTY  # of open's flags, in OPEN
NOT_KEPT: Final = NOT_SENT | os.O_TRUNC  # once the file is open
TRUNCATED: Final = STATX_SIZE | STATX_MTIME | STATX_CTIME | STATX_BLOCKS


def owner_of(inode: Inode) -> int:
    """Return the current process as the daemon of `inode` knows it from its locks."""
    process = current().process
    return lock_owner(process.owner if process else 0, inode.superblock.dev)


def owner_of_file(file: OpenFile) -> int:
    """Return the open file itself as the daemon knows it as an owner of locks: by flock(2), and as F_OFD_*."""
    return lock_owner(OPEN_FILES + file.kh, file.inode.superblock.dev)


# Opening what exists.


async def fuse_open(dentry: Dentry, flags: int) -> OpenFile:
    """Open the regular file or directory at `dentry`, of which the result holds a reference of its own.

    Raises:
        OSError: EIO if the file is bad, or must not be opened the way the daemon says; otherwise
            as the daemon says.
    """
    inode = dentry.inode
    assert inode is not None
    inode.check_bad()
    file = _new_file(dentry, inode, flags)
    if inode.is_dir:
        await _open_dir(file)
    elif flags & os.O_TRUNC and _truncates_under_writeback(inode):
        from fusewire.kernel.operations.writeback import no_writes  # which needs us, too

        async with inode.rwsem.exclusive(), no_writes(inode):
            await _open_regular(file)
    else:
        await _open_regular(file)
    return _opened(file)


def _truncates_under_writeback(inode: Inode) -> bool:
    connection = inode.superblock.connection
    return connection.has(InitFlags.FUSE_ATOMIC_O_TRUNC) and connection.has(InitFlags.FUSE_WRITEBACK_CACHE)


def _new_file(dentry: Dentry, inode: Inode, flags: int) -> OpenFile:
    file = OpenFile(dentry, inode, flags | O_LARGEFILE)
    connection = inode.superblock.connection
    connection.khctr += 1
    file.kh = connection.khctr
    return file


def _opened(file: OpenFile) -> OpenFile:
    file.flags &= ~NOT_KEPT
    file.dentry.get()
    return file


async def _open_dir(file: OpenFile) -> None:
    """Have the daemon open a directory, unless it has said that it need not know (OPENDIR: ENOSYS)."""
    file.open_flags = OpenFlags.FOPEN_KEEP_CACHE | OpenFlags.FOPEN_CACHE_DIR
    await _ask_open(file, "OPENDIR")
    file.open_flags &= ~OpenFlags.FOPEN_DIRECT_IO
    if not file.open_flags & OpenFlags.FOPEN_KEEP_CACHE:
        await invalidate_pages(file.inode)


async def _open_regular(file: OpenFile) -> None:
    inode = file.inode
    connection = inode.superblock.connection
    file.open_flags = OpenFlags.FOPEN_KEEP_CACHE
    await _ask_open(file, "OPEN")
    await _finish_open(file)
    if file.flags & os.O_TRUNC and connection.has(InitFlags.FUSE_ATOMIC_O_TRUNC):
        inode.attr.size = 0
        inode.bump()
        inode.invalidate(TRUNCATED)
        await truncate_pages(inode, 0)
    elif not file.open_flags & OpenFlags.FOPEN_KEEP_CACHE:
        await invalidate_pages(inode)


async def _ask_open(file: OpenFile, name: str) -> None:
    """Send OPEN or OPENDIR, unless the daemon has answered one with ENOSYS: then there is no handle, and no end."""
    connection = file.inode.superblock.connection
    if name in connection.absent:
        return
    flags = file.flags & ~NOT_SENT
    if not connection.has(InitFlags.FUSE_ATOMIC_O_TRUNC):
        flags &= ~os.O_TRUNC
    try:
        reply = await connection.ask(name, file.inode.nodeid, OpenIn(flags, _kill_suidgid(connection, flags)))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        connection.absent.add(name)
    else:
        _take_handle(file, reply.structs[0])


def _kill_suidgid(connection: Connection, flags: int) -> int:
    """Return open_flags: whether the daemon is to clear suid and sgid, as it truncates for one who may not keep them."""
    if not flags & os.O_TRUNC or not connection.has(InitFlags.FUSE_HANDLE_KILLPRIV_V2):
        return 0
    process = current().process
    return 0 if process is None or process.credentials.privileged else OpenInFlags.FUSE_OPEN_KILL_SUIDGID


def _take_handle(file: OpenFile, out: OpenOut) -> None:
    file.fh, file.open_flags, file.opened = out.fh, out.open_flags, True


async def _finish_open(file: OpenFile) -> None:
    """Choose how the file is read and written; if that cannot be, have the daemon close it and fail."""
    try:
        await _choose_mode(file)
    except OSError:
        await release_now(file)
        raise
    connection = file.inode.superblock.connection
    if file.writable and connection.has(InitFlags.FUSE_WRITEBACK_CACHE):
        link_write_file(file)


async def _choose_mode(file: OpenFile) -> None:
    if not file.opened:
        return  # a daemon without OPEN is not held to a mode
    if not file.open_flags & OpenFlags.FOPEN_DIRECT_IO:
        file.open_flags &= ~OpenFlags.FOPEN_PARALLEL_DIRECT_WRITES
    if file.open_flags & OpenFlags.FOPEN_PASSTHROUGH:
        raise os_error(errno.EIO)  # there is no file to pass it through to
    if not file.open_flags & OpenFlags.FOPEN_DIRECT_IO:
        await use_page_cache(file)


async def use_page_cache(file: OpenFile) -> None:
    """Count `file` among those who use its inode's page cache, once nobody writes past that any more.

    Source: fs/fuse/iomode.c, fuse_file_cached_io_open.
    """
    inode = file.inode
    if file.cached_reference:
        return
    if inode.iocachectr < 0:
        await direct_io_waitq(inode).sleep(until=lambda: inode.iocachectr >= 0, depth=Sleep.UNINTERRUPTIBLE)
    file.cached_reference = True
    inode.iocachectr += 1


def direct_io_waitq(inode: Inode) -> WaitQueue:
    """Return where those wait who want to use the page cache of `inode` while others write past it."""
    if inode.direct_io_waitq is None:
        inode.direct_io_waitq = WaitQueue(f"direct writes to nodeid {inode.nodeid}")
    return inode.direct_io_waitq


def _leave_mode(file: OpenFile) -> None:
    if file.cached_reference:
        file.cached_reference = False
        file.inode.iocachectr -= 1
    write_files = file.inode.write_files
    if write_files is not None and file in write_files:
        write_files.remove(file)


# Making what does not exist.


async def fuse_create(parent: Dentry, dentry: Dentry, flags: int, mode: int) -> OpenFile:
    """Make a regular file at `dentry`, which is negative, and open it, in one request. The caller holds `parent`'s lock.

    Args:
        flags: as open(2) was told them.
        mode: permissions, the umask not yet taken off.

    Raises:
        OSError: ENOSYS if the daemon has no CREATE: it is to be sent MKNOD and OPEN from now on;
            EEXIST if the daemon found a file; EIO if it answers nonsense; otherwise as it says.
    """
    sent = flags
    if flags & os.O_EXCL:
        sent &= ~os.O_TRUNC  # there is nothing to truncate
    if flags & os.O_ACCMODE == os.O_ACCMODE:
        sent -= 1  # to daemons, for ioctl alone is to read and write
    try:
        return await _create("CREATE", parent, dentry, flags, sent, mode)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            dentry.superblock.connection.absent.add("CREATE")
        elif error.errno == errno.EEXIST:
            dentry.invalidate()
        raise


async def fuse_tmpfile(parent: Dentry, dentry: Dentry, flags: int, mode: int) -> OpenFile:
    """Make a regular file without a name in `parent`, and open it; `dentry`, unhashed and negative, stands for it.

    Raises:
        OSError: EOPNOTSUPP if the daemon has no TMPFILE; EIO if it answers nonsense; otherwise as it says.
    """
    absent = parent.superblock.connection.absent
    if "TMPFILE" in absent:
        raise os_error(errno.EOPNOTSUPP)
    try:
        return await _create("TMPFILE", parent, dentry, flags, flags, mode)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        absent.add("TMPFILE")
        raise os_error(errno.EOPNOTSUPP) from None


async def _create(name: str, parent: Dentry, dentry: Dentry, flags: int, sent: int, mode: int) -> OpenFile:
    directory = parent.inode
    assert directory is not None
    directory.check_bad()
    connection = parent.superblock.connection
    process = current().process
    umask = process.umask_ if process is not None else 0
    if not connection.has(InitFlags.FUSE_DONT_MASK):
        mode &= ~umask
    sent &= ~os.O_NOCTTY
    kill = 0 if sent & os.O_EXCL else _kill_suidgid(connection, sent)
    reply = await connection.ask(
        name,
        directory.nodeid,
        CreateIn(sent, mode | stat.S_IFREG, umask, kill),
        (dentry.name,),
        extensions=creation_extensions(directory),
    )
    entry, out = reply.structs
    file = await _created(directory, dentry, flags, entry, out)
    if sent & os.O_TRUNC and connection.has(InitFlags.FUSE_ATOMIC_O_TRUNC):
        await truncate_pages(file.inode, 0)
    elif not file.open_flags & OpenFlags.FOPEN_KEEP_CACHE:
        await invalidate_pages(file.inode)
    return _opened(file)


async def _created(directory: Inode, dentry: Dentry, flags: int, entry: EntryOut, out: OpenOut) -> OpenFile:
    """Make inode and open file of the reply, and `dentry` the inode's name."""
    attr = entry.attr
    if not stat.S_ISREG(attr.mode) or entry.nodeid in (0, FUSE_ROOT_ID) or not plausible(attr):
        raise os_error(errno.EIO)  # and neither handle nor lookup are given back, as in Linux
    valid = seconds(entry.attr_valid, entry.attr_valid_nsec)
    inode = iget(directory.superblock, entry.nodeid, entry.generation, attr, attr_valid=valid, version=0)
    instantiate(dentry, inode, entry)
    directory_changed(directory)
    if inode.stale_pages:
        await settle_pages(inode)
    file = _new_file(dentry, inode, flags)
    _take_handle(file, out)
    await _finish_open(file)
    return file


# Closing.


async def flush(file: OpenFile) -> None:
    """Tell the daemon that one who has had `file` open closes it, once it has all that was written.

    Nobody can be killed meanwhile. No effect on anything but a regular file.

    Raises:
        OSError: what writing failed with since the last flush or fsync; otherwise as the daemon says.
    """
    inode = file.inode
    if not inode.is_regular or file.path_only:
        return
    inode.check_bad()
    connection = inode.superblock.connection
    writeback = connection.has(InitFlags.FUSE_WRITEBACK_CACHE)
    if file.open_flags & OpenFlags.FOPEN_NOFLUSH and not writeback:
        return
    if inode.writeback is not None:
        from fusewire.kernel.operations.writeback import write_inode  # which needs us, too

        await write_inode(inode)
        code = inode.writeback.take_error()
        if code:
            raise os_error(code)
    await _send_flush(file)
    if writeback:
        inode.invalidate(STATX_BLOCKS)


async def _send_flush(file: OpenFile) -> None:
    connection = file.inode.superblock.connection
    if "FLUSH" in connection.absent:
        return
    try:
        await connection.ask("FLUSH", file.inode.nodeid, FlushIn(file.fh, owner_of(file.inode)), force=True)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        connection.absent.add("FLUSH")


def put_file(file: OpenFile) -> None:
    """Give back a reference; with the last one the daemon is told that the file is closed. Never sleeps."""
    file.references -= 1
    if file.references:
        return
    inode = file.inode
    _leave_mode(file)
    if inode.locks is not None:
        inode.locks.forget_file(file)
    inode.superblock.connection.polled.pop(file.kh, None)
    if file.poll_waitq is not None:
        file.poll_waitq.wake_all()
    if file.opened:
        _release_in_background(file)
    file.dentry.put()


def _release_in_background(file: OpenFile) -> None:
    inode = file.inode
    name = "RELEASEDIR" if inode.is_dir else "RELEASE"
    inode.hold()  # until it is answered: no FORGET is to overtake it
    inode.superblock.connection.ask_background(
        name, inode.nodeid, _release_in(file), end=lambda request: inode.drop(), force=True, nocreds=True
    )


async def close_file(file: OpenFile, process: Caller) -> None:
    """Do what close(2) does for the file of a descriptor that `process` no longer has, and give the reference back.

    Raises:
        OSError: as `flush`.
    """
    try:
        await flush(file)
    finally:
        if file.inode.locks is not None and not file.path_only:
            file.inode.locks.forget_owner(process.owner)
        put_file(file)


async def release_now(file: OpenFile) -> None:
    """Have the daemon close a file that could not be opened to the end; nobody has had it."""
    _leave_mode(file)
    if not file.opened:
        return
    with contextlib.suppress(OSError):  # as in the background, its error is nobody's
        await file.inode.superblock.connection.ask(
            "RELEASE", file.inode.nodeid, _release_in(file), force=True, nocreds=True
        )


def _release_in(file: OpenFile) -> ReleaseIn:
    if not file.flocked:
        return ReleaseIn(file.fh, file.flags)
    return ReleaseIn(file.fh, file.flags, ReleaseFlags.FUSE_RELEASE_FLOCK_UNLOCK, owner_of_file(file))
