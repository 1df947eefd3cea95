"""Raw: a filesystem as the wire sees it, on nodeids, with coroutines.

    fusewire mount examples/raw.py:Waiting /mnt/x        # or: python examples/raw.py /mnt/x

    cat /mnt/x/second           # waits for the next full second
    cat /mnt/x/never            # waits for ever: Ctrl-C ends it, and the filesystem goes on
    cat /mnt/x/second & cat /mnt/x/second & wait       # they wait together, on one thread

There is no bookkeeping here: three nodeids that never change need none. A method is a
coroutine where it waits, and a plain function where it does not. When the caller is
interrupted, what it waits in gets CancelledError; left alone, that becomes EINTR.
"""

import asyncio
import errno
import math
import os
import stat
import sys
import time
from collections.abc import Iterator

import fusewire
from fusewire import Attributes, Dirent, Entry, OpenFile, Request

ROOT = 1  # always
SECOND, NEVER = 2, 3  # whatever one likes
NAMES = {"second": SECOND, "never": NEVER}


class Waiting(fusewire.Filesystem):
    """Two files whose READ is answered when the time has come."""

    entry_timeout = attr_timeout = math.inf  # nothing here ever changes: the kernel need ask but once
    blocking = False  # no `def` below ever waits

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        if parent != ROOT or name not in NAMES:
            raise FileNotFoundError
        return Entry(NAMES[name], self.getattr(request, NAMES[name], None))

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        if nodeid == ROOT:
            return Attributes(mode=stat.S_IFDIR | 0o555, nlink=2)
        return Attributes(mode=stat.S_IFREG | 0o444)

    def readdir(self, request: Request, nodeid: int, fh: int, offset: int) -> Iterator[Dirent]:
        for position, (name, child) in enumerate(NAMES.items(), start=1):
            if position > offset:
                yield Dirent(name, child, stat.S_IFREG, position)

    def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EACCES, "there is nothing to write")
        return OpenFile(direct_io=True)  # the size says 0; without this nothing would be read

    async def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:
        if offset:
            return b""
        await asyncio.sleep(math.inf if nodeid == NEVER else 1 - time.time() % 1)
        return f"{time.ctime()}\n".encode()[:size]


if __name__ == "__main__":
    fusewire.run(Waiting(), sys.argv[1])
