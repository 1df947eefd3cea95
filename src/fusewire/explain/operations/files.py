"""Operations on open files: opening, making and closing them, their locks, and what is asked of them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
from typing import Any, Final

from fusewire.explain.operations.filesystem import COMMAND, NoFsync, OldCopy
from fusewire.explain.operations.rows import (
    HELLO,
    Named,
    Operation,
    a_written_file,
    an_empty_place,
    an_open_file,
    beside,
)
from fusewire.kernel import Process
from fusewire.wire import FallocateFlags

__all__ = ["FILES"]

FIBMAP: Final = 1  # include/uapi/linux/fs.h


# What has to be there.


async def two_open_files(process: Process, path: str) -> tuple[int, int]:
    source = await an_open_file(process, path)
    target = await process.open(beside(path), os.O_CREAT | os.O_RDWR)
    await process.pwrite(target, HELLO, 0)
    return source, target


async def a_file_that_another_has_locked(process: Process, path: str) -> int:
    fd = await an_open_file(process, path)
    other = await process.fork()
    await other.setlk(fd, fcntl.F_WRLCK)
    return fd


# Programs.


async def open_(process: Process, path: str, got: Any) -> None:
    await process.open(path, Named(os.O_RDONLY, "O_RDONLY"))


async def create(process: Process, path: str, got: Any) -> None:
    await process.open(path, Named(os.O_CREAT | os.O_WRONLY, "O_CREAT|O_WRONLY"), Named(0o644, "0644"))


async def tmpfile(process: Process, path: str, got: Any) -> None:
    await process.open(os.path.dirname(path), Named(os.O_TMPFILE | os.O_RDWR, "O_TMPFILE|O_RDWR"), Named(0o600, "0600"))


async def close(process: Process, path: str, fd: int) -> None:
    await process.close(fd)


async def close_twice(process: Process, path: str, fd: int) -> None:
    other = await process.dup(fd)
    await process.close(fd)
    await process.close(other)


async def fsync(process: Process, path: str, fd: int) -> None:
    await process.fsync(fd)


async def fsync_twice(process: Process, path: str, fd: int) -> None:
    await process.fsync(fd)
    await process.fsync(fd)


async def lseek(process: Process, path: str, fd: int) -> None:
    await process.lseek(fd, 0, Named(os.SEEK_HOLE, "SEEK_HOLE"))
    await process.lseek(fd, 0, Named(os.SEEK_SET, "SEEK_SET"))


async def fallocate(process: Process, path: str, fd: int) -> None:
    await process.fallocate(fd, Named(FallocateFlags.FALLOC_FL_KEEP_SIZE, "KEEP_SIZE"), 0, 8192)


async def copy_file_range(process: Process, path: str, fds: tuple[int, int]) -> None:
    await process.copy_file_range(*fds, 100, 0, 0)


async def ioctl(process: Process, path: str, fd: int) -> None:
    await process.ioctl(fd, Named(COMMAND, "COMMAND"), bytes(4))


async def where_is_block_0(process: Process, path: str, fd: int) -> None:
    with contextlib.suppress(PermissionError):
        await process.ioctl(fd, Named(FIBMAP, "FIBMAP"), bytes(4))


async def poll(process: Process, path: str, fd: int) -> None:
    await process.poll([(fd, select.POLLIN)])


async def getlk(process: Process, path: str, fd: int) -> None:
    await process.getlk(fd, fcntl.F_WRLCK)


async def setlk(process: Process, path: str, fd: int) -> None:
    await process.setlk(fd, fcntl.F_WRLCK)
    await process.close(fd)


async def syncfs(process: Process, path: str, fd: int) -> None:
    await process.syncfs(fd)


FILES: Final = (
    Operation(
        "open",
        "open a file",
        "exec 3< {path}",
        open_,
        "The answer is a number of the daemon's own, fh, that comes back with all that is done with the open file, and "
        "flags: whether pages cached before are still good (KEEP_CACHE), or none are to be (DIRECT_IO).",
    ),
    Operation(
        "create",
        "make a file and open it, at once",
        "exec 3> {path}",
        create,
        "The reply is both that of a LOOKUP and that of an OPEN. Without CREATE (ENOSYS) Linux sends MKNOD and OPEN, "
        "from then on.",
        before=an_empty_place,
    ),
    Operation(
        "tmpfile",
        "make a file that has no name",
        "Program: open, O_TMPFILE",
        tmpfile,
        "As CREATE, but the file has no name until linkat gives it one. Without TMPFILE the caller gets EOPNOTSUPP.",
        before=an_empty_place,
    ),
    Operation(
        "flush",
        "a descriptor is closed",
        "exec 3<&-",
        close_twice,
        "At each close, so that close can tell of an error: the second descriptor is of the same open file, and FLUSH "
        "is sent for either. RELEASE comes but once. No signal ends the wait for a FLUSH, so a process can hang in it "
        "even while it exits.",
        before=an_open_file,
    ),
    Operation(
        "release",
        "nobody has an open file any more",
        "exec 3<&-",
        close,
        "In the background: close does not wait for it, so an error of RELEASE is nobody's. That of FLUSH is what "
        "close says.",
        before=an_open_file,
    ),
    Operation(
        "fsync",
        "what was written is to be safe",
        "sync {path}",
        fsync,
        "With WRITEBACK_CACHE the WRITEs of all dirty pages come before it. A daemon without FSYNC says ENOSYS, and "
        "every fsync succeeds from then on.",
        before=a_written_file,
    ),
    Operation(
        "enosys",
        "what a daemon does not know it is asked once",
        "sync {path}",
        fsync_twice,
        "This daemon has no FSYNC, and says ENOSYS. Linux remembers it for as long as the mount lasts, and does "
        "without: fsync succeeds. So it does with FLUSH, ACCESS, OPEN and others; what the caller gets then differs.",
        before=a_written_file,
        filesystem=NoFsync,
    ),
    Operation(
        "syncfs",
        "everything that was written is to be safe",
        "sync -f {path}",
        syncfs,
        "Only a mount of a block device (fuseblk), as here, is sent SYNCFS. On any other, syncfs and sync write the "
        "dirty pages, and do not tell the daemon that this was all.",
        before=an_open_file,
        fuseblk=True,
    ),
    Operation(
        "lseek",
        "where data and holes are",
        "Program: lseek, SEEK_HOLE",
        lseek,
        "Only SEEK_DATA and SEEK_HOLE ask; the second call, with SEEK_SET, is the kernel's own affair.",
        before=an_open_file,
    ),
    Operation(
        "fallocate",
        "provide room for a file, or take it away",
        "fallocate -n -l 8192 {path}",
        fallocate,
        "The mode says whether room is made, a hole punched, or a range zeroed; after the last two the kernel drops "
        "the pages that it has of it.",
        before=a_written_file,
    ),
    Operation(
        "copy_file_range_64",
        "have the daemon copy a part of a file",
        "cp {path} {other}",
        copy_file_range,
        "The bytes never leave the daemon. Its reply says how many were copied, in 64 bits, as ABI 7.45 has it.",
        before=two_open_files,
    ),
    Operation(
        "copy_file_range",
        "the same, of daemons before ABI 7.45",
        "cp {path} {other}",
        copy_file_range,
        "This daemon answers ENOSYS to COPY_FILE_RANGE_64, and is asked the older one from then on, whose reply cannot "
        "say more than 4 GiB. Without either, Linux reads and writes.",
        before=two_open_files,
        filesystem=OldCopy,
    ),
    Operation(
        "ioctl",
        "a command that only the daemon understands",
        "Program: ioctl",
        ioctl,
        "The daemon sees no memory of its caller's: the number of the command says how many bytes are copied in and "
        "out, and the kernel copies them.",
        before=an_open_file,
    ),
    Operation(
        "bmap",
        "where on its device a block of a file is",
        "filefrag -B {path}",
        where_is_block_0,
        "Only a filesystem on a block device (fuseblk), as here, is asked, and only root may ask (FIBMAP). On any "
        "other mount the kernel itself says 0: nowhere.",
        before=an_open_file,
        fuseblk=True,
    ),
    Operation(
        "poll",
        "is a file ready?",
        "Program: poll, POLLIN",
        poll,
        "It is ready, so poll returns at once. How one waits for a file that is not, see 'poll-wakeup'. A daemon "
        "without POLL has files that are always ready.",
        before=an_open_file,
    ),
    Operation(
        "getlk",
        "who has locked this?",
        "Program: fcntl, F_GETLK",
        getlk,
        "Only of a daemon that keeps POSIX locks itself (POSIX_LOCKS); else the kernel knows. An owner is a number, "
        "by which the daemon cannot tell who it is.",
        before=a_file_that_another_has_locked,
    ),
    Operation(
        "setlk",
        "lock a file, if nobody else has",
        "Program: fcntl, F_SETLK",
        setlk,
        "Closing any descriptor of the file unlocks it, of which no request tells: FLUSH carries the owner whose locks "
        "go.",
        before=an_open_file,
    ),
)
