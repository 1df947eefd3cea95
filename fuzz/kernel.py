"""Fuzz the kernel's end: processes that do anything, a daemon that answers anything, in any order.

    python fuzz/kernel.py --seconds 600
    python fuzz/kernel.py --seed 1234 --rounds 500     the same again

Each round mounts a filesystem in memory behind a daemon that answers some requests well and others with wrong sizes,
random bytes, errors that do not exist, twice, late or never; that sends notifications nobody asked for, and may close
its device. Three processes make random system calls meanwhile, and are sent signals. Which task goes on is random too.

Whatever comes: a system call raises OSError and nothing else, and so does a write to the device; the state of the
connection keeps its invariants; and once it is aborted no task is left asleep. The seed is printed first; a failure
prints the round that found it and exits 1.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import random
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fusewire.daemon.session import Call, Session
from fusewire.embedded import perform
from fusewire.filesystems.memory import Memory
from fusewire.kernel import (
    Credentials,
    Device,
    Killed,
    Options,
    Process,
    StandingClock,
    System,
    Task,
    close,
    mount,
    run,
)
from fusewire.kernel.checks.connection import check
from fusewire.kernel.operations.flusher import PERIOD
from fusewire.kernel.runners.fixed_order import FixedOrder
from fusewire.wire import (
    NOTIFICATIONS,
    InHeader,
    Notification,
    OutHeader,
    WireStruct,
    encode_error,
    encode_notification,
)

XATTRS: Final = ["user.x", "user.y", "security.capability", "system.posix_acl_access", "trusted.z"]
NAMES: Final = ["a", "b", "c", "d", ".", "..", "no\udcffutf8", "n" * 300]
EDGES: Final = [0, 1, 7, 100, 4095, 4096, 4097, 8192, 131072, 200_000, 2**31, 2**63 - 1]
BUFFER: Final = 1 << 21  # bytes that the daemon reads at once
ENDS: Final = (errno.ENODEV, errno.ECONNABORTED, errno.EINVAL)  # the last: INIT was answered with more than BUFFER
Random = random.Random
Coro = Coroutine[Any, Any, Any]


def path(rng: Random) -> str:
    return "/" + "/".join(rng.choices(NAMES, weights=[9, 9, 5, 3, 1, 1, 1, 1], k=rng.choice([1, 1, 1, 2, 3])))


def descriptor(rng: Random, process: Process) -> int:
    return rng.choice([*process.files, 99])


def size(rng: Random) -> int:
    return rng.choice([0, 1, 5, 4096, 5000, 20_000, 140_000])


def flags(rng: Random) -> int:
    more = [os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_DIRECT, os.O_SYNC]
    return rng.choice([os.O_RDONLY, os.O_WRONLY, os.O_RDWR]) | sum(rng.sample(more, rng.choice([0, 1, 1, 2])))


Attempt = Callable[[Random, Process], Coro]
CALLS: Final[dict[str, Attempt]] = {
    "stat": lambda rng, process: process.stat(path(rng)),
    "lstat": lambda rng, process: process.lstat(path(rng)),
    "fstat": lambda rng, process: process.fstat(descriptor(rng, process)),
    "statx": lambda rng, process: process.statx(path(rng), rng.choice([0, 0x7FF, 0xFFF])),
    "access": lambda rng, process: process.access(path(rng), rng.randrange(8)),
    "mkdir": lambda rng, process: process.mkdir(path(rng), 0o777),
    "mknod": lambda rng, process: process.mknod(path(rng), rng.choice([0o100666, 0o10666])),
    "symlink": lambda rng, process: process.symlink(path(rng), path(rng)),
    "readlink": lambda rng, process: process.readlink(path(rng)),
    "link": lambda rng, process: process.link(path(rng), path(rng)),
    "unlink": lambda rng, process: process.unlink(path(rng)),
    "rmdir": lambda rng, process: process.rmdir(path(rng)),
    "rename": lambda rng, process: process.rename(path(rng), path(rng), flags=rng.choice([0, 0, 0, 1, 2, 4, 8])),
    "chdir": lambda rng, process: process.chdir(path(rng)),
    "getcwd": lambda rng, process: process.getcwd(),
    "listdir": lambda rng, process: process.listdir(path(rng)),
    "getdents": lambda rng, process: process.getdents(descriptor(rng, process), rng.choice([0, 24, 100, 4096])),
    "statvfs": lambda rng, process: process.statvfs(path(rng)),
    "chmod": lambda rng, process: process.chmod(path(rng), rng.randrange(0o10000)),
    "chown": lambda rng, process: process.chown(path(rng), rng.choice([-1, 0, 1000]), rng.choice([-1, 0, 1000])),
    "utime": lambda rng, process: process.utime(path(rng)),
    "truncate": lambda rng, process: process.truncate(path(rng), rng.choice(EDGES)),
    "getxattr": lambda rng, process: process.getxattr(path(rng), rng.choice(XATTRS)),
    "setxattr": lambda rng, process: process.setxattr(path(rng), rng.choice(XATTRS), rng.randbytes(size(rng) % 70)),
    "listxattr": lambda rng, process: process.listxattr(path(rng)),
    "removexattr": lambda rng, process: process.removexattr(path(rng), rng.choice(XATTRS)),
    "open": lambda rng, process: process.open(path(rng), flags(rng), 0o666),
    "close": lambda rng, process: process.close(descriptor(rng, process)),
    "dup": lambda rng, process: process.dup(descriptor(rng, process)),
    "read": lambda rng, process: process.read(descriptor(rng, process), size(rng)),
    "write": lambda rng, process: process.write(descriptor(rng, process), rng.randbytes(size(rng))),
    "pread": lambda rng, process: process.pread(descriptor(rng, process), size(rng), rng.choice(EDGES)),
    "pwrite": lambda rng, process: process.pwrite(descriptor(rng, process), b"x" * size(rng), rng.choice(EDGES[:10])),
    "lseek": lambda rng, process: process.lseek(descriptor(rng, process), rng.choice(EDGES), rng.randrange(5)),
    "ftruncate": lambda rng, process: process.ftruncate(descriptor(rng, process), rng.choice(EDGES[:10])),
    "fsync": lambda rng, process: process.fsync(descriptor(rng, process)),
    "syncfs": lambda rng, process: process.syncfs(descriptor(rng, process)),
    "fadvise": lambda rng, process: process.posix_fadvise(
        descriptor(rng, process), rng.choice(EDGES), size(rng), rng.randrange(7)
    ),
    "fallocate": lambda rng, process: process.fallocate(
        descriptor(rng, process), rng.choice([0, 1, 3, 16, 8]), rng.choice(EDGES), size(rng)
    ),
    "copy_file_range": lambda rng, process: process.copy_file_range(
        descriptor(rng, process), descriptor(rng, process), size(rng), *rng.choices([None, *EDGES], k=2)
    ),
    "sendfile": lambda rng, process: process.sendfile(
        descriptor(rng, process), descriptor(rng, process), rng.choice([None, 0, 4096]), size(rng)
    ),
    "ioctl": lambda rng, process: process.ioctl(descriptor(rng, process), rng.getrandbits(32), rng.randbytes(8)),
    "ioctl, flags": lambda rng, process: process.ioctl(
        descriptor(rng, process), rng.choice([0x80086601, 0x40086602, 0x801C581F]), bytearray(28)
    ),
    "flock": lambda rng, process: process.flock(descriptor(rng, process), rng.choice([1, 2, 5, 6, 8])),
    "setlk": lambda rng, process: process.setlk(
        descriptor(rng, process), rng.randrange(3), *span(rng), wait=rng.random() < 0.3, ofd=rng.random() < 0.2
    ),
    "getlk": lambda rng, process: process.getlk(descriptor(rng, process), rng.randrange(2), *span(rng)),
    "poll": lambda rng, process: process.poll([(descriptor(rng, process), rng.randrange(6))], rng.choice([0, 0, 0.1])),
    "select": lambda rng, process: process.select(
        [descriptor(rng, process)], [descriptor(rng, process)] * rng.randrange(2), [], rng.choice([0, 0, 0.1])
    ),
    "fork": lambda rng, process: forked(rng, process),
    "memory": lambda rng, process: read_mapping(rng, process),
    "umount": lambda rng, process: process.umount("/", rng.choice([0, 0, 0, 1])),
}  # fmt: skip
OFTEN: Final = {"open": 4, "close": 2, "read": 3, "write": 3, "umount": 0.1}  # in proportion to the others, 1
WEIGHTS: Final = [OFTEN.get(name, 1) for name in CALLS]
LOCAL: Final = (
    " locks of nodeid ",
    "poll",
)  # waits in whose names one of these is: for other processes, not for the daemon


def span(rng: Random) -> tuple[int, int]:
    """Bytes to lock: where they begin, and how many there are."""
    return rng.choice([0, 0, 10, 2**62]), rng.choice([0, 1, 100])


async def forked(rng: Random, process: Process) -> None:
    """Have a child do something with what it has inherited, and exit."""
    child = await process.fork()
    try:
        await CALLS[rng.choice(["close", "read", "write", "setlk", "flock", "chdir"])](rng, child)
    finally:
        await child.exit()


async def read_mapping(rng: Random, process: Process) -> None:
    """Map a file, touch it, and unmap it."""
    mapping = await process.mmap(descriptor(rng, process), 8192)
    try:
        await process.load(mapping.address + rng.choice([0, 4096]), 10)
        await process.store(mapping.address, b"hello")
    finally:
        await process.munmap(mapping.address, 8192)


class Unexpected(Exception):
    """Something that should not have come out of the kernel's end did."""


