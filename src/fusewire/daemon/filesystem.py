"""The raw door: a filesystem as the wire sees it, one method per operation, on nodeids.

Subclass `Filesystem` and define what you can answer; each method may be `def` or `async def`.
A nodeid is any number but 0 that you choose; the root's is 1. The kernel counts on its own
side how often it was given one: each `Entry` returned (by lookup, create, mkdir..., and by
readdirplus, '.' and '..' apart) adds 1, `forget` takes away, and only at 0, and with nothing
of it open, may a nodeid mean something else, or the same again under a new `generation`.

To say no, raise `OSError` with an errno. Names are `str` (surrogateescape), times integer
nanoseconds, a `write`'s data a memoryview that is yours until the method returns. Whoever wants
to write a filesystem out of objects instead of numbers takes the front door, `nodes`.

What is answered where a method is absent stands in its decorator: `absent`. docs/operations.md
is made from these tables.
"""

from __future__ import annotations

import errno
import stat as modes
from collections.abc import Iterable
from typing import ClassVar

from fusewire.daemon.answers import (
    SUCCESS,
    answers,
    changes,
    device_number,
    lock,
    put_attributes,
    put_block,
    put_copied,
    put_created,
    put_data,
    put_dirents,
    put_direntsplus,
    put_entry,
    put_ioctl,
    put_lock,
    put_names,
    put_nothing,
    put_offset,
    put_open,
    put_path,
    put_poll,
    put_sized,
    put_statfs,
    put_statx,
    put_written,
    text,
)
from fusewire.daemon.either import Either
from fusewire.daemon.request import Request
from fusewire.daemon.values import Attributes, Dirent, Entry, Lock, OpenFile, SetAttributes, StatFs
from fusewire.errors import os_error
from fusewire.wire import Buffer, GetattrFlags

__all__ = ["Filesystem"]


