"""The daemon's engine, spoken to in bytes: no descriptor, no thread."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversation import Conversation
from fusewire.daemon import (
    UTIME_NOW,
    Attributes,
    Call,
    Dirent,
    Entry,
    Filesystem,
    OpenFile,
    Request,
    Session,
    SetAttributes,
    Timeouts,
    current_request,
)
from fusewire.daemon.answers import ANSWERS
from fusewire.daemon.session import OVERTAKEN
from fusewire.errors import ProtocolError, os_error
from fusewire.wire import (
    OPERATIONS,
    FlushIn,
    ForgetIn,
    GetattrIn,
    GetxattrIn,
    InitFlags,
    InitIn,
    InterruptIn,
    IoctlIn,
    MkdirIn,
    NotifyRetrieveIn,
    OpenIn,
    Operation,
    OutHeader,
    ReadIn,
    Rename2In,
    RenameIn,
    SetattrIn,
    SetattrValid,
    SetxattrIn,
    StatxIn,
    WriteIn,
    iter_direntplus,
    iter_dirents,
    operation,
)

NOBODY = Attributes(mode=stat.S_IFREG | 0o644, size=3, uid=1, gid=2, mtime_ns=5_000_000_007)


class Recorder(Filesystem):
    """Answers everything with what a test gives it, and remembers what it was asked."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []
        self.forgotten: list[tuple[int, int]] = []
        self.destroyed = 0

    def _say(self, *asked: Any) -> Any:
        self.asked.append(asked)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        return self._say("lookup", parent, name)  # type: ignore[no-any-return]

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        return self._say("getattr", nodeid, fh)  # type: ignore[no-any-return]

    def setattr(self, request: Request, nodeid: int, changes: SetAttributes) -> Attributes:
        return self._say("setattr", nodeid, changes)  # type: ignore[no-any-return]

    def statx(self, request: Request, nodeid: int) -> Attributes:
        return self._say("statx", nodeid)  # type: ignore[no-any-return]

    def mkdir(self, request: Request, parent: int, name: str, mode: int) -> Entry:
        return self._say("mkdir", parent, name, mode, request.umask)  # type: ignore[no-any-return]

    def rename(self, request: Request, parent: int, name: str, new_parent: int, new_name: str, flags: int) -> None:
        self._say("rename", parent, name, new_parent, new_name, flags)

    def read(self, request: Request, nodeid: int, fh: int, offset: int, size: int) -> bytes:
        return self._say("read", nodeid, fh, offset, size)  # type: ignore[no-any-return]

    def write(self, request: Request, nodeid: int, fh: int, offset: int, data: memoryview) -> int | None:
        return self._say("write", nodeid, fh, offset, bytes(data))  # type: ignore[no-any-return]

    def readdir(self, request: Request, nodeid: int, fh: int, offset: int) -> Iterable[Dirent]:
        return self._say("readdir", nodeid, fh, offset)  # type: ignore[no-any-return]

    def readdirplus(self, request: Request, nodeid: int, fh: int, offset: int) -> Iterable[Dirent]:
        return self._say("readdirplus", nodeid, fh, offset)  # type: ignore[no-any-return]

    def getxattr(self, request: Request, nodeid: int, name: str) -> bytes:
        return self._say("getxattr", nodeid, name)  # type: ignore[no-any-return]

    def setxattr(self, request: Request, nodeid: int, name: str, value: memoryview, flags: int) -> None:
        self._say("setxattr", nodeid, name, bytes(value), flags)

    def listxattr(self, request: Request, nodeid: int) -> Iterable[str]:
        return self._say("listxattr", nodeid)  # type: ignore[no-any-return]

    def readlink(self, request: Request, nodeid: int) -> str:
        return self._say("readlink", nodeid)  # type: ignore[no-any-return]

    def ioctl(
        self, request: Request, nodeid: int, fh: int, cmd: int, data: memoryview, out_size: int, flags: int
    ) -> tuple[int, bytes]:
        return self._say("ioctl", nodeid, cmd)  # type: ignore[no-any-return]

    def forget(self, nodeid: int, nlookup: int) -> None:
        self.forgotten.append((nodeid, nlookup))

    def destroy(self) -> None:
        self.destroyed += 1


