"""Names: which inode is where, and how long it lives.

A directory holds its inodes by name; `Tree` holds all inodes by nodeid, those that have lost
their last name too, for as long as somebody uses them. Every change of a name goes through
here, so that link counts, times and counted places are kept in one file:

    nlink    2 and one for each subdirectory, for a directory; the number of names otherwise
    times    mtime and ctime of the directory, ctime of what gets or loses a name
    places   one for each inode, and one for each further name of it: names take memory too

Each method checks everything before it changes anything.

What the kernel alone still knows, having neither name nor opener, is *set aside*: its room and
its place are free at once. Otherwise a full filesystem would go on being full after an unlink,
until the FORGET comes, and requests may overtake that (fs/fuse/dev.c, fuse_dev_do_read). Should
somebody open it once more, through /proc/self/fd, it is counted again.
"""

from __future__ import annotations

import errno
import itertools
import os
import sys
from collections.abc import Callable
from typing import Final, TypeVar

from fusewire.errors import os_error
from fusewire.filesystems.memory.budget import Budget
from fusewire.filesystems.memory.inodes import Directory, Inode, RegularFile

__all__ = ["NAME_MAX", "Tree"]

NAME_MAX: Final = 255  # bytes
NOT_NAMES: Final = frozenset(("", ".", ".."))

Made = TypeVar("Made", bound=Inode)


