"""Memory that a process lends to a system call: a buffer, any page of which may be absent.

The kernel's end may not touch such memory as it pleases. A page that is absent must be fetched,
which may sleep, and if it belongs to a file of a mount it asks that mount's daemon: the second
deadlock of kernel.txt is a daemon that writes its reply from a buffer whose page only that reply
can fill. So whoever copies does it in two steps, a page at a time:

    await buffer.fault_in(offset)   may sleep, and recurse into a filesystem; holds no lock
    buffer.load(...), buffer.store  never sleep, and touch no other page

`fault_in` holds the page that it found (get_user_pages): what happens to the mapping meanwhile,
the copy goes there.

Bytes of Python's own are a buffer that never faults.

Source: fs/fuse/dev.c, fuse_copy_fill; kernel.txt, its last paragraph.
"""

from __future__ import annotations

import errno
import os
from typing import Protocol

from fusewire.errors import os_error

__all__ = ["BusError", "MemoryFault", "OwnBuffer", "SegmentationFault", "UserBuffer", "user_buffer"]


class MemoryFault(OSError):
    """The memory at `address` cannot be had. A system call says EFAULT; a program gets a signal."""

    def __init__(self, address: int) -> None:
        super().__init__(errno.EFAULT, os.strerror(errno.EFAULT))
        self.address = address


class SegmentationFault(MemoryFault):
    """Nothing is mapped there, or not so that it may be used like this (SIGSEGV)."""


class BusError(MemoryFault):
    """It is mapped from a file that ends before it, or whose daemon could not provide it (SIGBUS)."""


class UserBuffer(Protocol):
    """`len(buffer)` bytes of some process's memory."""

    def __len__(self) -> int: ...

    async def fault_in(self, offset: int, write: bool = False) -> int:
        """Have the byte at `offset` present, and return how many from there on are, at least one.

        They stay present, for `load` or, with `write`, for `store`, until the next `fault_in`.

        Raises:
            OSError: EFAULT if they cannot be had; EINTR if the caller was killed first.
        """
        ...

    def load(self, offset: int, size: int) -> bytes:
        """Return `size` bytes of those that `fault_in` said are present."""
        ...

    def store(self, offset: int, data: bytes | memoryview) -> None:
        """Put `data` in place of bytes that `fault_in` said are present."""
        ...


class OwnBuffer:
    """Python's own bytes: always present. To be stored to, it needs a `bytearray`."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.data = memoryview(data)

    def __len__(self) -> int:
        return len(self.data)

    async def fault_in(self, offset: int, write: bool = False) -> int:
        if write and self.data.readonly:
            raise os_error(errno.EFAULT)
        return len(self.data) - offset

    def load(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def store(self, offset: int, data: bytes | memoryview) -> None:
        self.data[offset : offset + len(data)] = data


def user_buffer(data: UserBuffer | bytes | bytearray | memoryview) -> UserBuffer:
    """Return `data` as a buffer, be it one already or not."""
    return OwnBuffer(data) if isinstance(data, bytes | bytearray | memoryview) else data