# --- what a method is given, and what becomes of what it returns


def test_lookup_gives_name_and_returns_entry() -> None:
    filesystem = Recorder(Entry(7, NOBODY, generation=3, timeout=2.5))
    reply = Conversation(filesystem).ask("LOOKUP", nodeid=1, names=(b"a",))
    (entry,) = reply.structs
    assert filesystem.asked == [("lookup", 1, "a")]
    assert (entry.nodeid, entry.generation, entry.entry_valid, entry.entry_valid_nsec) == (7, 3, 2, 500_000_000)
    assert (entry.attr.ino, entry.attr.mtime, entry.attr.mtimensec, entry.attr.blocks) == (7, 5, 7, 1)


NAMED = [row for row in OPERATIONS.values() if row.names and row.name != "TMPFILE"]  # whose name is of no file
BROKEN = b"\xff\xfe", b"\xc3("  # no UTF-8


@pytest.mark.parametrize("row", NAMED, ids=lambda row: row.name)
def test_names_that_are_not_utf8_reach_every_method_unharmed(row: Operation) -> None:
    asked: list[Any] = []
    method = ANSWERS[row.name].method
    filesystem = type("Asked", (Filesystem,), {method: lambda self, request, *arguments: asked.extend(arguments)})()
    body = row.body() if row.body is not None else None
    Conversation(filesystem).ask(row.name, nodeid=1, names=BROKEN[: row.names], body=body)
    assert [os.fsencode(name) for name in asked if isinstance(name, str)] == list(BROKEN[: row.names])


def test_names_that_are_not_utf8_come_back_unharmed() -> None:
    class Says(Filesystem):
        def readlink(self, request: Request, nodeid: int) -> str:
            return os.fsdecode(b"\xff")

        def readdir(self, request: Request, nodeid: int, fh: int, offset: int) -> Iterable[Dirent]:
            return [Dirent(os.fsdecode(b"\xff"), 2, stat.S_IFREG, 1)]

    kernel = Conversation(Says())
    assert bytes(kernel.ask("READLINK", nodeid=2).data) == b"\xff"
    assert [name for _, name in iter_dirents(kernel.ask("READDIR", nodeid=1, body=ReadIn(size=99)).data)] == [b"\xff"]


def test_getattr_has_an_fh_only_if_the_kernel_gives_one() -> None:
    filesystem = Recorder(NOBODY)
    kernel = Conversation(filesystem)
    kernel.ask("GETATTR", nodeid=5, body=GetattrIn(getattr_flags=0, fh=9))
    kernel.ask("GETATTR", nodeid=5, body=GetattrIn(getattr_flags=1, fh=9))
    assert filesystem.asked == [("getattr", 5, None), ("getattr", 5, 9)]


def test_setattr_names_only_what_changes() -> None:
    filesystem = Recorder(NOBODY)
    valid = SetattrValid.FATTR_MODE | SetattrValid.FATTR_ATIME | SetattrValid.FATTR_MTIME | SetattrValid.FATTR_MTIME_NOW
    body = SetattrIn(valid=valid, mode=0o100600, atime=(1 << 64) - 2, atimensec=5, mtime=77, uid=9, size=9)
    Conversation(filesystem).ask("SETATTR", nodeid=5, body=body)
    changes = filesystem.asked[0][2]
    assert changes == SetAttributes(mode=0o100600, atime_ns=-2 * 10**9 + 5, mtime_ns=UTIME_NOW)
    assert changes.resolved(42).mtime_ns == 42


