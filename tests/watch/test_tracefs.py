"""Linux's tracing: what its text says, and that nothing of it is left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fusewire.watch.trace_events import (
    ContentionBegin,
    ContentionEnd,
    FilemapFault,
    Lost,
    Other,
    PageAdded,
    PageFault,
    Parser,
    RequestEnd,
    RequestSend,
    SignalDelivered,
    SignalSent,
    Stack,
    Switch,
    SyscallEnter,
    SyscallExit,
    TaskExit,
    Traced,
    TraceEvent,
    Waking,
)
from fusewire.watch.trace_instances import NoTracing, explained, find_tracefs, is_left_over, remove_leftovers
from fusewire.watch.tracefs import Tracing
from ordinary_user import python_as_user

HEAD = "              rm-4711    [001] d..2.   812.004711: "

# What each tracepoint says on Linux 6.18, and what that means.
SAID: list[tuple[str, TraceEvent]] = [
    ("fuse_request_send: connection 46 req 4 opcode 10 (FUSE_UNLINK) len 45 ", RequestSend(46, 4, 10, 45)),
    ("fuse_request_send: connection 46 req 4 opcode 53 (53) len 96", RequestSend(46, 4, 53, 96)),
    ("fuse_request_end: connection 46 req 4 len 16 error -4", RequestEnd(46, 4, 16, -4)),
    ("sys_enter: NR 87 (7f5c, 0, 0, ff, 1, 2)", SyscallEnter(87, (0x7F5C, 0, 0, 0xFF, 1, 2))),
    ("sys_exit: NR 87 = -103", SyscallExit(87, -103)),
    (
        "sched_switch: prev_comm=a=> prev_pid=11 prev_prio=120 prev_state=S ==> next_comm=c next_pid=12 next_prio=",
        Switch(11, "S", 12),
    ),
    (
        "sched_switch: prev_comm=rm prev_pid=11 prev_prio=120 prev_state=R+ ==> next_comm=x next_pid=0 next_prio=120",
        Switch(11, "R", 0),
    ),
    ("sched_waking: comm=pid=5 pid=12 prio=120 target_cpu=001", Waking(12)),
    ("sched_process_exit: comm=rm pid=12 prio=120 group_dead=true", TaskExit(12)),
    ("signal_generate: sig=9 errno=0 code=0 comm=rm pid=12 grp=1 res=0", SignalSent(9, 12, True)),
    ("signal_deliver: sig=9 errno=0 code=0 sa_handler=0 sa_flags=0", SignalDelivered(9)),
    ("contention_begin: 0000000063f3ab21 (flags=WRITE)", ContentionBegin(0x63F3AB21, "WRITE")),
    ("contention_end: 0000000063f3ab21 (ret=0)", ContentionEnd(0x63F3AB21, 0)),
    ("page_fault_user: address=0x7f10 ip=0x55 error_code=0x4", PageFault(0x7F10)),
    ("mm_filemap_fault: dev=0:46 ino=1f ofs=4096", FilemapFault(46, 0x1F, 4096)),
    ("mm_filemap_add_to_page_cache: dev 0:46 ino 1f pfn=0x11 ofs=4096 order=0", PageAdded(46, 0x1F, 4096)),
    ("some_other: of which nobody has heard", Other("some_other", "of which nobody has heard")),
]


@pytest.mark.parametrize(("said", "event"), SAID, ids=lambda value: type(value).__name__)
def test_a_line_is_understood(said: str, event: TraceEvent) -> None:
    (traced,) = Parser().feed(f"{HEAD}{said}\n")
    assert traced == Traced(812.004711, 1, "rm", 4711, event)


def test_a_stack_follows_its_event_and_is_whole_when_another_line_comes() -> None:
    parser = Parser()
    lines = [f"{HEAD}sys_exit: NR 3 = 0", f"{HEAD}<stack trace>", " => trace_event_raw_event_x", " => fuse_unlink"]
    assert [one.event for one in parser.feed("\n".join([*lines, ""]))] == [SyscallExit(3, 0)]
    more = parser.feed(f" => vfs_unlink\n => do_syscall_64\n{HEAD}sys_exit: NR 4 = 0\n")
    assert [one.event for one in more] == [Stack(("fuse_unlink", "vfs_unlink")), SyscallExit(4, 0)]


def test_the_last_stack_comes_by_flush() -> None:
    parser = Parser()
    assert list(parser.feed(f"{HEAD}<stack trace>\n => fuse_unlink\n")) == []
    assert [one.event for one in parser.flush()] == [Stack(("fuse_unlink",))]
    assert list(parser.flush()) == []


def test_text_may_come_in_pieces() -> None:
    parser = Parser()
    text = f"{HEAD}sys_exit: NR 3 = 0\n{HEAD}sys_exit: NR 4 = 0\n"
    events = [one.event for character in text for one in parser.feed(character)]
    assert events == [SyscallExit(3, 0), SyscallExit(4, 0)]


def test_a_name_cannot_be_taken_for_what_follows_it() -> None:
    name = "x-1 [000] 1.0: "  # 15 characters, as many as a thread's name may have
    (traced,) = Parser().feed(f" {name}-4711    [001] d..2.   812.004711: sys_exit: NR 3 = 0\n")
    assert (traced.comm, traced.tid, traced.event) == (name, 4711, SyscallExit(3, 0))


def test_what_was_lost_is_told() -> None:
    lines = "CPU:1 [LOST 12 EVENTS]\nCPU:0 [LOST EVENTS]\n"
    assert [one.event for one in Parser().feed(lines)] == [Lost(12), Lost(0)]


def test_lines_that_tell_of_no_event_are_passed_over() -> None:
    assert list(Parser().feed("# tracer: nop\n\ngarbage\n")) == []


# --- with Linux


@pytest.fixture
def instances() -> Iterator[Path]:
    """The directory of all instances; nothing of ours may be in it in the end."""
    try:
        place, root = find_tracefs()
        before = set(os.listdir(f"{place}/instances"))
    except OSError as error:
        pytest.skip(str(error))
    yield Path(place, "instances")
    left = {name for name in os.listdir(f"{place}/instances") if name not in before and is_ours(name)}
    if root >= 0:
        os.close(root)
    assert left == set()


def is_ours(name: str) -> bool:
    """Tell whether an instance is this process's, or nobody's: others may trace meanwhile."""
    return name.startswith(f"fusewire-{os.getpid()}-") or is_left_over(name)


def test_it_sees_what_a_process_does_with_the_stack(instances: Path) -> None:
    with Tracing() as tracing:
        tracing.with_stacks()
        tracing.enable("raw_syscalls/sys_enter", f"common_pid == {os.getpid()}")
        os.getppid()
        tracing.disable("raw_syscalls/sys_enter")
        traced = tracing.read(timeout=5.0)
    assert {one.tid for one in traced} == {os.getpid()}
    assert any(isinstance(one.event, SyscallEnter) for one in traced)
    assert any("syscall_trace_enter" in one.event.functions for one in traced if isinstance(one.event, Stack))
    assert tracing.lost == 0


def test_a_filter_keeps_others_out(instances: Path) -> None:
    with Tracing() as tracing:
        tracing.enable("raw_syscalls/sys_enter", "common_pid == 0")
        os.getppid()
        assert tracing.read(timeout=0.05) == []


def test_what_does_not_fit_the_buffer_is_counted(instances: Path) -> None:
    with Tracing(buffer_kb=4) as tracing:
        tracing.enable("raw_syscalls/sys_enter", f"common_pid == {os.getpid()}")
        for _ in range(5000):
            os.getppid()
        tracing.disable("raw_syscalls/sys_enter")
        kept = len(tracing.read(timeout=5.0))
        assert tracing.lost > 0
        assert kept < 5000


def test_two_may_trace_at_once(instances: Path) -> None:
    with Tracing() as one, Tracing() as other:
        assert one.path != other.path


def test_the_instance_is_gone_after_an_exception(instances: Path) -> None:
    names: list[str] = []
    with pytest.raises(KeyError):
        fail_while_tracing(names)
    assert names[0] not in os.listdir(instances)


def fail_while_tracing(names: list[str]) -> None:
    with Tracing() as tracing:
        names.append(Path(tracing.path).name)
        raise KeyError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_instance_is_gone_after_a_signal(number: signal.Signals, instances: Path) -> None:
    with tracer() as (process, name):
        assert name in os.listdir(instances)
        process.send_signal(number)
        process.wait(10)
    assert name not in os.listdir(instances)


def test_the_next_removes_what_a_killed_one_left(instances: Path) -> None:
    with tracer() as (process, name):
        assert name in os.listdir(instances)
        process.kill()
        process.wait(10)
    with Tracing():
        assert name not in os.listdir(instances)


def test_what_the_living_trace_is_left_alone(instances: Path) -> None:
    with tracer() as (process, name):
        assert name not in remove_leftovers()
        assert name in os.listdir(instances)
        process.terminate()


SCRIPT = """
import os, sys
from fusewire.watch.trace_instances import NoTracing, explained, find_tracefs, is_left_over, remove_leftovers
from fusewire.watch.tracefs import Tracing
with Tracing() as tracing:
    print(os.path.basename(tracing.path), flush=True)
    sys.stdin.read()
