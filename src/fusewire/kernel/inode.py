"""What the kernel keeps of a file: its inode, and the names under which it was looked up.

An inode exists because a daemon granted it: each reply that names its nodeid adds to `nlookup`.
Its semaphore is held by whoever changes it or, for a directory, the names in it, and that for as
long as the daemon takes.

Not modelled yet: attributes, generations and their timeouts (a name once found stays found until
it is removed), dentries of their own, and forgetting: no lookup is given back.

Source: fs/fuse/inode.c, fuse_iget; fs/fuse/dir.c.
"""

from __future__ import annotations

from fusewire.kernel.connection import Connection
from fusewire.kernel.locks import Semaphore
from fusewire.wire import FUSE_ROOT_ID


class Inode:
    """A file or directory of one mount; by default its root, which is never looked up."""

    def __init__(self, connection: Connection, nodeid: int = FUSE_ROOT_ID, name: str = "/") -> None:
        self.connection = connection
        self.nodeid = nodeid
        self.nlookup = 0  # references to give back to the daemon
        self.semaphore = Semaphore(name)
        self.children: dict[str, Inode] = {}  # the names looked up in this directory

    def __repr__(self) -> str:
        return f"<Inode {self.nodeid}>"
