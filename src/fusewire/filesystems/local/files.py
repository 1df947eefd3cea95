"""Files and directories of a local directory, once they are open.

What is read or written goes through a descriptor that the daemon has opened; Linux has checked
before that the caller may. Writing clears set-user-id where the writer has no CAP_FSETID, and
the source does so by itself if the writer is the caller, not root: `_shedding_setid`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as modes
from collections.abc import Iterator
from functools import partial
from typing import Final

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.request import Request
from fusewire.daemon.values import Attributes, Dirent, Entry, OpenFile
from fusewire.errors import os_error
from fusewire.filesystems.local import syscalls
from fusewire.filesystems.local.credentials import Credentials
from fusewire.filesystems.local.inodes import Inodes
from fusewire.filesystems.local.opened import OpenedDirectory, OpenedFile, OpenedFiles, entry_type
from fusewire.filesystems.local.syscalls import Stat, component, link_to, position, statx
from fusewire.wire.flags import WriteFlags

__all__ = ["SETID", "LocalFiles"]

SETID: Final = modes.S_ISUID | modes.S_ISGID
OPEN_FLAGS: Final = os.O_ACCMODE | os.O_SYNC | os.O_DSYNC | os.O_NOATIME | os.O_TRUNC
MAX_COPY: Final = 1 << 30  # bytes of one COPY_FILE_RANGE, so that a signal is not kept waiting for long


class LocalFiles(Filesystem):
    """The half of `LocalDirectory` that acts on what is open, or opens it."""

    _credentials: Credentials
    _inodes: Inodes
    _opened: OpenedFiles

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        with self._inodes.descriptor(parent) as dir_fd:
            return self._entry(parent, name, statx(dir_fd, component(name)))

    def _entry(self, parent: int, name: str, stat: Stat) -> Entry:
        return Entry(self._inodes.granted((parent, name), stat), stat.attributes)

    def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        if self._inodes[nodeid].type != modes.S_IFREG:
            raise os_error(errno.ENXIO)  # the kernel opens special files itself; a fifo would block us
        with self._inodes.descriptor(nodeid) as fd:
            return self._open_file(nodeid, self._really_open(link_to(fd), flags))

    def _open_file(self, nodeid: int, fd: int) -> OpenFile:
        return OpenFile(self._opened.add(OpenedFile(nodeid, fd)))

    def _really_open(self, path: str, flags: int) -> int:
        *easier, last = ways_to_open(flags)
        for way in easier:
            with contextlib.suppress(PermissionError):
                return self._inodes.recent.with_room(partial(os.open, path, way))
        return self._inodes.recent.with_room(partial(os.open, path, last))

    def create(self, request: Request, parent: int, name: str, flags: int, mode: int) -> tuple[Entry, OpenFile]:
        with self._inodes.descriptor(parent) as dir_fd:
            try:
                fd = self._make(request, component(name), flags | os.O_CREAT | os.O_EXCL, mode, dir_fd)
            except FileExistsError:
                if flags & os.O_EXCL:
                    raise
                return self._made_behind_our_back(request, parent, name, flags)
        nodeid, attributes = self._made((parent, name), fd)
        return Entry(nodeid, attributes), self._open_file(nodeid, fd)

    def tmpfile(self, request: Request, parent: int, flags: int, mode: int) -> tuple[Entry, OpenFile]:
        with self._inodes.descriptor(parent) as dir_fd:
            fd = self._make(request, ".", flags | os.O_TMPFILE, mode, dir_fd)
        nodeid, attributes = self._made(None, fd)
        self._inodes.nameless(nodeid, os.open(link_to(fd), os.O_PATH))
        return Entry(nodeid, attributes), self._open_file(nodeid, fd)

    def _make(self, request: Request, name: str, flags: int, mode: int, dir_fd: int) -> int:
        """Make a regular file, and open it for reading and writing: its maker may, whatever its mode."""
        flags = flags & ~(os.O_ACCMODE | os.O_APPEND | os.O_DIRECT | os.O_TRUNC) | os.O_RDWR
        with self._credentials.making_as(request):
            return self._inodes.recent.with_room(lambda: os.open(name, flags, mode & 0o7777, dir_fd=dir_fd))

    def _made(self, name: tuple[int, str] | None, fd: int) -> tuple[int, Attributes]:
        stat = statx(fd, "")
        return self._inodes.granted(name, stat), stat.attributes

    def _made_behind_our_back(self, request: Request, parent: int, name: str, flags: int) -> tuple[Entry, OpenFile]:
        """The name appeared since the kernel asked. What is no regular file, let it look up again (ESTALE)."""
        entry = self.lookup(request, parent, name)
        try:
            if entry.attributes.type != modes.S_IFREG:
                raise os_error(errno.ESTALE)
            return entry, self.open(request, entry.nodeid, flags)
        except OSError:
            self.forget(entry.nodeid, 1)
            raise

    def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:
        return os.pread(self._opened.fd(fh), size, position(offset))

    def write(self, request: Request, nodeid: int, fh: int, offset: int, data: memoryview) -> int:
        fd = self._opened.fd(fh)
        if request.body.write_flags & WriteFlags.FUSE_WRITE_KILL_SUIDGID:
            with self._shedding_setid(request, fd):
                return os.pwrite(fd, data, position(offset))
        return os.pwrite(fd, data, position(offset))

    def _shedding_setid(self, request: Request, fd: int) -> contextlib.AbstractContextManager[None]:
        """For a `with` that writes: as the caller if set-user-id is at stake, which root would not clear."""
        if os.fstat(fd).st_mode & SETID:
            return self._credentials.acting_as(request)
        return contextlib.nullcontext()

    def flush(self, request: Request, nodeid: int, fh: int) -> None:
        """Close a copy: a source such as NFS tells of failed writes when a descriptor is closed."""
        os.close(self._inodes.recent.with_room(lambda: os.dup(self._opened.fd(fh))))

    def release(self, request: Request, nodeid: int, fh: int) -> None:
        self._opened.close(fh)

    def fsync(self, request: Request, nodeid: int, fh: int, datasync: bool) -> None:
        (os.fdatasync if datasync else os.fsync)(self._opened.fd(fh))

    def fallocate(self, request: Request, nodeid: int, fh: int, offset: int, length: int, mode: int) -> None:
        fd = self._opened.fd(fh)
        with self._shedding_setid(request, fd):
            syscalls.fallocate(fd, mode, position(offset), position(length))

    def lseek(self, request: Request, nodeid: int, fh: int, offset: int, whence: int) -> int:
        return os.lseek(self._opened.fd(fh), position(offset, errno.ENXIO), whence)

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
    ) -> int:
        """Copied by the source, which may share blocks."""
        fd, fd_out = self._opened.fd(fh), self._opened.fd(fh_out)
        with self._shedding_setid(request, fd_out):
            return os.copy_file_range(fd, fd_out, min(length, MAX_COPY), position(offset), position(offset_out))

    # --- directories

    def opendir(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        with self._inodes.descriptor(nodeid) as fd:
            opened = self._inodes.recent.with_room(lambda: os.open(link_to(fd), os.O_RDONLY | os.O_DIRECTORY))
        return OpenFile(self._opened.add(OpenedDirectory(nodeid, opened)))

    def readdir(self, request: Request, nodeid: int, fh: int, offset: int) -> Iterator[Dirent]:
        directory = self._opened.directory(fh)
        yield from self._dots(nodeid, offset)
        for after, entry in directory.entries(offset):
            yield Dirent(entry.name, entry.inode(), entry_type(entry), after)

    def readdirplus(self, request: Request, nodeid: int, fh: int, offset: int) -> Iterator[Dirent]:
        """A name that is gone meanwhile is left out; one that we may not look up comes without its entry."""
        directory = self._opened.directory(fh)
        yield from self._dots(nodeid, offset)
        for after, found in directory.entries(offset):
            try:
                entry = self._entry(nodeid, found.name, statx(directory.fd, found.name))
            except FileNotFoundError:
                continue
            except OSError:
                yield Dirent(found.name, found.inode(), entry_type(found), after)
            else:
                attributes = entry.attributes
                yield Dirent(found.name, attributes.ino, attributes.type, after, entry)

    def _dots(self, nodeid: int, offset: int) -> Iterator[Dirent]:
        """'.' and '..', numbers 1 and 2. The root's '..' is itself: nothing outside is told of."""
        for number, (name, ino) in enumerate(zip((".", ".."), self._inodes.self_and_parent(nodeid), strict=True), 1):
            if number > offset:
                yield Dirent(name, ino, modes.S_IFDIR, number)

    def releasedir(self, request: Request, nodeid: int, fh: int) -> None:
        self._opened.close(fh)

    def fsyncdir(self, request: Request, nodeid: int, fh: int, datasync: bool) -> None:
        self.fsync(request, nodeid, fh, datasync)


def ways_to_open(flags: int) -> list[int]:
    """Return flags to open a file with that the kernel lets a caller open with `flags`, the best first.

    The kernel's page cache reads through descriptors that are open for writing alone, to write
    back a page of which it has a part. It gives the offset of each write, with O_APPEND too, and holds
    the inode's lock meanwhile; were that flag kept, data would land elsewhere. O_DIRECT would ask
    for aligned memory that we do not have.
    """
    kept = flags & OPEN_FLAGS
    ways = [kept]
    if kept & os.O_ACCMODE == os.O_WRONLY:
        ways.insert(0, kept & ~os.O_WRONLY | os.O_RDWR)
    if flags & os.O_APPEND:
        ways.append(kept | os.O_APPEND)  # an append-only file (chattr +a) is written to in no other way
    return ways