def test_times_before_1970_go_both_ways() -> None:
    attributes = Attributes(mode=stat.S_IFREG, mtime_ns=-1)
    (out,) = Conversation(Recorder(attributes)).ask("GETATTR", nodeid=5, body=GetattrIn()).structs
    assert (out.attr.mtime, out.attr.mtimensec) == ((1 << 64) - 1, 999_999_999)


def test_device_numbers_are_as_makedev_makes_them() -> None:
    attributes = Attributes(mode=stat.S_IFCHR, rdev=os.makedev(259, 70_001))
    (out,) = Conversation(Recorder(attributes)).ask("GETATTR", nodeid=5, body=GetattrIn()).structs
    assert out.attr.rdev == (70_001 & 0xFF) | (259 << 8) | ((70_001 & ~0xFF) << 12)  # include/linux/kdev_t.h


def test_mkdir_is_given_a_directorys_mode_and_the_umask() -> None:
    filesystem = Recorder(Entry(7, NOBODY))
    Conversation(filesystem).ask("MKDIR", nodeid=1, names=(b"d",), body=MkdirIn(mode=0o1755, umask=0o22))
    assert filesystem.asked == [("mkdir", 1, "d", stat.S_IFDIR | 0o1755, 0o22)]


def test_both_renames_come_to_one_method() -> None:
    filesystem = Recorder()
    kernel = Conversation(filesystem)
    kernel.ask("RENAME", nodeid=1, names=(b"a", b"b"), body=RenameIn(newdir=2))
    kernel.ask("RENAME2", nodeid=1, names=(b"a", b"b"), body=Rename2In(newdir=2, flags=1))
    assert filesystem.asked == [("rename", 1, "a", 2, "b", 0), ("rename", 1, "a", 2, "b", 1)]


@pytest.mark.parametrize(("returned", "told"), [(None, 3), (2, 2)])
def test_write_tells_how_much_was_taken(returned: int | None, told: int) -> None:
    filesystem = Recorder(returned)
    reply = Conversation(filesystem).ask("WRITE", nodeid=5, body=WriteIn(fh=1, offset=10, size=3), data=b"abc")
    assert filesystem.asked == [("write", 5, 1, 10, b"abc")]
    assert reply.structs[0].size == told


def test_read_returns_any_buffer() -> None:
    for data in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
        reply = Conversation(Recorder(data)).ask("READ", nodeid=5, body=ReadIn(fh=1, offset=0, size=10))
        assert bytes(reply.data) == b"abc"


@pytest.mark.parametrize(
    ("answer", "name", "fields", "words"),
    [
        (b"abcd", "READ", {"body": ReadIn(size=3)}, "read returned 4 bytes where 3 were asked for"),
        (4, "WRITE", {"body": WriteIn(size=3), "data": b"abc"}, "write took 4 bytes where 3 were given"),
        ("x" * 4096, "READLINK", {}, "readlink returned 4096 bytes where 4095 were asked for"),
        ((0, bytes(9)), "IOCTL", {"body": IoctlIn(out_size=8)}, "ioctl returned 9 bytes where 8 were asked for"),
        ([Dirent("a/b", 2, 0, 1)], "READDIR", {"body": ReadIn(size=99)}, "'a/b' is listed, and cannot be the name"),
        ([Dirent("", 2, 0, 1)], "READDIRPLUS", {"body": ReadIn(size=999)}, "'' is listed, and cannot be the name"),
        ([Dirent("a", 2, 0, 0)], "READDIR", {"body": ReadIn(size=99)}, "after offset 0, it listed 'a' with the same"),
        ([Dirent("a", 2, 0, 7)], "READDIRPLUS", {"body": ReadIn(offset=7, size=999)}, "listed 'a' with the same"),
        (Attributes(mode=0o644), "GETATTR", {"body": GetattrIn()}, "the mode 0o644 has no type"),
        (Entry(2, Attributes(mode=0o644)), "LOOKUP", {"names": (b"a",)}, "the mode 0o644 has no type"),
        ("text", "READ", {"body": ReadIn(size=9)}, "EIO: TypeError: can't concat str to bytes; it returned 'text'"),
        (None, "LOOKUP", {"names": (b"a",)}, "; it returned None"),
    ],
)
def test_a_result_that_linux_would_refuse_is_eio_and_logged(
    answer: Any, name: str, fields: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert Conversation(Recorder(answer)).ask(name, nodeid=5, **fields).error == errno.EIO
    assert words in caplog.text


@pytest.mark.parametrize("nonsense", [None, 3, "text", object(), [1, 2]])
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("LOOKUP", {"names": (b"a",)}),
        ("GETATTR", {"body": GetattrIn()}),
        ("READ", {"body": ReadIn(size=10)}),
        ("GETXATTR", {"names": (b"user.a",), "body": GetxattrIn(size=10)}),
    ],
)
def test_a_result_of_the_wrong_type_is_eio(name: str, fields: dict[str, Any], nonsense: object) -> None:
    assert Conversation(Recorder(nonsense)).ask(name, nodeid=5, **fields).error == errno.EIO


