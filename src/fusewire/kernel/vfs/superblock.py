"""One mount: the connection behind it, its options, and the inodes that the daemon has granted.

An inode is found by its nodeid, and by nothing else: names lead to it through dentries. It lives
as long as somebody refers to it (a dentry, an open file); with the last reference its lookups go
back to the daemon in a FORGET.

Source: fs/fuse/inode.c, fuse_iget, fuse_evict_inode, fuse_parse_param.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusewire.kernel.locks import Semaphore
from fusewire.kernel.vfs.inode import Inode
from fusewire.wire import FUSE_ROOT_ID

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.system import System

__all__ = ["Options", "Superblock"]


@dataclass(frozen=True, slots=True)
class Options:
    """What mount(2) was told."""

    user_id: int = 0
    group_id: int = 0
    rootmode: int = 0o040000
    allow_other: bool = False
    default_permissions: bool = False
    max_read: int = 0xFFFFFFFF  # bytes
    blksize: int = 4096  # of fuseblk
    fuseblk: bool = False  # which is sent DESTROY and SYNCFS, and asked for BMAP
    read_only: bool = False
    nosuid: bool = False
    nodev: bool = False
    noexec: bool = False
    subtype: str = ""
    source: str = ""


class Superblock:
    """A mounted filesystem, as the VFS knows it."""

    def __init__(self, system: System, connection: Connection, options: Options, dev: int) -> None:
        self.system = system
        self.connection = connection
        self.options = options
        self.dev = dev  # st_dev, and the name of its directory in fusectl
        self.active = True  # until it is unmounted
        self.inodes: dict[int, Inode] = {}  # by nodeid
        self.rename_mutex = Semaphore("the rename mutex")
        self.covers: Dentry | None = None  # what it is mounted on; None at the root of all
        self.root: Dentry  # set by who mounts it

    @property
    def root_inode(self) -> Inode:
        return self.inodes[FUSE_ROOT_ID]
