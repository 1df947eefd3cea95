"""Scenario 2 on a real kernel: a daemon that answers READ out of its own mapping of the page that is to be read.

Thread 1 comes to the page, which is not there: Linux makes one, locks it, and asks the daemon for its contents. The
reply is written out of the same page. To copy it, Linux wants the page, finds it locked, and waits for whoever has it
locked: for the reply that it is copying.

Both wait as one waits for a page in a fault, and that can be killed. So SIGKILL of the daemon frees everybody, and
abort does; a signal with a handler does not. Where several processes serve, they are used up one by one: when the
one that writes is killed, thread 1 asks for the page again, and the next answers in the same way.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

from fusewire.explain.real.facts import Fact, number_of
from fusewire.explain.real.namespace import CannotStage
from fusewire.explain.real.programs import Kamikaze, KamikazeProcess
from fusewire.explain.real.stage import Stage
from fusewire.explain.real.theatre import READING, Theatre
from fusewire.watch.trace_events import (
    FilemapFault,
    PageAdded,
    PageFault,
    RequestSend,
    Switch,
    SyscallEnter,
    SyscallExit,
)
from fusewire.wire import operation

__all__ = ["play"]

FIRST: Final = "thread 1"
SECOND: Final = "thread 2"
CIRCLE: Final = (
    "{second} writes the reply to the READ out of the page, and waits until it is unlocked; it will be when the READ "
    "is answered. {first} waits for the same page."
)
NOT_FATAL: Final = "Whoever waits for a page hears no signal but a fatal one."
FATAL: Final = "To wait for a page can be killed: the copy fails, the READ with it, and the page is unlocked."


def play(theatre: Theatre) -> None:
    """Have it come about, try what does not help, and what does."""
    with theatre.stage() as stage:
        set_the_stage(stage, theatre)
        before = theatre.begin(stage)
        theatre.tracer.watch(stage.connection, stage.actors.values())
        map_the_file(stage, theatre.options.threads)
        begun = {fact.tid for fact in before}
        before += [fact for fact in theatre.begin(stage) if fact.tid not in begun]
        theatre.tracer.watch(stage.connection, stage.actors.values(), address(stage))
        touch(stage)
        writer = cast(stage, theatre)
        theatre.take_down(before, assumed(stage, writer))
        theatre.deadlock(stage, CIRCLE.format(first=FIRST, second=writer))
        theatre.kill(stage, FIRST, signal.SIGINT, NOT_FATAL)
        while writer and theatre.kill(stage, writer, signal.SIGKILL, thus=FATAL):
            writer = who_writes(stage)
        ending = theatre.ending(stage)
    once_more(theatre, lambda _: "abort", Stage.abort)
    once_more(theatre, lambda stage: f"$ umount -f {stage.mountpoint}", Stage.unmount_by_force)
    theatre.close(ending)


def set_the_stage(stage: Stage, theatre: Theatre) -> None:
    """Mount, and start the Kamikaze filesystem; it has not mapped its file yet."""
    options = theatre.options
    fd, session, size = stage.mount(Kamikaze(options.path))
    stage.start(FIRST, lambda line: KamikazeProcess(fd, session, size, line).run(options.threads))
    stage.let_go()
    tid = stage.hear(FIRST, "thread 2: ")
    if tid is None or not stage.settle():
        raise CannotStage("the mount does not answer on this kernel")
    stage.add(SECOND, stage.actors[FIRST].pid, int(tid))


def map_the_file(stage: Stage, processes: int) -> None:
    """Have it open, map and close its file; and, if there are to be more, start the other serving processes."""
    stage.order(FIRST)
    for name in further(processes):
        pid = int(said(stage, name))
        stage.add(name, pid, pid)
    if processes > 1:
        stage.settle()
        stage.order(FIRST)  # thread 2 serves one more: who has waited longest is woken first, and that is another now
    said(stage, "address")
    stage.settle()


def said(stage: Stage, what: str) -> str:
    """Return what thread 1 has said under this name; wait for it if need be."""
    found = stage.hear(FIRST, f"{what}: ")
    if found is None:
        raise CannotStage("a file of the mount cannot be mapped on this kernel")
    return found


def further(processes: int) -> list[str]:
    return [f"process {number}" for number in range(2, processes + 1)]


def address(stage: Stage) -> int:
    """Return where the page is mapped."""
    return int(said(stage, "address"))


def touch(stage: Stage) -> None:
    """Have thread 1 read a byte of the page, and wait until nobody moves."""
    stage.order(FIRST)
    stage.settle()


def cast(stage: Stage, theatre: Theatre) -> str:
    """Give everybody a column; return the name of the one who writes the reply."""
    looks = stage.look()
    titles = {FIRST: "Kamikaze filesystem thread 1", SECOND: "Kamikaze filesystem thread 2"}
    theatre.cast(stage, {name: titles.get(name, f"serving {name}") for name in looks})
    return who_writes(stage)


def who_writes(stage: Stage) -> str:
    """Return who is stuck in his reply, '' if nobody is."""
    looks = stage.look()
    serving = [name for name in looks if name != FIRST]
    return next((name for name in serving if (look := looks[name]) is not None and look.wchan != READING), "")


def once_more(theatre: Theatre, command: Callable[[Stage], str], do: Callable[[Stage], object]) -> None:
    """The same deadlock, and another cure."""
    with theatre.stage() as stage:
        set_the_stage(stage, theatre)
        map_the_file(stage, theatre.options.threads)
        touch(stage)
        theatre.outcome_of(stage, command(stage), lambda: do(stage))


def assumed(stage: Stage, writer: str) -> list[Fact]:
    """What must have happened, for where nothing can be traced. The moments are not known: all have the same."""
    first, second = stage.actors[FIRST].tid, stage.actors[writer].tid
    length, write, minor = 80, number_of("write"), stage.connection
    waits = ("folio_wait_bit_common",)
    events = (
        (first, PageFault(address(stage)), ()),
        (first, FilemapFault(minor, 2, 0), ()),
        (first, PageAdded(minor, 2, 0), ()),
        (first, RequestSend(minor, 0, operation("READ").code, length), ()),
        (first, Switch(first, "D", 0), waits),
        (second, SyscallExit(number_of("read"), length), ()),
        (second, SyscallEnter(write, (stage.device,)), ()),
        (second, FilemapFault(minor, 2, 0), ("__get_user_pages", "handle_mm_fault")),
        (second, Switch(second, "D", 0), waits),
    )
    now = time.monotonic()
    return [Fact(now, tid, event, stack, certain=False) for tid, event, stack in events]
