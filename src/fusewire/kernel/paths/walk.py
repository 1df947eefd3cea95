"""Path walk: from a path to a dentry, one name after the other.

At each name the directory must be one, its caller must be allowed to search it, and then the name
is looked up, by what is remembered or by a LOOKUP. A symlink in the middle is followed, at the end
only if the caller wants that or a slash stands after it. After forty of them it is a loop. `..`
leads up, out of a mount where one begins, and nowhere from the root.

Source: fs/namei.c, link_path_walk, walk_component, step_into, pick_link.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from fusewire.errors import os_error
from fusewire.kernel.operations.lookup import known_good, lookup
from fusewire.kernel.operations.names import fuse_get_link
from fusewire.kernel.operations.permission import MAY_EXEC, permission
from fusewire.kernel.vfs.credentials import credentials

if TYPE_CHECKING:
    from fusewire.kernel.vfs.caller import Caller
    from fusewire.kernel.vfs.dentry import Dentry

__all__ = ["Walk", "topmost"]

MAXSYMLINKS: Final = 40
FREE_FOR_ALL: Final = stat.S_ISVTX | stat.S_IWOTH


class Walk:
    """One walk: where it is, and how many symlinks it has followed. It holds a reference on `dentry`."""

    __slots__ = ("dentry", "directory", "follow", "intent", "links", "process", "root")

    def __init__(self, process: Caller, path: bytes, dir_fd: int | None, intent: int) -> None:
        if process.system.root is None:
            raise os_error(errno.ENOENT)  # all has been unmounted
        self.process = process
        self.root = process.system.root
        self.intent = intent
        self.links = 0
        self.follow = False  # a symlink at the end, too
        self.directory = False  # what it ends at must be one
        self.dentry = self._start(path, dir_fd).get()

    def _start(self, path: bytes, dir_fd: int | None) -> Dentry:
        if path.startswith(b"/"):
            return self.root
        if dir_fd is None:
            return self.process.cwd
        dentry = self.process.file(dir_fd).dentry
        if not dentry.is_dir:
            raise os_error(errno.ENOTDIR)
        return dentry

    async def to_last(self, path: bytes) -> tuple[bytes, bool]:
        """Go to the directory of the last name; return that (b'/' if there is none) and whether a slash follows it."""
        names = [name for name in path.split(b"/") if name]
        if not names:
            return b"/", False
        last = names.pop()
        for name in names:
            await self.step(name, follow=True)
        await self._may_search()
        return last, path.endswith(b"/")

    async def to_end(self, path: bytes) -> None:
        """Go to what `path` leads to."""
        last, slash = await self.to_last(path)
        self.directory |= slash
        self.follow |= slash
        if last != b"/":
            await self.searched_step(last, self.follow, trailing=True)

    async def step(self, name: bytes, follow: bool) -> None:
        """Go on by one name that is not the last."""
        await self._may_search()
        await self.searched_step(name, follow, trailing=False)

    async def _may_search(self) -> None:
        inode = self.dentry.inode
        if inode is None or not inode.is_dir:
            raise os_error(errno.ENOTDIR)
        await permission(inode, MAY_EXEC)

    async def searched_step(self, name: bytes, follow: bool, trailing: bool) -> None:
        if name == b".":
            return
        if name == b"..":
            self.go_to(self._above())
            return
        dentry = self._known(name) or await lookup(self.dentry, name, self.intent)
        if dentry.mounted is not None:
            dentry = topmost(dentry)
        inode = dentry.inode
        if inode is not None and not (inode.is_symlink and follow):
            previous, self.dentry = self.dentry, dentry
            previous.put()
            return
        try:
            if inode is None:
                raise os_error(errno.ENOENT)
            await self._follow(await self.target(dentry, trailing), trailing)
        finally:
            dentry.put()  # now only: as long as it is followed, a link is not forgotten

    def _known(self, name: bytes) -> Dentry | None:
        """What is remembered of `name` and needs no asking, referenced."""
        dentry = self.dentry.child(name)
        if dentry is not None and known_good(dentry, self.intent):
            return dentry.get()
        return None

    def go_to(self, dentry: Dentry) -> None:
        dentry.get()
        self.dentry.put()
        self.dentry = dentry

    def _above(self) -> Dentry:
        """Where `..` leads: out of a mount at its root, nowhere at the root of all."""
        dentry = self.dentry
        while dentry.parent is None and dentry is not self.root:
            covered = dentry.superblock.covers
            if covered is None:
                return dentry  # the mount has been detached
            dentry = covered
        if dentry is self.root or dentry.parent is None:
            return dentry
        above = dentry.parent
        while above.mounted is not None:
            above = above.mounted.root
        return above

    async def target(self, link: Dentry, trailing: bool) -> bytes:
        """What `link`, which stands in our directory, says."""
        if self.links >= MAXSYMLINKS:
            raise os_error(errno.ELOOP)
        self.links += 1
        if trailing and self.process.system.protected_symlinks:
            self._check_protected(link)
        return await fuse_get_link(link.positive)

    def _check_protected(self, link: Dentry) -> None:
        """Refuse others' symlinks at the end of a path in a directory that all may write to (may_follow_link)."""
        owner, directory = link.positive.attr.uid, self.dentry.positive
        if directory.mode & FREE_FOR_ALL == FREE_FOR_ALL and owner not in (credentials().fsuid, directory.attr.uid):
            raise os_error(errno.EACCES)

    async def _follow(self, target: bytes, trailing: bool) -> None:
        if target.startswith(b"/"):
            self.go_to(self.root)
        if trailing:
            await self.to_end(target)
            return
        for name in [name for name in target.split(b"/") if name]:
            await self.step(name, follow=True)

    def end(self) -> None:
        self.dentry.put()


def topmost(dentry: Dentry) -> Dentry:
    """Exchange the reference on a mountpoint for one on the root of what is mounted there."""
    below = dentry
    while dentry.mounted is not None:
        dentry = dentry.mounted.root
    dentry.get()
    below.put()
    return dentry