def test_a_number_that_does_not_fit_its_field_is_eio() -> None:
    attributes = Attributes(mode=stat.S_IFREG, size=-1)
    assert Conversation(Recorder(attributes)).ask("GETATTR", nodeid=5, body=GetattrIn()).error == errno.EIO


def test_statx_tells_the_birth_time() -> None:
    attributes = Attributes(mode=stat.S_IFREG, btime_ns=3_000_000_004)
    (out,) = Conversation(Recorder(attributes)).ask("STATX", nodeid=5, body=StatxIn()).structs
    assert (out.stat.btime.tv_sec, out.stat.btime.tv_nsec, out.stat.mask) == (3, 4, 0xFFF)


# --- xattrs: sizes


def test_the_engine_answers_size_probes() -> None:
    kernel = Conversation(Recorder(b"value"))
    probe = kernel.ask("GETXATTR", nodeid=5, names=(b"user.a",), body=GetxattrIn(size=0))
    assert probe.structs[0].size == 5
    assert bytes(kernel.ask("GETXATTR", nodeid=5, names=(b"user.a",), body=GetxattrIn(size=5)).data) == b"value"
    assert kernel.ask("GETXATTR", nodeid=5, names=(b"user.a",), body=GetxattrIn(size=4)).error == errno.ERANGE


def test_names_of_xattrs_end_in_nul() -> None:
    kernel = Conversation(Recorder(["user.a", "user.\udcff"]))
    reply = kernel.ask("LISTXATTR", nodeid=5, body=GetxattrIn(size=100))
    assert bytes(reply.data) == b"user.a\0user.\xff\0"


@pytest.mark.parametrize("offered", [0, InitFlags.FUSE_SETXATTR_EXT])
def test_setxattr_of_either_size(offered: int) -> None:
    filesystem = Recorder()
    kernel = Conversation(filesystem, offered=offered)
    kernel.ask("SETXATTR", nodeid=5, names=(b"user.a",), body=SetxattrIn(size=3, flags=1), data=b"abc")
    assert filesystem.asked == [("setxattr", 5, "user.a", b"abc", 1)]


# --- listings


def dirents(count: int, entry: Entry | None = None) -> list[Dirent]:
    return [Dirent(f"file-{number}", number + 2, stat.S_IFREG, number + 1, entry) for number in range(count)]


def test_a_listing_takes_what_fits() -> None:
    reply = Conversation(Recorder(dirents(100))).ask("READDIR", nodeid=1, body=ReadIn(size=200))
    names = [name for _, name in iter_dirents(reply.data)]
    assert names == [f"file-{number}".encode() for number in range(6)]  # 32 bytes each
    assert len(reply.data) <= 200


def test_the_lookup_of_a_name_that_does_not_fit_is_given_back() -> None:
    filesystem = Recorder(dirents(3, Entry(9, NOBODY)))
    reply = Conversation(filesystem).ask("READDIRPLUS", nodeid=1, body=ReadIn(size=350))
    assert len(list(iter_direntplus(reply.data))) == 2
    assert filesystem.forgotten == [(9, 1)]


