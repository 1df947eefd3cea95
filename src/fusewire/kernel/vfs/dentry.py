"""Names: what the kernel remembers of what stands where.

A dentry is one name in one directory. It is *positive* if it leads to an inode, *negative* if it is
known that there is nothing. It pins its parent; whoever uses it holds a reference. When the last
goes, an unhashed one dies at once, and so does one whose time is up (fuse_dentry_delete); others
stay, unused, until they are pruned.

`expires` says until when the daemon's answer holds, `epoch` what INC_EPOCH has not yet outdated.

Source: fs/dcache.c; fs/fuse/dir.c, fuse_dentry_revalidate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.superblock import Superblock
    from fusewire.kernel.waitq import WaitQueue

__all__ = ["Dentry"]


class Dentry:
    """A name in a directory, which was looked up."""

    __slots__ = (
        "children",
        "count",
        "epoch",
        "expires",
        "from_readdirplus",
        "hashed",
        "in_lookup",
        "inode",
        "mounted",
        "name",
        "parent",
        "superblock",
    )

    def __init__(self, superblock: Superblock, parent: Dentry | None, name: bytes, inode: Inode | None = None) -> None:
        self.superblock = superblock
        self.parent = parent  # None of a mount's root
        self.name = name
        self.inode = inode  # None if negative
        self.children: dict[bytes, Dentry] | None = None  # by name; those that are hashed
        self.count = 1  # references: users, and children
        self.expires = 0.0  # by the system's clock
        self.epoch = 0
        self.hashed = False  # to be found in its parent's children
        self.from_readdirplus = False  # and not used since
        self.in_lookup: WaitQueue | None = None  # where others wait while it is being looked up
        self.mounted: Superblock | None = None  # what is mounted on it

    def __repr__(self) -> str:
        return f"<Dentry {self.path!r}>"

    @property
    def path(self) -> str:
        """Where it stands in its mount, as /proc would show it."""
        names: list[bytes] = []
        dentry: Dentry = self
        while dentry.parent is not None:
            names.append(dentry.name)
            dentry = dentry.parent
        return "/" + b"/".join(reversed(names)).decode(errors="surrogateescape")
