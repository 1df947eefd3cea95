"""System calls: ioctl, poll, select.

Some commands of ioctl are the same for every file, and never reach a daemon. All others go to it.

Data of a command is bytes, as for `fcntl.ioctl`: as many as the number of the command says are read
from them, and written back. A plain number is what it is, or an address in the process's memory.

Not modelled: epoll; commands that clone or freeze (FICLONE, FIFREEZE), FS_IOC_FIEMAP, fs-verity.

Source: fs/ioctl.c, do_vfs_ioctl; fs/file_attr.c; fs/select.c.
"""

from __future__ import annotations

import errno
import os
import select
import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from fusewire.errors import os_error
from fusewire.kernel.operations.bmap import fuse_bmap
from fusewire.kernel.operations.ioctl import (
    FS_IOC_FSGETXATTR,
    FS_IOC_FSSETXATTR,
    FS_IOC_GETFLAGS,
    FS_IOC_SETFLAGS,
    READS,
    WRITES,
    fuse_ioctl,
    get_file_attributes,
    set_file_attributes,
    size_of,
)
from fusewire.kernel.operations.poll import fuse_poll
from fusewire.kernel.operations.releasing import put_file
from fusewire.kernel.syscalls.base import syscall
from fusewire.kernel.syscalls.memory import Memory
from fusewire.kernel.tasks import current
from fusewire.kernel.vfs.credentials import owner_or_capable
from fusewire.kernel.vfs.inode import Inode
from fusewire.kernel.vfs.open_file import OpenFile
from fusewire.kernel.vfs.polling import Poller

__all__ = ["Control"]

Argument: TypeAlias = int | bytes | bytearray

# include/uapi/asm-generic/ioctls.h, include/uapi/linux/fs.h
FIBMAP: Final = 1
FIGETBSZ: Final = 2
FIONREAD: Final = 0x541B
FIONBIO: Final = 0x5421
FIONCLEX: Final = 0x5450
FIOCLEX: Final = 0x5451
FIOQSIZE: Final = 0x5460
INT: Final = struct.Struct("=i")
INT_MAX: Final = 0x7FFFFFFF
LONG_LONG: Final = struct.Struct("=q")
BLOCK: Final = 4096  # bytes, as FIGETBSZ says
SECTOR: Final = 512  # bytes, which st_blocks counts
ADDRESS: Final = 0x7FFF_0000_0000  # where a program's buffers are said to be

LARGEST_ERROR: Final = 4095  # MAX_ERRNO: what a system call returns below its negative is no error
ENOIOCTLCMD: Final = 515  # include/linux/errno.h
ATTRIBUTES: Final = (FS_IOC_GETFLAGS, FS_IOC_FSGETXATTR, FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR)
LOW_BITS: Final = 0xFFFF  # of a C short
ALWAYS: Final = select.POLLERR | select.POLLHUP  # which poll(2) waits for beside what it is told

# fs/select.c: by what select(2) is made of poll
TO_READ: Final = select.POLLIN | select.POLLRDNORM | select.POLLRDBAND | ALWAYS | select.POLLNVAL
TO_WRITE: Final = select.POLLOUT | select.POLLWRNORM | select.POLLWRBAND | select.POLLERR | select.POLLNVAL
EXCEPTIONAL: Final = select.POLLPRI | select.POLLNVAL


