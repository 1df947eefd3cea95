"""How a long wait comes to its end: a lock is released, a signal, an abort, a timeout, another daemon.

But for the lock, all begin alike: a program reads a file of a daemon whose server somewhere does not
answer (`Slow`).
"""

from __future__ import annotations

import errno
import fcntl
from dataclasses import replace
from typing import Final

from fusewire.daemon.session import Session
from fusewire.embedded.task_daemon import daemon
from fusewire.explain.director import ADMINISTRATOR, Director
from fusewire.explain.explanation import Explanation, Options
from fusewire.explain.operations.filesystem import Deaf, Slow
from fusewire.explain.operations.notices import Parts, notify
from fusewire.explain.operations.rows import HELLO, an_open_file
from fusewire.explain.operations.stage import DETAIL, PROGRAM, Stage, ended_in, finished, pass_time, set_up
from fusewire.kernel import Killed, Task

__all__ = ["ENDINGS"]

GROUP: Final = "how a long wait ends"
TIMEOUT: Final = 15  # seconds
OTHER: Final = "other program"
SUCCESSOR: Final = "successor"
DEVICE: Final = frozenset({"fuse_dev_read", "fuse_dev_write"})
BRIEF: Final = replace(DETAIL, without=DETAIL.without | {"fuse_direct_read_iter"})  # for narrow columns
WITH_DEVICE: Final = replace(BRIEF, without=BRIEF.without - DEVICE)  # what the daemon is told there, too


def begin(
    director: Director,
    options: Options,
    more: dict[str, str] | None = None,
    timeout: int = 0,
    slow: Slow | None = None,
) -> tuple[Stage, Slow, Task]:
    """Have a program wait for its READ, which a daemon has read."""
    stage, slow, reader = ready(director, options, more, timeout, slow)
    director.go_on()
    return stage, slow, reader


def ready(
    director: Director,
    options: Options,
    more: dict[str, str] | None = None,
    timeout: int = 0,
    slow: Slow | None = None,
) -> tuple[Stage, Slow, Task]:
    """Have a program about to read, and a daemon that waits for requests."""
    slow = slow or Slow()
    stage = set_up(director, options, {PROGRAM: "cat {path}"} | (more or {}), slow, request_timeout=timeout)
    fd = stage.run(an_open_file(stage.process, stage.path))
    director.prepare()
    return stage, slow, director.start(PROGRAM, stage.process.pread(fd, len(HELLO), 0), stage.process)


def play_interrupt(director: Director, options: Options) -> None:
    director.heading("A signal, and a daemon that heeds it")
    _, _, reader = begin(director, options)
    director.interrupt(reader)
    director.go_on()
    ended_in(reader, InterruptedError)
    director.heading("A signal before the request has been read")
    signal_before_it_is_read(director, options)
    director.heading("SIGKILL before the request has been read")
    kill_before_it_is_read(director, options)
    director.heading("SIGKILL, and a daemon that does not heed it")
    kill_after_it_is_read(director, options)


def signal_before_it_is_read(director: Director, options: Options) -> None:
    _, _, reader = ready(director, options)
    director.go_on(reader)
    director.interrupt(reader)
    director.go_on(reader)
    director.say(
        "No daemon is told to hurry with what it does not know of. Now it reads, first the one, then the other."
    )
    director.go_on()
    ended_in(reader, InterruptedError)


def kill_before_it_is_read(director: Director, options: Options) -> None:
    _, _, reader = ready(director, options)
    director.go_on(reader)
    director.kill(reader)
    director.go_on(reader)
    ended_in(reader, Killed)
    director.say("The request is withdrawn: the daemon wakes up for nothing, and never hears of it.")
    director.go_on()


def kill_after_it_is_read(director: Director, options: Options) -> None:
    _, slow, reader = begin(director, options, slow=Deaf())
    director.kill(reader)
    director.go_on()
    director.say("Even so killed, cat waits until it is answered: no second SIGKILL changes that.")
    slow.answer()
    director.go_on()
    ended_in(reader, Killed)
    director.say("It has its answer, and dies of the signal.")


