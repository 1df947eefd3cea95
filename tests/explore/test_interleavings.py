"""Users' own filesystems, explored: what is wrong is found, and what is right is not complained of."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import itertools
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fusewire
from documents import blocks
from fusewire import Attributes, Entry, Filesystem, Request
from fusewire.explore import check_interleavings, interleavings
from fusewire.kernel import Process
from fusewire.mounting.options import MountOptionError
from notes import Folder, Note

CHECKOUT = Path(__file__).resolve().parents[2]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def folder() -> Folder:
    return Folder(a=Note())


async def rm(process: Process) -> None:
    await process.unlink("/a")


async def lists(process: Process) -> None:
    await process.listdir("/")


# --- a notification under the lock that it waits for


def test_a_notification_before_the_answer_is_found_with_the_shortest_diagram() -> None:
    sidecars = example("sidecars")
    report = interleavings(sidecars.Hasty, [sidecars.rm], before=sidecars.touch)
    (found,) = report.deadlocks
    assert report.found == [found]
    assert found.names == (
        *("rm", "req->waitq"),
        *("daemon (UNLINK)", "what it awaits"),
        *("call of daemon (UNLINK)", 'inode semaphore for "/"'),
    )
    assert "call of daemon (UNLINK) waits for the inode semaphore" in " ".join(str(report).split())
    drawn = report.replay(found.schedule)
    assert "[perform unlink]" in drawn
    assert drawn.count("*DEADLOCK*") == 1
    assert drawn in str(report)
    assert max(map(len, str(report).splitlines())) <= 80


def test_the_documents_show_what_is_drawn() -> None:
    sidecars = example("sidecars")
    report = str(interleavings(sidecars.Hasty, [sidecars.rm], before=sidecars.touch))
    shown = [block.code for block in blocks("") if block.document.name == "explore.md"]
    assert len(shown) == 2
    assert all(code.strip("\n") in report for code in shown)
    cured = interleavings(sidecars.Sidecars, [sidecars.rm], before=sidecars.touch)
    assert f"of {cured.interleavings} interleavings none is wrong" in (CHECKOUT / "docs" / "explore.md").read_text()


def test_after_the_answer_nothing_is_wrong() -> None:
    sidecars = example("sidecars")

    async def gone(process: Process, filesystem: Any) -> None:
        assert await process.listdir("/") == []
        for name in ("/photo.jpg", "/photo.jpg.xmp"):
            with pytest.raises(FileNotFoundError):
                await process.stat(name)

    report = check_interleavings(sidecars.Sidecars, [sidecars.rm], before=sidecars.touch, after=gone)
    assert report.complete
    assert report.interleavings is not None
    assert report.interleavings > 20


def test_in_a_plain_method_it_is_found_too() -> None:
    class Hasty(Folder):
        def unlink(self, name: str) -> None:
            super().unlink(name)
            fusewire.current_request().notify_now.inval_entry(self, name)

    (found,) = interleavings(lambda: Hasty(a=Note()), [rm]).found
    assert "the filesystem raised Deadlock" in found.words
    assert 'daemon sleeps on inode semaphore for "/"' in found.words


# --- races


class OneOwner(Note):
    """May be open once at a time; asks a store, which takes a while, before it notes who has it."""

    def __init__(self) -> None:
        super().__init__()
        self.owners = 0
        self.lock: Any = None

    async def open(self, flags: int) -> fusewire.Handle:
        if self.owners:
            raise BlockingIOError(errno.EAGAIN, "somebody has it open")
        await asyncio.sleep(0)
        self.owners += 1
        return self


class Locked(OneOwner):
    """The same, cured by a lock."""

    async def open(self, flags: int) -> fusewire.Handle:
        self.lock = self.lock or asyncio.Lock()
        async with self.lock:
            return await super().open(flags)


async def opens(process: Process, root: Folder) -> None:
    try:
        await process.open("/file", os.O_RDONLY)
    except BlockingIOError:
        return
    file = root.children["file"]
    assert isinstance(file, OneOwner)
    assert file.owners == 1, f"{file.owners} have it open"


async def looked_up(process: Process) -> None:
    await process.stat("/file")


def owned_by_one(kind: type[OneOwner], **options: Any) -> Any:
    return interleavings(
        lambda: Folder(file=kind()), [opens, opens], before=looked_up, attr_timeout=1e6, entry_timeout=1e6, **options
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_a_check_that_an_await_makes_stale_is_found_by_an_assertion(threads: int) -> None:
    report = owned_by_one(OneOwner, threads=threads)
    assert report.found
    assert "opens 2 raised AssertionError: 2 have it open" in report.found[0].words or (
        "opens raised AssertionError: 2 have it open" in report.found[0].words
    )
    assert "line" in report.found[0].words
    assert report.replay(report.found[0].schedule) == report.replay()
    assert "2 have it open" in report.replay()


def test_with_a_lock_it_is_gone() -> None:
    report = owned_by_one(Locked, preemptions=0)
    report.check()
    assert report.complete


def test_the_same_is_found_whether_states_are_gone_into_twice_or_not() -> None:
    def words(**options: Any) -> set[str]:
        return {found.words for found in owned_by_one(OneOwner, preemptions=0, **options).found}

    assert words(prune=True) == words(prune=False) != set()


class Slow(Folder):
    """Asks a store before it removes a file."""

    async def unlink(self, name: str) -> None:  # type: ignore[override]
        await asyncio.sleep(1)
        super().unlink(name)


class Patient(Folder):
    """Asks two of them, for a while, and one removal at a time."""

    def __init__(self, **children: fusewire.Node) -> None:
        super().__init__(**children)
        self.lock = asyncio.Lock()

    async def unlink(self, name: str) -> None:  # type: ignore[override]
        async with self.lock, asyncio.timeout(4):
            await asyncio.gather(asyncio.sleep(1), asyncio.sleep(0))
        super().unlink(name)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Slow, {"preemptions": 0, "threads": 2, "moments": ["abort"]}),
        (Slow, {"preemptions": 0, "moments": ["kill rm"]}),
        (Patient, {"preemptions": 1}),
    ],
    ids=["abort", "kill", "asyncio"],
)
def test_as_many_runs_are_counted_as_are_made_if_no_state_is_cut(kind: type[Folder], options: dict[str, Any]) -> None:
    async def may_rm(process: Process) -> None:
        try:
            await process.unlink("/a")
        except TimeoutError:
            pass

    def interleavings_of(prune: bool) -> int | None:
        report = check_interleavings(lambda: kind(a=Note()), {"rm": may_rm}, before=looks, prune=prune, **options)
        assert bool(report.states) is prune
        return report.interleavings

    async def looks(process: Process) -> None:
        await process.stat("/a")

    assert interleavings_of(prune=True) == interleavings_of(prune=False)


# --- what is wrong


def test_an_error_that_a_program_lets_out_is_wrong() -> None:
    (found,) = interleavings(folder, {"first": rm, "second": rm}, preemptions=0, seconds=0.05).found[:1]
    assert "raised FileNotFoundError" in found.words
    assert 'await process.unlink("/a")' in found.words


def test_an_error_that_a_program_expects_is_not() -> None:
    async def may_rm(process: Process) -> None:
        try:
            await process.unlink("/a")
        except FileNotFoundError:
            pass

    assert check_interleavings(folder, [may_rm, may_rm], preemptions=0).found == []


def test_what_a_method_raises_by_mistake_is_wrong() -> None:
    class Mistaken(Folder):
        def unlink(self, name: str) -> None:
            raise KeyError(name)

    (found,) = interleavings(lambda: Mistaken(a=Note()), [rm]).found
    assert found.words.startswith("the filesystem raised KeyError: 'a', at unlink, line ")
    report = interleavings(lambda: Mistaken(a=Note()), [rm])
    assert report.failures == [found]
    assert "\n\nFailure, after " in str(report)


def test_a_program_that_never_ends_is_wrong() -> None:
    class Never(Folder):
        async def unlink(self, name: str) -> None:  # type: ignore[override]
            await asyncio.Event().wait()

    (found,) = interleavings(lambda: Never(a=Note()), [rm]).found
    assert found.words == (
        "rm never ends: rm waits for the answer to UNLINK, which daemon (UNLINK) owes, and daemon (UNLINK) waits for "
        "something of asyncio that never comes"
    )


def test_a_program_that_waits_in_a_loop_is_wrong() -> None:
    async def polls(process: Process) -> None:
        while True:
            await process.stat("/a")

    report = interleavings(folder, [polls], prune=False, attr_timeout=1e6, entry_timeout=1e6)
    assert report.found[0].words == "after 3,000 steps the run has not ended: does somebody wait in a loop?"
    assert "lines are left out" in str(report)
    assert len(str(report).splitlines()) < 200


def test_what_a_last_look_finds_is_wrong() -> None:
    async def is_there(process: Process) -> None:
        assert await process.listdir("/") == ["a"], "it has gone"

    (found,) = interleavings(folder, [rm], after=is_there).found
    assert found.words.startswith("after raised AssertionError: it has gone")
    assert "it has gone" in interleavings(folder, [rm], after=is_there).replay()


def test_the_check_raises_the_report() -> None:
    async def fails(process: Process) -> None:
        raise AssertionError("on purpose")

    with pytest.raises(AssertionError, match=r"(?s)on purpose.*schedule: .*FUSE filesystem daemon"):
        check_interleavings(folder, [fails])


def test_the_check_raises_if_there_was_no_time() -> None:
    with pytest.raises(AssertionError, match=r"(?s)Stopped before the end.*Give it more `seconds`"):
        check_interleavings(folder, [rm, lists], seconds=0.0)


# --- what can be explored


class Raw(Filesystem):
    """One file, by nodeids."""

    def lookup(self, request: Request, parent: int, name: str) -> Entry:
        return Entry(2, Attributes(mode=stat.S_IFREG | 0o644))

    def getattr(self, request: Request, nodeid: int, fh: int | None) -> Attributes:
        return Attributes(mode=(stat.S_IFREG if nodeid == 2 else stat.S_IFDIR) | 0o755)

    async def unlink(self, request: Request, parent: int, name: str) -> None:
        await asyncio.sleep(1)


@pytest.mark.parametrize("make", [Raw, lambda: {"a": b"hi"}], ids=["nodeids", "dict"])
def test_all_that_can_be_mounted_can_be_explored(make: Callable[[], Any]) -> None:
    async def stat_it(process: Process) -> None:
        assert (await process.stat("/a")).st_ino

    assert check_interleavings(make, [stat_it]).found == []


def outcomes(method: Callable[[], Any], **options: Any) -> set[str]:
    """What a method of asyncio's makes of itself, in all orders."""
    seen: set[str] = set()

    class Asks(Folder):
        async def unlink(self, name: str) -> None:  # type: ignore[override]
            seen.add(await method())

    check_interleavings(lambda: Asks(a=Note()), [rm], prune=False, preemptions=0, **options)
    return seen


