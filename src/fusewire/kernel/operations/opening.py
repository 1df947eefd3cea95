"""OPEN, OPENDIR, CREATE and TMPFILE: a file is opened, or made and opened at once.

The daemon gives an open file a number of its own, `fh`, that goes with all that is done with it, and
says how it is to be read and written (io_mode.py). A daemon that answers OPEN or OPENDIR with ENOSYS
is never asked again: its files have the handle 0, keep their pages, and are not released.

The daemon is told the flags of open(2), but for those that the kernel has acted on by then: O_CREAT,
O_EXCL and O_NOCTTY in OPEN, O_TRUNC unless ATOMIC_O_TRUNC leaves truncation to it.

Not modelled: ETXTBSY (nothing is ever executed).

Source: fs/fuse/file.c, fuse_open, fuse_file_open; fs/fuse/dir.c, fuse_dir_open, fuse_create_open.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.events import named
from fusewire.kernel.operations.attributes import settle_pages
from fusewire.kernel.operations.creation import creation_extensions, masked
from fusewire.kernel.operations.entries import directory_changed, iget, instantiate
from fusewire.kernel.operations.io_mode import choose_mode
from fusewire.kernel.operations.pages import invalidate_pages, truncate_pages
from fusewire.kernel.operations.releasing import release_now
from fusewire.kernel.operations.times import touch
from fusewire.kernel.operations.write_pages import link_write_file
from fusewire.kernel.operations.writeback import no_writes
from fusewire.kernel.tasks import current
from fusewire.kernel.vfs.attr import STATX_BLOCKS, STATX_CTIME, STATX_MTIME, STATX_SIZE, plausible
from fusewire.kernel.vfs.open_file import O_LARGEFILE, OpenFile
from fusewire.wire import FUSE_ROOT_ID, CreateIn, EntryOut, InitFlags, OpenFlags, OpenIn, OpenInFlags, OpenOut

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.inode import Inode

__all__ = [
    "fuse_create",
    "fuse_open",
    "fuse_tmpfile",
    "open_inode",
]

NOT_SENT: Final = os.O_CREAT | os.O_EXCL | os.O_NOCTTY  # of open's flags, in OPEN
NOT_KEPT: Final = NOT_SENT | os.O_TRUNC  # once the file is open
TRUNCATED: Final = STATX_SIZE | STATX_MTIME | STATX_CTIME | STATX_BLOCKS


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
        async with inode.rwsem.exclusive():
            async with no_writes(inode):
                await _open_regular(file)
            await _drop_old_pages(file)  # which waits for WRITEs that were held back
    else:
        await _open_regular(file)
        await _drop_old_pages(file)
    return _opened(file)


async def open_inode(dentry: Dentry, flags: int) -> OpenFile:
    """Open it for the kernel's own use, with no regard to the page cache (fuse_file_open).

    Raises:
        OSError: as the daemon says.
    """
    assert dentry.inode is not None
    file = _new_file(dentry, dentry.inode, flags)
    file.flags = flags
    await _ask_open(file, "OPENDIR" if dentry.inode.is_dir else "OPEN")
    dentry.get()
    return file


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


@named("fuse_dir_open")
async def _open_dir(file: OpenFile) -> None:
    """Have the daemon open a directory, unless it has said that it need not know (OPENDIR: ENOSYS)."""
    file.open_flags = OpenFlags.FOPEN_KEEP_CACHE | OpenFlags.FOPEN_CACHE_DIR
    await _ask_open(file, "OPENDIR")
    file.open_flags &= ~OpenFlags.FOPEN_DIRECT_IO
    if not file.open_flags & OpenFlags.FOPEN_KEEP_CACHE:
        await invalidate_pages(file.inode)


@named("fuse_open")
async def _open_regular(file: OpenFile) -> None:
    inode = file.inode
    connection = inode.superblock.connection
    file.open_flags = OpenFlags.FOPEN_KEEP_CACHE
    await _ask_open(file, "OPEN")
    await _finish_open(file)
    if file.flags & os.O_TRUNC and connection.has(InitFlags.FUSE_ATOMIC_O_TRUNC):
        _truncated(inode)


async def _drop_old_pages(file: OpenFile) -> None:
    """Have the page cache follow the truncation, or begin anew unless the daemon says that it is still good."""
    if file.flags & os.O_TRUNC and file.inode.superblock.connection.has(InitFlags.FUSE_ATOMIC_O_TRUNC):
        await truncate_pages(file.inode, 0)
    elif not file.open_flags & OpenFlags.FOPEN_KEEP_CACHE:
        await invalidate_pages(file.inode)


def _truncated(inode: Inode) -> None:
    """Note that the daemon has emptied the file as it opened it (fuse_truncate_update_attr)."""
    inode.bump()
    inode.attr.size = 0
    touch(inode)
    inode.invalidate(TRUNCATED)


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
    """Return open_flags: is the daemon to clear suid and sgid, since it truncates for one who may not keep them?"""
    if not flags & os.O_TRUNC or not connection.has(InitFlags.FUSE_HANDLE_KILLPRIV_V2):
        return 0
    process = current().process
    return 0 if process is None or process.credentials.privileged else OpenInFlags.FUSE_OPEN_KILL_SUIDGID


def _take_handle(file: OpenFile, out: OpenOut) -> None:
    file.fh, file.open_flags, file.opened = out.fh, out.open_flags, True


async def _finish_open(file: OpenFile) -> None:
    """Choose how the file is read and written; if that cannot be, have the daemon close it and fail."""
    try:
        await choose_mode(file)
    except OSError:
        await release_now(file)
        raise
    connection = file.inode.superblock.connection
    if file.writable and connection.has(InitFlags.FUSE_WRITEBACK_CACHE):
        link_write_file(file)


# Making what does not exist.


@named("fuse_create_open")
async def fuse_create(parent: Dentry, dentry: Dentry, flags: int, mode: int) -> OpenFile:
    """Make a regular file at the negative `dentry` and open it, in one request. The caller holds `parent`'s lock.

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


@named("fuse_tmpfile")
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
    mode, umask = masked(connection, mode)
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
    inode = iget(directory.superblock, entry, version=0)
    instantiate(dentry, inode, entry)
    directory_changed(directory)
    if inode.stale_pages:
        await settle_pages(inode)
    file = _new_file(dentry, inode, flags)
    _take_handle(file, out)
    await _finish_open(file)
    return file
