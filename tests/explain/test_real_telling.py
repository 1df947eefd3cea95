"""From what Linux says to the words of kernel.txt, without a kernel: facts as they came on Linux 6.18."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fusewire.diagrams.recording import Recording
from fusewire.explain.real.facts import Fact, facts, number_of
from fusewire.explain.real.telling import Teller
from fusewire.watch.trace_events import (
    ContentionBegin,
    ContentionEnd,
    Parser,
    RequestEnd,
    RequestSend,
    SignalDelivered,
    SignalSent,
    Switch,
    SyscallEnter,
    SyscallExit,
    TraceEvent,
    Waking,
)
from fusewire.wire import operation

RM: Final = 11
DAEMON: Final = 12
SECOND: Final = 13  # another that serves
OUTSIDER: Final = 1
DEVICE: Final = 9
UNLINK: Final = operation("UNLINK").code
LOOKUP: Final = operation("LOOKUP").code
READ_CALL, WRITE_CALL = number_of("read"), number_of("write")
UNLINK_CALL = number_of("unlink", "unlinkat")

READS = ("schedule", "fuse_dev_do_read", "fuse_dev_read", "vfs_read")
WRITES = ("fuse_request_end", "fuse_dev_do_write", "fuse_dev_write")
SENDS = ("fuse_dev_queue_req", "__fuse_simple_request", "fuse_unlink", "vfs_unlink")
WAITS = ("schedule", "request_wait_answer", *SENDS[1:])
CONTENDS = ("rwsem_down_write_slowpath", "down_write", "do_unlinkat")
SIGNALLED = ("try_to_wake_up", "complete_signal", "__send_signal_locked")

Said = tuple[int, TraceEvent, tuple[str, ...]]

WAITING: Sequence[Said] = (
    (DAEMON, SyscallEnter(READ_CALL, (DEVICE,)), ()),
    (DAEMON, Switch(DAEMON, "S", 0), READS),
)
SENT: Sequence[Said] = (
    (RM, SyscallEnter(UNLINK_CALL, ()), ()),
    (RM, RequestSend(46, 4, UNLINK, 45), SENDS),
    (RM, Waking(DAEMON), ("__wake_up", *SENDS)),
    (RM, Switch(RM, "S", 0), WAITS),
)
TAKEN: Sequence[Said] = ((DAEMON, SyscallExit(READ_CALL, 45), ()),)
ANSWERED: Sequence[Said] = (
    (DAEMON, SyscallEnter(WRITE_CALL, (DEVICE,)), ()),
    (DAEMON, RequestEnd(46, 4, 16, 0), WRITES),
    (DAEMON, Waking(RM), ("__wake_up", *WRITES)),
    (DAEMON, SyscallExit(WRITE_CALL, 16), ()),
    (RM, SyscallExit(UNLINK_CALL, 0), ()),
)


def told(*said: Said) -> list[str]:
    """Return what is told of these: a task's first letter, a dot if it is inferred, the words, who wakes."""
    recording = Recording("", {})
    teller = Teller(recording, {RM: "rm", DAEMON: "daemon", SECOND: "second"}, (DEVICE,), "/mnt/fuse/file")
    teller.tell(Fact(float(at), tid, event, stack) for at, (tid, event, stack) in enumerate(said))
    return [
        f"{moment.task[0]}{' ' if moment.certain else '.'}{moment.event.text}"
        + "".join(f" wakes {task}" for task in moment.event.woken)
        for moment in recording.moments
    ]


def test_a_request_is_told_from_its_beginning_to_its_end() -> None:
    assert told(*WAITING, *SENT, *TAKEN, *ANSWERED) == [
        "d >sys_read()",
        "d >fuse_dev_read()",
        "d [sleep on fc->waitq]",
        "r >sys_unlink()",
        "r.[acquire inode semaphore]",
        "r >fuse_unlink()",
        "r >request_send()",
        "r [queue req on fc->pending]",
        "r [wake up fc->waitq] wakes daemon",
        "r >request_wait_answer()",
        "r [sleep on req->waitq]",
        "d.[remove req from fc->pending]",
        "d.[copy req to read buffer]",
        "d.[add req to fc->processing]",
        "d.<fuse_dev_read()",
        "d <sys_read()",
        "d >sys_write()",
        "d.>fuse_dev_write()",
        "d.[look up req in fc->processing]",
        "d.[remove from fc->processing]",
        "d.[copy write buffer to req]",
        "d [wake up req->waitq] wakes rm",
        "d.<fuse_dev_write()",
        "d <sys_write()",
        "r.<request_wait_answer()",
        "r.<request_send()",
        "r.<fuse_unlink()",
        "r.[release semaphore]",
        "r <sys_unlink()",
    ]


def test_without_stacks_what_is_in_between_is_inferred() -> None:
    bare = [(tid, event, ()) for tid, event, _ in SENT[:2]]
    assert told(*bare) == [
        "r >sys_unlink()",
        "r.[acquire inode semaphore]",
        "r.>fuse_unlink()",
        "r.>request_send()",
        "r [queue req on fc->pending]",
    ]


