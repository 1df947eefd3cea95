"""The filesystems that programs run on.

Each program gets a fresh one on either side. Timeouts are 0 or infinite, so that no time decides
what is asked. Beside filesystems as people write them stand unusual ones: variants of `Memory` that
ask for direct I/O, that lack operations, that fail now and then. They fail by count, not by
chance: two kernels that ask the same get the same errors.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import select
import stat as modes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from differential.recorder import RecordedSession, Wait
from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.node_filesystem import NodeFilesystem
from fusewire.daemon.nodes import Directory, File, Node, Special, Symlink
from fusewire.daemon.request import Request
from fusewire.daemon.timeouts import Timeouts
from fusewire.daemon.values import Entry, Lock, OpenFile
from fusewire.errors import os_error
from fusewire.filesystems import LocalDirectory, Memory
from fusewire.wire import InitFlags, operation

__all__ = ["SUBJECTS", "Subject", "begin", "session_of"]

Made = TypeVar("Made", bound=Node)

FOREVER: Final = Timeouts(math.inf, math.inf, math.inf)
NEVER: Final = Timeouts(0, 0, 0)
UNCHECKED: Final = InitFlags.FUSE_HANDLE_KILLPRIV_V2 | InitFlags.FUSE_DONT_MASK  # ACLs would switch checking on


@dataclass(frozen=True, slots=True)
class Subject:
    """A filesystem, and how it is mounted. `make` gets an empty directory of its own."""

    name: str
    make: Callable[[str], Filesystem]
    timeouts: Timeouts
    default_permissions: bool = True
    allow_other: bool = True
    weight: int = 1  # how many programs it gets, in proportion to the others
    numbers: bool = True  # it says the same inode numbers each time
    special: bool = True  # it can have fifos and sockets
    waiting: float = 0.25  # in so many programs processes wait for each other
    often: frozenset[str] = frozenset()  # calls that it is there for
    lacks: frozenset[str] = frozenset()  # operations that its session does not know, as one of an older protocol
    ticks: bool = False  # the kernel keeps times itself, so each step is to have one of its own
    block: bool = False  # it is mounted from a block device (fuseblk); chosen by name alone, for not all have one


# --- variants of Memory


class Direct(Memory):
    """Every read and write comes to it."""

    def _open(self, file: Any, flags: int) -> OpenFile:
        return replace(super()._open(file, flags), direct_io=True)


class Forgetful(Memory):
    """The kernel's pages are dropped at each open."""

    def _open(self, file: Any, flags: int) -> OpenFile:
        return replace(super()._open(file, flags), keep_cache=False)


