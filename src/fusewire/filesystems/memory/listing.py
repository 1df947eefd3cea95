"""An open directory in memory: the names as they were when the reading began.

A listing must not miss or repeat a name that was there all the time, however many others come
and go. So its names are copied once, at the beginning and at each rewinddir, and each reading
goes on at an index. What was removed meanwhile is left out; what came is left for the next time.
"""

from __future__ import annotations

from collections.abc import Iterator

from fusewire.filesystems.memory.inodes import Directory, Inode

__all__ = ["Listing"]


class Listing:
    """One opendir of a directory."""

    __slots__ = ("_names", "directory")

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self._names: list[str] | None = None  # None until it is read

    def entries(self, offset: int) -> Iterator[tuple[str, Inode, int]]:
        """Each name from `offset` on, its inode, and the offset behind it. 0 begins anew; 1 follows '.', 2 '..'.

        A removed directory has not even these two.
        """
        directory = self.directory
        if not offset or self._names is None:
            self._names = list(directory.names)
        if not directory.nlink:
            return
        if offset < 1:
            yield ".", directory, 1
        if offset < 2:
            yield "..", directory.parent, 2
        names, present = self._names, directory.names
        for index in range(max(0, offset - 2), len(names)):
            inode = present.get(names[index])
            if inode is not None:
                yield names[index], inode, index + 3