def play_abort(director: Director, options: Options) -> None:
    stage, slow, reader = begin(director, options, {ADMINISTRATOR: "echo 1 > abort"})
    director.abort()
    director.go_on()
    ended_in(reader, ConnectionAbortedError)
    director.say("Whoever asks from now on is told at once; nothing is queued.")
    later = stage.play(stage.process.stat(f"{stage.path}-2"))
    if not (isinstance(later.result, OSError) and later.result.errno == errno.ENOTCONN):
        raise RuntimeError(f"a call after the abort did not end in ENOTCONN: {later.result!r}")
    director.say("The server answers at last, and the daemon learns that it is too late.")
    slow.answer()
    director.go_on()


def play_timeout(director: Director, options: Options) -> None:
    stage, slow, reader = begin(director, options, {ADMINISTRATOR: "30 seconds pass"}, TIMEOUT)
    director.perform(pass_time(stage, 2 * TIMEOUT))
    director.go_on()
    ended_in(reader, ConnectionAbortedError)
    slow.answer()
    director.go_on()


def play_resend(director: Director, options: Options) -> None:
    stage, slow, reader = begin(director, options, {SUCCESSOR: "Its successor"})
    columns = director.recording.columns
    columns[SUCCESSOR] = columns.pop(SUCCESSOR)  # it stands behind the daemon
    device = stage.scene.mounted.device
    device.dup()  # whoever looks after the daemon has it open as well
    for task in stage.daemons:
        director.kill(task)
    director.go_on()
    director.say("Another daemon takes over the device. Of what is going on it knows nothing, so it asks for it.")
    old = stage.scene.mounted.session
    director.start(SUCCESSOR, daemon(device, Session(slow, agreement=old.agreement)))
    notify(stage, "RESEND", Parts())
    slow.answer()
    director.go_on()
    finished(reader)


def play_setlkw(director: Director, options: Options) -> None:
    titles = {PROGRAM: "Program: fcntl, F_SETLKW", OTHER: "Who has locked {path}"}
    stage = set_up(director, options, titles)
    fd = stage.run(an_open_file(stage.process, stage.path))
    other = stage.run(stage.process.fork())
    stage.run(other.setlk(fd, fcntl.F_WRLCK))
    director.prepare()
    waiting = stage.play(stage.process.setlk(fd, fcntl.F_WRLCK, wait=True))
    finished(stage.play(other.setlk(fd, fcntl.F_UNLCK), OTHER, other))
    finished(waiting)


ENDINGS: Final = (
    Explanation(
        "setlkw",
        "lock a file, as soon as whoever has locked it lets go",
        play_setlkw,
        GROUP,
        detail=BRIEF,
        threads=2,
        remark="The daemon answers when the lock can be had. Meanwhile it must read what else comes, above all the "
        "SETLK by which the other unlocks: a daemon of one thread that waits here waits for ever. A signal becomes an "
        "INTERRUPT, which it has to answer with EINTR.",
    ),
    Explanation(
        "interrupt",
        "a signal comes while the daemon works",
        play_interrupt,
        GROUP,
        detail=BRIEF,
        threads=2,
        profiles=("linux",),
        remark="The daemon is told, by an INTERRUPT that overtakes all else; the caller goes on waiting for the "
        "answer. Only a thread that is free can read it: a single one, busy with the READ, would come too late. A "
        "daemon that does not know the request yet may answer the INTERRUPT with EAGAIN, and is told again; one that "
        "answers ENOSYS is never told again.",
    ),
    Explanation(
        "abort",
        "somebody aborts the connection",
        play_abort,
        GROUP,
        detail=WITH_DEVICE,
        remark="Whoever waits is told ECONNABORTED at once, whether the daemon has read the request or not; whoever "
        "asks later, ENOTCONN. The daemon's reply fails with ENOENT, its next read with ENODEV, upon which it ends. An "
        "abort ends every FUSE deadlock.",
    ),
    Explanation(
        "timeout",
        "no answer comes in time",
        play_timeout,
        GROUP,
        detail=WITH_DEVICE,
        profiles=("linux",),
        remark="A daemon may ask for a timeout at INIT, and fs.fuse.default_request_timeout sets one for all. The "
        "kernel looks every 15 seconds at the oldest request of each queue; one that is overdue aborts the whole "
        "connection.",
    ),
    Explanation(
        "resend",
        "a daemon dies, and another goes on in its place",
        play_resend,
        GROUP,
        detail=BRIEF,
        profiles=("linux",),
        remark="While somebody holds the device open, a daemon that dies takes nobody along. What it had read is "
        "queued again by RESEND, under a number that says that it was sent before: it may have been carried out "
        "already.",
    ),
)