def test_who_waits_for_a_lock_is_seen_to() -> None:
    contended: Sequence[Said] = (
        (DAEMON, SyscallEnter(UNLINK_CALL, ()), ()),
        (DAEMON, ContentionBegin(7, "WRITE"), CONTENDS),
        (DAEMON, Switch(DAEMON, "D", 0), ("schedule", *CONTENDS)),
        (DAEMON, ContentionEnd(7, 0), CONTENDS),
        (DAEMON, SyscallExit(UNLINK_CALL, -107), ()),
    )
    assert told(*contended) == [
        "d >sys_unlink()",
        "d [acquire inode semaphore]",
        "d [sleep on inode semaphore]",
        "d [semaphore acquired]",
        "d.[release semaphore]",
        "d <sys_unlink()",
    ]


def test_an_interrupt_is_what_is_read_after_a_signal() -> None:
    interrupted: Sequence[Said] = (
        (OUTSIDER, Waking(RM), SIGNALLED),
        (OUTSIDER, SignalSent(2, RM, True), SIGNALLED[2:]),
        (RM, Waking(SECOND), ("fuse_dev_queue_interrupt", "request_wait_answer")),
        (RM, Switch(RM, "D", 0), WAITS),
        (SECOND, SyscallExit(READ_CALL, 48), ()),
    )
    second = [(SECOND, event, stack) for _, event, stack in WAITING]
    lines = told(*WAITING, *second, *SENT, *TAKEN, *interrupted)
    assert lines[lines.index("r [interrupted by signal]") :] == [
        "r [interrupted by signal]",
        "r [queue INTERRUPT on fc->interrupts]",
        "r [wake up fc->waitq] wakes second",
        "r [sleep on req->waitq]",
        "s.[remove INTERRUPT from fc->interrupts]",
        "s.<fuse_dev_read()",
        "s <sys_read()",
    ]


def test_what_is_as_long_and_no_interrupt_is_a_forget_and_not_told() -> None:
    assert told(*WAITING, (DAEMON, SyscallExit(READ_CALL, 48), ())) == told(*WAITING)


def test_a_request_that_the_scene_is_not_about_is_one_step() -> None:
    looked_up: Sequence[Said] = (
        SENT[0],
        (RM, RequestSend(46, 2, LOOKUP, 45), SENDS[:2]),
        (RM, Waking(DAEMON), SENDS[:2]),
        (RM, Switch(RM, "S", 0), WAITS),
        (DAEMON, SyscallExit(READ_CALL, 45), ()),
        (DAEMON, SyscallEnter(WRITE_CALL, (DEVICE,)), ()),
        (DAEMON, RequestEnd(46, 2, 144, 0), WRITES),
        (DAEMON, Waking(RM), ("__wake_up", *WRITES)),
        (DAEMON, SyscallExit(WRITE_CALL, 144), ()),
        *WAITING,
    )
    assert told(*WAITING, *looked_up) == [*told(*WAITING), "r >sys_unlink()", "d [request served normally]"]


def test_an_abort_from_outside_wakes_who_waits() -> None:
    aborted: Sequence[Said] = (
        (OUTSIDER, RequestEnd(46, 4, 0, -103), ("fuse_request_end", "fuse_abort_conn")),
        (OUTSIDER, Waking(RM), ("fuse_request_end", "fuse_abort_conn")),
        (RM, SyscallExit(UNLINK_CALL, -103), ()),
        (RM, SignalDelivered(9), ()),
    )
    lines = told(*SENT, *aborted)
    assert lines[len(told(*SENT)) :] == [
        "r [woken up]",
        "r.<request_wait_answer()",
        "r.<request_send()",
        "r.<fuse_unlink()",
        "r.[release semaphore]",
        "r <sys_unlink()",
        "r [killed]",
    ]


def test_other_calls_and_other_descriptors_are_passed_over() -> None:
    assert told((RM, SyscallEnter(READ_CALL, (3,)), ()), (RM, SyscallExit(READ_CALL, 1), ())) == []
    assert told((OUTSIDER, SyscallEnter(UNLINK_CALL, ()), ())) == []


def test_an_event_and_its_stack_become_one_fact() -> None:
    line = "{:>16}-{:<7} [000] d..2.   {}: {}\n".format
    text = line("rm", 11, "1.5", "sys_exit: NR 3 = 0") + line("daemon", 12, "1.6", "sys_exit: NR 4 = 0")
    text += line("rm", 11, "1.7", "<stack trace>") + " => fuse_unlink\n"
    parser = Parser()
    assert list(facts([*parser.feed(text), *parser.flush()])) == [
        Fact(1.5, 11, SyscallExit(3, 0), ("fuse_unlink",)),
        Fact(1.6, 12, SyscallExit(4, 0)),
    ]
