"""Scenario 2 of kernel.txt: a reply is written from the page that only this reply can fill.

kernel.txt stops at the deadlock: "Solution is again to let the request be interrupted (not elaborated
further)". Here it is elaborated. While the page of the writer's buffer is faulted in, the request is not
locked, so in 2005 its sender may go, and lets go of the page. Today no sender leaves a request that has
been read; but the wait for the page's lock can be killed, and an abort ends the request at once.
"""

from __future__ import annotations

from typing import Final

from fusewire.diagrams.columns import Detail
from fusewire.events import Step
from fusewire.explain.director import ADMINISTRATOR, Director
from fusewire.explain.explanation import SEED, Explanation, Options
from fusewire.explain.seed.simple_deadlock import kill_one_by_one
from fusewire.explain.seed.unlink import TODAY, columns_of_threads
from fusewire.explore.scenes.tricky_deadlock import tricky_deadlock
from fusewire.kernel.tasks import Task

__all__ = ["TRICKY_DEADLOCK"]

PREPARATION: Final = Detail(
    steps=frozenset({Step.OPEN, Step.MMAP, Step.CLOSE, Step.SERVE, Step.TRIGGER}),
    calls=frozenset(),
    beside=frozenset({Step.SERVE, Step.TRIGGER}),
    gaps_before=frozenset(),
)
DETAIL: Final = Detail(
    steps=frozenset(
        {
            Step.TOUCH,
            Step.READ_REQUEST,
            Step.MAKE_HEADER,
            Step.FIND_PAGE,
            Step.LOCK_PAGE,
            Step.LOOK_UP,
            Step.MATCH,
            Step.COPY_IN,
            Step.SLEEP,
            Step.QUEUE,
            Step.INTERRUPT,
            Step.KILL,
            Step.SIGNAL,
            Step.ABORT,
        }
    ),
    calls=frozenset({"do_page_fault", "fuse_readpage", "sys_write", "fuse_dev_write", "sys_umount"}),
    queues=frozenset({"req->waitq"}),
    words={
        Step.QUEUE: "[queue {operation} request]",
        (Step.CALL, "sys_write"): ">{name}({detail})",
        (Step.CALL, "sys_umount"): ">{name}({detail})",
        (Step.RETURN, "sys_umount"): "<{name}() {detail}",
        (Step.RETURN, "fuse_dev_write"): "<{name}() {detail}",
    },
    deadlock="* DEADLOCK *",
    gaps_before=frozenset(),
    first=PREPARATION,
    until=frozenset({Step.TOUCH}),
)


def play(director: Director, options: Options) -> None:
    if options.of_2005:
        of_2005(director, options)
    else:
        of_today(director, options)


def into_deadlock(director: Director, options: Options) -> tuple[Task, list[Task]]:
    """Have thread 1 read from its mapping, and thread 2 answer from there; return both kinds."""
    scene = tricky_deadlock(options.kernel, options.threads, name=options.name, uid=options.uid)
    first, *serving = scene.tasks
    who = "Kamikaze filesystem" if len(scene.tasks) == 2 and options.of_2005 else "Kamikaze"
    names = [task.name for task in scene.tasks]
    columns = columns_of_threads(who, names, 4 if options.of_2005 else 3)
    if not options.of_2005:
        columns[ADMINISTRATOR] = ADMINISTRATOR
    director.stage(scene, columns)
    director.prepare(*serving)
    director.go_on(first)
    director.go_on()
    director.deadlock()
    return first, serving


def of_2005(director: Director, options: Options) -> None:
    first, serving = into_deadlock(director, options)
    director.say(
        "The cure of 2005 once more: while the page is faulted in, the request is not locked, and may be interrupted. "
        "thread 1 is killed, and lets go of the page, which was not filled."
    )
    director.kill(first)
    director.go_on()
    kill_one_by_one(director, serving)
    director.end()


def of_today(director: Director, options: Options) -> None:
    director.heading("Killing the reader is no cure, and killing the writer is")
    reader_and_writer(director, options)
    director.heading("An abort")
    into_deadlock(director, options)
    director.say("The connection is aborted: echo 1 > /sys/fs/fuse/connections/N/abort")
    director.abort()
    director.go_on()
    director.end()
    director.heading("A forced unmount")
    into_deadlock(director, options)
    director.unmount(force=True)
    director.go_on()
    director.end()
    director.say(WHAT_CHANGED)


def reader_and_writer(director: Director, options: Options) -> None:
    first, serving = into_deadlock(director, options)
    director.say("thread 1 is killed. Its request has been read, so it sleeps on until that is answered.")
    director.kill(first)
    director.go_on()
    director.deadlock()
    director.say("Then the others, as when the whole process is killed. A wait for a page's lock is killable.")
    for task in serving:
        director.kill(task)
    director.go_on()
    director.end()


WHAT_CHANGED: Final = (
    "What is different today, and why: a killed process leaves no request behind that the daemon has read, and keeps "
    "the page locked meanwhile. But who faults on a page waits for its lock killably: the copy fails, so does the "
    "request, with EIO, and the page is unlocked without having been filled. So the Kamikaze filesystem is cured by "
    "killing all of it; in kernel.txt's simple deadlock, the daemon waits for a semaphore, and no signal helps. An "
    "abort ends the request at once, since it is not locked during the fault: what `req->locked` delays today is the "
    "abort, as 'fusewire explain locked-copy' shows. A process that has no handler for SIGBUS dies of it."
)

TRICKY_DEADLOCK: Final = Explanation(
    name="tricky-deadlock",
    summary="a reply comes from the page that only it can fill",
    play=play,
    group=SEED,
    detail=DETAIL,
    today=TODAY,
    profile="seed2005",
)
