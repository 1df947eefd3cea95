"""One write under way: by which open file, where, and how (struct kiocb).

Source: include/linux/fs.h, iocb_flags and kiocb_set_rw_flags.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fusewire.kernel.vfs.open_file import OpenFile

__all__ = ["RWF_APPEND", "RWF_DSYNC", "RWF_HIPRI", "RWF_NOAPPEND", "RWF_SYNC", "Iocb"]

# include/uapi/linux/fs.h: flags of preadv2 and pwritev2. `os` has not all of them.
RWF_HIPRI: Final = 0x1
RWF_DSYNC: Final = 0x2
RWF_SYNC: Final = 0x4
RWF_APPEND: Final = 0x10
RWF_NOAPPEND: Final = 0x20

ONLY_SYNC: Final = os.O_SYNC & ~os.O_DSYNC  # O_SYNC is both bits


class Iocb:
    """What a write is about. `position` moves on as bytes are written."""

    __slots__ = ("append", "direct", "dsync", "file", "position", "sync")

    def __init__(self, file: OpenFile, position: int, flags: int = 0) -> None:
        """`flags` are RWF_*, beside those with which the file was opened."""
        opened = file.flags
        self.file = file
        self.position = position
        self.append = bool(opened & os.O_APPEND and not flags & RWF_NOAPPEND) or bool(flags & RWF_APPEND)
        self.direct = bool(opened & os.O_DIRECT)
        self.sync = bool(opened & ONLY_SYNC or flags & RWF_SYNC)  # attributes, too, are to be on disk when it is done
        self.dsync = self.sync or bool(opened & os.O_DSYNC or flags & RWF_DSYNC)

    @property
    def wire_flags(self) -> int:
        """The flags of WRITE."""
        flags = self.file.flags
        if self.dsync:
            flags |= os.O_DSYNC
        return flags | ONLY_SYNC | os.O_DSYNC if self.sync else flags
