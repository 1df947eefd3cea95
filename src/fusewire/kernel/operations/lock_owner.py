"""Who owns a lock, as the daemon is told: a number that says nothing but 'the same' or 'another'.

The kernel knows the owner of a POSIX lock by the address of its table of descriptors, which threads
share and a fork does not. An address is nobody's business, so it travels scrambled with a key of
the mount (XTEA, 32 rounds). Here the number of the first process stands for the address, and the
key is made from the mount's number, so that a run is the same every time.

Source: fs/fuse/file.c, fuse_lock_owner_id.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from fusewire.kernel.tasks import current

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["lock_owner", "owner_of", "owner_of_file"]

OPEN_FILES: Final = 1 << 32  # open files as owners of locks are numbered from here on, processes below
ROUNDS: Final = 32
DELTA: Final = 0x9E3779B9  # 2**32 over the golden ratio
MASK: Final = 0xFFFFFFFF


@functools.lru_cache(maxsize=1024)
def lock_owner(owner: int, key: int) -> int:
    """Return the 64 bits that stand for `owner` on the mount whose number is `key`."""
    keys = [(key * DELTA + index) & MASK for index in range(4)]
    low, high, total = owner & MASK, owner >> 32 & MASK, 0
    for _ in range(ROUNDS):
        low = (low + ((high << 4 ^ high >> 5) + high ^ total + keys[total & 3])) & MASK
        total = (total + DELTA) & MASK
        high = (high + ((low << 4 ^ low >> 5) + low ^ total + keys[total >> 11 & 3])) & MASK
    return low | high << 32


def owner_of(inode: Inode) -> int:
    """Return the current process as the daemon of `inode` knows it from its locks."""
    process = current().process
    return lock_owner(process.owner if process else 0, inode.superblock.dev)


def owner_of_file(file: OpenFile) -> int:
    """Return the open file itself as the daemon knows it as an owner of locks: by flock(2), and as F_OFD_*."""
    return lock_owner(OPEN_FILES + file.kh, file.inode.superblock.dev)
