"""One mount: the connection behind it, its options, and the inodes that the daemon has granted.

An inode is found by its nodeid, and by nothing else: names lead to it through dentries. It lives
as long as somebody refers to it (a dentry, an open file); with the last reference its lookups go
back to the daemon in a FORGET.

Source: fs/fuse/inode.c, fuse_iget, fuse_evict_inode, fuse_parse_param.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fusewire.kernel.control import Control
from fusewire.kernel.locks import Semaphore
from fusewire.kernel.tasks import Task
from fusewire.kernel.vfs.inode import Inode
from fusewire.kernel.waitq import Sleep
from fusewire.wire import FUSE_ROOT_ID, InitFlags

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.vfs.dentry import Dentry
    from fusewire.kernel.vfs.system import System
    from fusewire.kernel.waitq import WaitQueue

__all__ = ["Options", "Superblock"]

MOST_MISSING: Final = 10_000  # negative names that nobody uses, which would otherwise pile up for ever


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
        self.dirty_inodes: dict[Inode, None] = {}  # of which the daemon has not been told all
        self.flusher: Task | None = None  # at work while there are any
        self.begin_flusher: Callable[[Superblock], object] = lambda superblock: None  # set by who mounts it
        self.rename_mutex = Semaphore("the rename mutex")  # held by who moves a name to another directory
        self.looking_up: dict[tuple[Dentry, bytes], WaitQueue] = {}  # names of which LOOKUP is under way, by parent
        self.covers: Dentry | None = None  # what it is mounted on; None at the root of all
        self.detached = False  # nobody finds it any more
        self.ending = False
        self.root: Dentry  # set by who mounts it
        self.missing: OrderedDict[Dentry, None] = OrderedDict()  # negative names, unused for longest first
        self.strays: dict[Dentry, None] = {}  # a set: unhashed directories in which names are still known

    @property
    def root_inode(self) -> Inode:
        return self.inodes[FUSE_ROOT_ID]

    @property
    def default_permissions(self) -> bool:
        """The kernel checks modes; otherwise the daemon does as it likes. ACLs need the kernel's checks."""
        return self.options.default_permissions or self.connection.has(InitFlags.FUSE_POSIX_ACL)

    @property
    def control(self) -> Control:
        """The files about its connection in fusectl: `control["abort"].write(b"1")`."""
        return Control(self)

    def drop_caches(self) -> None:
        """Let every name and every inode go that nobody uses, as `echo 2 > /proc/sys/vm/drop_caches` does."""
        for stray in list(self.strays):
            stray.get()
            stray.prune()
            stray.put()
        self.root.prune()

    def keep_missing(self, name: Dentry) -> None:
        """Keep a negative name that nobody uses now; of too many let that go which was unused for longest.

        On Linux it is the shrinker that lets go, when memory is short.
        """
        self.missing[name] = None
        self.missing.move_to_end(name)
        if len(self.missing) > MOST_MISSING:
            oldest, _ = self.missing.popitem(last=False)
            if oldest.inode is None and oldest.hashed and not oldest.count:
                oldest.shrink()

    # Where it stands.

    def cover(self, on: Dentry | None) -> None:
        """Be found where `on` is, or at the root of all."""
        self.covers = on
        if on is None:
            self.system.root = self.root
        else:
            on.get().mounted = self
        self.system.superblocks.append(self)

    def uncover(self) -> None:
        """Be found no more."""
        self.detached = True
        self.system.superblocks.remove(self)
        covered, self.covers = self.covers, None
        if covered is None:
            self.system.root = None
        else:
            covered.mounted = None
            covered.put()

    @property
    def busy(self) -> bool:
        """Whether anybody uses it: its dentries are referred to by more than their children, and the mount itself."""
        known = [top for stray in (self.root, *self.strays) for top in (stray, *stray.below())]
        return sum(dentry.count for dentry in known) > len(known)

    def detach(self) -> None:
        """Be found no more, with all that is mounted upon it, and end when nobody uses it any more (MNT_DETACH)."""
        for other in list(self.system.superblocks):
            if other.covers is not None and other.covers.superblock is self:
                other.detach()
        self.uncover()
        self.end_if_unused()

    def end_if_unused(self) -> None:
        """End a mount that has been detached, in a task of its own, if the last who used it has gone."""
        if self.active and not self.ending and not self.busy:
            self.ending = True
            self.system.runner.start(Task(f"umount {self.dev}", self.shut_down()))

    async def shut_down(self) -> None:
        """End: have the daemon told if it is a fuseblk's, abort, and wait until nothing is unfinished."""
        connection = self.connection
        if self.options.fuseblk and connection.initialized and not connection.refused and connection.connected:
            with contextlib.suppress(OSError):  # whatever the daemon says, it is over
                await connection.ask("DESTROY", 0, force=True, nocreds=True)
        connection.abort()
        await connection.blocked_waitq.sleep(lambda: not connection.num_waiting, Sleep.UNINTERRUPTIBLE)
        self.active = False
        self.drop_caches()
        self.root.put()

    def abandon(self) -> None:
        """End a mount that nobody has found yet, and whose INIT has failed."""
        self.connection.abort()
        self.active = False
        self.root.put()

    # Inodes.

    def evict(self, inode: Inode) -> None:
        """Forget `inode`, to which nobody refers any more, and have the daemon told so.

        Not after an unmount: the daemon then knows that all is over (fs/fuse/inode.c, fuse_evict_inode).
        """
        if self.inodes.get(inode.nodeid) is inode:
            del self.inodes[inode.nodeid]
        self.dirty_inodes.pop(inode, None)
        if inode.pages is not None:
            for page in list(inode.pages.pages.values()):
                inode.pages.drop(page)
        if not self.active:
            return
        if inode.nlookup:
            self.connection.forget(inode.nodeid, inode.nlookup)
        if inode.attr.nlink:
            self.connection.evict_ctr += 1
