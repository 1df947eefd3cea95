"""The invariants: each finds what it is there to find, and no run of a connection finds any."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusewire import events
from fusewire.kernel.checks.connection import check
from fusewire.kernel.checks.transcript import Exchange, check_transcript
from fusewire.kernel.device import Device
from fusewire.kernel.locks import Semaphore
from fusewire.kernel.profile import LINUX, PROFILES, SEED2005, Profile
from fusewire.kernel.request import Request
from fusewire.kernel.resend import resend
from fusewire.kernel.stages import Stage
from fusewire.kernel.tasks import Task, close, run
from fusewire.kernel.vfs.inode import Inode
from fusewire.wire import (
    Attr,
    BatchForgetIn,
    CopyFileRangeIn,
    EntryOut,
    FlushIn,
    ForgetIn,
    InitIn,
    InitOut,
    InterruptIn,
    OpenIn,
    OpenOut,
    OutHeader,
    ReadIn,
    ReleaseIn,
    RenameIn,
    SetattrIn,
    SetattrValid,
    WriteFlags,
    WriteIn,
    encode_error,
    encode_notification,
    encode_reply,
    encode_request,
)
from kernel_end import BUFFER, Bench, Memory, bench

# What is planted, and the rule that finds it. `request` is pending, `read` is in processing.


def listed_twice(bench: Bench, request: Request, read: Request) -> None:
    bench.connection.pending.append(request)


def finished_on_a_list(bench: Bench, request: Request, read: Request) -> None:
    request.stage = Stage.FINISHED


def pending_out_of_order(bench: Bench, request: Request, read: Request) -> None:
    bench.unlink()
    bench.connection.pending.reverse()


def processing_by_another_number(bench: Bench, request: Request, read: Request) -> None:
    bench.device.processing[999] = bench.device.processing.pop(read.unique)


def processing_in_the_wrong_stage(bench: Bench, request: Request, read: Request) -> None:
    read.stage = Stage.COPYING_IN


def pending_in_the_wrong_stage(bench: Bench, request: Request, read: Request) -> None:
    request.stage = Stage.PROCESSING


def io_in_the_wrong_stage(bench: Bench, request: Request, read: Request) -> None:
    bench.device.io.append(bench.connection.pending.popleft())


def aborted_without_an_abort(bench: Bench, request: Request, read: Request) -> None:
    bench.device.processing.clear()
    read.stage = Stage.ABORTED
    bench.device.io.append(read)


def interrupt_of_nobody(bench: Bench, request: Request, read: Request) -> None:
    bench.connection.interrupts.append(read)


def interrupt_twice(bench: Bench, request: Request, read: Request) -> None:
    read.interrupted = True
    bench.connection.interrupts.extend([read, read])


def interrupt_of_the_background(bench: Bench, request: Request, read: Request) -> None:
    read.interrupted = read.background = True
    bench.connection.interrupts.append(read)


def freed_too_early(bench: Bench, request: Request, read: Request) -> None:
    request.references = 0


def pending_after_an_abort(bench: Bench, request: Request, read: Request) -> None:
    bench.connection.connected = False
    bench.device.processing.clear()


def processing_after_an_abort(bench: Bench, request: Request, read: Request) -> None:
    bench.connection.connected = False


def connected_again(bench: Bench, request: Request, read: Request) -> None:
    bench.connection.abort()
    check(bench.connection)
    bench.connection.connected = True


def latch_undone(bench: Bench, request: Request, read: Request) -> None:
    bench.connection.absent.add("LSEEK")
    check(bench.connection)
    bench.connection.absent.remove("LSEEK")


def uncounted(bench: Bench, request: Request, read: Request) -> None:
    bench.connection.num_waiting = 1


def background_miscounted(bench: Bench, request: Request, read: Request) -> None:
    bench.connection.background.number += 1


def background_overrun(bench: Bench, request: Request, read: Request) -> None:
    bench.connection.background.number = bench.connection.background.active = 13


def background_starved(bench: Bench, request: Request, read: Request) -> None:
    request.stage = Stage.BACKGROUND
    bench.connection.background.queue.append(bench.connection.pending.popleft())
    bench.connection.background.number += 1


def blocked_by_nothing(bench: Bench, request: Request, read: Request) -> None:
    bench.connection.background.blocked = True


def inode_without_lookups(bench: Bench, request: Request, read: Request) -> None:
    bench.superblock.inodes[2] = Inode(bench.superblock, 2, 0, Attr())


def inode_of_a_version_to_come(bench: Bench, request: Request, read: Request) -> None:
    bench.superblock.root_inode.attr_version = 1000


def version_going_back(bench: Bench, request: Request, read: Request) -> None:
    bench.connection.epoch = 0


PLANTED: list[tuple[int, Callable[[Bench, Request, Request], None]]] = [
    (1, listed_twice),
    (4, finished_on_a_list),
    (15, pending_out_of_order),
    (3, processing_by_another_number),
    (3, processing_in_the_wrong_stage),
    (2, pending_in_the_wrong_stage),
    (5, io_in_the_wrong_stage),
    (7, aborted_without_an_abort),
    (8, interrupt_of_nobody),
    (8, interrupt_twice),
    (9, interrupt_of_the_background),
    (10, freed_too_early),
    (12, pending_after_an_abort),
    (13, processing_after_an_abort),
    (14, connected_again),
    (14, latch_undone),
    (16, uncounted),
    (17, background_miscounted),
    (18, background_overrun),
    (19, background_starved),
    (20, blocked_by_nothing),
    (45, inode_without_lookups),
    (93, inode_of_a_version_to_come),
    (93, version_going_back),
]


@pytest.mark.parametrize(("number", "plant"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_wrong_is_found(linux: Bench, number: int, plant: Callable[[Bench, Request, Request], None]) -> None:
    linux.unlink()
    linux.read()
    linux.unlink()
    check(linux.connection)

    def planted() -> None:
        plant(linux, linux.connection.pending[0], linux.processing())
        check(linux.connection)

    with pytest.raises(AssertionError, match=rf"^{number}: "):
        planted()


# What passed the device.

READ, WRITTEN = True, False


def told(*exchanges: Any) -> list[Exchange]:
    """A conversation, INIT behind it."""
    answer = InitOut(major=7, minor=45, max_write=4096)
    init = [(READ, encode_request("INIT", unique=2, body=InitIn(7, 45))), (WRITTEN, encode_reply(2, answer))]
    return [Exchange(*exchange) for exchange in (*init, *exchanges)]


def looked_up(unique: int, nodeid: int) -> list[tuple[bool, bytes]]:
    request = encode_request("LOOKUP", unique=unique, nodeid=1, names=[b"a"])
    return [(READ, request), (WRITTEN, encode_reply(unique, EntryOut(nodeid=nodeid)))]


def opened(unique: int, nodeid: int, fh: int) -> list[tuple[bool, bytes]]:
    request = encode_request("OPEN", unique=unique, nodeid=nodeid, body=OpenIn())
    return [(READ, request), (WRITTEN, encode_reply(unique, OpenOut(fh=fh)))]


def unlink(unique: int, nodeid: int = 1, name: bytes = b"file", pid: int = 9) -> tuple[bool, bytes]:
    return (READ, encode_request("UNLINK", unique=unique, nodeid=nodeid, names=[name], pid=pid))


def flush(unique: int, nodeid: int, fh: int, pid: int = 9) -> tuple[bool, bytes]:
    return (READ, encode_request("FLUSH", unique=unique, nodeid=nodeid, body=FlushIn(fh), pid=pid))


def release(unique: int, nodeid: int, fh: int, pid: int = 0) -> tuple[bool, bytes]:
    return (READ, encode_request("RELEASE", unique=unique, nodeid=nodeid, body=ReleaseIn(fh), pid=pid))


def forget(unique: int, nodeid: int, nlookup: int) -> tuple[bool, bytes]:
    return (READ, encode_request("FORGET", unique=unique, nodeid=nodeid, body=ForgetIn(nlookup)))


def interrupt(of: int, unique: int | None = None) -> tuple[bool, bytes]:
    return (READ, encode_request("INTERRUPT", unique=of | 1 if unique is None else unique, body=InterruptIn(of)))


def read(unique: int, nodeid: int, fh: int, size: int = 4096) -> tuple[bool, bytes]:
    return (READ, encode_request("READ", unique=unique, nodeid=nodeid, body=ReadIn(fh=fh, size=size)))


def write_back(unique: int, nodeid: int, fh: int, pid: int = 0) -> tuple[bool, bytes]:
    body = WriteIn(fh, 0, 1, WriteFlags.FUSE_WRITE_CACHE)
    return (READ, encode_request("WRITE", unique=unique, nodeid=nodeid, body=body, data=b"x", pid=pid))


def setattr_of(unique: int, nodeid: int, fh: int, valid: int) -> tuple[bool, bytes]:
    return (READ, encode_request("SETATTR", unique=unique, nodeid=nodeid, body=SetattrIn(valid=valid, fh=fh), pid=9))


def batch(unique: int, *ones: tuple[int, int]) -> tuple[bool, bytes]:
    data = b"".join(struct.pack("=QQ", *one) for one in ones)
    return (READ, encode_request("BATCH_FORGET", unique=unique, body=BatchForgetIn(len(ones)), data=data))


def copy(unique: int, nodeid: int, fh: int, to: int, to_fh: int) -> tuple[bool, bytes]:
    body = CopyFileRangeIn(fh_in=fh, nodeid_out=to, fh_out=to_fh, len=1)
    return (READ, encode_request("COPY_FILE_RANGE", unique=unique, nodeid=nodeid, body=body, pid=9))


def no_file(unique: int) -> tuple[bool, bytes]:
    return (WRITTEN, encode_error(unique, errno.ENOENT))


SOUND = [
    *looked_up(4, 7),
    *opened(6, 7, 100),
    flush(8, 7, 100),
    (WRITTEN, encode_reply(8)),
    release(10, 7, 100),
    (WRITTEN, encode_reply(10)),
    forget(12, 7, 1),
    unlink(14),
    interrupt(14),
    (WRITTEN, encode_error(15, errno.EAGAIN)),
    interrupt(14),
    (WRITTEN, encode_error(14, errno.EINTR)),
    (WRITTEN, encode_reply(14), errno.ENOENT),
    unlink(16),
    (WRITTEN, encode_notification("RESEND")),
    unlink(16 | 1 << 63),
    (WRITTEN, encode_reply(16 | 1 << 63)),
    (READ, encode_request("LOOKUP", unique=18, nodeid=1, names=[b"b"])),
    no_file(18),
    *looked_up(20, 7),
    *looked_up(22, 8),
    *opened(24, 7, 0),
    *opened(26, 7, 0),
    read(28, 7, 0, 32 * 4096),
    (WRITTEN, encode_reply(28, b"")),
    release(30, 7, 0),
    setattr_of(32, 7, 0, SetattrValid.FATTR_SIZE | SetattrValid.FATTR_FH),
    setattr_of(34, 7, 0, SetattrValid.FATTR_SIZE | SetattrValid.FATTR_MTIME),
    write_back(36, 7, 0),
    no_file(32),
    no_file(34),
    no_file(36),
    release(38, 7, 0),
    (WRITTEN, encode_reply(38)),
    (WRITTEN, encode_reply(30)),
    batch(60, (7, 1), (8, 1)),
    unlink(40),
]

ONE_OPEN = [*looked_up(4, 7), *opened(6, 7, 1)]
UNSOUND: list[tuple[int, list[Any]]] = [
    (25, [(READ, encode_request("STATFS", unique=4, nodeid=1) + b"x")]),
    (25, [(READ, b"short")]),
    (27, [unlink(4), unlink(4)]),
    (27, [unlink(4 | 1 << 63)]),
    (27, [unlink(5)]),
    (27, [unlink(6), unlink(4)]),
    (27, [unlink(4), interrupt(4, 7)]),
    (28, [interrupt(4)]),
    (28, [unlink(4), (WRITTEN, encode_reply(4)), interrupt(4)]),
    (29, [unlink(4), interrupt(4), interrupt(4)]),
    (30, [unlink(4), interrupt(4), (WRITTEN, encode_error(5, errno.ENOSYS)), unlink(6), interrupt(6)]),
    (31, [unlink(4), interrupt(4), (WRITTEN, encode_error(5, errno.EAGAIN)), unlink(6)]),
    (33, [*looked_up(4, 7), batch(6, (7, 1))]),
    (34, [(READ, encode_request("INIT", unique=4, body=InitIn(7, 45)))]),
    (35, [*ONE_OPEN, flush(8, 7, 1), (WRITTEN, encode_error(8, errno.ENOSYS)), flush(10, 7, 1)]),
    (36, [*looked_up(4, 7), *opened(6, 7, 1), read(8, 7, 1, 33 * 4096)]),
    (37, [unlink(4, name=b"a/b")]),
    (37, [unlink(4, name=b"..")]),
    (37, [unlink(4, name=b"")]),
    (38, [unlink(4, nodeid=7)]),
    (38, [*looked_up(4, 7), forget(6, 7, 1), unlink(8, nodeid=7)]),
    (39, [*looked_up(4, 7), flush(6, 7, 100)]),
    (39, [*looked_up(4, 7), setattr_of(6, 7, 100, SetattrValid.FATTR_FH)]),
    (39, [*ONE_OPEN, copy(8, 7, 1, 7, 2)]),
    (40, [*ONE_OPEN, release(8, 7, 1, pid=9)]),
    (40, [*ONE_OPEN, write_back(8, 7, 1, pid=9)]),
    (
        41,
        [
            *ONE_OPEN,
            setattr_of(8, 7, 1, SetattrValid.FATTR_SIZE | SetattrValid.FATTR_FH | SetattrValid.FATTR_MTIME),
        ],
    ),
    (38, [*ONE_OPEN, copy(8, 7, 1, 8, 1)]),
    (42, [(READ, struct.pack("=IIQQIIIHH", 40, 10, 4, 1, 0, 0, 0, 0, 0))]),
    (43, [*looked_up(4, 7), forget(6, 7, 2)]),
    (43, [forget(4, 7, 1)]),
    (46, [*ONE_OPEN, forget(8, 7, 1)]),
    (46, [*ONE_OPEN, release(8, 7, 1), forget(10, 7, 1)]),
    (47, [forget(4, 1, 1)]),
    (51, [*looked_up(4, 7), *opened(6, 7, 100), release(8, 7, 100), release(10, 7, 100)]),
    (52, [*ONE_OPEN, release(8, 7, 1), flush(10, 7, 1)]),
    (53, [*ONE_OPEN, release(8, 7, 1), read(10, 7, 1)]),
    (54, [*ONE_OPEN, read(8, 7, 1), release(10, 7, 1)]),
    (59, [unlink(4), (WRITTEN, encode_reply(4)), (WRITTEN, encode_reply(4))]),
    (59, [(WRITTEN, encode_reply(4))]),
    (59, [unlink(4), (WRITTEN, encode_notification("RESEND")), unlink(4 | 1 << 63), (WRITTEN, encode_reply(4))]),
]


def test_a_sound_conversation_breaks_no_rule() -> None:
    check_transcript(told(*SOUND))


NO_OPEN = [
    (READ, encode_request("OPEN", unique=20, nodeid=8, body=OpenIn())),
    (WRITTEN, encode_error(20, errno.ENOSYS)),
]


def test_a_file_is_forgotten_unreleased_where_the_daemon_has_no_open() -> None:
    check_transcript(told(*looked_up(4, 7), *looked_up(6, 8), *opened(8, 7, 1), *NO_OPEN, forget(22, 7, 1)))


def test_a_directory_is_released_first_though_the_daemon_has_no_open() -> None:
    listed = encode_request("OPENDIR", unique=8, nodeid=7, body=OpenIn())
    opened_directory = [(READ, listed), (WRITTEN, encode_reply(8, OpenOut(fh=1)))]
    with pytest.raises(AssertionError, match=r"^46: "):
        check_transcript(told(*looked_up(4, 7), *looked_up(6, 8), *opened_directory, *NO_OPEN, forget(22, 7, 1)))


def test_nothing_precedes_the_answer_to_init() -> None:
    with pytest.raises(AssertionError, match=r"^34: "):
        check_transcript([told()[0], Exchange(*unlink(4))])


@pytest.mark.parametrize(("number", "exchanges"), UNSOUND)
def test_an_unsound_conversation_breaks_its_rule(number: int, exchanges: list[Any]) -> None:
    with pytest.raises(AssertionError, match=rf"^{number}: "):
        check_transcript(told(*exchanges))


# Random runs.

OUTCOMES = [0, -errno.ENOENT, -errno.EINTR, -errno.EAGAIN, -errno.ENOSYS, -5000, 7]


class World:
    """A connection to which anything may happen, in any order.

    With one thread the daemon does one thing at a time, so that what it did can be told in order.
    """

    def __init__(self, profile: Profile, random: Random, one_thread: bool = False) -> None:
        self.random = random
        self.one_thread = one_thread
        self.turn = Semaphore("the daemon's only thread")
        self.bench = Bench(profile, max_background=random.randint(1, 4))
        self.devices = [self.bench.device]
        self.exchanges = told()
        self.ended: list[Request] = []
        self.answered = 0
        self.acts = 0

    # What may happen.

    def act(self) -> None:
        """Have something happen, mostly something harmless."""
        self.acts += 1
        often = [self.send, self.send, self.serve, self.serve, self.serve, self.reply, self.reply]
        rare = [self.background, self.gated, self.forget, self.signal, self.kill, self.stray, self.resend, self.limit]
        final = [self.clone, self.close_one] if self.random.random() < 0.7 else [self.abort]
        kind = self.random.choices([often, rare, final], [70, 29, 1])[0]
        hook, events.hook = events.hook, None  # it happens in no task
        try:
            self.random.choice(kind)()
        finally:
            events.hook = hook

    def send(self) -> None:
        name = self.random.choice(["RENAME", "STATFS", "FORGET"])
        connection = self.bench.connection
        if name == "RENAME":
            names = [b"x" * self.random.choice([1, 4095])] * 2  # the longer are too long for some readers
            self.start(connection.ask("RENAME", 1, RenameIn(1), names), "sender")
        elif name == "STATFS":
            self.start(connection.ask("STATFS", 1, force=True), "forced")
        else:
            self.start(connection.ask("FORGET", 2, ForgetIn(0), force=True, nocreds=True), "lister")

    def serve(self) -> None:
        self.start(self.in_turn(self.read_one, self.random.choice(self.devices)), "reader")

    async def in_turn(self, do: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        if not self.one_thread:
            await do(*arguments)
            return
        async with self.turn.exclusive():
            await do(*arguments)

    async def read_one(self, device: Device) -> None:
        device.nonblocking = self.one_thread
        size = self.random.choice([8192, BUFFER])
        raw = await device.read(size if self.random.random() < 0.5 else self.memory(bytes(size)))
        self.exchanges.append(Exchange(True, raw))

    def memory(self, data: bytes) -> Memory:
        async def fetch() -> None:
            if self.random.random() < 0.2:
                raise OSError(errno.EFAULT, "no memory")

        return Memory(data, dict.fromkeys(range(3), fetch))

    def reply(self) -> None:
        owing = [device for device in self.devices if device.processing]
        if not owing:
            return
        device = self.random.choice(owing)
        request = self.random.choice(list(device.processing.values()))
        unique = request.unique | self.random.choice([0, 0, 0, 1])
        error = self.random.choice(OUTCOMES)
        payload = b"" if self.random.random() < 0.9 else b"too much"
        raw = OutHeader(16 + len(payload), error, unique).pack() + payload
        self.start(self.in_turn(self.write_one, device, raw), "writer")

    def stray(self) -> None:
        raw = bytes(self.random.randrange(256) for _ in range(self.random.choice([3, 16, 20])))
        self.start(self.in_turn(self.write_one, self.random.choice(self.devices), raw), "stray")

    async def write_one(self, device: Device, raw: bytes) -> None:
        try:
            await device.write(raw if self.random.random() < 0.5 else self.memory(raw))
        except OSError:
            return
        self.exchanges.append(Exchange(False, raw))

    def background(self) -> None:
        self.bench.connection.ask_background("STATFS", 1, end=self.ended.append, nocreds=True)

    def gated(self) -> None:
        self.start(self.bench.connection.ask_background_gated("STATFS", 1, nocreds=True), "readahead")

    def forget(self) -> None:
        self.bench.connection.forget(2, 0)

    def signal(self) -> None:
        if alive := [task for task in self.bench.tasks if not task.finished]:
            self.random.choice(alive).interrupt()

    def kill(self) -> None:
        if alive := [task for task in self.bench.tasks if not task.finished]:
            self.random.choice(alive).kill()

    def resend(self) -> None:
        self.start(self.in_turn(self.resend_one), "recovery")

    async def resend_one(self) -> None:
        if self.bench.connection.profile is LINUX:
            resend(self.bench.connection)
            self.exchanges.append(Exchange(False, encode_notification("RESEND")))

    def limit(self) -> None:
        self.bench.connection.background.raise_maximum(self.random.randint(1, 5))

    def clone(self) -> None:
        open_ = [device for device in self.devices if not device.closed]
        if open_:
            device = Device()
            device.clone(open_[0])
            self.devices.append(device)

    def close_one(self) -> None:
        """Close a device; but to one who is to tell the rest from the bytes, only the end of all is told."""
        if not self.one_thread:
            self.random.choice(self.devices).close()

    def abort(self) -> None:
        self.bench.connection.abort()

    # How it runs.

    def start(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        self.bench.later(coroutine, name)

    def run(self, most: int) -> None:
        """Let up to `most` things happen, at any step of any task; check after each step."""

        def choose(ready: Sequence[Task]) -> Task:
            check(self.bench.connection)
            while self.acts < most and self.random.random() < 0.3:
                self.act()
                check(self.bench.connection)
            return self.random.choice(ready)

        while self.acts < most:
            self.act()
            run(self.bench.tasks, choose, lambda task, event: None)
            check(self.bench.connection)

    def end(self) -> None:
        """Abort, and let everybody go."""
        self.bench.connection.abort()
        self.acts = 1 << 30
        asleep = run(self.bench.tasks, watch=lambda task, event: None)
        check(self.bench.connection)
        assert asleep == {}, "an abort leaves nobody asleep"
        connection = self.bench.connection
        assert connection.num_waiting == 0
        assert connection.background.number == connection.background.active == 0
        assert len(self.ended) == len(set(self.ended)), "an end is called once"
        assert connection.statistics() == (connection.profile.unused or 0, *[0] * 7)


def lived(world: World, acts: int) -> World:
    try:
        world.run(acts)
        world.end()
    finally:
        close(world.bench.tasks)
    return world


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32), acts=st.integers(1, 60))
def test_no_run_breaks_an_invariant(profile: Profile, seed: int, acts: int) -> None:
    lived(World(profile, Random(seed)), acts)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32), acts=st.integers(1, 80))
def test_no_run_breaks_an_invariant_of_the_wire(seed: int, acts: int) -> None:
    check_transcript(lived(World(LINUX, Random(seed), one_thread=True), acts).exchanges)


def test_the_two_profiles_do_differ() -> None:
    assert LINUX.transitions != SEED2005.transitions
    with bench(SEED2005) as made:
        assert made.connection.pool.places == 10
