"""Programs by chance, the same for the same seed.

A program that tries anything anywhere is refused nearly always, and tests little beyond the
refusals. So the generator remembers roughly what its steps have made: names, their kinds, filled
slots. It believes that all succeed, which is often wrong; that does no harm, for an error is as good
a result as another. Most steps then do something likely to work, some do not.

Every other program is made of some of the calls only, and many of few names, for then they meet more
often.

In some programs processes wait for each other (`Waiting`): a request is held back, and what others do
meanwhile shows which locks its caller has; then a signal may come, or SIGKILL, and at last it is let go.
Locks are waited for in these alone, and poll(2).

What it leaves out is what Linux's answer to depends on the machine.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat as modes
import struct
from collections.abc import Callable
from random import Random
from typing import Final

from differential.program import ROLES, Argument, Program, Step
from differential.subjects import SUBJECTS

__all__ = ["STEPS", "generate"]

STEPS: Final = 50
MANY_CALLS: Final = ("listdir",)  # in a row: where others wait, the scheduler says who gets the lock in between
OFTEN: Final = 8  # times as often as elsewhere: calls that a filesystem is there for
NAMES: Final = ("a", "b", "c", "d", "e", "f")
SLOTS: Final = 5
MAPS: Final = 2
DEEPEST: Final = 3
PAGE: Final = 4096
MODES: Final = (
    0o777,
    0o777,
    0o666,
    0o666,
    0o755,
    0o644,
    0o644,
    0o600,
    0o666,
    0o755,
    0o700,
    0o777,
    0o444,
    0o000,
    0o4755,
    0o2755,
    0o1777,
    0o2644,
    0o640,
)
ACCESS: Final = (os.O_RDONLY, os.O_WRONLY, *(os.O_RDWR,) * 5)
SOMETIMES: Final = (  # a flag of open, and how often it is set
    (os.O_CREAT, 0.4),
    (os.O_TRUNC, 0.12),
    (os.O_EXCL, 0.05),
    (os.O_APPEND, 0.12),
    (os.O_DIRECTORY, 0.03),
    (os.O_NOFOLLOW, 0.05),
    (os.O_DIRECT, 0.04),
    (os.O_SYNC, 0.03),
    (os.O_DSYNC, 0.03),
    (os.O_NOATIME, 0.03),
    (os.O_PATH, 0.04),
    (os.O_CLOEXEC, 0.2),
    (os.O_NOCTTY, 0.02),
)
SIZES: Final = (0, 1, 5, 100, 4095, 4096, 4097, 8192, 10000, 20000, 70000)
OFFSETS: Final = (0, 0, 0, 1, 10, 4095, 4096, 5000, 8192, 12288, 65536, 100000)
XATTRS: Final = (
    "user.a",
    "user.a",
    "user.a",
    "user.b",
    "user.b",
    "trusted.t",
    "security.s",
    "system.unknown",
    "user.",
    "nonsense",
)
FALLOCATE: Final = (0, 0, 1, 1, 3, 3, 16, 17, 2, 8, 32)
PLACES: Final = (0, 0, 10, 10, 1000, 4000, 4096, 8000, 12288)  # in mapped memory
GETFLAGS: Final = 0x80086601  # FS_IOC_GETFLAGS
FIONREAD: Final = 0x541B

Maker = Callable[["Generator"], tuple[Argument, ...]]


class NothingThere(Exception):
    """A call makes no sense now."""


class Generator:
    """What is believed of the program so far."""

    def __init__(self, random: Random, special: bool, waiting: float) -> None:
        self.random = random
        self.special = special
        self.role = 0
        self.names = NAMES[: random.choice((2, 3, len(NAMES)))]
        self.directories: dict[str, None] = {"": None}  # paths from the root, without a slash before or behind
        self.files: dict[str, None] = {}
        self.links: dict[str, None] = {}
        self.fifos: dict[str, None] = {}
        self.roles: tuple[int, ...] = self.random.choices(((0,), (0, 1), (0, 1, 2), (1, 2)), (5, 3, 2, 1))[0]
        self.waiting = self.chance(waiting)  # processes may wait for each other
        if self.waiting and len(self.roles) == 1:
            self.roles = (0, 1)
        self.cwd = dict.fromkeys(range(len(ROLES)), "")
        self.open: dict[int, set[int]] = {role: set() for role in range(len(ROLES))}
        self.open_directories: dict[int, set[int]] = {role: set() for role in range(len(ROLES))}
        self.paths: dict[tuple[int, int], str] = {}  # of open files, from the root, by role and slot
        self.full: dict[int, set[int]] = {role: set() for role in range(len(ROLES))}  # slots of files with content
        self.marked: list[tuple[str, str]] = []  # paths with an xattr, and its name
        self.mapped: dict[int, set[int]] = {role: set() for role in range(len(ROLES))}

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # --- paths

    def spelled(self, path: str) -> str:
        """Write a path from the root as the process at work may write it."""
        cwd = self.cwd[self.role]
        if self.chance(0.6 if cwd else 0.25):  # for it may not be there
            text = "/" + path
        elif cwd and path.startswith(cwd + "/"):
            text = path[len(cwd) + 1 :]
        elif cwd:
            text = "../" * (cwd.count("/") + 1) + path
        else:
            text = path or "."
        if self.chance(0.03):
            text = text.replace("/", "//") if "/" in text else f"./{text}"
        return text + "/" if self.chance(0.03) else text

    def old(self, *kinds: dict[str, None]) -> str:
        """Return the path of something that is there, of one of these kinds."""
        paths = [path for kind in kinds for path in kind]
        if not paths or self.chance(0.04):
            return self.odd() if self.chance(0.25) else self.spelled(self.new_path())
        return self.spelled(self.random.choice(paths))

    def odd(self) -> str:
        return self.random.choice(
            ("", ".", "..", "/", "n" * 256, "n" * 255, "none/at/all", "a/../b", "a/./b", "p" * 4096)
        )

    def new_path(self) -> str:
        """Return a path from the root, of which at least the last name may be new."""
        shallow = [path for path in self.directories if path.count("/") < DEEPEST - 1]
        for _ in range(1 if self.chance(0.15) else 5):
            parent = self.random.choice(shallow)
            name = self.random.choice(self.names)
            path = f"{parent}/{name}" if parent else name
            if not self.knows(path):
                break
        return path

    def anything(self) -> str:
        return self.old(self.files, self.files, self.directories, self.links, self.fifos)

    def new(self, kind: dict[str, None]) -> str:
        path = self.new_path()
        if not self.knows(path):  # else it is refused
            kind[path] = None
        return self.spelled(path)

    def knows(self, path: str) -> bool:
        return any(path in kind for kind in (self.directories, self.files, self.links))

    def kinds(self) -> tuple[dict[str, None], ...]:
        return self.directories, self.files, self.links, self.fifos

    def below_root(self) -> dict[str, None]:
        return {path: None for path in self.directories if path}

    def forget(self, path: str) -> None:
        for kind in self.kinds():
            for known in [one for one in kind if one == path or one.startswith(f"{path}/")]:
                if known:
                    del kind[known]

    def plain(self, text: str) -> str:
        """Undo `spelled`."""
        cwd = self.cwd[self.role]
        joined = text if text.startswith("/") else f"/{cwd}/{text}"
        return os.path.normpath(joined).strip("/").lstrip(".")

    # --- slots

    def file(self) -> int:
        return self.slot(self.open[self.role])

    def filled_file(self) -> int:
        """Return the slot of a file that should have content; at times of any."""
        full = self.full[self.role] & self.open[self.role]
        return self.slot(full) if full and self.chance(0.8) else self.file()

    def file_to_fill(self) -> int:
        slot = self.file()
        self.full[self.role].add(slot)
        return slot

    def slot(self, filled: set[int]) -> int:
        """Return a slot that should be filled.

        Raises:
            NothingThere: there is none; but now and then an empty one is tried.
        """
        if self.chance(0.02):
            return self.random.randrange(SLOTS)
        if not filled:
            raise NothingThere
        return self.random.choice(sorted(filled))

    def mapping(self) -> int:
        if not self.mapped[self.role]:
            raise NothingThere
        return self.random.choice(sorted(self.mapped[self.role]))

    def size(self) -> int:
        return self.random.choice(SIZES)

    def offset(self) -> int:
        return self.random.choice(OFFSETS)

    def data(self, largest: int = 70000) -> bytes:
        size = min(self.size(), largest)
        return bytes([self.random.randrange(97, 123)]) * size

    def mode(self) -> int:
        return self.random.choice(MODES)

    def owner(self) -> int:
        return self.random.choice((-1, 0, 1000, 1001, 2000))


# --- what each call is given


def mkdir(it: Generator) -> tuple[Argument, ...]:
    return it.new(it.directories), it.mode() if it.chance(0.4) else 0o777


def mknod(it: Generator) -> tuple[Argument, ...]:
    if it.special and it.chance(0.4):
        kind = it.random.choice((modes.S_IFIFO, modes.S_IFSOCK, modes.S_IFCHR))
        path = it.new_path() + "!"  # a name that is never opened, for a fifo would block
        it.fifos[path] = None
        return it.spelled(path), kind | it.mode(), os.makedev(1, 3) if kind == modes.S_IFCHR else 0
    return it.new(it.files), modes.S_IFREG | it.mode(), 0


def unlink(it: Generator) -> tuple[Argument, ...]:
    path = it.old(it.files, it.files, it.links, it.fifos, it.directories if it.chance(0.1) else {})
    it.forget(it.plain(path))
    return (path,)


def rmdir(it: Generator) -> tuple[Argument, ...]:
    path = it.old(it.below_root(), it.files if it.chance(0.1) else {})
    plain = it.plain(path)
    if not any(known.startswith(f"{plain}/") for kind in it.kinds() for known in kind):
        it.forget(plain)
    return (path,)


def rename_paths(it: Generator) -> tuple[str, str]:
    """Mostly of a file, to where nothing is or another file."""
    kind = it.random.choice([kind for kind in (it.files, it.files, it.links, it.below_root()) if kind] or [it.files])
    old = it.old(kind)
    if it.chance(0.3):
        return old, it.old(it.files, it.links, it.below_root() if it.chance(0.3) else {})
    it.forget(it.plain(old))
    return old, it.new(it.directories if kind not in (it.files, it.links) else kind)


def rename(it: Generator) -> tuple[Argument, ...]:
    return rename_paths(it)


def renameat2(it: Generator) -> tuple[Argument, ...]:
    return *rename_paths(it), it.random.choice((1, 1, 2, 2, 2, 4, 3, 0, 8))


def link(it: Generator) -> tuple[Argument, ...]:
    return it.old(it.files, it.links), it.new(it.files), int(it.chance(0.3))


def symlink(it: Generator) -> tuple[Argument, ...]:
    target = it.random.choice(
        (it.anything(), it.anything(), it.random.choice(NAMES), "..", "../" + NAMES[0], "t" * 300)
    )
    if it.chance(0.02):
        target = "t" * it.random.choice((4094, 4095, 4096))
    return target, it.new(it.links)


def readlink(it: Generator) -> tuple[Argument, ...]:
    return (it.old(it.links, it.files if it.chance(0.1) else {}),)


def chdir(it: Generator) -> tuple[Argument, ...]:
    path = it.old(it.directories, it.directories, it.links, it.files)
    plain = it.plain(path)
    if plain in it.directories:
        it.cwd[it.role] = plain
    return (path,)


def fchdir(it: Generator) -> tuple[Argument, ...]:
    return (it.slot(it.open_directories[it.role]),)


def getcwd(it: Generator) -> tuple[Argument, ...]:
    return ()


def umask(it: Generator) -> tuple[Argument, ...]:
    return (it.random.choice((0, 0o22, 0o77, 0o27, 0o777)),)


def path_only(it: Generator) -> tuple[Argument, ...]:
    return (it.anything(),)


def file_only(it: Generator) -> tuple[Argument, ...]:
    return (it.file(),)


def chmod(it: Generator) -> tuple[Argument, ...]:
    return it.anything(), it.mode()


def fchmod(it: Generator) -> tuple[Argument, ...]:
    return it.file(), it.mode()


def chown(it: Generator) -> tuple[Argument, ...]:
    return it.anything(), it.owner(), it.owner()


def fchown(it: Generator) -> tuple[Argument, ...]:
    return it.file(), it.owner(), it.owner()


def utime(it: Generator) -> tuple[Argument, ...]:
    if it.chance(0.4):
        return it.anything(), None, None, int(it.chance(0.7))
    times = it.random.randrange(10**17), it.random.randrange(10**17)
    return it.anything(), *times, int(it.chance(0.7))


def truncate(it: Generator) -> tuple[Argument, ...]:
    return it.old(it.files, it.files, it.links, it.directories if it.chance(0.1) else {}), it.size()


def ftruncate(it: Generator) -> tuple[Argument, ...]:
    return it.file_to_fill(), it.random.choice((*SIZES, 4096, 8192, 20000))


def access(it: Generator) -> tuple[Argument, ...]:
    return it.anything(), it.random.randrange(8), int(it.chance(0.3))


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Return the xattr of an ACL: entries of tag, permissions and id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY: Final = 0xFFFFFFFF
ACLS: Final = (
    acl((1, 6, NOBODY), (4, 4, NOBODY), (32, 0, NOBODY)),
    acl((1, 7, NOBODY), (2, 5, 1000), (4, 5, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY)),
    acl((1, 7, NOBODY), (2, 0, 1001), (4, 7, NOBODY), (8, 7, 2000), (16, 6, NOBODY), (32, 7, NOBODY)),
    acl((1, 7, NOBODY)),  # which is not in order
    b"",
)


def setxattr(it: Generator) -> tuple[Argument, ...]:
    if it.chance(0.3):
        name = it.random.choice(("system.posix_acl_access", "system.posix_acl_access", "system.posix_acl_default"))
        return it.old(it.files, it.directories), name, it.random.choice(ACLS), 0, 1
    value = b"v" * it.random.choice((0, 1, 10, 300, 5000))
    path, name = it.old(it.files, it.directories) if it.chance(0.8) else it.anything(), it.random.choice(XATTRS)
    it.marked.append((it.plain(path), name))
    return path, name, value, it.random.choice((0, 0, 1, 2)), int(it.chance(0.8))


def xattr(it: Generator) -> tuple[Argument, ...]:
    if it.marked and it.chance(0.7):
        path, name = it.random.choice(it.marked)
        return it.spelled(path), name, 1
    return it.anything(), it.random.choice(XATTRS), int(it.chance(0.8))


def listxattr(it: Generator) -> tuple[Argument, ...]:
    return it.anything(), int(it.chance(0.8))


def open_(it: Generator) -> tuple[Argument, ...]:
    """Mostly what succeeds, else the steps that want an open file have none."""
    slot, path, flags, mode = opening(it)
    it.paths[it.role, slot] = it.plain(path)
    return slot, path, flags, mode


def opening(it: Generator) -> tuple[int, str, int, int]:
    slot, flags = it.random.randrange(SLOTS), it.random.choice(ACCESS)
    for flag, often in SOMETIMES:
        flags |= flag if it.chance(often) else 0
    it.open_directories[it.role].discard(slot)
    match it.random.random():
        case small if small < 0.06:
            it.open[it.role].discard(slot)
            return opendir(it)
        case small if small < 0.09:
            it.open[it.role].add(slot)
            return slot, it.old(it.directories), os.O_TMPFILE | os.O_RDWR, it.mode()
        case small if small < 0.4 or not it.files:
            it.open[it.role].add(slot)
            return slot, it.new(it.files), flags | os.O_CREAT, it.mode() if it.chance(0.2) else 0o666
    if not flags & (os.O_PATH | os.O_DIRECTORY):
        it.open[it.role].add(slot)
    kinds = it.files, it.links if it.chance(0.3) else {}, it.directories if it.chance(0.1) else {}
    return slot, it.old(*kinds), flags & ~os.O_EXCL, it.mode()


def opendir(it: Generator) -> tuple[int, str, int, int]:
    slot = it.random.randrange(SLOTS)
    it.open[it.role].discard(slot)
    it.open_directories[it.role].add(slot)
    return slot, it.old(it.directories), os.O_RDONLY | os.O_DIRECTORY, 0


def close(it: Generator) -> tuple[Argument, ...]:
    slot = it.slot(it.open[it.role] | it.open_directories[it.role])
    it.open[it.role].discard(slot)
    it.open_directories[it.role].discard(slot)
    return (slot,)


def dup(it: Generator) -> tuple[Argument, ...]:
    slot, other = it.file(), it.random.randrange(SLOTS)
    it.open[it.role].add(other)
    return slot, other


def listdir(it: Generator) -> tuple[Argument, ...]:
    return (it.old(it.directories, it.directories, it.directories, it.files),)


def getdents(it: Generator) -> tuple[Argument, ...]:
    return it.slot(it.open_directories[it.role]), it.random.choice((64, 200, 1024, 32768))


def read(it: Generator) -> tuple[Argument, ...]:
    return it.filled_file(), it.size()


def write(it: Generator) -> tuple[Argument, ...]:
    return it.file_to_fill(), it.data()


def pread(it: Generator) -> tuple[Argument, ...]:
    return it.filled_file(), it.size(), it.offset()


def pwrite(it: Generator) -> tuple[Argument, ...]:
    return it.file_to_fill(), it.data(), it.offset()


def lseek(it: Generator) -> tuple[Argument, ...]:
    return it.filled_file(), it.random.choice((*OFFSETS, -1, -100)), it.random.randrange(6)


def fallocate(it: Generator) -> tuple[Argument, ...]:
    return it.file(), it.random.choice(FALLOCATE), it.offset(), it.size()


def copy_file_range(it: Generator) -> tuple[Argument, ...]:
    offsets = it.offset() if it.chance(0.5) else None, it.offset() if it.chance(0.5) else None
    return it.filled_file(), it.file(), it.size(), *offsets


def mmap(it: Generator) -> tuple[Argument, ...]:
    slot = it.random.randrange(MAPS)
    it.mapped[it.role].add(slot)
    flags = it.random.choice((1, 1, 1, 2))  # MAP_SHARED, MAP_PRIVATE
    return slot, it.filled_file(), it.random.choice((4096, 8192, 100, 20480)), flags, it.random.choice((1, 3, 3)), 0


def peek(it: Generator) -> tuple[Argument, ...]:
    return it.mapping(), it.random.choice(PLACES), it.random.choice((1, 50))


def poke(it: Generator) -> tuple[Argument, ...]:
    return it.mapping(), it.random.choice(PLACES), it.data(50)


def map_only(it: Generator) -> tuple[Argument, ...]:
    return (it.mapping(),)


def lock(it: Generator) -> tuple[Argument, ...]:
    kind = it.random.choice((fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_WRLCK, fcntl.F_UNLCK))
    return it.file(), kind, it.random.choice((0, 10, 100)), it.random.choice((0, 10, 100))


def lock_wait(it: Generator) -> tuple[Argument, ...]:
    if not it.waiting:
        raise NothingThere
    return lock(it)


def flock(it: Generator) -> tuple[Argument, ...]:
    operation = it.random.choice((fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_EX, fcntl.LOCK_UN))
    return it.file(), operation | (0 if it.waiting and it.chance(0.6) else fcntl.LOCK_NB)


def ioctl(it: Generator) -> tuple[Argument, ...]:
    return it.file(), it.random.choice((GETFLAGS, FIONREAD)), bytes(8)


def poll(it: Generator) -> tuple[Argument, ...]:
    return it.file(), select.POLLIN | select.POLLOUT, int(it.waiting and it.chance(0.5))


MAKERS: Final[dict[str, tuple[int, Maker]]] = {  # call: how often, and its arguments
    "open": (130, open_),
    "close": (50, close),
    "mkdir": (50, mkdir),
    "mknod": (15, mknod),
    "unlink": (35, unlink),
    "rmdir": (15, rmdir),
    "rename": (35, rename),
    "renameat2": (15, renameat2),
    "link": (22, link),
    "symlink": (22, symlink),
    "readlink": (12, readlink),
    "chdir": (12, chdir),
    "fchdir": (3, fchdir),
    "getcwd": (3, getcwd),
    "umask": (4, umask),
    "stat": (50, path_only),
    "lstat": (30, path_only),
    "fstat": (20, file_only),
    "btime": (12, path_only),
    "chmod": (22, chmod),
    "fchmod": (6, fchmod),
    "chown": (14, chown),
    "lchown": (4, chown),
    "fchown": (4, fchown),
    "utime": (14, utime),
    "truncate": (16, truncate),
    "ftruncate": (14, ftruncate),
    "access": (16, access),
    "statvfs": (4, path_only),
    "fstatvfs": (2, file_only),
    "setxattr": (14, setxattr),
    "getxattr": (10, xattr),
    "listxattr": (8, listxattr),
    "removexattr": (6, xattr),
    "dup": (8, dup),
    "listdir": (35, listdir),
    "getdents": (8, getdents),
    "read": (45, read),
    "write": (55, write),
    "pread": (30, pread),
    "pwrite": (35, pwrite),
    "lseek": (18, lseek),
    "fsync": (8, file_only),
    "fdatasync": (4, file_only),
    "fallocate": (10, fallocate),
    "copy_file_range": (10, copy_file_range),
    "mmap": (14, mmap),
    "peek": (20, peek),
    "poke": (14, poke),
    "msync": (4, map_only),
    "munmap": (5, map_only),
    "setlk": (6, lock),
    "setlkw": (6, lock_wait),
    "getlk": (3, lock),
    "flock": (5, flock),
    "ioctl": (3, ioctl),
    "poll": (3, poll),
}


def generate(
    seed: int, length: int = STEPS, subject: str | None = None, calls: frozenset[str] | None = None
) -> Program:
    """Return the program of a seed, of `length` steps before those that close everything.

    `subject` and `calls` narrow it: to one filesystem, to some calls.
    """
    random = Random(seed)
    chosen = random.choices(list(SUBJECTS.values()), [each.weight for each in SUBJECTS.values()])[0]
    if subject is not None:
        chosen = SUBJECTS[subject]
    it = Generator(random, chosen.special, chosen.waiting)
    wanted = calls or ({*some_calls(random), *chosen.often} if it.chance(0.5) else MAKERS)
    unwanted = MANY_CALLS if it.waiting else ()
    makers = {name: maker for name, maker in MAKERS.items() if name in wanted and name not in unwanted}
    weights = [often * (OFTEN if name in chosen.often else 1) for name, (often, _) in makers.items()]
    steps = [Step(0, "chmod", ("/", 0o777))] if it.chance(0.8) else []
    steps += [Step(role, "umask", (0,)) for role in it.roles if it.chance(0.5)]
    waiting = Waiting(it) if it.waiting else None
    while len(steps) < length:
        if waiting is not None:
            steps += waiting.control()
        it.role = random.choice(it.roles)
        try:
            if waiting is not None:
                steps.append(waiting.step(makers, weights))
            else:
                name = random.choices(list(makers), weights)[0]
                steps.append(Step(it.role, name, makers[name][1](it)))
        except NothingThere:
            continue
    last = [] if waiting is None else waiting.last()
    return Program(chosen.name, (*steps, *last, *ending(steps)), seed)


CAUSES: Final = {  # requests that are held back, and the calls that may have them sent
    "LOOKUP": ("stat", "lstat", "open", "mkdir"),
    "GETATTR": ("fstat", "stat", "read"),
    "SETATTR": ("chmod", "truncate", "ftruncate", "utime"),
    "READLINK": ("readlink",),
    "SYMLINK": ("symlink",),
    "MKNOD": ("mknod",),
    "MKDIR": ("mkdir",),
    "UNLINK": ("unlink",),
    "RMDIR": ("rmdir",),
    "RENAME": ("rename",),
    "RENAME2": ("renameat2",),
    "LINK": ("link",),
    "OPEN": ("open",),
    "CREATE": ("open",),
    "READ": ("read", "pread"),
    "WRITE": ("write", "pwrite", "fsync"),
    "STATFS": ("statvfs",),
    "RELEASE": ("close",),
    "FSYNC": ("fsync",),
    "SETXATTR": ("setxattr",),
    "GETXATTR": ("getxattr",),
    "FLUSH": ("close",),
    "READDIR": ("getdents",),
    "READDIRPLUS": ("getdents",),
    "FALLOCATE": ("fallocate",),
    "LSEEK": ("lseek",),
}


class Waiting:
    """When a program holds requests back, lets them go, and sends signals."""

    def __init__(self, it: Generator) -> None:
        self.it = it
        self.holder: int | None = None  # whose request should be held back
        self.path: str | None = None  # that it is about
        self.next: tuple[str, ...] = ()  # calls of which the next is to be one

    def control(self) -> list[Step]:
        """Return the steps that come before the next system call."""
        it = self.it
        if self.next:
            return []
        if self.holder is None:
            return self.begin() if it.chance(0.2) else []
        role = self.holder if it.chance(0.8) else it.random.choice(it.roles)
        steps = []
        if it.chance(0.12):
            steps.append(Step(role, "interrupt"))
        if it.chance(0.04) and len(it.roles) > 1:
            steps.append(self.end_of(role))
        if it.chance(0.3):
            steps.append(Step(0, "let_go"))
            self.holder = None
        if it.chance(0.1):
            steps.append(Step(0, "notify"))
        return steps

    def begin(self) -> list[Step]:
        """Hold the next request of some sort back, and have it sent."""
        name = self.it.random.choice(list(CAUSES))
        self.next = CAUSES[name]
        return [Step(0, "hold", (name, int(self.it.chance(0.5))))]

    def end_of(self, role: int) -> Step:
        """Have a process end, one way or the other."""
        self.it.roles = tuple(other for other in self.it.roles if other != role)
        return Step(role, "kill" if self.it.chance(0.6) else "exit")

    def step(self, makers: dict[str, tuple[int, Maker]], weights: list[int]) -> Step:
        """Return the next call: after a `hold` one that meets it, then mostly of others than whom it met.

        Raises:
            NothingThere: the call that was chosen makes no sense now.
        """
        it = self.it
        causes = [name for name in self.next if name in makers]
        self.next = ()
        if causes:
            name = it.random.choice(causes)
            step = Step(it.role, name, makers[name][1](it))
            self.holder, self.path = it.role, self.path_of(step)
            return step
        others = [role for role in it.roles if role != self.holder]
        if self.holder is not None and others and it.chance(0.9):
            it.role = it.random.choice(others)
            if self.path is not None and it.chance(0.5):
                return self.in_the_way(self.path)
        name = it.random.choices(list(makers), weights)[0]
        return Step(it.role, name, makers[name][1](it))

    def path_of(self, step: Step) -> str | None:
        """Return the path from the root that a step is about, as far as we know."""
        for argument in step.arguments:
            if isinstance(argument, str):
                return self.it.plain(argument)
            if isinstance(argument, int):
                return self.it.paths.get((step.role, argument))
        return None

    def in_the_way(self, path: str) -> Step:
        """Return a step that may want a lock which another about this path has."""
        it = self.it
        parent, _, name = path.rpartition("/")
        beside = f"{parent}/{it.random.choice(it.names)}".strip("/")
        call, arguments = it.random.choice(
            (
                ("stat", (f"/{path}",)),
                ("stat", (f"/{beside}",)),
                ("chmod", (f"/{path}", 0o777)),
                ("truncate", (f"/{path}", 100)),
                ("unlink", (f"/{path}",)),
                ("mkdir", (f"/{beside}", 0o777)),
                ("rename", (f"/{beside}", f"/{name}")),
                ("setxattr", (f"/{path}", "user.a", b"v", 0, 1)),
                ("readlink", (f"/{path}",)),
                ("statvfs", (f"/{path}",)),
                ("access", (f"/{path}", 4, 0)),
            )
        )
        return Step(it.role, call, arguments)

    def last(self) -> list[Step]:
        """Return steps after which nobody waits any more, or hardly anybody."""
        return [Step(0, "let_go"), Step(0, "let_go"), *(Step(role, "interrupt") for role in self.it.roles)]


def some_calls(random: Random) -> set[str]:
    """Return a part of the calls: a program of few sorts of calls gets deeper into each (swarm testing)."""
    return {"open", "mkdir", *random.sample(sorted(MAKERS), random.randrange(6, 20))}


def ending(steps: list[Step]) -> list[Step]:
    """Return the steps that close whatever may still be open, so that what closing does is compared as well."""
    return [
        Step(role, call, (slot,))
        for role in sorted({step.role for step in steps})
        for call, count in (("munmap", MAPS), ("close", SLOTS))
        for slot in range(count)
        if any(step.role == role and slot in step.arguments and step.call in OPENERS[call] for step in steps)
    ]


OPENERS: Final = {"munmap": ("mmap",), "close": ("open", "dup")}
