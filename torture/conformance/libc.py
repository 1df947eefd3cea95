"""The C library, for calls that Python hides or makes too clever."""

from __future__ import annotations

import ctypes
import enum
import mmap
import os

libc = ctypes.CDLL(None, use_errno=True)

PROT_NONE = 0


def checked(result: int) -> int:
    """Return the result of a libc call, or raise its errno."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Address(enum.Enum):
    """A pointer that a program had better not pass."""

    NULL = "null"
    UNMAPPED = "unmapped"  # in the program's half, but nothing is there
    KERNEL = "kernel"  # in the other half

    def __repr__(self) -> str:
        return self.name


def pointer(address: Address) -> ctypes.c_void_p:
    """The pointer that is meant; made in the process that uses it."""
    if address is Address.UNMAPPED:
        return ctypes.c_void_p(unmapped_page())
    return ctypes.c_void_p(0 if address is Address.NULL else 1 << 63)


def unmapped_page() -> int:
    """The address of a page that can be neither read nor written."""
    libc.mmap.restype = ctypes.c_void_p
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return int(libc.mmap(None, ctypes.c_size_t(mmap.PAGESIZE), PROT_NONE, flags, -1, ctypes.c_long(0)))


def raw(function: str, *arguments: object) -> int:
    """Call a function of libc; a path may be a string, and any pointer an `Address`."""
    return checked(int(getattr(libc, function)(*map(as_c, arguments))))


def as_c(argument: object) -> object:
    """An argument as ctypes passes it."""
    if isinstance(argument, Address):
        return pointer(argument)
    if isinstance(argument, str):
        return os.fsencode(argument)
    return ctypes.c_long(argument) if isinstance(argument, int) else argument
