"""Scenario 1 of kernel.txt: a daemon removes, through its own mount, the file that it is asked to remove.

Whoever removes a file holds its semaphore until the daemon has answered, and the daemon that removes it
waits for this semaphore. In 2005 the cure is to kill: the caller, whom its request lets go, and then
each thread of the daemon, for each makes the same mistake. Today a request that has been read lets
nobody go. Somebody has to answer it, or to abort the connection.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from fusewire.daemon.request import Request
from fusewire.daemon.session import Call
from fusewire.diagrams.columns import Detail
from fusewire.embedded.task_daemon import GONE, perform, read_message, write_reply
from fusewire.errors import os_error
from fusewire.events import Step
from fusewire.explain.director import ADMINISTRATOR, Director
from fusewire.explain.explanation import SEED, Explanation, Options
from fusewire.explain.seed.unlink import TODAY, columns_of_rm, daemons
from fusewire.explore.scene import Mounted, Scene
from fusewire.explore.scenes.removing import RemovesItself, looked_up, simple_deadlock
from fusewire.explore.stuck import ending
from fusewire.kernel.tasks import Task
from fusewire.wire import FUSE_INT_REQ_BIT, InHeader, encode_error

__all__ = ["SIMPLE_DEADLOCK", "kill_one_by_one"]

MISTAKE: Final = Detail(
    steps=frozenset({Step.ACQUIRE, Step.SLEEP}),
    calls=frozenset({"sys_unlink", "fuse_unlink", "sys_read"}),
    queues=frozenset({"req->waitq"}),
    words={
        (Step.CALL, "sys_unlink"): ">{name}({detail})",
        (Step.CALL, "sys_umount"): ">{name}({detail})",
        (Step.RETURN, "sys_umount"): "<{name}() {detail}",
    },
    gaps_before=frozenset(),
)
CURE: Final = frozenset(
    {
        Step.RELEASE,
        Step.INTERRUPT,
        Step.QUEUE,
        Step.WAKE,
        Step.KILL,
        Step.SIGNAL,
        Step.ABORT,
        Step.QUEUE_INTERRUPT,
        Step.TAKE_INTERRUPT,
    }
)
DETAIL: Final = replace(
    MISTAKE,
    steps=(MISTAKE.steps or frozenset()) | CURE,
    calls=frozenset({"sys_unlink", "fuse_unlink", "sys_read", "sys_umount", "sys_write"}),
    queues=frozenset({"fc->waitq", "req->waitq"}),
    first=MISTAKE,
    until=frozenset({Step.KILL, Step.SIGNAL, Step.ABORT}),
)


class OnlyOnce(RemovesItself):
    """Makes the mistake with the first unlink that it is asked for; whoever comes next is served."""

    made = False

    async def unlink(self, request: Request, parent: int, name: str) -> None:  # type: ignore[override]
        if not self.made:
            self.made = True
            await super().unlink(request, parent, name)
        elif self.nodeids.pop(name, None) is None:
            raise os_error(errno.ENOENT)


async def heed(mount: Mounted) -> None:
    """Serve as one thread of a daemon that answers an INTERRUPT for whoever is at the request: with EINTR."""
    device, session = mount.device, mount.session
    try:
        while True:
            message = await read_message(device, session.limits.buffer_size)
            unique = InHeader.unpack_from(message).unique
            received = session.receive(message)
            reply = await perform(session, received) if isinstance(received, Call) else received
            if unique & FUSE_INT_REQ_BIT:
                reply = (encode_error(unique ^ FUSE_INT_REQ_BIT, errno.EINTR),)
            if reply is not None:
                await write_reply(device, reply)
    except OSError as error:
        if error.errno not in GONE:
            raise
    finally:
        device.close()


def play(director: Director, options: Options) -> None:
    if options.of_2005:
        of_2005(director, options)
    else:
        of_today(director, options)


def into_deadlock(director: Director, options: Options) -> tuple[Task, list[Task]]:
    """Have rm ask for an unlink, and a thread of the daemon make its mistake; return both ends' tasks."""
    scene = simple_deadlock(options.kernel, options.threads, name=options.name, uid=options.uid)
    rm, *serving = director.stage(scene, columns(options)).tasks
    director.prepare(*serving)
    director.go_on()
    director.deadlock()
    return rm, serving


def columns(options: Options) -> dict[str, str]:
    """The columns; today's have one more, for whoever comes to the rescue."""
    if options.of_2005:
        return columns_of_rm(options)
    return {**columns_of_rm(options, most=2), ADMINISTRATOR: ADMINISTRATOR}