class Control(Memory):
    """ioctl, poll, select."""

    # ioctl

    @syscall
    async def ioctl(self, fd: int, cmd: int, arg: Argument = 0) -> int | bytes:
        """Do `cmd`; return its result or, if `arg` is bytes, what they have become. A bytearray is changed.

        Raises:
            OSError: EBADF if `fd` is not open, or with O_PATH; ENOTTY if nobody knows `cmd`; EFAULT
                if `arg` is no address of `cmd`'s data; otherwise as the daemon says.
        """
        file = self.opened_file(fd)
        memory = Buffer(self, arg)
        result = await self._common(fd, file, cmd, memory)
        if result is None:
            result = await _to_daemon(file, cmd, memory)
        if -LARGEST_ERROR <= result < 0:
            raise os_error(errno.ENOTTY if result == -ENOIOCTLCMD else -result)
        return bytes(memory.data)[: len(arg)] if isinstance(arg, bytes) else result

    async def _common(self, fd: int, file: OpenFile, cmd: int, memory: Buffer) -> int | None:
        """Do what is the same for every file; None if `cmd` is no such thing."""
        inode = file.inode
        if cmd == FIOCLEX:
            self.close_on_exec.add(fd)
        elif cmd == FIONCLEX:
            self.close_on_exec.discard(fd)
        elif cmd == FIONBIO:
            (on,) = INT.unpack(await memory.load(INT.size))
            file.flags = file.flags | os.O_NONBLOCK if on else file.flags & ~os.O_NONBLOCK
        elif cmd == FIGETBSZ:
            await memory.store(INT.pack(BLOCK))
        elif cmd == FIOQSIZE and (inode.is_regular or inode.is_dir):
            await memory.store(LONG_LONG.pack(inode.attr.blocks * SECTOR))
        elif cmd == FIONREAD and inode.is_regular:
            await memory.store(INT.pack(_low_bits(inode.size - file.position)))
        elif cmd == FIBMAP and inode.is_regular:
            await self._bmap(inode, memory)
        elif cmd in ATTRIBUTES:
            return await self._attributes(file, cmd, memory)
        else:
            return None
        return 0

    async def _attributes(self, file: OpenFile, cmd: int, memory: Buffer) -> int | None:
        """Get or set attributes like those of chattr(1); None if the daemon takes `cmd` for a command of its own."""
        try:
            if cmd in (FS_IOC_GETFLAGS, FS_IOC_FSGETXATTR):
                await memory.store(await get_file_attributes(file.dentry, cmd))
            else:
                await _set_attributes(file, cmd, await memory.load(size_of(cmd)))
        except OSError as error:
            if error.errno != ENOIOCTLCMD:
                raise
            return None
        return 0

    async def _bmap(self, inode: Inode, memory: Buffer) -> None:
        """Have the number of a file's block become the number that it has on the device (ioctl_fibmap)."""
        if not self.credentials.privileged:
            raise os_error(errno.EPERM)
        (block,) = INT.unpack(await memory.load(INT.size))
        if block < 0:
            raise os_error(errno.EINVAL)
        found = await fuse_bmap(inode, block)
        too_far = found > INT_MAX
        await memory.store(INT.pack(0 if too_far else found))
        if too_far:
            raise os_error(errno.ERANGE)

    # poll and select

    @syscall
    async def poll(self, fds: Iterable[tuple[int, int]], timeout: float | None = None) -> list[tuple[int, int]]:
        """Wait until one of `fds` is ready, pairs of a descriptor and its POLL*; return those that are.

        POLLERR and POLLHUP are always waited for; a descriptor that is not open is POLLNVAL.

        Args:
            timeout: milliseconds, as select.poll has it; None or less than 0: for ever; 0: not at all.

        Raises:
            OSError: EINTR if a signal came first.
        """
        wanted = [_polled(fd, events) for fd, events in fds]
        return await _wait(self, wanted, None if timeout is None or timeout < 0 else timeout / 1000)

    @syscall
    async def select(
        self, rlist: Sequence[int], wlist: Sequence[int], xlist: Sequence[int], timeout: float | None = None
    ) -> tuple[list[int], list[int], list[int]]:
        """Wait until one can be read, written, or is exceptional; return which. `timeout` in seconds, None for ever.

        Raises:
            OSError: EBADF if one is not open; EINVAL for a time below 0; EINTR if a signal came first.
        """
        if timeout is not None and timeout < 0:
            raise os_error(errno.EINVAL)
        sets = ((rlist, TO_READ), (wlist, TO_WRITE), (xlist, EXCEPTIONAL))
        events = dict.fromkeys(sorted({*rlist, *wlist, *xlist}), 0)
        for fds, mask in sets:
            for fd in fds:
                self.file(fd)
                events[fd] |= mask
        wanted = [Wanted(fd, mask | EXCEPTIONAL, mask) for fd, mask in events.items()]
        ready = dict(await _wait(self, wanted, timeout))
        readable, writable, exceptional = ([fd for fd in fds if ready.get(fd, 0) & mask] for fds, mask in sets)
        return readable, writable, exceptional