class Filesystem:
    """Answers requests about nodeids. What a subclass leaves out, Linux is told so.

    Every method may raise OSError; its errno goes to the caller. Any other exception is
    logged with its request, and the caller gets EIO.
    """

    entry_timeout: ClassVar[float] = 1.0
    """Seconds the kernel may keep a name, where an `Entry` does not say."""
    attr_timeout: ClassVar[float] = 1.0
    """Seconds the kernel may keep attributes, where `Attributes` do not say."""
    negative_timeout: ClassVar[float] = 0.0
    """Seconds the kernel may remember that a name does not exist; 0 asks each time."""
    threads: ClassVar[int] = 1
    """How many `def` methods may run at once, where `mount` is not told. 1 promises nothing."""
    blocking: ClassVar[bool] = True
    """False promises that no `def` method ever waits: it is then run where the request is read."""
    default_permissions: ClassVar[bool] = False
    """True has the kernel check modes and owners, as `-o default_permissions`; `access` is not asked then."""
    root_type: int = modes.S_IFDIR
    """What nodeid 1 is, S_IFDIR or S_IFREG: it can be mounted on the same alone."""
    init_flags: ClassVar[int] = 0
    """Bits of `InitFlags` to ask the kernel for beside those that every filesystem gets."""

    def init(self) -> None:
        """The kernel and we have agreed; requests will follow. Before the mount is told to its user."""

    def destroy(self) -> None:
        """The mount is gone, and with it every lookup and every open file. Called once."""

    # --- names

    @answers("LOOKUP", arguments=lambda m: (m.header.nodeid, text(m.names[0])), put=put_entry, absent=errno.ENOENT)
    def lookup(self, request: Request, parent: int, name: str) -> Either[Entry]:
        """Find `name` in a directory. ENOENT if there is none; `Entry.negative()` lets the kernel remember so."""
        raise os_error(errno.ENOENT)

    def forget(self, nodeid: int, nlookup: int) -> None:
        """Give back `nlookup` of the lookups of `nodeid`. Nothing is answered; raising is of no use."""

    @answers(
        "SYMLINK",
        arguments=lambda m: (m.header.nodeid, text(m.names[0]), text(m.names[1])),
        put=put_entry,
        absent=errno.EPERM,
    )
    def symlink(self, request: Request, parent: int, name: str, target: str) -> Either[Entry]:
        """Make a symlink `name` that holds `target`. EEXIST if the name is taken."""
        raise os_error(errno.EPERM)

    @answers(
        "MKNOD",
        arguments=lambda m: (m.header.nodeid, text(m.names[0]), m.body.mode, device_number(m.body.rdev)),
        put=put_entry,
        absent=errno.EPERM,
    )
    def mknod(self, request: Request, parent: int, name: str, mode: int, rdev: int) -> Either[Entry]:
        """Make a file of the type in `mode`: regular, fifo, socket or device. The umask is already applied."""
        raise os_error(errno.EPERM)

    @answers(
        "MKDIR",
        arguments=lambda m: (m.header.nodeid, text(m.names[0]), m.body.mode & 0o7777 | modes.S_IFDIR),
        put=put_entry,
        absent=errno.EPERM,
    )
    def mkdir(self, request: Request, parent: int, name: str, mode: int) -> Either[Entry]:
        """Make a directory. EEXIST if the name is taken."""
        raise os_error(errno.EPERM)

    @answers("UNLINK", arguments=lambda m: (m.header.nodeid, text(m.names[0])), put=put_nothing, absent=errno.EPERM)
    def unlink(self, request: Request, parent: int, name: str) -> Either[None]:
        """Remove a name that is no directory's. Open files and known nodeids of it live on."""
        raise os_error(errno.EPERM)

    @answers("RMDIR", arguments=lambda m: (m.header.nodeid, text(m.names[0])), put=put_nothing, absent=errno.EPERM)
    def rmdir(self, request: Request, parent: int, name: str) -> Either[None]:
        """Remove an empty directory. ENOTEMPTY if it is not."""
        raise os_error(errno.EPERM)

    @answers(
        "RENAME",
        "RENAME2",
        arguments=lambda m: (
            m.header.nodeid,
            text(m.names[0]),
            m.body.newdir,
            text(m.names[1]),
            getattr(m.body, "flags", 0),
        ),
        put=put_nothing,
        absent=errno.EPERM,
    )
    def rename(
        self, request: Request, parent: int, name: str, new_parent: int, new_name: str, flags: int
    ) -> Either[None]:
        """Move a name, over what bears the new one.

        `flags` are those of renameat2(2): RENAME_NOREPLACE (1), RENAME_EXCHANGE (2), RENAME_WHITEOUT (4). EINVAL for
        those that you cannot honour: never ignore them.
        """
        raise os_error(errno.EPERM)

    @answers(
        "LINK",
        arguments=lambda m: (m.body.oldnodeid, m.header.nodeid, text(m.names[0])),
        put=put_entry,
        absent=errno.EPERM,
    )
    def link(self, request: Request, nodeid: int, new_parent: int, new_name: str) -> Either[Entry]:
        """Give the node a further name. The entry returned is of the same nodeid."""
        raise os_error(errno.EPERM)

    @answers("READLINK", arguments=lambda m: (m.header.nodeid,), put=put_path, absent=errno.EINVAL)
    def readlink(self, request: Request, nodeid: int) -> Either[str]:
        """Return what the symlink holds, of at most 4095 bytes."""
        raise os_error(errno.EINVAL)

    # --- attributes

    @answers(
        "GETATTR",
        arguments=lambda m: (
            m.header.nodeid,
            m.body.fh if m.body.getattr_flags & GetattrFlags.FUSE_GETATTR_FH else None,
        ),
        put=put_attributes,
        absent=errno.ENOSYS,
    )
    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Either[Attributes]:
        """Return the node's attributes. `fh` is the open file that they are asked of, if any."""
        raise os_error(errno.ENOSYS)

    @answers("SETATTR", arguments=lambda m: (m.header.nodeid, changes(m)), put=put_attributes, absent=errno.EPERM)
    def setattr(self, request: Request, nodeid: int, changes: SetAttributes) -> Either[Attributes]:
        """Make the changes that are not None, all or none, and return the attributes after.

        A change of size sets mtime and ctime too, of anything ctime: Linux does not ask for it.
        """
        raise os_error(errno.EPERM)

    @answers("STATX", arguments=lambda m: (m.header.nodeid,), put=put_statx, absent=errno.ENOSYS)
    def statx(self, request: Request, nodeid: int) -> Either[Attributes]:
        """Like getattr, for callers who want the birth time. Absent, Linux asks getattr."""
        raise os_error(errno.ENOSYS)

    @answers("ACCESS", arguments=lambda m: (m.header.nodeid, m.body.mask), put=put_nothing, absent=errno.ENOSYS)
    def access(self, request: Request, nodeid: int, mask: int) -> Either[None]:
        """Raise EACCES if the caller may not (R_OK, W_OK, X_OK). Never asked under default_permissions."""
        raise os_error(errno.ENOSYS)

    @answers("STATFS", arguments=lambda m: (m.header.nodeid,), put=put_statfs, absent=SUCCESS)
    def statfs(self, request: Request, nodeid: int) -> Either[StatFs]:
        """Return how big and how full the filesystem is."""
        return StatFs()

    # --- files

    @answers("OPEN", arguments=lambda m: (m.header.nodeid, m.body.flags), put=put_open, absent=SUCCESS)
    def open(self, request: Request, nodeid: int, flags: int) -> Either[OpenFile]:
        """Open a file with `flags` of open(2), O_CREAT and O_EXCL removed; O_TRUNC comes as a setattr of size 0."""
        return OpenFile()

    @answers(
        "CREATE",
        arguments=lambda m: (m.header.nodeid, text(m.names[0]), m.body.flags, m.body.mode),
        put=put_created,
        absent=errno.ENOSYS,
    )
    def create(self, request: Request, parent: int, name: str, flags: int, mode: int) -> Either[tuple[Entry, OpenFile]]:
        """Make a regular file and open it. Absent, Linux does mknod and open. EEXIST if the name is taken."""
        raise os_error(errno.ENOSYS)

    @answers(
        "TMPFILE",
        arguments=lambda m: (m.header.nodeid, m.body.flags, m.body.mode),
        put=put_created,
        absent=errno.ENOSYS,
    )
    def tmpfile(self, request: Request, parent: int, flags: int, mode: int) -> Either[tuple[Entry, OpenFile]]:
        """Make and open a file that has no name (O_TMPFILE). Absent, the caller gets EOPNOTSUPP."""
        raise os_error(errno.ENOSYS)

    @answers(
        "READ",
        arguments=lambda m: (m.header.nodeid, m.body.fh, m.body.offset, m.body.size),
        put=put_data,
        absent=errno.ENOSYS,
    )
    def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> Either[Buffer]:
        """Return the bytes from `offset`: `size` of them, fewer only at the end of the file."""
        raise os_error(errno.ENOSYS)

    @answers(
        "WRITE",
        arguments=lambda m: (m.header.nodeid, m.body.fh, m.body.offset, m.data),
        put=put_written,
        absent=errno.EPERM,
    )
    def write(self, request: Request, nodeid: int, fh: int, offset: int, data: memoryview) -> Either[int | None]:
        """Write `data` at `offset`; return how many bytes were taken, None for all.

        `data` is read where the kernel put it: copy what you keep (`bytes(data)`).
        """
        raise os_error(errno.EPERM)

    @answers("FLUSH", arguments=lambda m: (m.header.nodeid, m.body.fh), put=put_nothing, absent=errno.ENOSYS)
    def flush(self, request: Request, nodeid: int, fh: int) -> Either[None]:
        """A descriptor of the open file is being closed: the last chance to tell the caller of an error."""
        raise os_error(errno.ENOSYS)

    @answers("RELEASE", arguments=lambda m: (m.header.nodeid, m.body.fh), put=put_nothing, absent=SUCCESS)
    def release(self, request: Request, nodeid: int, fh: int) -> Either[None]:
        """Nobody has the open file any more: `fh` is yours again. No caller hears of an error."""

    @answers(
        "FSYNC",
        arguments=lambda m: (m.header.nodeid, m.body.fh, bool(m.body.fsync_flags & 1)),
        put=put_nothing,
        absent=errno.ENOSYS,
    )
    def fsync(self, request: Request, nodeid: int, fh: int, datasync: bool) -> Either[None]:
        """Return once what was written is safe; with `datasync` the times need not be."""
        raise os_error(errno.ENOSYS)

    @answers(
        "FALLOCATE",
        arguments=lambda m: (m.header.nodeid, m.body.fh, m.body.offset, m.body.length, m.body.mode),
        put=put_nothing,
        absent=errno.ENOSYS,
    )
    def fallocate(self, request: Request, nodeid: int, fh: int, offset: int, length: int, mode: int) -> Either[None]:
        """Reserve, punch or zero a range, as `mode` says (FALLOC_FL_*). Absent, the caller gets EOPNOTSUPP."""
        raise os_error(errno.ENOSYS)

    @answers(
        "LSEEK",
        arguments=lambda m: (m.header.nodeid, m.body.fh, m.body.offset, m.body.whence),
        put=put_offset,
        absent=errno.ENOSYS,
    )
    def lseek(self, request: Request, nodeid: int, fh: int, offset: int, whence: int) -> Either[int]:
        """Find the next data or hole (os.SEEK_DATA, os.SEEK_HOLE) from `offset`. ENXIO at or beyond the end."""
        raise os_error(errno.ENOSYS)

    @answers(
        "COPY_FILE_RANGE",
        "COPY_FILE_RANGE_64",
        arguments=lambda m: (
            m.header.nodeid,
            m.body.fh_in,
            m.body.off_in,
            m.body.nodeid_out,
            m.body.fh_out,
            m.body.off_out,
            m.body.len,
            m.body.flags,
        ),
        put=put_copied,
        absent=errno.ENOSYS,
    )
    def copy_file_range(
        self,
        request: Request,
        nodeid: int,
        fh: int,
        offset: int,
        nodeid_out: int,
        fh_out: int,
        offset_out: int,
        length: int,
        flags: int,
    ) -> Either[int]:
        """Copy within the filesystem; return how many bytes. Absent, Linux reads and writes."""
        raise os_error(errno.ENOSYS)

    @answers(
        "IOCTL",
        arguments=lambda m: (m.header.nodeid, m.body.fh, m.body.cmd, m.data, m.body.out_size, m.body.flags),
        put=put_ioctl,
        absent=errno.ENOTTY,
    )
    def ioctl(
        self, request: Request, nodeid: int, fh: int, cmd: int, data: memoryview, out_size: int, flags: int
    ) -> Either[tuple[int, Buffer] | int | None]:
        """Do `cmd`; return its result, and the at most `out_size` bytes that it gives. ENOTTY if it is unknown."""
        raise os_error(errno.ENOTTY)

    @answers("POLL", arguments=lambda m: (m.header.nodeid, m.body.fh, m.body.events), put=put_poll, absent=errno.ENOSYS)
    def poll(self, request: Request, nodeid: int, fh: int, events: int) -> Either[int]:
        """Return which of `events` (select.POLLIN...) are so now. Absent, a file is always ready."""
        raise os_error(errno.ENOSYS)

    @answers("BMAP", arguments=lambda m: (m.header.nodeid, m.body.block), put=put_block, absent=errno.ENOSYS)
    def bmap(self, request: Request, nodeid: int, block: int) -> Either[int]:
        """Return the device's block of the file's. Asked on block device mounts alone."""
        raise os_error(errno.ENOSYS)

    # --- directories

    @answers("OPENDIR", arguments=lambda m: (m.header.nodeid, m.body.flags), put=put_open, absent=SUCCESS)
    def opendir(self, request: Request, nodeid: int, flags: int) -> Either[OpenFile]:
        """Open a directory for listing."""
        return OpenFile()

    @answers(
        "READDIR", arguments=lambda m: (m.header.nodeid, m.body.fh, m.body.offset), put=put_dirents, absent=SUCCESS
    )
    def readdir(self, request: Request, nodeid: int, fh: int, offset: int) -> Either[Iterable[Dirent]]:
        """List from `offset` on: 0, or the `offset` of the last name taken. The engine takes what fits."""
        return ()

    @answers(
        "READDIRPLUS",
        arguments=lambda m: (m.header.nodeid, m.body.fh, m.body.offset),
        put=put_direntsplus,
        absent=errno.ENOSYS,
    )
    def readdirplus(self, request: Request, nodeid: int, fh: int, offset: int) -> Either[Iterable[Dirent]]:
        """Like readdir, with an `Entry` for each name but '.' and '..'.

        Each is a lookup granted when it is yielded; the last, if it did not fit, comes back by `forget`.
        """
        raise os_error(errno.ENOSYS)

    @answers("RELEASEDIR", arguments=lambda m: (m.header.nodeid, m.body.fh), put=put_nothing, absent=SUCCESS)
    def releasedir(self, request: Request, nodeid: int, fh: int) -> Either[None]:
        """Nobody lists the directory any more: `fh` is yours again."""

    @answers(
        "FSYNCDIR",
        arguments=lambda m: (m.header.nodeid, m.body.fh, bool(m.body.fsync_flags & 1)),
        put=put_nothing,
        absent=errno.ENOSYS,
    )
    def fsyncdir(self, request: Request, nodeid: int, fh: int, datasync: bool) -> Either[None]:
        """Return once the directory's names are safe."""
        raise os_error(errno.ENOSYS)

    @answers("SYNCFS", arguments=lambda m: (m.header.nodeid,), put=put_nothing, absent=errno.ENOSYS)
    def syncfs(self, request: Request, nodeid: int) -> Either[None]:
        """Return once everything is safe. Sent on block device mounts alone."""
        raise os_error(errno.ENOSYS)

    # --- extended attributes

    @answers(
        "SETXATTR",
        arguments=lambda m: (m.header.nodeid, text(m.names[0]), m.data, m.body.flags),
        put=put_nothing,
        absent=errno.ENOSYS,
    )
    def setxattr(self, request: Request, nodeid: int, name: str, value: memoryview, flags: int) -> Either[None]:
        """Set an xattr. `flags`: os.XATTR_CREATE (EEXIST if there is one), os.XATTR_REPLACE (ENODATA if none)."""
        raise os_error(errno.ENOSYS)

    @answers("GETXATTR", arguments=lambda m: (m.header.nodeid, text(m.names[0])), put=put_sized, absent=errno.ENOSYS)
    def getxattr(self, request: Request, nodeid: int, name: str) -> Either[Buffer]:
        """Return an xattr's value; ENODATA if there is none. The engine answers probes for the size."""
        raise os_error(errno.ENOSYS)

    @answers("LISTXATTR", arguments=lambda m: (m.header.nodeid,), put=put_names, absent=errno.ENOSYS)
    def listxattr(self, request: Request, nodeid: int) -> Either[Iterable[str]]:
        """Return the names of the xattrs."""
        raise os_error(errno.ENOSYS)

    @answers(
        "REMOVEXATTR",
        arguments=lambda m: (m.header.nodeid, text(m.names[0])),
        put=put_nothing,
        absent=errno.ENOSYS,
    )
    def removexattr(self, request: Request, nodeid: int, name: str) -> Either[None]:
        """Remove an xattr; ENODATA if there is none."""
        raise os_error(errno.ENOSYS)

    # --- locks: absent, Linux keeps them itself, for this machine

    @answers(
        "GETLK",
        arguments=lambda m: (m.header.nodeid, m.body.fh, m.body.owner, lock(m)),
        put=put_lock,
        absent=errno.ENOSYS,
    )
    def getlk(self, request: Request, nodeid: int, fh: int, owner: int, lock: Lock) -> Either[Lock]:
        """Return a lock that stands in the way of `lock`, or one of type F_UNLCK."""
        raise os_error(errno.ENOSYS)

    @answers(
        "SETLK",
        arguments=lambda m: (m.header.nodeid, m.body.fh, m.body.owner, lock(m), m.body.lk_flags),
        put=put_nothing,
        absent=errno.ENOSYS,
    )
    def setlk(self, request: Request, nodeid: int, fh: int, owner: int, lock: Lock, flags: int) -> Either[None]:
        """Take or drop a lock; EAGAIN if another is in the way. `flags`: FUSE_LK_FLOCK for flock(2)."""
        raise os_error(errno.ENOSYS)

    @answers(
        "SETLKW",
        arguments=lambda m: (m.header.nodeid, m.body.fh, m.body.owner, lock(m), m.body.lk_flags),
        put=put_nothing,
        absent=errno.ENOSYS,
    )
    def setlkw(self, request: Request, nodeid: int, fh: int, owner: int, lock: Lock, flags: int) -> Either[None]:
        """Take a lock, waiting for it; EINTR when interrupted."""
        raise os_error(errno.ENOSYS)