class KeepsAll(Memory):
    """The kernel may keep pages, and listings."""

    def _open(self, file: Any, flags: int) -> OpenFile:
        return replace(super()._open(file, flags), keep_cache=True)

    def opendir(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        return replace(super().opendir(request, nodeid, flags), cache_dir=True, keep_cache=True)


class Streams(Memory):
    """Nothing of it can be seeked in, and closing says nothing."""

    def _open(self, file: Any, flags: int) -> OpenFile:
        return replace(super()._open(file, flags), nonseekable=True, noflush=True)


class NoOpen(Memory):
    """Files are not opened, nor created in one go."""

    def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        raise os_error(errno.ENOSYS)


class Plain(Memory):
    """It has what a filesystem of 2005 had: no create, no plus, no xattrs, nothing that is not POSIX."""

    init_flags = 0


ABSENT: Final[Mapping[type[Filesystem], str]] = {
    NoOpen: "create",
    Plain: "create tmpfile readdirplus statx lseek fallocate copy_file_range getxattr setxattr listxattr removexattr",
}
for _class, _methods in ABSENT.items():
    for _method in _methods.split():
        setattr(_class, _method, getattr(Filesystem, _method))


class Unchecked(Memory):
    """Linux checks nothing; it is asked, and looks at the bits for the owner and for others."""

    init_flags = UNCHECKED
    default_permissions = False

    def access(self, request: Request, nodeid: int, mask: int) -> None:
        attributes = self.getattr(request, nodeid, None)
        bits = attributes.mode >> 6 if request.uid == attributes.uid else attributes.mode
        if request.uid != 0 and mask & ~bits & 7:
            raise os_error(errno.EACCES)


class OldCaches(Memory):
    """It has WRITE carry one page, and lets the kernel check neither privileges nor the umask's place."""

    init_flags = 0


class Writeback(Memory):
    """The kernel writes when it likes."""

    init_flags = Memory.init_flags | InitFlags.FUSE_WRITEBACK_CACHE


class Symlinked(Memory):
    """The kernel keeps what symlinks hold, passes O_TRUNC on, and always asks for more than names."""

    init_flags = Memory.init_flags | InitFlags.FUSE_CACHE_SYMLINKS | InitFlags.FUSE_ATOMIC_O_TRUNC

    def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
        if flags & os.O_TRUNC:
            self._resize(self._tree.file(nodeid), 0, 0, always=True)
        return super().open(request, nodeid, flags)


FAULTS: Final[Mapping[str, tuple[int, int]]] = {  # method: each so manieth call fails, with this
    "lookup": (17, errno.EIO),
    "getattr": (23, errno.EACCES),
    "setattr": (7, errno.EPERM),
    "open": (9, errno.EMFILE),
    "create": (9, errno.EDQUOT),
    "read": (5, errno.EIO),
    "write": (6, errno.ENOSPC),
    "unlink": (5, errno.EBUSY),
    "rename": (5, errno.EXDEV),
    "mkdir": (5, errno.ENOSPC),
    "link": (4, errno.EMLINK),
    "readlink": (4, errno.EIO),
    "readdirplus": (6, errno.EIO),
    "readdir": (6, errno.EIO),
    "opendir": (9, errno.ENFILE),
    "getxattr": (5, errno.EIO),
    "setxattr": (5, errno.ENOSPC),
    "symlink": (5, errno.EDQUOT),
    "statfs": (3, errno.EIO),
}


class Faulty(Memory):
    """Now and then something fails."""

    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None:
        """Count from here on."""
        self.counts = dict.fromkeys(FAULTS, 0)

    def count(self, method: str) -> None:
        self.counts[method] += 1
        period, code = FAULTS[method]
        if self.counts[method] % period == 0:
            raise os_error(code)


def failing(method: str) -> Callable[..., Any]:
    original = getattr(Memory, method)

    def fails(self: Faulty, *arguments: Any) -> Any:
        self.count(method)
        return original(self, *arguments)

    return fails


for _method in FAULTS:
    setattr(Faulty, _method, failing(_method))


class Missing(Memory):
    """It finds names, but forgets that it did: what the kernel remembers is often no longer so."""

    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None:
        self.lookups = 0

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        self.lookups += 1
        if self.lookups % 11 == 0:
            raise os_error(errno.ENOENT)
        return super().lookup(request, parent, name)


class Blocks(Memory):
    """It stands on a block device, block after block from `FIRST` on, and nothing of it beyond what an int holds."""

    FIRST = 0x7FFFFFF0

    def bmap(self, request: Request, nodeid: int, block: int) -> int:
        return self.FIRST + block

    def syncfs(self, request: Request, nodeid: int) -> None:
        return None


# --- one that others may have to wait for


@dataclass(frozen=True, slots=True)
class Claim:
    """A lock that is held, or wanted."""

    nodeid: int
    flock: bool
    owner: int
    lock: Lock

    def stands_against(self, other: Claim) -> bool:
        return (
            (self.nodeid, self.flock) == (other.nodeid, other.flock)
            and self.owner != other.owner
            and self.lock.start <= other.lock.end
            and other.lock.start <= self.lock.end
            and fcntl.F_WRLCK in (self.lock.type, other.lock.type)
        )


class Locking(Memory):
    """It keeps locks itself, and files are ready when it likes. Whoever must wait gets no answer until then."""

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[Claim] = []
        self.polls = 0

    def getlk(self, request: Request, nodeid: int, fh: int, owner: int, lock: Lock) -> Lock:
        claim = Claim(nodeid, False, owner, lock)
        held = next((held for held in self.claims if held.stands_against(claim)), None)
        return replace(lock, type=fcntl.F_UNLCK) if held is None else held.lock

    def setlk(self, request: Request, nodeid: int, fh: int, owner: int, lock: Lock, flags: int) -> None:
        claim = Claim(nodeid, bool(flags & 1), owner, lock)
        if lock.type != fcntl.F_UNLCK and any(held.stands_against(claim) for held in self.claims):
            raise os_error(errno.EAGAIN)
        self._give_up(claim)
        if lock.type != fcntl.F_UNLCK:
            self.claims.append(claim)

    def setlkw(self, request: Request, nodeid: int, fh: int, owner: int, lock: Lock, flags: int) -> None:
        try:
            self.setlk(request, nodeid, fh, owner, lock, flags)
        except BlockingIOError:
            raise Wait from None

    def flush(self, request: Request, nodeid: int, fh: int) -> None:
        self._give_up(Claim(nodeid, False, request.body.lock_owner, EVERYTHING))

    def release(self, request: Request, nodeid: int, fh: int) -> None:
        self._give_up(Claim(nodeid, True, request.body.lock_owner, EVERYTHING))
        super().release(request, nodeid, fh)

    def _give_up(self, claim: Claim) -> None:
        """Take the bytes of `claim` away from what its owner holds."""
        ours = [it for it in self.claims if (it.nodeid, it.flock, it.owner) == (claim.nodeid, claim.flock, claim.owner)]
        for held in ours:
            self.claims.remove(held)
            for start, end in ((held.lock.start, claim.lock.start - 1), (claim.lock.end + 1, held.lock.end)):
                if max(start, held.lock.start) <= min(end, held.lock.end):
                    self.claims.append(replace(held, lock=replace(held.lock, start=start, end=end)))

    def poll(self, request: Request, nodeid: int, fh: int, events: int) -> int:
        self.polls += 1
        return select.POLLOUT if self.polls % 3 == 0 else 0


EVERYTHING: Final = Lock(0, (1 << 63) - 1, fcntl.F_UNLCK, 0)


# --- a filesystem of nodes


class Sheet(File):
    """A file whose bytes are kept on the object."""

    def __init__(self, mode: int) -> None:
        self.content = bytearray()
        self.mode = mode
        self.size = 0

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.content[offset : offset + size])

    def write(self, offset: int, data: memoryview) -> None:
        self.content.extend(bytes(max(0, offset - len(self.content))))
        self.content[offset : offset + len(data)] = data
        self.size = len(self.content)

    def truncate(self, size: int) -> None:
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))
        self.size = size


