"""What an open file remembers of how it is read, for those who read ahead (operations/readahead.py).

Source: include/linux/fs.h, struct file_ra_state.
"""

from __future__ import annotations

__all__ = ["Readahead"]


class Readahead:
    """The last window, and what speaks for another. Pages are counted from the file's beginning."""

    __slots__ = ("async_size", "misses", "pages", "prev_pos", "random", "size", "start")

    def __init__(self, pages: int) -> None:
        self.start = 0  # the window: its first page,
        self.size = 0  # its length in pages,
        self.async_size = 0  # and how many pages before its end the mark is
        self.pages = pages  # the largest window
        self.prev_pos = -1  # where the last read ended, in bytes
        self.random = False  # posix_fadvise said that reading ahead is of no use
        self.misses = 0  # of page faults
