"""The two deadlocks of kernel.txt on the kernel that runs here: they come about, are drawn, and end."""

from __future__ import annotations

import functools
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import pytest

from fusewire.diagrams.recording import Moment, Recording
from fusewire.diagrams.text import render
from fusewire.events import Step
from fusewire.explain.explanation import Options
from fusewire.explain.real import DETAIL, NAMES, CannotStage, run
from fusewire.watch.tracefs import NoTracing, Tracing
from ordinary_user import python_as_user, run_as_user
from own_run import read_process, served_by

Drawn = tuple[str, str]  # a task, and what it does

# What kernel.txt draws, but for the functions of 2005 that Linux does without (request_wait, get request from
# fc->unused_list), and for the wait of scenario 2: for the page now, not for the request.
SIMPLE: Sequence[Drawn] = (
    ("daemon", ">sys_read()"),
    ("daemon", ">fuse_dev_read()"),
    ("daemon", "[sleep on fc->waitq]"),
    ("rm", ">sys_unlink()"),
    ("rm", "[acquire inode semaphore]"),
    ("rm", ">fuse_unlink()"),
    ("rm", ">request_send()"),
    ("rm", "[queue req on fc->pending]"),
    ("rm", ">request_wait_answer()"),
    ("rm", "[sleep on req->waitq]"),
    ("daemon", "[remove req from fc->pending]"),
    ("daemon", "[copy req to read buffer]"),
    ("daemon", "[add req to fc->processing]"),
    ("daemon", "<fuse_dev_read()"),
    ("daemon", "<sys_read()"),
    ("daemon", ">sys_unlink()"),
    ("daemon", "[acquire inode semaphore]"),
)
TRICKY: Sequence[Drawn] = (
    ("thread 1", '[fd = open("/mnt/fuse/file")]'),
    ("thread 2", "[request served normally]"),
    ("thread 1", "[mmap fd to 'addr']"),
    ("thread 1", "[close fd]"),
    ("thread 2", "[FLUSH triggers 'magic' flag]"),
    ("thread 1", "[read a byte from addr]"),
    ("thread 1", ">do_page_fault()"),
    ("thread 1", "[find or create page]"),
    ("thread 1", "[lock page]"),
    ("thread 1", ">fuse_readpage()"),
    ("thread 1", "[queue req on fc->pending]"),
    ("thread 2", "<sys_read()"),
    ("thread 2", "[create reply header before addr]"),
    ("thread 2", ">sys_write()"),
    ("thread 2", ">fuse_dev_write()"),
    ("thread 2", "[look up req in fc->processing]"),
    ("thread 2", "[remove from fc->processing]"),
    ("thread 2", ">do_page_fault()"),
    ("thread 2", "[find or create page]"),
    ("thread 2", "[lock page]"),
)


SIMPLE_OF_THREE = Options(threads=3, path="/mnt/other place/thing", uid=1234)


def recording(name: str, threads: int = 1) -> Recording:
    """Each is run once."""
    return recording_of(name, SIMPLE_OF_THREE if (name, threads) == (NAMES[0], 3) else Options(threads=threads))


@functools.cache
def recording_of(name: str, options: Options) -> Recording:
    return run(name, options)


@functools.cache
def why_no_tracing() -> str:
    try:
        with Tracing() as tracing:
            tracing.enable("fuse/fuse_request_send")
    except NoTracing as error:
        return str(error)
    return ""


@pytest.fixture
def traced() -> None:
    """The test is about what Linux's tracepoints tell."""
    if why_no_tracing():
        pytest.skip(why_no_tracing())


def drawn(moments: Iterable[Moment]) -> list[Drawn]:
    return [(moment.task, moment.event.text) for moment in moments]


def until_the_deadlock(found: Recording) -> list[Moment]:
    """Return the moments before the remark that says so."""
    moments = []
    for entry in found.entries:
        if isinstance(entry, Moment):
            moments.append(entry)
        elif entry.kind == "deadlock":
            return moments
    raise AssertionError("there is no deadlock")


def said(found: Recording) -> str:
    return "\n".join(remark.text for remark in found.remarks)


