"""Path walk: from a path to a dentry, one name after the other.

At each name the directory must be one, its caller must be allowed to search it, and then the name
is looked up, by what is remembered or by a LOOKUP. A symlink in the middle is followed, at the end
only if the caller wants that or a slash stands after it. After forty of them it is a loop. `..`
leads up, out of a mount where one begins, and nowhere from the root.

    async with resolve(process, path) as dentry: ...    what a path leads to
    async with parent_of(process, path) as last: ...    the directory of its last name, and the name

Both hold a reference while inside, and put the path as `filename` into an OSError that leaves
them. A daemon that answers ESTALE has the whole walk done again, once, with every name looked up
anew; so has one that answers so to what follows the walk, which is for the caller to do (`is_stale`).

Source: fs/namei.c, link_path_walk, walk_component, step_into, pick_link, path_lookupat.
"""

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from fusewire.errors import os_error
from fusewire.kernel.operations.lookup import REVAL, known_good, lookup
from fusewire.kernel.operations.names import fuse_get_link
from fusewire.kernel.operations.permission import MAY_EXEC, may_search_at_once, permission
from fusewire.kernel.vfs.credentials import credentials

if TYPE_CHECKING:
    from fusewire.kernel.vfs.caller import Caller
    from fusewire.kernel.vfs.dentry import Dentry

__all__ = ["Last", "Path", "Walk", "filename_of", "known_end", "name_it", "parent_of", "resolve", "topmost"]

Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

PATH_MAX: Final = 4096  # bytes, the NUL included
MAXSYMLINKS: Final = 40
FREE_FOR_ALL: Final = stat.S_ISVTX | stat.S_IWOTH


class Last(NamedTuple):
    """The last name of a path. `name` is b'.' or b'..' if it is that, and b'/' if there is none."""

    parent: Dentry
    name: bytes
    trailing_slash: bool

    @property
    def normal(self) -> bool:
        """Whether it is a name that can be made, removed or renamed."""
        return self.name not in (b".", b"..", b"/")


def is_stale(error: OSError) -> bool:
    """Whether everything is to be done once more, with every name looked up anew (retry_estale)."""
    return error.errno == errno.ESTALE and not getattr(error, "enough", False)


def once_is_enough(error: OSError) -> OSError:
    """Mark `error` as one after which nothing is done once more; return it."""
    error.enough = True  # type: ignore[attr-defined]
    return error


def filename_of(path: Path) -> str | bytes:
    """Return `path` as an OSError shows it."""
    return os.fspath(path)


def name_it(error: OSError, path: Path) -> None:
    """Put `path` into `error` as its filename, unless it has one."""
    if error.filename is None:
        error.filename = filename_of(path)


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


def known_end(process: Caller, path: Path) -> Dentry | None:
    """Where `path` leads, with a reference, if nobody has to be asked and nothing stands in the way; None: walk.

    Most paths are of this kind: plain names, each of them known. Linux tries so first, too (LOOKUP_RCU).
    It takes 1 us for one name, where a walk takes 4.
    """
    encoded = os.fsencode(path)
    if not 0 < len(encoded) < PATH_MAX or (encoded.endswith(b"/") and encoded != b"/"):
        return None
    dentry = process.system.root if encoded.startswith(b"/") else process.cwd
    if dentry is None:
        return None
    for name in encoded.split(b"/"):
        if name:
            known = _known_below(dentry, name)
            if known is None:
                return None
            dentry = known
    return dentry.get()


def _known_below(directory: Dentry, name: bytes) -> Dentry | None:
    """What stands at `name`, if a walk would go there and do nothing else."""
    dentry, inode = directory.child(name), directory.inode
    if dentry is None or dentry.inode is None or dentry.inode.is_symlink or dentry.mounted is not None:
        return None
    return dentry if inode is not None and may_search_at_once(inode) and known_good(dentry, 0) else None


def topmost(dentry: Dentry) -> Dentry:
    """Exchange the reference on a mountpoint for one on the root of what is mounted there."""
    below = dentry
    while dentry.mounted is not None:
        dentry = dentry.mounted.root
    dentry.get()
    below.put()
    return dentry


class _OnPath:
    """What `resolve` and `parent_of` have in common: the path, its errors, and that the walk ends."""

    __slots__ = ("dir_fd", "intent", "path", "process", "walk")

    def __init__(self, process: Caller, path: Path, dir_fd: int | None, intent: int) -> None:
        self.process, self.path, self.dir_fd, self.intent = process, path, dir_fd, intent

    def begin(self, intent: int) -> bytes:
        """Start a walk; return the path in the kernel's bytes."""
        path = os.fsencode(self.path)
        if b"\0" in path:
            raise ValueError("embedded null byte")
        if not path:
            raise os_error(errno.ENOENT)
        if len(path) >= PATH_MAX:
            raise os_error(errno.ENAMETOOLONG)
        self.walk = Walk(self.process, path, self.dir_fd, intent)
        return path

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.walk.end()
        if isinstance(error, OSError):
            name_it(error, self.path)


class resolve(_OnPath):
    """Where `path` leads: `async with resolve(process, path) as dentry`, positive and referenced while inside.

    Args:
        follow: a symlink at its end, too.
        dir_fd: of the directory where a path that does not begin with a slash begins; None: cwd.
        directory: it must lead to a directory.
        intent: of the lookups (operations/lookup.py).

    Raises:
        OSError: ENOENT, ENOTDIR, ELOOP, EACCES, ENAMETOOLONG, EBADF; as the daemon says. The same
            from inside gets its `filename`.
    """

    __slots__ = ("directory", "follow")

    def __init__(
        self,
        process: Caller,
        path: Path,
        *,
        follow: bool = True,
        dir_fd: int | None = None,
        directory: bool = False,
        intent: int = 0,
    ) -> None:
        super().__init__(process, path, dir_fd, intent)
        self.follow, self.directory = follow, directory

    async def __aenter__(self) -> Dentry:
        try:
            return await self._walk(self.intent)
        except OSError as error:
            if not is_stale(error):
                name_it(error, self.path)
                raise
        try:
            return await self._walk(self.intent | REVAL)
        except OSError as error:
            name_it(once_is_enough(error), self.path)
            raise

    async def _walk(self, intent: int) -> Dentry:
        path = self.begin(intent)
        walk = self.walk
        walk.follow, walk.directory = self.follow, self.directory
        try:
            await walk.to_end(path)
            if walk.directory and not walk.dentry.is_dir:
                raise os_error(errno.ENOTDIR)
        except BaseException:
            walk.end()
            raise
        return walk.dentry


class parent_of(_OnPath):
    """The directory of the last name of `path`, and that name: `async with parent_of(process, path) as last`.

    The last name is not looked up. Arguments and errors as of `resolve`.
    """

    __slots__ = ()

    def __init__(self, process: Caller, path: Path, *, dir_fd: int | None = None, intent: int = 0) -> None:
        super().__init__(process, path, dir_fd, intent)

    async def __aenter__(self) -> Last:
        try:
            return await self._walk(self.intent)
        except OSError as error:
            if not is_stale(error):
                name_it(error, self.path)
                raise
        try:
            return await self._walk(self.intent | REVAL)
        except OSError as error:
            name_it(once_is_enough(error), self.path)
            raise

    async def _walk(self, intent: int) -> Last:
        path = self.begin(intent)
        try:
            name, slash = await self.walk.to_last(path)
        except BaseException:
            self.walk.end()
            raise
        return Last(self.walk.dentry, name, slash)