class Folder(Directory):
    """A directory of such files."""

    def __init__(self, mode: int = 0o755) -> None:
        self.mode = mode
        self.names: dict[str, Node] = {}

    def list(self) -> dict[str, Node]:
        return dict(self.names)

    def create(self, name: str, mode: int) -> Sheet:
        return self.new(name, Sheet(mode))

    def mkdir(self, name: str, mode: int) -> Folder:
        return self.new(name, Folder(mode))

    def symlink(self, name: str, target: str) -> Symlink:
        return self.new(name, Symlink(target))

    def mknod(self, name: str, mode: int, rdev: int) -> Node:
        if modes.S_ISREG(mode):
            return self.create(name, modes.S_IMODE(mode))
        return self.new(name, Special(mode, rdev))

    def new(self, name: str, node: Made) -> Made:
        if name in self.names:
            raise os_error(errno.EEXIST)
        self.names[name] = node
        return node

    def link(self, name: str, node: Any) -> None:
        self.new(name, node)

    def unlink(self, name: str) -> None:
        del self.names[self.found(name)]

    def rmdir(self, name: str) -> None:
        node = self.names[self.found(name)]
        if isinstance(node, Folder) and node.names:
            raise os_error(errno.ENOTEMPTY)
        del self.names[name]

    def found(self, name: str) -> str:
        if name not in self.names:
            raise os_error(errno.ENOENT)
        return name

    def rename(self, name: str, new_directory: Any, new_name: str, flags: int) -> None:
        node, over = self.names[self.found(name)], new_directory.names.get(new_name)
        if flags & ~1 or (flags & 1 and over is not None):
            raise os_error(errno.EEXIST if flags == 1 else errno.EINVAL)
        if over is node:
            return
        if isinstance(over, Folder) and over.names:
            raise os_error(errno.ENOTEMPTY)
        del self.names[name]
        new_directory.names[new_name] = node