async def gathered() -> str:
    return "".join(await asyncio.gather(*(asyncio.sleep(delay, str(delay)) for delay in (2, 1))))


async def in_a_group() -> str:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.sleep(delay, str(delay))) for delay in (2, 1)]
    return "".join(task.result() for task in tasks)


async def queued() -> str:
    queue: asyncio.Queue[str] = asyncio.Queue()
    asyncio.get_running_loop().call_later(1, queue.put_nowait, "late")
    return await queue.get()


async def timed_out() -> str:
    try:
        async with asyncio.timeout(1):
            await asyncio.sleep(2)
    except TimeoutError:
        return "timeout"
    return "slept"


@pytest.mark.parametrize(
    ("method", "expected"), [(gathered, "21"), (in_a_group, "21"), (queued, "late"), (timed_out, "timeout")]
)
def test_methods_may_await_asyncio(method: Callable[[], Any], expected: str) -> None:
    assert outcomes(method) == {expected}


def test_a_timer_may_go_off_before_what_is_not_ready_yet() -> None:
    async def logged() -> str:
        loop, log = asyncio.get_running_loop(), list[str]()

        def first() -> None:
            log.append("first")
            loop.call_soon(log.append, "second")

        loop.call_soon(first)
        loop.call_later(1, log.append, "timer")
        await asyncio.sleep(2)
        return " ".join(log)

    assert outcomes(logged) == {"first timer second", "first second timer"}


