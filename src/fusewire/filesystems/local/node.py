"""What is known of one inode: what it is, and the names that it was seen under.

A name is a hint. It is right when it is noted and may be wrong ever after, since others change
the source too; whoever follows it compares what he finds. So it needs no lock either.
"""

from __future__ import annotations

import errno
import stat as modes
from typing import Final, TypeAlias

from fusewire.errors import os_error
from fusewire.filesystems.local.syscalls import Stat

__all__ = ["Name", "Node"]

ALIASES: Final = 8  # names of one inode that are remembered beside the last one seen

Name: TypeAlias = tuple[int, str]  # in the directory of this nodeid


class Node:
    """An inode that the kernel knows."""

    __slots__ = ("aliases", "born", "handle", "key", "name", "nlookup", "nodeid", "own_mount", "type")

    def __init__(self, nodeid: int, stat: Stat, born: int | None, own_mount: bool) -> None:
        self.nodeid = nodeid
        self.key = (stat.device, stat.attributes.ino)
        self.born = born  # nanoseconds; None if the filesystem does not tell, or not truly
        self.type = stat.attributes.type
        self.own_mount = own_mount  # on the source's mount: handles are opened there
        self.nlookup = 0
        self.name: Name | None = None  # seen last; None if it has none that we know
        self.aliases: tuple[Name, ...] = ()  # further names, of hard links
        self.handle: bytes | None = None  # taken at first use

    def seen(self, name: Name, nlink: int) -> None:
        """Note a name of the node. Only a hard link keeps its other names: else they were renamed away."""
        if name == self.name:
            return
        if nlink > 1 and self.type != modes.S_IFDIR and self.name is not None:
            others = [alias for alias in self.aliases if alias != name]
            self.aliases = (self.name, *others)[:ALIASES]
        else:
            self.aliases = ()
        self.name = name

    def lost(self, name: Name) -> None:
        """Note that a name is no more the node's."""
        names = [each for each in self.names() if each != name]
        self.name = names[0] if names else None
        self.aliases = tuple(names[1:])

    def names(self) -> tuple[Name, ...]:
        """The names it may be found under, the likeliest first."""
        return () if self.name is None else (self.name, *self.aliases)

    @property
    def last_seen(self) -> Name:
        """The likeliest name; ESTALE if there is none."""
        if self.name is None:
            raise os_error(errno.ESTALE)
        return self.name