"""


@contextmanager
def tracer() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A program that traces until it is ended, and its instance."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()


# --- where it is out of reach


def test_a_tracepoint_that_is_not_there_is_named(instances: Path) -> None:
    with Tracing() as tracing, pytest.raises(NoTracing, match="no tracepoint fuse/fuse_request_ponder") as raised:
        tracing.enable("fuse/fuse_request_ponder")
    assert raised.value.errno == errno.ENOENT


def test_a_condition_that_cannot_be_read_is_named(instances: Path) -> None:
    with Tracing() as tracing, pytest.raises(NoTracing, match="cannot be filtered by 'colour == 3'"):
        tracing.enable("raw_syscalls/sys_enter", "colour == 3")


TRY = """
from fusewire.watch.trace_instances import NoTracing, explained, find_tracefs, is_left_over, remove_leftovers
from fusewire.watch.tracefs import Tracing
try:
    Tracing().__enter__()
except OSError as error:
    print(error)
"""


def test_an_ordinary_user_is_told_what_to_do(instances: Path) -> None:
    said = python_as_user(TRY, may_mount=False)
    assert said == "Linux's tracing (tracefs) is for root alone: run it with sudo\n"


@pytest.mark.parametrize("code", [errno.ENODEV, errno.ENOSYS, errno.ENOENT])
def test_of_a_kernel_without_tracing_it_is_said(code: int) -> None:
    with pytest.raises(NoTracing, match=r"^this kernel has no tracing \(tracefs\)") as raised, explained():
        raise OSError(code, os.strerror(code))
    assert raised.value.errno == code