class Tree:
    """All inodes of a filesystem, from the root down, and those without a name."""

    def __init__(self, places: Budget, room: Budget, root: Callable[[int], Directory]) -> None:
        self.places = places
        self.room = room  # in pages
        self.aside = Budget(sys.maxsize)  # the room of what is set aside
        self.inodes: dict[int, Inode] = {}  # by nodeid
        self._nodeids = itertools.count(1)  # never used again, so every generation is 0
        self.root = self.add(root)
        self.root.nlink = 2

    # --- by nodeid

    def inode(self, nodeid: int) -> Inode:
        """Find an inode; ESTALE if it is gone."""
        found = self.inodes.get(nodeid)
        if found is None:
            raise os_error(errno.ESTALE)
        return found

    def directory(self, nodeid: int) -> Directory:
        """Find a directory; ENOTDIR if it is none."""
        found = self.inodes.get(nodeid)
        if isinstance(found, Directory):
            return found
        raise os_error(errno.ESTALE if found is None else errno.ENOTDIR)

    def file(self, nodeid: int) -> RegularFile:
        """Find a regular file; EISDIR if it is a directory, EINVAL if it has no content either."""
        found = self.inodes.get(nodeid)
        if isinstance(found, RegularFile):
            return found
        if found is None:
            raise os_error(errno.ESTALE)
        raise os_error(errno.EISDIR if isinstance(found, Directory) else errno.EINVAL)

    def add(self, make: Callable[[int], Made]) -> Made:
        """Make an inode under the nodeid that `make` is given. It has no name yet.

        Raises:
            OSError: ENOSPC if there are no more places.
        """
        self.places.take()
        made = make(next(self._nodeids))
        self.inodes[made.nodeid] = made
        return made

    def settle(self, inode: Inode) -> None:
        """Let go of an inode if nothing leads to it any more: no name, no open file, no lookup."""
        if inode.nlink or inode.nopen:
            return
        if not inode.is_aside:
            inode.is_aside = True
            inode.move_to(self.aside)
            self.places.give()
        if not inode.nlookup:
            del self.inodes[inode.nodeid]
            inode.free()

    def count_again(self, inode: Inode) -> None:
        """Count what was set aside, before it is used again.

        Raises:
            OSError: ENOSPC if its room or its place was given away.
        """
        if not inode.is_aside:
            return
        if inode.pages > self.room.free:
            raise os_error(errno.ENOSPC)
        self.places.take()
        inode.move_to(self.room)
        inode.is_aside = False

    # --- by name

    def child(self, parent: Directory, name: str) -> Inode:
        """Find what bears a name; ENOENT if nothing does, ENAMETOOLONG if nothing can."""
        found = parent.names.get(name)
        if found is None:
            raise os_error(errno.ENAMETOOLONG if is_too_long(name) else errno.ENOENT)
        return found

    def vacant(self, parent: Directory, name: str) -> None:
        """Check that a new inode may get a name.

        Raises:
            OSError: EEXIST if the name is taken; ENOENT if the directory is removed; ENAMETOOLONG; EINVAL
                for what is no name.
        """
        if name in parent.names:
            raise os_error(errno.EEXIST)
        self._check_name(parent, name)

    def enter(self, parent: Directory, name: str, inode: Inode, now_ns: int) -> None:
        """Give a new inode its name, which must be `vacant`."""
        parent.names[name] = inode
        parent.modified(now_ns)
        if isinstance(inode, Directory):
            inode.nlink = 2
            parent.nlink += 1
        else:
            inode.nlink += 1

    def link(self, parent: Directory, name: str, inode: Inode, now_ns: int) -> None:
        """Give an inode a further name.

        Raises:
            OSError: EPERM if it is a directory; ENOENT if it lost its last name; ENOSPC; as `vacant`.
        """
        if isinstance(inode, Directory):
            raise os_error(errno.EPERM)
        self.vacant(parent, name)
        if inode.nlink:
            self.places.take()
        elif not (isinstance(inode, RegularFile) and inode.nameless):
            raise os_error(errno.ENOENT)
        else:
            self.count_again(inode)
            inode.nameless = False
        self.enter(parent, name, inode, now_ns)
        inode.changed(now_ns)

    def unlink(self, parent: Directory, name: str, now_ns: int) -> None:
        """Take a name from what is no directory. EISDIR if it is one."""
        inode = self.child(parent, name)
        if isinstance(inode, Directory):
            raise os_error(errno.EISDIR)
        self._drop(parent, name, inode, now_ns)

    def rmdir(self, parent: Directory, name: str, now_ns: int) -> None:
        """Remove an empty directory. ENOTDIR if it is none, ENOTEMPTY if it is not empty."""
        inode = self.child(parent, name)
        if not isinstance(inode, Directory):
            raise os_error(errno.ENOTDIR)
        if inode.names:
            raise os_error(errno.ENOTEMPTY)
        self._drop(parent, name, inode, now_ns)

    def move(self, parent: Directory, name: str, new_parent: Directory, new_name: str, now_ns: int) -> None:
        """Move a name, over what bears the new one. Nothing happens if both are names of one inode.

        Raises:
            OSError: ENOENT; EINVAL if a directory would come to lie in itself; EISDIR, ENOTDIR or ENOTEMPTY
                if what bears the new name cannot give way; ENAMETOOLONG.
        """
        inode = self.child(parent, name)
        replaced = new_parent.names.get(new_name)
        if replaced is inode:
            return
        self._check_move(inode, new_parent, new_name, replaced)
        if replaced is not None:
            self._drop(new_parent, new_name, replaced, now_ns)
        del parent.names[name]
        new_parent.names[new_name] = inode
        self._moved(inode, parent, new_parent, now_ns)

    def exchange(self, parent: Directory, name: str, new_parent: Directory, new_name: str, now_ns: int) -> None:
        """Have two names change places. ENOENT if either is not there, EINVAL as `move`."""
        inode, other = self.child(parent, name), self.child(new_parent, new_name)
        check_no_loop(inode, new_parent)
        check_no_loop(other, parent)
        parent.names[name], new_parent.names[new_name] = other, inode
        self._moved(inode, parent, new_parent, now_ns)
        self._moved(other, new_parent, parent, now_ns)

    def _check_move(self, inode: Inode, new_parent: Directory, new_name: str, replaced: Inode | None) -> None:
        check_no_loop(inode, new_parent)
        if replaced is None:
            self._check_name(new_parent, new_name)
        elif isinstance(replaced, Directory):
            if not isinstance(inode, Directory):
                raise os_error(errno.EISDIR)
            if replaced.names:
                raise os_error(errno.ENOTEMPTY)
        elif isinstance(inode, Directory):
            raise os_error(errno.ENOTDIR)

    def _check_name(self, parent: Directory, name: str) -> None:
        if name in NOT_NAMES or "/" in name:
            raise os_error(errno.EINVAL)
        if is_too_long(name):
            raise os_error(errno.ENAMETOOLONG)
        if not parent.nlink:
            raise os_error(errno.ENOENT)

    def _drop(self, parent: Directory, name: str, inode: Inode, now_ns: int) -> None:
        """Take a name away, which must be there."""
        del parent.names[name]
        parent.modified(now_ns)
        if isinstance(inode, Directory):
            inode.nlink = 0
            parent.nlink -= 1
        else:
            inode.nlink -= 1
            if inode.nlink:
                self.places.give()
        inode.changed(now_ns)
        self.settle(inode)

    def _moved(self, inode: Inode, parent: Directory, new_parent: Directory, now_ns: int) -> None:
        """Set right what depends on where an inode is."""
        if isinstance(inode, Directory):
            parent.nlink -= 1
            new_parent.nlink += 1
            inode.parent = new_parent
        parent.modified(now_ns)
        new_parent.modified(now_ns)
        inode.changed(now_ns)


def check_no_loop(inode: Inode, new_parent: Directory) -> None:
    """Refuse to put a directory into itself, or below: EINVAL."""
    if isinstance(inode, Directory) and new_parent.is_within(inode):
        raise os_error(errno.EINVAL)


def is_too_long(name: str) -> bool:
    """A name has more than `NAME_MAX` bytes. No character has more than four."""
    return len(name) > NAME_MAX // 4 and len(os.fsencode(name)) > NAME_MAX
