"""The first diagram of kernel.txt: how one request travels.

A daemon waits for something to read; somebody removes a file; the request goes there and its answer back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fusewire.diagrams.columns import Detail
from fusewire.embedded.task_daemon import serve_one
from fusewire.events import Step
from fusewire.explain.director import Director
from fusewire.explain.explanation import SEED, Explanation, Options
from fusewire.explore.scene import OneDirectory, Scene
from fusewire.explore.scenes.removing import looked_up
from fusewire.kernel.tasks import Task

__all__ = ["UNLINK", "columns_of_rm", "columns_of_threads", "daemons"]

DAEMON: Final = "FUSE filesystem daemon"

DETAIL: Final = Detail(
    steps=frozenset(
        {
            Step.SLEEP,
            Step.GET,
            Step.QUEUE,
            Step.WAKE,
            Step.TAKE,
            Step.COPY_OUT,
            Step.READ,
            Step.PERFORM,
            Step.LOOK_UP,
            Step.MATCH,
            Step.COPY_IN,
            Step.PUT,
        }
    ),
    queues=frozenset({"fc->waitq", "req->waitq"}),
)
TODAY: Final[dict[str | tuple[str, str], str]] = {Step.GET: "[allocate req]", Step.PUT: "[free req]"}


def daemons(threads: int) -> list[str]:
    """Return the names of the tasks that serve, as a scene of explore/ has them."""
    return ["daemon"] if threads == 1 else [f"daemon {number}" for number in range(1, threads + 1)]


def columns_of_rm(options: Options, most: int = 3) -> dict[str, str]:
    """Return the columns of a scene in which `rm` uses a daemon, whose threads have `most` columns together."""
    rm = f'"rm {options.path}"' + (f", uid {options.uid}" if options.uid else "")
    names = daemons(options.threads)
    return {"rm": rm, **({names[0]: DAEMON} if len(names) == 1 else columns_of_threads("FUSE", names, most))}


def columns_of_threads(who: str, names: Sequence[str], most: int) -> dict[str, str]:
    """Return a column for each of the threads `names`, but at most so many: those that are left share the last."""
    own = names[: most - 1] if len(names) > most else names
    shared = f"{who} {names[most - 1]} and later" if len(names) > most else ""
    return {name: f"{who} {name}" if name in own else shared for name in names}


def play(director: Director, options: Options) -> None:
    mount = looked_up(OneDirectory(options.name), options.kernel, uid=options.uid)
    serving = [Task(name, serve_one(mount.device, mount.session)) for name in daemons(options.threads)]
    rm = Task("rm", mount.process.unlink(f"/{options.name}"))
    director.stage(Scene(mount, [rm, *serving]), columns_of_rm(options))
    director.go_on(*serving)
    director.go_on()
    if options.threads > 1:
        director.say("One wake-up wakes one thread; the others sleep on.")
    if not options.of_2005:
        director.say(WHAT_CHANGED)


WHAT_CHANGED: Final = (
    "What is different today, and why: there is no list of unused requests, which were ten, and made the eleventh "
    "caller wait; a request is allocated when it is wanted, and only those for which nobody waits are limited "
    "(max_background). While it is copied a request stands on the list `io` of the device, so that an abort finds it, "
    "and `processing` is the device's too, so that who has read a request must answer it. Numbers go up by two: the "
    "odd ones are left to INTERRUPT."
)

UNLINK: Final = Explanation(
    name="unlink",
    summary="how one request travels: rm removes a file",
    play=play,
    group=SEED,
    detail=DETAIL,
    today=TODAY,
    remark="INIT and the LOOKUP of the name came before: see 'fusewire explain init' and 'lookup'. Somebody else "
    "has the file open, or else a FORGET came after it: see 'forget'.",
    profile="seed2005",
)