# ioctl


class Buffer:
    """What a program gives to ioctl: bytes of its own, or an address."""

    def __init__(self, process: Memory, arg: Argument) -> None:
        self.process = process
        self.data = arg if isinstance(arg, bytearray) else bytearray(b"" if isinstance(arg, int) else arg)
        self.in_memory = isinstance(arg, int)
        self.address = arg if isinstance(arg, int) else ADDRESS

    async def load(self, size: int) -> bytes:
        """Return `size` bytes, zeros behind the end. EFAULT if they cannot be had."""
        if self.in_memory:
            return await self.process.load(self.address, size)
        return bytes(self.data[:size]).ljust(size, b"\0")

    async def store(self, data: bytes) -> None:
        """Put `data` at the beginning, as far as there is room. EFAULT if it cannot be put there."""
        if self.in_memory:
            await self.process.store(self.address, data)
        else:
            length = min(len(data), len(self.data))
            self.data[:length] = data[:length]


async def _to_daemon(file: OpenFile, cmd: int, memory: Buffer) -> int:
    if not (file.inode.is_regular or file.inode.is_dir):
        raise os_error(errno.ENOTTY)
    data = await memory.load(size_of(cmd)) if cmd & WRITES else b""
    result, got = await fuse_ioctl(file, cmd, memory.address, data)
    if cmd & READS:
        await memory.store(got)
    return result


async def _set_attributes(file: OpenFile, cmd: int, data: bytes) -> None:
    """Do FS_IOC_SETFLAGS or FS_IOC_FSSETXATTR (vfs_fileattr_set)."""
    if file.inode.superblock.options.read_only:
        raise os_error(errno.EROFS)
    if not owner_or_capable(file.inode):
        raise os_error(errno.EPERM)
    async with file.inode.rwsem.exclusive():
        await set_file_attributes(file.dentry, cmd, data)


def _low_bits(value: int) -> int:
    """Return what is left of `value` in a C int."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


# poll and select


class Wanted(NamedTuple):
    """A descriptor that somebody looks at, the POLL* that the daemon is asked for, and those that count as ready."""

    fd: int
    asked: int
    counts: int


def _polled(fd: int, events: int) -> Wanted:
    asked = events & LOW_BITS | ALWAYS
    return Wanted(fd, asked, asked)


async def _wait(process: Control, wanted: Sequence[Wanted], timeout: float | None) -> list[tuple[int, int]]:
    """Look at all, and sleep, until one is ready, the time is up, or a signal has come (do_poll).

    After a signal everything is looked at once more, and what is ready then counts.
    """
    poller = Poller(process.system.clock, timeout)
    try:
        while True:
            found = [(each.fd, revents) for each in wanted if (revents := await _look(process, each, poller))]
            poller.registers = False
            if not found and current().signal:
                raise os_error(errno.EINTR)
            if found or poller.timed_out:
                return found
            await poller.sleep()
    finally:
        for file in poller.leave():
            put_file(file)


async def _look(process: Control, wanted: Wanted, poller: Poller) -> int:
    """Return what is so; once something is, nothing more needs to be waited for."""
    file = process.files.get(wanted.fd)
    if file is None or file.path_only:
        return select.POLLNVAL if wanted.fd >= 0 else 0
    file.hold()
    try:
        revents = await fuse_poll(file, wanted.asked, poller) & wanted.counts
    finally:
        put_file(file)
    if revents:
        poller.registers = False
    return revents
