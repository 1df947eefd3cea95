"""A block device for a mount of its own: memory behind a loop device, which frees itself.

A loop device is the whole machine's, so it must go in every case. It is bound with AUTOCLEAR, in one
step: the kernel frees it when the last who has it open is gone, the mount included, and a process
that is killed has nothing open. The memory behind it goes with it.

Source: Documentation/admin-guide/devices.txt; include/uapi/linux/loop.h.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from typing import Final

__all__ = ["block_device", "can_be_had"]

SIZE: Final = 1 << 20  # bytes; what is on it does not matter
LOOP_CONTROL: Final = "/dev/loop-control"
LOOP_CTL_GET_FREE: Final = 0x4C82
LOOP_CONFIGURE: Final = 0x4C0A
LO_FLAGS_AUTOCLEAR: Final = 4
CONFIG: Final = struct.Struct("=II 52x I 240x")  # struct loop_config: fd, block_size, info.lo_flags
TRIES: Final = 20  # somebody else may bind the one that was free


def can_be_had() -> bool:
    """Whether this machine has loop devices, and we may use one."""
    try:
        with block_device():
            return True
    except OSError:
        return False


@contextlib.contextmanager
def block_device() -> Iterator[str]:
    """Give the path of a block device that nobody else uses.

    Raises:
        OSError: there are none, or we may not.
    """
    fd = bound()
    try:
        yield os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def bound() -> int:
    """Return a loop device, open, behind which memory is.

    Raises:
        OSError: ENOENT or EACCES without loop devices; EBUSY if others always were quicker.
    """
    with open(LOOP_CONTROL, "rb", buffering=0) as control:
        for _ in range(TRIES):
            fd = os.open(f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}", os.O_RDWR | os.O_CLOEXEC)
            try:
                bind(fd)
                return fd
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:
                    raise
    raise OSError(errno.EBUSY, "somebody takes every loop device that is free")


def bind(fd: int) -> None:
    memory = os.memfd_create("a block device")
    try:
        os.truncate(memory, SIZE)
        fcntl.ioctl(fd, LOOP_CONFIGURE, CONFIG.pack(memory, 0, LO_FLAGS_AUTOCLEAR))
    finally:
        os.close(memory)
