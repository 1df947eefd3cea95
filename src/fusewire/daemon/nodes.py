"""The front door: a filesystem out of objects instead of numbers.

    class Hello(fusewire.File):
        def read(self, offset: int, size: int) -> bytes:
            return b"hello\\n"[offset : offset + size]

    with fusewire.mount({"hello": Hello(), "notes.txt": b"hi"}, "/mnt/x") as mount:
        mount.wait()

A node is a file, directory, symlink or special file. What stat(2) tells of it are attributes
of the object, or of its class: `mode`, `uid`, `mtime_ns`..., or whatever `getattr` returns.
Every method may be `def` or `async def`, and raises OSError to say no. A method that is not
defined is a thing that cannot be done.

Give the same object for the same file each time, for it is the engine's record of it too.
Where objects are made anew, out of a database say, define `__eq__` and `__hash__`: nodes that
are equal are one file, and the first of them stands for all while the kernel knows it.

The engine (node_filesystem.py) does nodeids, lookup counts, forgets, listings and links.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import time
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, ClassVar, Final, TypeAlias

from fusewire.daemon.check import refuse_misspelt
from fusewire.daemon.either import Either, Steps, either
from fusewire.daemon.values import Attributes, SetAttributes, StatFs
from fusewire.errors import os_error
from fusewire.wire import Buffer

__all__ = ["Directory", "File", "Handle", "Node", "Special", "Symlink", "Tree", "as_node"]

NAME_MAX: Final = 255  # bytes
STARTED_NS: Final = time.time_ns()  # the times of a node that says nothing


class Node:
    """Anything that a name can stand for. Subclass `File`, `Directory`, `Symlink` or `Special`."""

    type: ClassVar[int] = 0  # S_IFREG...; 0: `mode` holds it
    mode: int = 0o444  # permissions; type bits are added (0o644 where a file's class defines `write`)
    uid: int | None = None  # None: whoever mounts
    gid: int | None = None
    nlink: int = 1  # names; the engine counts link, unlink and rename
    size: int | None = 0  # bytes; None: not known before it is read
    rdev: int = 0  # of a device, as os.makedev makes it
    atime_ns: int = STARTED_NS
    mtime_ns: int = STARTED_NS
    ctime_ns: int = STARTED_NS
    nodeid: int = 0  # the engine's: its number, 0 while it has none
    nlookup: int = 0  # the engine's: references that the kernel holds
    served_by: object = None  # the engine's: itself

    def getattr(self) -> Either[Attributes]:
        """Return what stat(2) tells. By default, what the object's attributes say."""
        return self.attributes()

    def attributes(self) -> Attributes:
        """Return what the object's attributes say: for a `getattr` that knows only some of it better."""
        return Attributes(
            mode=modes.S_IMODE(self.mode) | (self.type or modes.S_IFMT(self.mode)),
            size=self.size or 0,
            nlink=self.nlink,
            uid=os.getuid() if self.uid is None else self.uid,
            gid=os.getgid() if self.gid is None else self.gid,
            atime_ns=self.atime_ns,
            mtime_ns=self.mtime_ns,
            ctime_ns=self.ctime_ns,
            rdev=self.rdev,
        )

    def setattr(self, changes: SetAttributes) -> Either[Attributes | None]:
        """Make the changes that are not None, all or none; None returned stands for `getattr()`.

        Raises:
            OSError: EPERM, unless defined. `File` and `Directory` have one for what can be written.
        """
        raise os_error(errno.EPERM)

    def keep(self, changes: SetAttributes) -> None:
        """Write `changes`, but for the size, into the object's attributes: a `setattr` for simple nodes."""
        now = time.time_ns()
        changes = changes.resolved(now)
        for name in ("mode", "uid", "gid", "atime_ns", "mtime_ns"):
            value = getattr(changes, name)
            if value is not None:
                setattr(self, name, value)
        self.ctime_ns = now

    def getxattr(self, name: str) -> Either[Buffer]:
        """Return an xattr's value; ENODATA if there is none. Undefined, the caller gets EOPNOTSUPP."""
        raise os_error(errno.EOPNOTSUPP)

    def setxattr(self, name: str, value: Buffer, flags: int) -> Either[None]:
        """Set an xattr. `flags`: os.XATTR_CREATE (EEXIST if there is one), os.XATTR_REPLACE (ENODATA if none)."""
        raise os_error(errno.EOPNOTSUPP)

    def listxattr(self) -> Either[Iterable[str]]:
        """Return the names of the xattrs."""
        return ()

    def removexattr(self, name: str) -> Either[None]:
        """Remove an xattr; ENODATA if there is none."""
        raise os_error(errno.EOPNOTSUPP)

    def statfs(self) -> Either[StatFs]:
        """Return how big and how full the filesystem is. The root's is asked."""
        return StatFs()