def test_a_timeout_may_come_before_the_daemon_does_what_it_waits_for() -> None:
    seen = set()

    class Slow(Folder):
        async def unlink(self, name: str) -> None:  # type: ignore[override]
            try:
                async with asyncio.timeout(3600):
                    await self.event().wait()
                seen.add("in time")
            except TimeoutError:
                seen.add("too late")

        async def mkdir(self, name: str, mode: int) -> Folder:  # type: ignore[override]
            self.event().set()
            return Folder()

        def event(self) -> asyncio.Event:
            self.made = getattr(self, "made", None) or asyncio.Event()
            return self.made

    async def mkdir(process: Process) -> None:
        await process.mkdir("/sub/x")

    async def before(process: Process) -> None:
        await process.stat("/sub/a")

    def make() -> Folder:
        slow = Slow(a=Note())
        sub = Slow()
        sub.event = slow.event  # type: ignore[method-assign]
        slow.children["sub"] = sub
        return slow

    async def warm(process: Process) -> None:
        await process.stat("/a")
        await process.stat("/sub")

    check_interleavings(make, [rm, mkdir], before=warm, preemptions=0, attr_timeout=1e6, entry_timeout=1e6)
    assert seen == {"in time", "too late"}


def test_what_comes_from_outside_is_refused() -> None:
    class Outside(Folder):
        async def unlink(self, name: str) -> None:  # type: ignore[override]
            await asyncio.to_thread(print)

    (found,) = interleavings(lambda: Outside(a=Note()), [rm]).found
    assert "awaits nothing from outside, as by `run_in_executor`" in found.words