LOCKS: Final = frozenset({"setlk", "setlkw", "getlk", "flock", "poll"})
ON_DEVICES: Final = frozenset({"ioctl", "syncfs"})
LATER: Final = frozenset({"COPY_FILE_RANGE_64", "STATX", "RENAME2"})
SUBJECTS: Final = {
    subject.name: subject
    for subject in (
        Subject("memory", lambda _: Memory(), FOREVER, weight=6),
        Subject("memory, asked each time", lambda _: Memory(), NEVER, weight=4),
        Subject("local", LocalDirectory, FOREVER, weight=2, numbers=False),
        Subject("local, asked each time", LocalDirectory, NEVER, weight=3, numbers=False),
        Subject("nodes", lambda _: NodeFilesystem(Folder(0o777)), FOREVER, weight=2),
        Subject("nodes, asked each time", lambda _: NodeFilesystem(Folder(0o777)), NEVER, False, weight=2),
        Subject("direct", lambda _: Direct(), FOREVER),
        Subject("direct, asked each time", lambda _: Direct(), NEVER),
        Subject("forgetful", lambda _: Forgetful(), FOREVER),
        Subject("forgetful, asked each time", lambda _: Forgetful(), NEVER),
        Subject("keeps all", lambda _: KeepsAll(), FOREVER),
        Subject("keeps all, asked each time", lambda _: KeepsAll(), NEVER),
        Subject("streams", lambda _: Streams(), FOREVER),
        Subject("no open", lambda _: NoOpen(), NEVER),
        Subject("plain", lambda _: Plain(), FOREVER),
        Subject("plain, asked each time", lambda _: Plain(), NEVER),
        Subject("unchecked", lambda _: Unchecked(), FOREVER, False),
        Subject("unchecked, asked each time", lambda _: Unchecked(), NEVER, False),
        Subject("old caches", lambda _: OldCaches(), FOREVER),
        Subject("symlinks kept", lambda _: Symlinked(), FOREVER),
        Subject("writeback", lambda _: Writeback(), FOREVER, ticks=True),
        Subject("writeback, asked each time", lambda _: Writeback(), NEVER, ticks=True),
        Subject("faulty", lambda _: Faulty(), FOREVER),
        Subject("faulty, asked each time", lambda _: Faulty(), NEVER),
        Subject("missing", lambda _: Missing(), NEVER),
        Subject("locking", lambda _: Locking(), FOREVER, weight=2, waiting=0.8, often=LOCKS),
        Subject("older", lambda _: Memory(), FOREVER, lacks=LATER, often=frozenset({"copy_file_range"})),
        Subject("one user's", lambda _: Memory(), FOREVER, allow_other=False),
        Subject("on a block device", lambda _: Blocks(), FOREVER, weight=0, block=True, often=ON_DEVICES),
        Subject("on a block device, plain", lambda _: Plain(), NEVER, weight=0, block=True, often=ON_DEVICES),
    )
}


def session_of(subject: Subject, directory: str) -> RecordedSession:
    """Make a filesystem, and a session for it."""
    lacks = frozenset(operation(name).code for name in subject.lacks)
    return RecordedSession(subject.make(directory), subject.timeouts, lacks=lacks)


def begin(filesystem: Filesystem) -> None:
    """Tell a filesystem that the program's first step comes now: what was asked before it does not count."""
    if isinstance(filesystem, Faulty | Missing):
        filesystem.begin()
