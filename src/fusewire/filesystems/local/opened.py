"""Files and directories that callers have open, by the `fh` that the kernel was given.

An open directory is read once, when its listing begins, and again when it is rewound. What was
read is numbered, so that a listing goes on after any name at once, and a name that stays is
given once, whatever else comes and goes meanwhile.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat as modes
import threading
from collections.abc import Iterator
from typing import Final

from fusewire.errors import os_error

__all__ = ["OpenedDirectory", "OpenedFile", "OpenedFiles", "entry_type"]


DOTS: Final = 2


class OpenedFile:
    """A descriptor, and the node that it is open on."""

    def __init__(self, nodeid: int, fd: int) -> None:
        self.nodeid = nodeid
        self.fd = fd


class OpenedDirectory(OpenedFile):
    """A directory open for listing."""

    def __init__(self, nodeid: int, fd: int) -> None:
        super().__init__(nodeid, fd)
        self._entries: list[os.DirEntry[str]] | None = None

    def entries(self, offset: int) -> Iterator[tuple[int, os.DirEntry[str]]]:
        """Yield the names after `offset`, each with its own offset; at 0, read the directory anew.

        Offsets 1 and 2 are those of '.' and '..', which are not among the names.
        """
        entries = self._entries
        if entries is None or offset == 0:
            with os.scandir(self.fd) as found:
                entries = self._entries = list(found)
        for number in range(max(DOTS, offset), DOTS + len(entries)):
            yield number + 1, entries[number - DOTS]


def entry_type(entry: os.DirEntry[str]) -> int:
    """The type bits of a mode, from the listing alone where they stand there; 0 if it is gone."""
    if entry.is_file(follow_symlinks=False):
        return modes.S_IFREG
    if entry.is_dir(follow_symlinks=False):
        return modes.S_IFDIR
    if entry.is_symlink():
        return modes.S_IFLNK
    try:
        return modes.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return 0


class OpenedFiles:
    """All that is open, by `fh`. No `fh` is used twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._opened: dict[int, OpenedFile] = {}

    def __len__(self) -> int:
        return len(self._opened)

    def add(self, opened: OpenedFile) -> int:
        """Return an `fh` for what was opened."""
        with self._lock:
            fh = next(self._numbers)
            self._opened[fh] = opened
            return fh

    def fd(self, fh: int) -> int:
        """The descriptor of `fh`; EBADF if it is not open."""
        return self[fh].fd

    def __getitem__(self, fh: int) -> OpenedFile:
        try:
            return self._opened[fh]
        except KeyError:
            raise os_error(errno.EBADF) from None

    def directory(self, fh: int) -> OpenedDirectory:
        """The open directory `fh`; EBADF if it is none."""
        opened = self[fh]
        if not isinstance(opened, OpenedDirectory):
            raise os_error(errno.EBADF)
        return opened

    def close(self, fh: int) -> None:
        """Close what `fh` is. The kernel does so once nothing uses it."""
        with self._lock:
            opened = self._opened.pop(fh, None)
        if opened is not None:
            os.close(opened.fd)

    def close_all(self) -> None:
        for fh in list(self._opened):
            self.close(fh)

    def reopen(self, nodeid: int) -> int | None:
        """Return a new O_PATH descriptor of a node through a file that is open on it; None if there is none."""
        with self._lock:
            for opened in self._opened.values():
                if opened.nodeid == nodeid:
                    return os.open(f"/proc/self/fd/{opened.fd}", os.O_PATH)
        return None
