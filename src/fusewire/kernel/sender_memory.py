"""Where a reply is copied to: memory of the one who asked, which is gone when he is.

"This is because the destination address of the copy may not be valid after the request is interrupted"
(kernel.txt). Python keeps what somebody refers to, so a copy that comes too late would do no harm here,
and nobody would see it. Hence memory that is freed is filled with a pattern, and whoever lets go of the
request last looks whether the pattern is still there.

Source: include/linux/poison.h, POISON_FREE.
"""

from __future__ import annotations

from typing import Final

__all__ = ["POISON", "SenderMemory"]

POISON: Final = b"\x6b"


class SenderMemory:
    """`size` bytes, to be stored to until they are freed."""

    __slots__ = ("data", "freed")

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        self.freed = False

    def store(self, offset: int, data: bytes) -> None:
        """Put `data` there, whether that is a good moment or not."""
        self.data[offset : offset + len(data)] = data

    def free(self) -> None:
        """Let go of it, as the sender does who goes. Idempotent."""
        self.check()
        self.data[:] = POISON * len(self.data)
        self.freed = True

    def check(self) -> None:
        """Assert that nothing was stored to it after it was freed."""
        late = self.freed and self.data.count(POISON) != len(self.data)
        assert not late, "75: memory of a request was written to after its sender had gone"