def of_2005(director: Director, options: Options) -> None:
    rm, serving = into_deadlock(director, options)
    director.say(
        "The cure of 2005: a request may be interrupted while it is in userspace. rm is killed; its request stays "
        "with the daemon, and what rm held is free."
    )
    director.kill(rm)
    director.go_on()
    kill_one_by_one(director, serving)
    director.end()


def kill_one_by_one(director: Director, serving: Sequence[Task]) -> None:
    """Kill the threads of a daemon that is stuck, each time that one whose request keeps the others waiting."""
    for killed in range(len(serving)):
        left = [task for task in serving if not task.finished]
        if len(ending(director.scene).cycle) > 1:
            director.deadlock()
        director.say(_why(left, killed, len(serving)))
        director.kill(next((task for task in left if _waits_for_answer(task)), left[0]))
        director.go_on()


def _waits_for_answer(task: Task) -> bool:
    return task.asleep_on is not None and task.asleep_on.name == "req->waitq"


def _why(left: Sequence[Task], killed: int, total: int) -> str:
    if total == 1:
        return (
            f"{left[0].name} is the only thread that serves, and sleeps until it is answered: nobody is left to read "
            "its request. So it is killed as well."
        )
    if len(left) == 1:
        return f"{killed} of {total} threads are dead, and the last one waits for itself. It is killed as well."
    if killed == 0:
        return f"The next thread has made the same mistake. {total} threads are left, and one of them is killed."
    return f"And the next. {killed} of {total} threads are dead; {len(left)} are left, and one of them is killed."


# Today.


def of_today(director: Director, options: Options) -> None:
    director.heading("Killing is no cure, and an abort is")
    killing_and_abort(director, options)
    director.heading("A forced unmount")
    forced_unmount(director, options)
    director.heading("Another thread answers for the one that is stuck")
    another_answers(director, options)
    director.say(WHAT_CHANGED)


def killing_and_abort(director: Director, options: Options) -> None:
    rm, serving = into_deadlock(director, options)
    director.say(
        f"rm and {'the daemon are' if len(serving) == 1 else 'all threads of the daemon are'} killed. rm's request has "
        f"been read, so rm sleeps on until it is answered, and the daemon is only asked to hurry. {serving[0].name} "
        "waits for a semaphore, from which no signal wakes anybody."
    )
    director.kill(rm)
    for task in serving:
        director.kill(task)
    director.go_on()
    director.deadlock()
    director.say("The connection is aborted: echo 1 > /sys/fs/fuse/connections/N/abort")
    director.abort()
    director.go_on()
    director.end()


def forced_unmount(director: Director, options: Options) -> None:
    into_deadlock(director, options)
    director.say(f"umount -f {options.mountpoint}, which aborts the connection first of all.")
    director.unmount(force=True)
    director.go_on()
    director.end()


def another_answers(director: Director, options: Options) -> None:
    options = options.with_threads(2)
    filesystem = OnlyOnce(options.name)
    mount = looked_up(filesystem, options.kernel, uid=options.uid)
    filesystem.process = mount.process
    names = daemons(options.threads)
    for _ in names[1:]:
        mount.device.dup()
    rm = Task("rm", mount.process.unlink(f"/{options.name}"))
    serving = [Task(name, heed(mount)) for name in names]
    director.stage(Scene(mount, [rm, *serving]), columns(options))
    director.prepare(*serving)
    director.go_on()
    director.say(
        f"{serving[0].name} waits for a semaphore that rm holds, and rm for {serving[0].name}. But another thread is "
        "free, and this daemon heeds interrupts. rm is sent a signal, of any kind."
    )
    director.interrupt(rm)
    director.go_on()
    director.end()


WHAT_CHANGED: Final = (
    "What is different today, and why: in 2005 a killed process left its request behind, and with it the inodes that "
    "were held on its account until the reply came. Today nobody leaves a request that the daemon has read, for it "
    "may be carried out all the same: the daemon is asked to hurry, by an INTERRUPT, and may answer EINTR if it has "
    "undone or not begun it. So a signal alone ends nothing, and no SIGKILL does; killing the daemon helps as soon as "
    "its last descriptor is closed, which a thread in an uninterruptible sleep keeps from happening. What always "
    "helps is an abort. The semaphore for which the daemon waits is that of the directory, which unlink takes first; "
    "kernel.txt passes over it."
)

SIMPLE_DEADLOCK: Final = Explanation(
    name="simple-deadlock",
    summary="a daemon removes the file that it is asked to remove",
    play=play,
    group=SEED,
    detail=DETAIL,
    also=frozenset({Step.PERFORM}),
    today=TODAY,
    profile="seed2005",
)
