"""Scenario 1 on a real kernel: a daemon that removes the file which it is asked to remove, by the same path.

Linux takes the semaphore of the directory, and holds it while the daemon works; so the daemon sleeps in unlink(2)
where no signal reaches it, and rm until it is answered. What kernel.txt says would free them no longer does: a
request that the daemon has read is not given up for any signal. The signal makes an INTERRUPT of it, and that is
worth something only to a daemon that has somebody left to read it and to answer for the one who is stuck.

With several serving processes each INTERRUPT is answered so by one that is left. What the stuck one wanted is then
asked of the next, who makes the same mistake; so they are used up, one by one, until nobody reads any more.
"""

from __future__ import annotations

import signal
import time
from typing import Final

from fusewire.explain.real.facts import Fact, number_of
from fusewire.explain.real.namespace import CannotStage
from fusewire.explain.real.programs import Unlinking, serve, unlink
from fusewire.explain.real.stage import Stage
from fusewire.explain.real.theatre import READING, Theatre
from fusewire.watch.proc import Thread
from fusewire.watch.trace_events import ContentionBegin, RequestSend, Switch, SyscallEnter, SyscallExit
from fusewire.wire import operation

__all__ = ["play", "play_briefly"]

DAEMON: Final = "FUSE filesystem daemon"
CIRCLE: Final = (
    "rm holds the semaphore of the directory and waits for the answer to its UNLINK; {daemon}, which has read that, "
    "waits in its own unlink for the semaphore."
)
NO_SIGNAL: Final = (
    "Linux gives up no request that the daemon has read; an INTERRUPT is queued, and nobody is left to read it."
)
ANSWERED: Final = (
    "Another process reads the INTERRUPT, and answers EINTR in place of the one who is stuck. That one gets the "
    "semaphore, and sends its own UNLINK: to another, who makes the same mistake."
)
NO_KILL: Final = "Whoever waits for a semaphore is deaf to signals, SIGKILL included."


def play(theatre: Theatre) -> None:
    """Have it come about, try what does not help, and what does."""
    with theatre.stage() as stage:
        stuck = come_about(stage, theatre)
        if theatre.options.threads > 1:
            use_up(stage, theatre)
        else:
            theatre.kill(stage, "rm", signal.SIGINT, NO_SIGNAL)
            theatre.kill(stage, "rm", signal.SIGKILL)
            theatre.kill(stage, stuck, signal.SIGKILL, NO_KILL)
        theatre.abort(stage)
        ending = theatre.ending(stage)
    once_more(theatre)
    theatre.close(ending)


def play_briefly(theatre: Theatre) -> None:
    """Have it come about, and abort."""
    with theatre.stage() as stage:
        come_about(stage, theatre)
        theatre.abort(stage)


def come_about(stage: Stage, theatre: Theatre) -> str:
    """Have the deadlock come about, and recorded; return the daemon that is stuck."""
    set_the_stage(stage, theatre)
    before = theatre.begin(stage)
    theatre.tracer.watch(stage.connection, stage.actors.values())
    hang(stage)
    stuck = cast(stage, theatre)
    theatre.take_down(before, assumed(stage, stuck))
    theatre.deadlock(stage, CIRCLE.format(daemon=stuck))
    return stuck


def set_the_stage(stage: Stage, theatre: Theatre) -> None:
    """Mount, and start who serves and who is to remove."""
    options = theatre.options
    fd, session, size = stage.mount(Unlinking(options.path))
    for name in daemons(options.threads):
        stage.start(name, lambda _: serve(fd, session, size))
    stage.let_go()  # before rm is forked: it holds no device
    stage.start("rm", lambda line: unlink(options.path, options.uid, line))
    if stage.hear("rm", "ready") is None or not stage.settle():
        raise CannotStage("the mount does not answer on this kernel")


def daemons(threads: int) -> list[str]:
    return ["daemon"] if threads == 1 else [f"daemon {number}" for number in range(1, threads + 1)]


def hang(stage: Stage) -> None:
    """Have rm remove the file, and wait until nobody moves."""
    stage.order("rm")
    stage.settle()


def cast(stage: Stage, theatre: Theatre) -> str:
    """Give the daemon that is stuck the first column after that of rm, and return its name."""
    looks = stage.look()
    names = daemons(theatre.options.threads)
    ordered = sorted((name for name in looks if name != "rm"), key=lambda name: is_reading(looks[name]))
    new = dict(zip(ordered, names, strict=True))
    stage.rename([new.get(name, name) for name in stage.actors])
    titles = {name: DAEMON if len(names) == 1 else f"serving process {name[-1]}" for name in names}
    theatre.cast(stage, {"rm": f'"rm {theatre.options.path}"', **titles})
    return names[0]


def is_reading(look: Thread | None) -> bool:
    return look is not None and look.wchan == READING


def use_up(stage: Stage, theatre: Theatre) -> None:
    """Interrupt whoever waits for an answer, as long as anybody remains to give it for the one who is stuck."""
    waiting, number = "rm", signal.SIGINT
    for _ in range(theatre.options.threads):
        if not theatre.kill(stage, waiting, number, NO_SIGNAL, ANSWERED):
            return
        waiting, number = who_waits(stage), signal.SIGKILL
        if not waiting:
            return


def who_waits(stage: Stage) -> str:
    """Return who waits for the answer to a request of his own, '' if nobody does."""
    return next((name for name, look in stage.look().items() if look and look.wchan == "request_wait_answer"), "")


def once_more(theatre: Theatre) -> None:
    """The same deadlock, and the other cure."""
    with theatre.stage() as stage:
        set_the_stage(stage, theatre)
        hang(stage)
        theatre.outcome_of(stage, f"$ umount -f {stage.mountpoint}", stage.unmount_by_force)


def assumed(stage: Stage, stuck: str) -> list[Fact]:
    """What must have happened, for where nothing can be traced. The moments are not known: all have the same."""
    rm, daemon = stage.actors["rm"].tid, stage.actors[stuck].tid
    unlinking, reading, length = number_of("unlink", "unlinkat"), number_of("read"), 45
    waits, contends = ("request_wait_answer",), ("down_write",)
    events = (
        (rm, SyscallEnter(unlinking, ()), ()),
        (rm, RequestSend(stage.connection, 0, operation("UNLINK").code, length), ()),
        (rm, Switch(rm, "S", 0), waits),
        (daemon, SyscallExit(reading, length), ()),
        (daemon, SyscallEnter(unlinking, ()), ()),
        (daemon, ContentionBegin(0, "WRITE"), contends),
        (daemon, Switch(daemon, "D", 0), contends),
    )
    now = time.monotonic()
    return [Fact(now, tid, event, stack, certain=False) for tid, event, stack in events]