def test_a_method_may_use_its_own_mount_as_long_as_a_reader_is_free() -> None:
    class Uses(Folder):
        process: Process

        async def unlink(self, name: str) -> None:  # type: ignore[override]
            await self.process.mkdir(f"/other/{name}")

    async def before(process: Process, root: Uses) -> None:
        root.process = process
        await process.stat("/other")

    async def after(process: Process) -> None:
        assert await process.listdir("/other") == ["a"]

    check_interleavings(lambda: Uses(a=Note(), other=Folder()), [rm], before=before, after=after, preemptions=0)


def test_one_that_uses_the_directory_that_is_locked_for_it_deadlocks() -> None:
    class Uses(Folder):
        process: Process

        async def unlink(self, name: str) -> None:  # type: ignore[override]
            await self.process.mkdir(f"/{name}.old")

    async def before(process: Process, root: Uses) -> None:
        root.process = process

    (found,) = interleavings(lambda: Uses(a=Note()), [rm], before=before, preemptions=0).found
    assert found.names[-1] == 'inode semaphore for "/"'


def test_others_may_go_on_between_two_calls_that_ask_nobody() -> None:
    seen = set()

    async def looks_twice(process: Process) -> None:
        found = []
        for _ in range(2):
            try:
                await process.stat("/a")
                found.append("there")
            except FileNotFoundError:
                found.append("gone")
        seen.add(" ".join(found))

    async def warm(process: Process) -> None:
        await process.stat("/a")

    check_interleavings(folder, [looks_twice, rm], before=warm, preemptions=1, attr_timeout=1e6, entry_timeout=1e6)
    assert seen == {"there there", "there gone", "gone gone"}


def test_what_may_come_at_any_moment_excuses_errors() -> None:
    report = check_interleavings(folder, [rm], moments=["abort", "kill rm"], preemptions=0)
    assert report.interleavings is not None
    assert report.interleavings > 20