class Handle:
    """A file that somebody has open: what `File.open` returns, and by default the file itself."""

    direct_io: bool = False  # every read and write comes here; the size is not believed
    keep_cache: bool = False  # what the kernel has cached of it before stays good
    nonseekable: bool = False  # seeking fails with ESPIPE

    def read(self, offset: int, size: int) -> Either[Buffer]:
        """Return the bytes from `offset`: `size` of them, fewer only at the end, and b"" beyond it."""
        raise os_error(errno.ENOSYS)

    def write(self, offset: int, data: memoryview) -> Either[int | None]:
        """Write `data` at `offset`; return how many bytes were taken, None for all. Copy what you keep."""
        raise os_error(errno.EBADF)

    def flush(self) -> Either[None]:
        """A descriptor is being closed: the last chance to tell its owner of an error. It may come several times."""

    def fsync(self, datasync: bool) -> Either[None]:
        """Return once what was written is safe; with `datasync` the times need not be."""

    def fallocate(self, offset: int, length: int, mode: int) -> Either[None]:
        """Reserve, punch or zero a range, as `mode` says (FALLOC_FL_*)."""
        raise os_error(errno.EOPNOTSUPP)

    def ioctl(self, cmd: int, data: memoryview, out_size: int) -> Either[tuple[int, Buffer] | int | None]:
        """Do `cmd`; return its result, and the at most `out_size` bytes that it gives. ENOTTY if it is unknown."""
        raise os_error(errno.ENOTTY)

    def release(self) -> Either[None]:
        """Nobody has it open any more. Nobody hears of an error, but the log."""


class File(Node, Handle):
    """A regular file. Define `read`, and `write` and `truncate` if it can be written."""

    type = modes.S_IFREG
    size: int | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        says_a_mode = any("mode" in vars(base) for base in cls.__mro__ if base is not Node)
        if not says_a_mode and cls.write is not Handle.write:
            cls.mode = 0o644  # else nobody but root could open what can be written

    def open(self, flags: int) -> Either[Handle]:
        """Return what is read and written through this opening: the file itself, unless defined.

        `flags` are those of open(2): `flags & os.O_ACCMODE` is os.O_RDONLY, O_WRONLY or O_RDWR.

        Raises:
            OSError: EACCES for writing, if there is no `write`.
        """
        if flags & os.O_ACCMODE != os.O_RDONLY and not self.is_writable:
            raise os_error(errno.EACCES)
        return self

    def truncate(self, size: int) -> Either[None]:
        """Cut, or lengthen with zeros, to `size` bytes. Opening with O_TRUNC (`>` in a shell) needs it too."""
        raise os_error(errno.EPERM)

    @either
    def setattr(self, changes: SetAttributes) -> Steps[Attributes | None]:
        """Of a file that can be written or truncated: `truncate`, and keep the rest on the object; else EPERM."""
        if not self.is_writable and type(self).truncate is File.truncate:
            raise os_error(errno.EPERM)
        if changes.size is not None:
            yield self.truncate(changes.size)
        self.keep(changes)
        return None

    @property
    def is_writable(self) -> bool:
        """True if it says how it is written."""
        return getattr(self.write, "__func__", None) is not Handle.write


CHANGES: Final = ("create", "mknod", "mkdir", "symlink", "link", "unlink", "rmdir", "rename")
Pairs: TypeAlias = Mapping[str, Node] | Iterable[tuple[str, Node]]
Listed: TypeAlias = Either[Pairs] | AsyncIterable[tuple[str, Node]]


class Directory(Node):
    """A directory. Define `list`, or `lookup`, or both; and what else can be done in it."""

    type = modes.S_IFDIR
    mode: int = 0o755

    @either
    def lookup(self, name: str) -> Steps[Node | None]:
        """Return the node of that name, None if there is none. By default, what `list` says."""
        pairs = yield collected(self.list())
        return dict(pairs).get(name)

    def list(self) -> Listed:
        """Return the names and their nodes: a mapping, or pairs. It may be a generator, async or not."""
        return ()

    def setattr(self, changes: SetAttributes) -> Either[Attributes | None]:
        """Of a directory in which something can be changed: keep it on the object; else EPERM."""
        if not self.is_writable:
            raise os_error(errno.EPERM)
        self.keep(changes)
        return None

    @property
    def is_writable(self) -> bool:
        """True if its class says how a name of it is made, moved or removed."""
        return any(getattr(type(self), name) is not getattr(Directory, name) for name in CHANGES)

    def create(self, name: str, mode: int) -> Either[File]:
        """Make a regular file, and return it; the engine then opens it. `mode` is what it shall have, umask applied."""
        raise os_error(errno.EPERM)

    def mknod(self, name: str, mode: int, rdev: int) -> Either[Node]:
        """Make a fifo, socket or device of the type in `mode`, and return it."""
        raise os_error(errno.EPERM)

    def mkdir(self, name: str, mode: int) -> Either[Directory]:
        """Make a directory, and return it. `mode` is what it shall have, umask applied."""
        raise os_error(errno.EPERM)

    def symlink(self, name: str, target: str) -> Either[Symlink]:
        """Make a symlink, and return it."""
        raise os_error(errno.EPERM)

    def link(self, name: str, node: Any) -> Either[None]:
        """Give `node`, a Node of this filesystem, a further name here. The engine counts its `nlink`."""
        raise os_error(errno.EPERM)

    def unlink(self, name: str) -> Either[None]:
        """Remove a name that is no directory's. Whoever has the file open keeps it."""
        raise os_error(errno.EPERM)

    def rmdir(self, name: str) -> Either[None]:
        """Remove a directory; ENOTEMPTY if it is not empty."""
        raise os_error(errno.EPERM)

    def rename(self, name: str, new_directory: Any, new_name: str, flags: int) -> Either[None]:
        """Move a name into `new_directory`, a Directory of this filesystem, over what is there.

        `flags` are those of renameat2(2): 0, RENAME_NOREPLACE (1) or RENAME_EXCHANGE (2). Raise EINVAL for those that
        you cannot honour: who asked for them counts on it that nothing is overwritten.
        """
        raise os_error(errno.EPERM)

    def fsync(self, datasync: bool) -> Either[None]:
        """Return once the names are safe."""


