"""Names: what the kernel remembers of what stands where.

A dentry is one name in one directory. It is *positive* if it leads to an inode, *negative* if it is
known that there is nothing. It pins its inode and its parent; whoever uses it holds a reference.
While it is *hashed* its parent finds it among its `children`.

With its last reference an unhashed dentry dies, and its inode may with it. A hashed one stays,
unused, until it is pruned, even if it may not be believed any more: it costs the daemon nothing,
and when it is next met the daemon is asked whether it still holds. (Only virtiofs has expired ones
die at once.) Of negative ones no more than some thousands stay, for there is no end of names that
lead nowhere (superblock.py).

`expires` says until when the daemon's answer holds, `epoch` what INC_EPOCH has not yet outdated.

All calls here are plain ones: nothing sleeps.

Source: fs/dcache.c; fs/fuse/dir.c, fuse_dentry_settime.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fusewire.kernel.vfs.inode import Inode
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = ["EXPIRED", "Dentry"]

EXPIRED: Final = -1.0  # a time that has always passed


class Dentry:
    """A name in a directory, which was looked up. Made with one reference, unhashed and negative."""

    __slots__ = (
        "children",
        "count",
        "dead",
        "epoch",
        "expires",
        "from_readdirplus",
        "hashed",
        "inode",
        "mounted",
        "name",
        "next_alias",
        "parent",
        "superblock",
    )

    def __init__(self, superblock: Superblock, parent: Dentry | None, name: bytes) -> None:
        self.superblock = superblock
        self.parent = parent  # None of a mount's root
        self.name = name
        self.inode: Inode | None = None  # None if negative
        self.next_alias: Dentry | None = None  # another name of the same inode
        self.children: dict[bytes, Dentry] | None = None  # by name; those that are hashed
        self.count = 1  # references: users, children, a mount on it
        self.expires = EXPIRED  # by the system's clock
        self.epoch = 0
        self.hashed = False  # to be found in its parent's children
        self.dead = False  # a directory that was removed: nothing is looked up or made in it
        self.from_readdirplus = False  # and not used since
        self.mounted: Superblock | None = None  # what is mounted on it
        if parent is not None:
            parent.count += 1

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

    @property
    def positive(self) -> Inode:
        """Its inode, for whoever knows that it has one."""
        assert self.inode is not None
        return self.inode

    @property
    def directory(self) -> Inode:
        """The inode of the directory in which it stands; a mount's root stands in none."""
        assert self.parent is not None
        return self.parent.positive

    @property
    def is_dir(self) -> bool:
        return self.inode is not None and self.inode.is_dir

    @property
    def removed(self) -> bool:
        """Nothing leads to it any more, though it may still be in use (d_unlinked)."""
        return self.parent is not None and not self.hashed

    # References.

    def get(self) -> Dentry:
        """Take a reference; return the dentry."""
        self.count += 1
        return self

    def put(self) -> None:
        """Give a reference back; with the last one the dentry dies, unless it is worth keeping."""
        dentry: Dentry | None = self
        while dentry is not None:
            dentry.count -= 1
            if dentry.superblock.detached:
                dentry.superblock.end_if_unused()
            if dentry.count:
                return
            if dentry._worth_keeping:
                if dentry.inode is None:
                    dentry.superblock.keep_missing(dentry)
                return
            dentry = dentry._die()

    @property
    def _worth_keeping(self) -> bool:
        return self.hashed  # also if nobody may use it without asking: notifications find it

    def _die(self) -> Dentry | None:
        """Let go of everything; return the parent, whose reference is the caller's to give back."""
        self.drop()
        self.superblock.strays.pop(self, None)
        self.superblock.missing.pop(self, None)
        self.detach()
        return self.parent

    def shrink(self) -> None:
        """Die, though worth keeping, and let die whoever is unused without us, up the tree (shrink_dentry_list).

        Nobody may refer to it.
        """
        dentry: Dentry | None = self
        while dentry is not None and not dentry.count:
            dentry = dentry._die()
            if dentry is not None:
                dentry.count -= 1

    # What it is: positive or negative.

    def attach(self, inode: Inode) -> None:
        """Become a name of `inode`, and pin it (d_instantiate)."""
        assert self.inode is None
        inode.hold()
        inode.aliases += 1
        self.next_alias, inode.alias = inode.alias, self
        self.inode = inode

    def detach(self) -> None:
        """Become negative; the inode is evicted if nobody else refers to it (dentry_unlink_inode)."""
        inode = self.inode
        if inode is None:
            return
        if inode.alias is self:
            inode.alias = self.next_alias
        else:
            before = next(alias for alias in aliases(inode) if alias.next_alias is self)
            before.next_alias = self.next_alias
        self.inode = self.next_alias = None
        inode.aliases -= 1
        inode.drop()

    # Where it is: hashed or not.

    def child(self, name: bytes) -> Dentry | None:
        """Return what is remembered of `name`, valid or not."""
        return self.children.get(name) if self.children is not None else None

    def hash(self) -> None:
        """Let its parent find it."""
        assert self.parent is not None
        if self.parent.children is None:
            self.parent.children = {}
        self.parent.children[self.name] = self
        self.hashed = True
        self.superblock.strays.pop(self, None)
        if self.parent.removed:
            self.superblock.strays[self.parent] = None

    def drop(self) -> None:
        """Let nobody find it any more (d_drop). Idempotent."""
        if not self.hashed:
            return
        assert self.parent is not None
        assert self.parent.children is not None
        del self.parent.children[self.name]
        self.hashed = False
        if self.children:
            self.superblock.strays[self] = None

    def expire(self) -> None:
        """Have the daemon asked when it is next met."""
        self.expires = EXPIRED

    def invalidate(self) -> None:
        """Let nobody find it any more, nor what is unused below it (d_invalidate).

        What is mounted there goes away too. The caller holds a reference.
        """
        if not self.hashed:
            return
        self.drop()
        self.expire()
        if self.inode is None:
            return
        self.prune()
        self.detach_mounts()

    def detach_mounts(self) -> None:
        """Detach what is mounted on it or below, since nothing leads there any more (detach_mounts)."""
        for superblock in list(self.superblock.system.superblocks):
            covered = superblock.covers
            if covered is not None and self.leads_to(covered):
                superblock.detach()

    def leads_to(self, other: Dentry) -> bool:
        """Whether `other` is this one or stands below it, in the same mount."""
        dentry: Dentry | None = other
        while dentry is not None and dentry is not self:
            dentry = dentry.parent
        return dentry is self

    def below(self) -> Iterator[Dentry]:
        """Every hashed dentry below this one, children before their parent."""
        found = [self]
        for dentry in found:  # which grows meanwhile
            if dentry.children:
                found.extend(dentry.children.values())
        return reversed(found[1:])

    def prune(self) -> None:
        """Let every dentry below die that nobody uses (shrink_dcache_parent). The caller holds a reference."""
        for dentry in self.below():
            if not dentry.count and dentry.hashed:
                parent = dentry._die()
                assert parent is not None
                parent.count -= 1  # its turn comes, if it is unused now

    # Renaming.

    def move(self, parent: Dentry, name: bytes) -> None:
        """Stand at `name` in `parent` from now on, in place of what stood there (d_move)."""
        victim = parent.child(name)
        if victim is not None and victim is not self:
            victim.drop()
        self.drop()
        self._stand_in(parent, name)
        self.hash()

    def exchange(self, other: Dentry) -> None:
        """Change places with `other` (d_exchange)."""
        parent, name = self.parent, self.name
        self.drop()
        there, there_name = other.parent, other.name
        assert parent is not None
        assert there is not None
        other.drop()
        self._stand_in(there, there_name)
        other._stand_in(parent, name)
        self.hash()
        other.hash()

    def _stand_in(self, parent: Dentry, name: bytes) -> None:
        assert self.parent is not None
        previous, self.parent, self.name = self.parent, parent.get(), name
        previous.put()


def aliases(inode: Inode) -> Iterator[Dentry]:
    """Every dentry of `inode`, hashed or not."""
    alias = inode.alias
    while alias is not None:
        yield alias
        alias = alias.next_alias
