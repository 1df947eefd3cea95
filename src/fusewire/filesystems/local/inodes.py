"""Which nodeid is which inode of the source, and the way back to it.

An inode is known by device and number: two names of it are one nodeid. A number is used again
once its file is gone, so the time of birth and the type must be the same too; else it is a new
file and gets a new nodeid. Nodeids are counted up and never used again.

An operation needs a descriptor (O_PATH) of the inode. Those of the directories used last are kept,
for the way to all that is in them. A file's is not: it would keep the blocks of one that is
deleted behind our back from being free. A node is reached again, in this order:

1. by its file handle, where the source has them;
2. by the name it was last seen under, in the directory it was seen in, or by another name of
   a hard link. What is found is compared with what is known: names change behind our back;
3. through a file that is open on it;
4. not at all: ESTALE, upon which Linux looks up the whole path anew.

No path is ever put together, so its length does not matter, and no `..` or symlink is ever
followed: a name is opened in its parent's descriptor with O_NOFOLLOW. Neither a handle nor a
descriptor is taken when a directory is listed, only once a node is used.

What we remove ourselves is held on to, by a descriptor, until the kernel forgets it: a process
may have it open with O_PATH, or work in a directory that is gone. Nor can its number be used
again that long.

`_lock` guards the two tables and `nlookup`, and nothing is called under it; the sets of
descriptors have locks of their own. Names need none: what they lead to is verified.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat as modes
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from fusewire.errors import os_error
from fusewire.filesystems.local.descriptors import Descriptor, Descriptors
from fusewire.filesystems.local.handles import FileHandles
from fusewire.filesystems.local.node import Name, Node
from fusewire.filesystems.local.syscalls import Stat, filesystem_type, statx

__all__ = ["ROOT", "Inodes"]

ROOT: Final = 1
OVERLAYFS_SUPER_MAGIC: Final = 0x794C7630


class Inodes:
    """The nodes of one source, by nodeid and by inode, and their descriptors.

    `root_fd` (O_PATH) is ours from here on. `reopen` makes an O_PATH descriptor out of a file
    that is open on a node, or returns None.
    """

    def __init__(
        self, root_fd: int, handles: FileHandles | None, capacity: int, reopen: Callable[[int], int | None]
    ) -> None:
        self.handles = handles
        self.recent = Descriptors(capacity)
        self.removed = Descriptors(capacity)  # of nodes without a name
        self._reopen = reopen
        self._lock = threading.Lock()
        self._nodeids = itertools.count(ROOT + 1)
        # On overlayfs a file gets a new time of birth when it is written to for the first time.
        self._births_hold = filesystem_type(root_fd) != OVERLAYFS_SUPER_MAGIC
        stat = statx(root_fd, "")
        self._mount = stat.mount
        self._device = stat.device
        root = Node(ROOT, stat, self._birth(stat), own_mount=True)
        self._root = Descriptors(1)
        self._root.add(ROOT, root_fd).__exit__()
        self._nodes = {ROOT: root}
        self._by_key = {root.key: root}

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, nodeid: int) -> Node:
        """The node of a nodeid; ESTALE if the kernel was never given it, or gave it back."""
        node = self._nodes.get(nodeid)
        if node is None:
            raise os_error(errno.ESTALE)
        return node

    def close(self) -> None:
        """Close all descriptors, and forget all nodes."""
        for descriptors in (self.recent, self.removed, self._root):
            descriptors.shrink()
        if self.handles is not None:
            self.handles.close()
            self.handles = None
        self._nodes.clear()
        self._by_key.clear()

    # --- which node it is

    def _birth(self, stat: Stat) -> int | None:
        ours = stat.mount == self._mount or stat.device == self._device
        return stat.attributes.btime_ns if ours and self._births_hold else None

    def _is(self, node: Node, stat: Stat) -> bool:
        """Whether what was found is the node, and not another file, nor the next one of its number."""
        attributes = stat.attributes
        if node.key != (stat.device, attributes.ino) or node.type != attributes.type:
            return False
        born = self._birth(stat)
        return node.born == born or node.born is None or born is None

    def granted(self, name: Name | None, stat: Stat) -> int:
        """Return the nodeid of what was found under `name`, with one more lookup of it.

        Raises:
            OSError: EDEADLK if it is our own mount, below the source: we would wait for ourselves.
        """
        if stat.mount != self._mount and self._is_our_root_again(stat):
            raise os_error(errno.EDEADLK)
        with self._lock:
            node = self._by_key.get((stat.device, stat.attributes.ino))
            if node is None or not self._is(node, stat):
                node = self._new(stat)
            node.nlookup += 1
            if name is not None:
                node.seen(name, stat.attributes.nlink)
            return node.nodeid

    def _is_our_root_again(self, stat: Stat) -> bool:
        """Whether it is the root's inode on another device. Who served it would descend for ever, and keep it busy."""
        attributes, root = stat.attributes, self[ROOT]
        if stat.device == self._device or attributes.ino != root.key[1] or attributes.type != modes.S_IFDIR:
            return False
        with self.descriptor(ROOT) as fd:
            ours = statx(fd, "").attributes
        if ours.btime_ns is None or attributes.btime_ns is None:  # before Linux 6.6 FUSE tells of no birth
            return ours.ctime_ns == attributes.ctime_ns
        return ours.btime_ns == attributes.btime_ns

    def _new(self, stat: Stat) -> Node:
        node = Node(next(self._nodeids), stat, self._birth(stat), own_mount=stat.mount == self._mount)
        self._nodes[node.nodeid] = self._by_key[node.key] = node
        return node

    def forget(self, nodeid: int, nlookup: int) -> None:
        """Take back lookups; with the last, all that is known of the node."""
        with self._lock:
            node = self._nodes.get(nodeid)
            if node is None or nodeid == ROOT:
                return
            node.nlookup -= nlookup
            if node.nlookup > 0:
                return
            del self._nodes[nodeid]
            self._part(node)
        self.recent.drop(nodeid)
        self.removed.drop(nodeid)

    def _part(self, node: Node) -> None:
        """What is found under the node's number from now on is another file."""
        if self._by_key.get(node.key) is node:
            del self._by_key[node.key]

    def known(self, dir_fd: int, name: str) -> Node | None:
        """The node of what bears a name; None if the kernel does not know it, or there is nothing."""
        try:
            stat = statx(dir_fd, name)
        except OSError:
            return None
        with self._lock:
            node = self._by_key.get((stat.device, stat.attributes.ino))
            return node if node is not None and self._is(node, stat) else None

    def self_and_parent(self, nodeid: int) -> tuple[int, int]:
        """The inode numbers of a directory and of the one it was last seen in; of itself twice if there is none."""
        node = self[nodeid]
        parent = None if node.name is None else self._nodes.get(node.name[0])
        return node.key[1], (parent or node).key[1]

    # --- the way to it

    def descriptor(self, nodeid: int) -> Descriptor:
        """Return an O_PATH descriptor of the node, for a `with`.

        Raises:
            OSError: ESTALE if there is no way to it any more.
        """
        try:
            return self._from_above(nodeid)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
        node = self[nodeid]
        return self._kept(node, self._open_otherwise(node))

    def _kept(self, node: Node, fd: int) -> Descriptor:
        return self.recent.add(node.nodeid, fd) if node.type == modes.S_IFDIR else self.recent.once(fd)

    def _from_above(self, nodeid: int) -> Descriptor:
        """Climb to a node that is at hand, and come down by names. No recursion: trees may be deep."""
        chain: dict[int, None] = {}
        while (found := self._at_hand(nodeid)) is None:
            chain[nodeid] = None
            nodeid, _ = self[nodeid].last_seen
            if nodeid in chain:  # renames behind our back made a ring of what was last seen
                raise os_error(errno.ESTALE)
        for nodeid in reversed(chain):
            with found as dir_fd:
                node = self[nodeid]
                found = self._kept(node, self._open_below(dir_fd, node))
        return found

    def _at_hand(self, nodeid: int) -> Descriptor | None:
        """A descriptor that needs no parent's."""
        if nodeid == ROOT:
            return self._root.take(ROOT)
        found = self.recent.take(nodeid) or self.removed.take(nodeid)
        if found is not None:
            return found
        node = self[nodeid]
        fd = self._open_directly(node)
        return None if fd is None else self._kept(node, fd)

    def _open_directly(self, node: Node) -> int | None:
        if self.handles is None or node.handle is None:
            return None
        try:
            return self.recent.with_room(partial(self.handles.open, node.handle))
        except OSError as error:
            if error.errno == errno.ESTALE:
                with self._lock:
                    self._part(node)
            raise

    def _open_below(self, dir_fd: int, node: Node) -> int:
        """Open the node by the name that it was last seen under, in `dir_fd`; take its handle."""
        _, name = node.last_seen
        fd = self._open_verified(dir_fd, name, node)
        if self.handles is not None and node.own_mount and node.handle is None:
            with contextlib.suppress(OSError):  # a single file may have none; its name remains
                node.handle = self.handles.take(fd)
        return fd

    def _open_verified(self, dir_fd: int, name: str, node: Node) -> int:
        try:
            fd = self.recent.with_room(lambda: os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=dir_fd))
        except (FileNotFoundError, NotADirectoryError):
            raise os_error(errno.ESTALE) from None
        if self._is(node, statx(fd, "")):
            return fd
        os.close(fd)
        raise os_error(errno.ESTALE)

    def _open_otherwise(self, node: Node) -> int:
        """By another name of a hard link, or through an open file or listing."""
        for parent, name in node.aliases:
            with contextlib.suppress(OSError), self.descriptor(parent) as dir_fd:
                return self._open_verified(dir_fd, name, node)
        fd = self._reopen(node.nodeid)
        if fd is None:
            raise os_error(errno.ESTALE)
        return fd

    # --- what we change ourselves

    @contextlib.contextmanager
    def removing(self, parent: int, dir_fd: int, name: str) -> Iterator[None]:
        """Take note that what the `with` does removes a name, if it succeeds."""
        victim = self.known(dir_fd, name)
        held = None if victim is None else self._held(victim, dir_fd, name)
        if victim is None or held is None:
            yield
            return
        with held as fd:
            yield
            victim.lost((parent, name))
            with contextlib.suppress(OSError):  # it is done: what we cannot hold on to, we let go
                attributes = statx(fd, "").attributes
                if attributes.nlink == 0 or attributes.type == modes.S_IFDIR:
                    self.nameless(victim.nodeid, os.dup(fd))

    def _held(self, node: Node, dir_fd: int, name: str) -> Descriptor | None:
        held = self.recent.take(node.nodeid) or self.removed.take(node.nodeid)
        if held is None:
            with contextlib.suppress(OSError):
                held = self._kept(node, self._open_verified(dir_fd, name, node))
        return held

    def nameless(self, nodeid: int, fd: int) -> None:
        """Keep `fd` (O_PATH, ours from here on) for a node that no name leads to, until the kernel forgets it."""
        self.removed.add(nodeid, fd).__exit__()
        self.recent.drop(nodeid)
        if nodeid not in self._nodes:  # forgotten meanwhile
            self.removed.drop(nodeid)

    def moved(self, node: Node | None, old: Name, new: Name) -> None:
        """Take note of a rename of ours."""
        if node is not None:
            node.lost(old)
            node.seen(new, nlink=2)