# --- names that are not there


def test_enoent_is_not_remembered_unless_asked_for() -> None:
    assert Conversation(Recorder(os_error(errno.ENOENT))).ask("LOOKUP", nodeid=1, names=(b"a",)).error == errno.ENOENT


def test_negative_timeout_makes_enoent_an_entry_of_nothing() -> None:
    kernel = Conversation(Recorder(os_error(errno.ENOENT)), timeouts=Timeouts(negative_timeout=1.5))
    (entry,) = kernel.ask("LOOKUP", nodeid=1, names=(b"a",)).structs
    assert (entry.nodeid, entry.entry_valid, entry.entry_valid_nsec) == (0, 1, 500_000_000)


def test_a_mounts_option_wins_over_what_a_value_says() -> None:
    entry = Entry(7, Attributes(mode=stat.S_IFREG, timeout=30), timeout=30)
    kernel = Conversation(Recorder(entry), timeouts=Timeouts(entry_timeout=0, attr_timeout=0))
    (out,) = kernel.ask("LOOKUP", nodeid=1, names=(b"a",)).structs
    assert (out.entry_valid, out.attr_valid) == (0, 0)


def test_a_timeout_may_be_forever() -> None:
    kernel = Conversation(Recorder(Entry(7, NOBODY, timeout=float("inf"))))
    (out,) = kernel.ask("LOOKUP", nodeid=1, names=(b"a",)).structs
    assert out.entry_valid == (1 << 63) - 1


# --- errors


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (os_error(errno.EDQUOT), errno.EDQUOT),
        (FileNotFoundError(), errno.ENOENT),
        (FileExistsError("taken"), errno.EEXIST),
        (TimeoutError(), errno.ETIMEDOUT),
        (asyncio.CancelledError(), errno.EIO),  # nobody interrupted it
        (OSError(), errno.EIO),
        (OSError(-2, "negative"), errno.EIO),
        (OSError(4095, "huge"), errno.EIO),
        (KeyError("oops"), errno.EIO),
        (MemoryError(), errno.ENOMEM),
        (SystemExit(3), errno.EIO),
    ],
)
def test_an_exception_becomes_its_errno(raised: BaseException, told: int) -> None:
    kernel = Conversation(Recorder(raised))
    assert kernel.ask("GETATTR", nodeid=5, body=GetattrIn()).error == told
    assert not kernel.session.calls