def comes_in_order(wanted: Sequence[Drawn], found: Sequence[Drawn]) -> Drawn | None:
    """Return the first of `wanted` that does not come after the others; None if all do."""
    rest = iter(found)
    return next((each for each in wanted if each not in rest), None)


@pytest.mark.parametrize(("name", "seed"), [("simple-deadlock", SIMPLE), ("tricky-deadlock", TRICKY)])
def test_the_steps_of_kernel_txt_come_in_its_order(name: str, seed: Sequence[Drawn], traced: None) -> None:
    assert comes_in_order(seed, drawn(until_the_deadlock(recording(name)))) is None


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_most_is_seen_and_what_is_not_is_counted(name: str, threads: int, traced: None) -> None:
    found = recording(name, threads)
    seen = sum(moment.certain for moment in found.moments)
    inferred = sum(not moment.certain for moment in found.moments)
    assert f"Of {seen + inferred} steps {seen} were seen" in said(found)
    assert f"{inferred} are inferred" in said(found)
    assert seen > 1.5 * inferred
    assert found.observed


@pytest.mark.parametrize("name", NAMES)
def test_what_linux_tells_of_itself_is_certain(name: str, traced: None) -> None:
    told = [moment for moment in recording(name).moments if moment.event.step in (Step.QUEUE, Step.SLEEP, Step.WAKE)]
    assert told
    assert all(moment.certain for moment in told)


@pytest.mark.parametrize("name", NAMES)
def test_what_no_tracepoint_tells_is_not_certain(name: str, traced: None) -> None:
    steps = (Step.TAKE, Step.COPY_OUT, Step.READ, Step.LOOK_UP, Step.MATCH, Step.COPY_IN)
    told = [moment for moment in recording(name).moments if moment.event.step in steps]
    assert told
    assert not any(moment.certain for moment in told)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_calls_are_left_from_within(name: str, threads: int, traced: None) -> None:
    inside: dict[str, list[str]] = {}
    for moment in recording(name, threads).moments:
        calls = inside.setdefault(moment.task, [])
        if moment.event.step == Step.CALL:
            calls.append(moment.event.name)
        elif moment.event.step == Step.RETURN:
            assert calls.pop() == moment.event.name


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_time_goes_on(name: str, threads: int, traced: None) -> None:
    times = [moment.time for moment in recording(name, threads).moments]
    assert times == sorted(times)
    assert 0 < times[-1] < 10


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_it_fits_80_columns(name: str, threads: int) -> None:
    lines = render(recording(name, threads), DETAIL).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("\N{MIDDLE DOT}" in line for line in lines)


def test_no_signal_frees_a_single_process_of_the_simple_one() -> None:
    text = said(recording("simple-deadlock"))
    deeds = re.findall(r"(\$ kill -\w+ \w+|Abort).*\nThat frees ([\w ]+)\.", text)
    assert deeds == [
        ("$ kill -INT rm", "nobody"),
        ("$ kill -KILL rm", "nobody"),
        ("$ kill -KILL daemon", "nobody"),
        ("Abort", "daemon and rm"),
    ]
    assert "umount -f /mnt/fuse: daemon has ended with exit status 0; rm has ended with exit status 0" in text
    assert "(unlink: ECONNABORTED)" in text


def test_several_processes_are_used_up_one_by_one() -> None:
    text = said(recording("simple-deadlock", 3))
    assert "That frees rm." in text
    assert "rm has ended with exit status 0 (unlink: EINTR)" in text
    assert "That frees daemon 1. Now daemon 1 was killed by SIGKILL" in text
    assert len(re.findall("That frees nobody", text)) == 1
    (end,) = (remark.text for remark in recording("simple-deadlock", 3).remarks if remark.kind == "end")
    assert re.match(r"Dead: daemon 1 and daemon [23]\. Alive: ", end)


def test_an_interrupt_is_answered_by_another_process(traced: None) -> None:
    moments = [moment.event for moment in recording("simple-deadlock", 3).moments]
    taken = [event.detail for event in moments if event.step == Step.TAKE_INTERRUPT]
    queued = [event.detail for event in moments if event.step == Step.QUEUE_INTERRUPT]
    assert len(taken) == 2
    assert taken == queued
    assert sum(event.detail == "-EINTR" for event in moments if event.name == "sys_unlink") == 2


