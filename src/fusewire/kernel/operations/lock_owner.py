"""Who owns a lock, as the daemon is told: a number that says nothing but 'the same' or 'another'.

The kernel knows the owner of a POSIX lock by the address of its table of descriptors, which threads
share and a fork does not. An address is nobody's business, so it travels scrambled with a key of
the mount (XTEA, 32 rounds). Here the number of the first process stands for the address, and the
key is made from the mount's number, so that a run is the same every time.

Source: fs/fuse/file.c, fuse_lock_owner_id.
"""

from __future__ import annotations

import functools
from typing import Final

__all__ = ["lock_owner"]

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