def test_what_is_no_oserror_is_logged_with_its_request(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        Conversation(Recorder(KeyError("oops"))).ask("GETATTR", nodeid=5, uid=12, pid=34, body=GetattrIn())
    for part in ("GETATTR", "nodeid 5", "pid 34", "uid 12", "oops", "Traceback"):
        assert part in caplog.text


def test_an_oserror_is_nobodys_business_but_the_callers(caplog: pytest.LogCaptureFixture) -> None:
    kernel = Conversation(Recorder(os_error(errno.EACCES)))
    kernel.ask("GETATTR", nodeid=5, body=GetattrIn())
    assert not caplog.text
    assert kernel.session.failure is None


def test_absent_methods_answer_as_their_table_says() -> None:
    kernel = Conversation(Filesystem())
    assert kernel.ask("LOOKUP", nodeid=1, names=(b"a",)).error == errno.ENOENT
    assert kernel.ask("UNLINK", nodeid=1, names=(b"a",)).error == errno.EPERM
    assert kernel.ask("FLUSH", nodeid=1, body=FlushIn()).error == errno.ENOSYS
    opened = kernel.ask("OPEN", nodeid=1, body=OpenIn())
    assert (opened.error, opened.structs[0].fh) == (0, 0)
    assert kernel.ask("STATFS", nodeid=1).structs[0].st.namelen == 255
    assert bytes(kernel.ask("READDIR", nodeid=1, body=ReadIn(size=100)).data) == b""


@pytest.mark.parametrize("name", ANSWERS)
def test_an_absent_method_costs_no_call(name: str) -> None:
    row = operation(name)
    body = row.body() if row.body is not None else None
    reply = Conversation(Filesystem()).ask(name, nodeid=1, names=(b"a", b"b")[: row.names], body=body)
    assert reply.error == ANSWERS[name].absent


def test_an_operation_that_nobody_knows_is_enosys() -> None:
    message = bytearray(Conversation(Filesystem()).message("GETATTR", 8, nodeid=1, body=GetattrIn()))
    message[4:8] = (4000).to_bytes(4, "little")
    (reply,) = Session(Filesystem()).receive(bytes(message))  # type: ignore[misc]
    assert int.from_bytes(bytes(reply)[4:8], "little", signed=True) == -errno.ENOSYS


def test_what_the_kernel_says_of_its_own_accord_gets_no_reply() -> None:
    kernel = Conversation(Filesystem())
    message = kernel.message("NOTIFY_REPLY", 0, nodeid=2, body=NotifyRetrieveIn(0, 3), data=b"abc")
    assert kernel.session.receive(message) is None


# --- forgets, destroy


def test_forgets_come_one_by_one_and_get_no_reply() -> None:
    filesystem = Recorder()
    kernel = Conversation(filesystem)
    call = kernel.send("FORGET", nodeid=7, body=ForgetIn(nlookup=3))
    assert isinstance(call, Call)
    assert kernel.finish(call) is None
    assert filesystem.forgotten == [(7, 3)]


def test_destroy_is_called_once() -> None:
    filesystem = Recorder()
    kernel = Conversation(filesystem)
    kernel.ask("DESTROY")
    kernel.session.destroy()
    assert filesystem.destroyed == 1


def test_what_never_began_is_not_destroyed() -> None:
    filesystem = Recorder()
    Session(filesystem).destroy()
    assert filesystem.destroyed == 0


# --- interrupts


def test_an_interrupt_reaches_its_request() -> None:
    kernel = Conversation(Recorder(NOBODY))
    call = kernel.send("GETATTR", 100, nodeid=5, body=GetattrIn())
    heard: list[str] = []
    call.request.on_interrupt(lambda: heard.append("before"))
    assert kernel.send("INTERRUPT", 101, body=InterruptIn(unique=100)) is None
    call.request.on_interrupt(lambda: heard.append("after"))
    assert call.request.interrupted
    assert heard == ["before", "after"]


def test_an_interrupt_may_overtake_its_request() -> None:
    kernel = Conversation(Recorder(NOBODY))
    kernel.send("INTERRUPT", 101, body=InterruptIn(unique=100))
    assert kernel.send("GETATTR", 100, nodeid=5, body=GetattrIn()).request.interrupted
    assert not kernel.send("GETATTR", 102, nodeid=5, body=GetattrIn()).request.interrupted


def test_interrupts_that_come_too_late_do_not_pile_up() -> None:
    kernel = Conversation(Recorder(NOBODY))
    for number in range(3 * OVERTAKEN):
        kernel.send("INTERRUPT", 2 * number + 1, body=InterruptIn(unique=2 * number))
    assert len(kernel.session._overtaken) <= OVERTAKEN + 1
    assert kernel.ask("GETATTR", nodeid=5, body=GetattrIn()).error == 0


def test_the_current_request_is_known_below_a_method() -> None:
    class Asks(Filesystem):
        async def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
            await asyncio.sleep(0)
            assert current_request() is request
            return NOBODY

    assert Conversation(Asks()).ask("GETATTR", nodeid=1, body=GetattrIn()).error == 0
    with pytest.raises(LookupError, match="no request is being carried out here"):
        current_request()


# --- INIT


def test_init_takes_nothing_that_is_not_offered() -> None:
    (reply,) = Conversation(Recorder(), offered=InitFlags.FUSE_ASYNC_READ).init.structs
    assert reply.flags == InitFlags.FUSE_ASYNC_READ | InitFlags.FUSE_INIT_EXT
    assert (reply.flags2, reply.max_write) == (0, 32 * 4096)


def test_init_says_how_much_may_come_at_once_and_how_exact_times_are() -> None:
    (reply,) = Conversation(Recorder()).init.structs  # which offers a readahead of 128 KiB
    assert (reply.max_write, reply.max_pages, reply.max_readahead) == (1 << 20, 256, 131072)
    assert (reply.max_background, reply.congestion_threshold, reply.time_gran) == (64, 48, 1)


def test_init_takes_what_the_methods_are_there_for() -> None:
    everything = Conversation(Recorder()).session.agreement
    nothing = Conversation(Filesystem()).session.agreement
    assert everything is not None
    assert nothing is not None
    assert everything.flags & InitFlags.FUSE_DO_READDIRPLUS
    assert not nothing.flags & (InitFlags.FUSE_DO_READDIRPLUS | InitFlags.FUSE_POSIX_LOCKS)


@pytest.mark.parametrize(("minor", "size"), [(12, 24), (22, 24), (23, 64), (45, 64)])
def test_an_older_kernel_is_answered_in_its_own_size(minor: int, size: int) -> None:
    """It refuses a longer one, and then every request with ECONNREFUSED."""
    kernel = Conversation(Filesystem(), minor=minor)
    (reply,) = Session(Filesystem()).receive(kernel.message("INIT", 2, body=init_in(minor=minor)))  # type: ignore[misc]
    assert len(reply) == OutHeader.SIZE + size


def test_init_comes_once() -> None:
    kernel = Conversation(Filesystem())
    agreed = kernel.session.agreement
    (reply,) = kernel.send("INIT", body=init_in(minor=31))
    assert kernel.decode("INIT", [reply]).error == errno.ENOSYS
    assert kernel.session.agreement is agreed


def test_a_kernel_of_a_later_major_is_told_ours() -> None:
    kernel = Conversation(Filesystem())
    fresh = Session(Filesystem())
    message = bytearray(kernel.message("INIT", 2, body=init_in(major=8)))
    (reply,) = fresh.receive(bytes(message))  # type: ignore[misc]
    assert kernel.decode("INIT", [reply]).structs[0].major == 7
    assert fresh.agreement is None


def test_a_kernel_too_old_is_refused() -> None:
    kernel = Conversation(Filesystem())
    with pytest.raises(OSError, match=os.strerror(errno.EPROTO)):
        Session(Filesystem()).receive(kernel.message("INIT", 2, body=init_in(minor=8)))


def init_in(major: int = 7, minor: int = 45) -> InitIn:
    return InitIn(major=major, minor=minor)


# --- nonsense


def test_a_message_without_a_header_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        Session(Filesystem()).receive(b"short")


@given(st.binary(max_size=200), st.sampled_from(sorted(OPERATIONS)), st.binary(max_size=120))
def test_no_message_makes_the_engine_raise_anything_else(garbage: bytes, code: int, body: bytes) -> None:
    header = (40 + len(body)).to_bytes(4, "little") + code.to_bytes(4, "little") + (8).to_bytes(8, "little") + bytes(24)
    kernel = Conversation(Recorder(os_error(errno.EIO)))
    for message in (garbage, header + body):
        try:
            outcome = kernel.session.receive(message)
        except (ProtocolError, OSError):
            continue
        if isinstance(outcome, Call):
            kernel.finish(outcome)
    assert not kernel.session.calls


def test_open_flags_are_put_as_bits() -> None:
    class Opens(Filesystem):
        def open(self, request: Request, nodeid: int, flags: int) -> OpenFile:
            return OpenFile(5, direct_io=True, nonseekable=True, noflush=True)

    (opened,) = Conversation(Opens()).ask("OPEN", nodeid=1, body=OpenIn()).structs
    assert (opened.fh, opened.open_flags) == (5, 1 | 4 | 32)