def test_a_signal_cancels_a_method_that_awaits_or_comes_too_late() -> None:
    seen = set()

    class Told(Folder):
        async def unlink(self, name: str) -> None:  # type: ignore[override]
            try:
                await asyncio.sleep(5)
                seen.add("slept")
            except asyncio.CancelledError:
                seen.add("cancelled")
                raise

    check_interleavings(lambda: Told(a=Note()), [rm], moments=["interrupt rm"], preemptions=0)
    assert seen == {"slept", "cancelled"}


def test_the_same_deadlock_is_found_at_every_step() -> None:
    sidecars = example("sidecars")
    coarse, fine = (
        interleavings(sidecars.Hasty, [sidecars.rm], before=sidecars.touch, every_step=every_step, preemptions=0)
        for every_step in (False, True)
    )
    assert [found.names for found in fine.found] == [found.names for found in coarse.found]


def test_every_step_of_the_kernels_end_is_finer() -> None:
    coarse = check_interleavings(folder, [rm], preemptions=0)
    fine = check_interleavings(folder, [rm], preemptions=0, every_step=True)
    assert fine.states > coarse.states


# --- wrong use


def test_what_is_the_same_in_each_run_is_refused() -> None:
    root = folder()
    for same in (root, {"a": b"hi"}, Raw(), "no filesystem"):
        with pytest.raises(TypeError, match="would be the same in each run: give its class, or a function"):
            interleavings(same, [rm])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="made the same filesystem twice: each run needs its own"):
        interleavings(lambda: root, [rm])


def test_programs_are_coroutine_functions() -> None:
    def plain(process: Process) -> None:
        pass

    async def of_nothing() -> None:
        pass

    wrong: list[Any] = [plain, of_nothing]
    for program in wrong:
        with pytest.raises(TypeError, match=r"must be `async def \w+\(process\)`, and await the calls"):
            interleavings(folder, [program])
    with pytest.raises(ValueError, match="is what the daemon's end is called"):
        interleavings(folder, {"daemon": rm})
    nothing: list[Any] = [[], {}, rm]
    for none in nothing:
        with pytest.raises(ValueError, match="programs are a list of at least one"):
            interleavings(folder, none)


def test_a_filesystem_that_is_not_the_same_each_time_is_refused() -> None:
    count = itertools.count()

    def different() -> Folder:
        return Folder(**{"a": Note()} if next(count) % 2 else {})

    with pytest.raises(ValueError, match="two runs in the same order were not the same"):
        interleavings(different, [rm])


def test_what_is_wrong_before_the_programs_begin_is_said() -> None:
    async def before(process: Process) -> None:
        await process.unlink("/b")

    with pytest.raises(AssertionError, match="before raised FileNotFoundError"):
        interleavings(folder, [rm], before=before)


def test_a_schedule_that_is_none_is_refused() -> None:
    report = check_interleavings(folder, [rm], preemptions=0)
    with pytest.raises(ValueError, match="are no steps"):
        report.replay("17")
    with pytest.raises(ValueError, match="who is not there"):
        report.replay("z")
    assert "<sys_unlink()" in report.replay()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threads": 0}, "there are 1 to 9"),
        ({"preemptions": -1}, "there are 0 or more"),
        ({"profile": "bsd"}, "there are 'linux', 'seed2005'"),
        ({"moments": ["explode"]}, "Nothing is called 'explode'"),
        ({"moments": ["kill nobody"]}, "There is no task 'nobody' here, only rm, daemon"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        interleavings(folder, [rm], **options)


def test_a_program_awaits_its_process_alone() -> None:
    async def sleeps(process: Process) -> None:
        await asyncio.sleep(1)

    (found,) = interleavings(folder, [sleeps]).found
    assert "a program awaits the calls of its process, and nothing else" in found.words
    assert found.words.endswith("await asyncio.sleep(1)")


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(MountOptionError, match="no_such"):
        interleavings(folder, [rm], no_such=1)