# The daemon


def mutated(rng: Random, reply: bytes) -> bytes:
    """A reply with something wrong in it."""
    match rng.randrange(6):
        case 0:
            return reply[: rng.randrange(len(reply))]
        case 1:
            return reply + rng.randbytes(rng.randrange(1, 200))
        case 2:
            return with_length(reply[:16] + rng.randbytes(max(0, len(reply) - 16)))
        case 3:
            return with_length(reply[:16] + rng.randbytes(rng.choice([0, 1, 8, 16, 88, 104, 128, 144, 5000])))
        case 4:
            return reply[:4] + struct.pack("<i", rng.choice([5000, -5000, 1, -511, -512, -2, 2**31 - 1])) + reply[8:]
        case _:
            changed = bytearray(reply)
            for _ in range(rng.choice([1, 2, 8])):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            return bytes(changed)


def with_length(message: bytes) -> bytes:
    """The same, its header saying how long it is: so that it gets further."""
    return struct.pack("<I", len(message)) + message[4:]


def any_notification(rng: Random) -> bytes:
    row: Notification = rng.choice(list(NOTIFICATIONS.values()))
    if rng.random() < 0.2:
        return with_length(
            OutHeader(0, rng.randrange(12), 0).pack() + rng.randbytes(rng.choice([0, 8, 16, 24, 32, 40]))
        )
    body: Any = any_body(rng, row.body)
    names = [rng.choice(NAMES).encode(errors="surrogateescape") for _ in range(row.names)]
    data = rng.randbytes(8 * rng.randrange(4)) if row.data else b""
    for length in ("size", "count"):
        if row.data_length is not None and hasattr(body, length):
            setattr(body, length, 1)
            setattr(body, length, len(data) // row.data_length(body))
    if names and hasattr(body, "namelen"):
        body.namelen = len(names[0])
    return encode_notification(row, body=body, names=names, data=data)


def any_body(rng: Random, kind: type[WireStruct] | None) -> WireStruct | None:
    """A body whose numbers are small, so that nodeids and offsets mean something now and then."""
    if kind is None:
        return None
    body = kind.unpack_from(bytes(kind.SIZE))
    for name in ("ino", "nodeid", "parent", "child", "kh"):
        if hasattr(body, name):
            setattr(body, name, rng.randrange(12))
    for name in ("off", "offset", "size", "len"):
        if hasattr(body, name):
            setattr(body, name, rng.choice([0, 1, 4096, 8192]))
    return body


@dataclass
class Daemon:
    """A daemon that cannot be relied on."""

    rng: Random
    session: Session
    device: Device
    badness: float  # how often it does not do what it should
    owed: list[bytes] = field(default_factory=list)  # replies that come late

    async def serve(self) -> None:
        try:
            while True:
                await self.answer(await self.device.read(BUFFER))
        except OSError as error:
            if error.errno not in ENDS:
                raise Unexpected(f"a read of the device says {error!r}") from error

    async def answer(self, message: bytes) -> None:
        for reply in self.replies(bytes(message), await self.good_reply(bytes(message))):
            with contextlib.suppress(OSError):
                await self.device.write(reply)
        if self.rng.random() < self.badness / 100:
            self.device.close()

    async def good_reply(self, message: bytes) -> bytes | None:
        received = self.session.receive(message)
        reply = await perform(self.session, received) if isinstance(received, Call) else received
        return None if reply is None else b"".join(reply)

    def replies(self, message: bytes, good: bytes | None) -> Sequence[bytes]:
        """What to write instead of nothing but `good`."""
        if self.rng.random() > self.badness or self.session.agreement is None:
            return [good] if good is not None else []
        unique = InHeader.unpack_from(message).unique
        match self.rng.randrange(9):
            case 0:
                return []
            case 1 if good is not None:
                return [good, good]
            case 2:
                return [encode_error(unique, self.rng.choice([1, 2, 4, 5, 11, 38, 511]))]
            case 3:
                self.owed.append(good or encode_error(unique, errno.EIO))
                return []
            case 4:
                return [self.rng.randbytes(self.rng.choice([0, 3, 16, 24, 144])), *self.owed]
            case 5:
                return [any_notification(self.rng), *([good] if good is not None else [])]
            case _:
                return [mutated(self.rng, good or encode_error(unique, errno.EIO)), *self.owed]


# One round


class Beside(FixedOrder):
    """Has what the kernel starts by itself, such as its flusher, run beside the rest."""

    def __init__(self, started: list[Task]) -> None:
        super().__init__()
        self.started = started

    def start(self, task: Task) -> None:
        self.started.append(task)


async def live(rng: Random, process: Process, calls: int, tried: Counter[str]) -> None:
    for _ in range(calls):
        name = rng.choices(list(CALLS), WEIGHTS)[0]
        tried[name] += 1
        try:
            await CALLS[name](rng, process)
        except OSError as error:
            if error.errno is None:
                raise Unexpected(f"an OSError without an errno: {error!r}") from error


def round_of(rng: Random, tried: Counter[str] | None = None) -> None:
    """Mount, live, abort. What was called is counted in `tried`.

    Raises:
        Exception: whatever should not have happened.
    """
    clock = StandingClock()
    system, device, session = System(clock), Device(), Session(Memory())
    started: list[Task] = []
    system.runner = Beside(started)
    minor = rng.choice([19, 31, 36, 45])
    superblock = mount(system, device, Options(allow_other=True, default_permissions=rng.random() < 0.7), minor=minor)
    processes = [Process.new(system, Credentials.of(uid, uid), superblock.root) for uid in (0, 0, 1000)]
    badness = rng.choice([0.0, 0.05, 0.3])
    tried = Counter() if tried is None else tried
    daemons = [Task("daemon", Daemon(rng, session, device, badness).serve()) for _ in range(rng.choice([1, 2]))]
    living = [Task(process.name, live(rng, process, 12, tried), process) for process in processes]
    tasks = started
    tasks += [*daemons, *living]

    def choose(ready: Sequence[Task]) -> Task:
        check(superblock.connection)
        if rng.random() < 0.01:
            victim = rng.choice(living)
            victim.kill() if rng.random() < 0.3 else victim.interrupt()
        return rng.choice([task for task in ready if task.ready] or ready)

    try:
        run(tasks, choose)
        superblock.connection.abort()
        clock.advance(PERIOD)  # the flusher waits for nothing else
        asleep = run(tasks, choose)
        for task, queue in asleep.items():
            if any(word in queue.name for word in LOCAL):
                task.kill()
        asleep = run(tasks, choose)
        if asleep:
            raise Unexpected(f"asleep after an abort: {[(task, queue.name) for task, queue in asleep.items()]}")
        for task in tasks:
            if isinstance(task.result, BaseException) and not isinstance(task.result, Killed | OSError):
                raise task.result
    finally:
        close(tasks)


def fuzz(seed: int, seconds: float, limit: int | None = None) -> int:
    """Run rounds until time or `limit` is reached; return how many. Exits 1 at a failure."""
    count, end = 0, time.monotonic() + seconds
    while count < limit if limit is not None else time.monotonic() < end:
        try:
            round_of(random.Random(f"{seed}.{count}"))
        except Exception:
            print(f"round {count} of seed {seed}:", file=sys.stderr)
            traceback.print_exc()
            raise SystemExit(1) from None
        count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--rounds", type=int, default=None)
    options = parser.parse_args()
    print(f"seed {options.seed}")
    print(f"{fuzz(options.seed, options.seconds, options.rounds)} rounds, nothing found")


if __name__ == "__main__":
    main()