def test_the_tricky_one_is_freed_by_sigkill_of_the_daemon() -> None:
    text = said(recording("tricky-deadlock"))
    assert "kill -INT the process of thread 1 and thread 2\nThat frees nobody" in text
    assert "kill -KILL the process of thread 1 and thread 2\nThat frees thread 1 and thread 2." in text
    assert "abort: thread 1 was killed by SIGBUS" in text
    assert "umount -f /mnt/fuse: thread 1 was killed by SIGBUS" in text


def test_the_serving_processes_of_the_tricky_one_are_used_up_too() -> None:
    text = said(recording("tricky-deadlock", 3))
    assert re.search(r"kill -KILL [\w ]+\nThat frees (process \d|thread 1 and thread 2)\.", text)
    (end,) = (remark.text for remark in recording("tricky-deadlock", 3).remarks if remark.kind == "end")
    assert "thread 1 and thread 2. Alive: " in end
    assert "sleeps" not in end


def test_another_path_and_another_user_show(traced: None) -> None:
    found = recording("simple-deadlock", 3)
    assert f'"rm {SIMPLE_OF_THREE.path}"' in found.titles
    calls = {moment.event.detail for moment in found.moments if moment.event[:2] == (Step.CALL, "sys_unlink")}
    assert calls == {f'"{SIMPLE_OF_THREE.path}"'}


# --- where less is possible


SCRIPT = """
import sys
from fusewire.diagrams.text import render
from fusewire.explain.explanation import Options
from fusewire.explain.real import DETAIL, run
print(render(run(sys.argv[1], Options()), DETAIL))
"""


def test_an_ordinary_user_sees_less_and_is_told() -> None:
    text = python_as_user(SCRIPT, "tricky-deadlock", may_mount=False)
    assert "*DEADLOCK*" in text
    assert re.search(r"Of (\d+) steps (\d+) were seen, by /proc;", text)
    words = " ".join(text.split())
    assert "Linux's tracing (tracefs) is for root alone: run it with sudo" in words
    assert "[sleep on" in words
    assert "\N{MIDDLE DOT} [add req to fc->processing]" in words


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device that others may not open")
def test_who_may_not_open_the_device_is_told_so() -> None:
    done = run_as_user(sys.executable, "-c", SCRIPT, NAMES[0], may_mount=False, device_mode=0o600)
    assert "you may not open /dev/fuse (mode 0600, owner root). Run it with sudo" in done.stderr


def test_a_place_where_nothing_can_be_mounted_is_named() -> None:
    with pytest.raises(CannotStage, match="no directory /nowhere/at/all to mount on"):
        run("simple-deadlock", Options(path="/nowhere/at/all/file"))


def test_there_are_columns_for_three_processes() -> None:
    with pytest.raises(CannotStage, match="1 to 3 serving processes, not 4"):
        run("simple-deadlock", Options(threads=4))


def test_only_the_deadlocks_are_played() -> None:
    with pytest.raises(ValueError, match="only simple-deadlock and tricky-deadlock"):
        run("unlink", Options())


# --- nothing is left, whoever is killed


@pytest.mark.parametrize(("name", "whom"), [*zip(NAMES, ("the program", "the performance"), strict=True)])
def test_nothing_is_left_when_somebody_is_killed(name: str, whom: str) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", SCRIPT, name], stdout=pipe, stderr=pipe) as program:
        until(lambda: any(served_by(pid) for pid in below(program.pid)))
        pids = below(program.pid)
        os.kill(program.pid if whom == "the program" else pids[0], signal.SIGKILL)
        program.communicate(timeout=15)
    until(lambda: not any(is_there(pid) for pid in pids))


def below(pid: int) -> list[int]:
    """Return the children of a process, and theirs; a parent comes before its children."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(child) for child in file.read().split()]
    except FileNotFoundError:
        return []
    return [each for child in children for each in (child, *below(child))]


def is_there(pid: int) -> bool:
    """Tell whether a process is there and no zombie: those are for whoever adopted them."""
    process = read_process(pid)
    return process is not None and not process.is_zombie


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.02)