@either
def collected(listing: Any) -> Steps[Iterable[tuple[str, Node]]]:
    """Gather what `Directory.list` returned, whichever way: a mapping, pairs, or either awaited or generated.

    Raises:
        TypeError: it is something else, such as names without nodes.
    """
    found = yield _gather(listing) if isinstance(listing, AsyncIterable) else listing
    if isinstance(found, Mapping):
        return found.items()
    pairs = list(found) if isinstance(found, Iterable) else [found]
    if odd := [pair for pair in pairs if not isinstance(pair, tuple | list) or len(pair) != 2]:
        raise TypeError(f"list() gave {odd[0]!r}: it must give a dict of nodes by name, or pairs of a name and a node")
    return pairs


async def _gather(pairs: AsyncIterable[tuple[str, Node]]) -> Iterable[tuple[str, Node]]:
    return [pair async for pair in pairs]


class Symlink(Node):
    """A symlink to `target`."""

    type = modes.S_IFLNK
    mode: int = 0o777

    def __init__(self, target: str = "") -> None:
        self.target = target

    def readlink(self) -> Either[str]:
        """Return where it leads. By default `target`."""
        return self.target

    def getattr(self) -> Either[Attributes]:
        attributes = self.attributes()
        attributes.size = len(os.fsencode(self.target))
        return attributes


class Special(Node):
    """A fifo, socket or device, of which the kernel does the rest. `mode` holds the type too."""

    def __init__(self, mode: int, rdev: int = 0) -> None:
        self.mode = mode
        self.rdev = rdev


class StaticFile(File):
    """A file of fixed bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = len(content)

    def read(self, offset: int, size: int) -> bytes:
        return self.content[offset : offset + size]


Branch: TypeAlias = Node | bytes | Mapping[str, Any]  # whose values are branches: Any, so that plain dicts fit


class Tree(Directory):
    """A directory of fixed names, each a node, bytes, or a mapping of the same kind."""

    def __init__(self, children: Mapping[str, Branch], path: str = "") -> None:
        """Take the names as they are now. `path` is where it stands, for errors.

        Raises:
            ValueError: a name that no file can have.
            TypeError: a value that is none of the three.
        """
        self.children = {_checked(name): as_node(child, f"{path}/{name}") for name, child in children.items()}

    def lookup(self, name: str) -> Node | None:
        return self.children.get(name)

    def list(self) -> Mapping[str, Node]:
        return self.children


def _checked(name: str) -> str:
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} cannot be the name of a file")
    if len(os.fsencode(name)) > NAME_MAX:
        raise ValueError(f"{name!r} is longer than the {NAME_MAX} bytes that a name may have")
    return name


def as_node(branch: Branch, path: str = "") -> Node:
    """Return the node that `branch` stands for: itself, a file of these bytes, or a directory of these names.

    Raises:
        TypeError: if it is none of them, or its class has a method that looks misspelt; `path` is where it stands.
    """
    if isinstance(branch, Node):
        refuse_misspelt(type(branch))
        return branch
    if isinstance(branch, bytes):
        return StaticFile(branch)
    if isinstance(branch, Mapping):
        return Tree(branch, path)
    raise TypeError(f"{path.lstrip('/') or '/'!r} is {branch!r}, which is no node, bytes or dict{_instead(branch)}")


def _instead(value: object) -> str:
    """What to write in place of a value that comes near."""
    if isinstance(value, type) and issubclass(value, Node):
        return "; call it to make one"
    if isinstance(value, str):
        return "; for a file of that text say .encode()"
    return "; say bytes(...) of it" if isinstance(value, bytearray | memoryview) else ""
