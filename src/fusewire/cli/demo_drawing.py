"""Acts 2 and 3 of `fusewire demo`: what went on underneath, and what to do when it hangs.

One more file is removed on the mount that was used last, and what both ends did meanwhile is drawn, with its times.
Then the first deadlock of kernel.txt is staged: a daemon removes, through its own mount, the file that it is asked to
remove. Nobody can go on; an abort frees them all. In act 3 it is found and healed by fusewire.watch instead.

On the real kernel either is drawn from its own tracepoints, as far as they may be used; what is inferred bears a
dot. Where nothing can be mounted both take place in this process.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Final

import fusewire
from fusewire import events
from fusewire.diagrams.columns import Detail
from fusewire.diagrams.recording import Recording
from fusewire.diagrams.text import render
from fusewire.events import Event, Step
from fusewire.explain.director import ADMINISTRATOR, Director
from fusewire.explain.explanation import Options
from fusewire.explain.real import brief_deadlock, healed_deadlock
from fusewire.explain.real.live import removal
from fusewire.explain.seed.simple_deadlock import into_deadlock
from fusewire.kernel.tasks import current

__all__ = ["draw_deadlock", "draw_removal", "heal_deadlock"]

NAME: Final = "file"
CALLER, DAEMON = "rm", "daemon"
RM: Final = Detail(
    steps=frozenset({Step.QUEUE, Step.WAKE, Step.SLEEP, Step.PERFORM}),
    calls=frozenset({"sys_unlink", "sys_read"}),
    queues=frozenset({"fc->waitq", "req->waitq"}),
    gaps_before=frozenset(),
)
DEADLOCK: Final = Detail(
    steps=frozenset({Step.ACQUIRE, Step.ACQUIRED, Step.SLEEP, Step.RELEASE}),
    calls=frozenset({"sys_unlink"}),
    without=frozenset({f'inode semaphore for "{NAME}"'}),  # the same again, of which nothing comes
    queues=frozenset({"req->waitq"}),
    words={(Step.CALL, "sys_unlink"): ">{name}({detail})", (Step.RETURN, "sys_unlink"): "<{name}() {detail}"},
    gaps_before=frozenset(),
)


def draw_removal(place: Path | fusewire.Kernel) -> str:
    """Remove a file of a filesystem, and return the diagram."""
    recording = removed(place / NAME) if isinstance(place, Path) else removed_in_kernel(place)
    return render(recording, RM, times=True)


def removed(path: Path) -> Recording:
    """Remove a file on a mount of this process."""
    path.write_bytes(b"to be removed\n")
    path.parent.stat()  # so that the kernel need not ask once more
    recording = removal(str(path))
    recording.columns[CALLER] = f'"rm {path.name}"'  # in a temporary directory, of which the name says nothing
    moments = list(recording.moments)
    over = next(at for at, moment in enumerate(moments) if is_end(moment.event))
    begun = next(at for at, moment in enumerate(moments) if moment.task == CALLER)
    recording.entries[:] = moments[begun : over + 1]
    return recording


def removed_in_kernel(kernel: fusewire.Kernel) -> Recording:
    """Remove a file of an embedded kernel."""
    path = f"/{NAME}"
    kernel.write_bytes(path, b"to be removed\n")
    kernel.stat("/")
    recording = Recording(f"rm {path}", {CALLER: f'"rm {NAME}"', DAEMON: "FUSE filesystem daemon"})
    over = False

    def hear(event: Event) -> None:
        nonlocal over
        if not over:
            recording.hear(DAEMON if current().name == DAEMON else CALLER, named_alike(event))
        over = over or is_end(event)

    before, events.hook = events.hook, hear
    try:
        kernel.unlink(path)
    finally:
        events.hook = before
    return recording


def is_end(event: Event) -> bool:
    return (event.step, event.name) == (Step.RETURN, "sys_unlink")


def named_alike(event: Event) -> Event:
    """Whoever uses the kernel is the one who removes."""
    return event._replace(woken=tuple(name if name == DAEMON else CALLER for name in event.woken))


def draw_deadlock(real: bool) -> str:
    """Stage the deadlock and its cure, and return the diagram."""
    options = Options(profile="linux", path=f"/mnt/fuse/{NAME}")
    return render(brief_deadlock(options) if real else embedded_deadlock(options), DEADLOCK)


def heal_deadlock() -> str:
    """Stage the deadlock on a mount of its own, have it found and cured, and return what was said."""
    recording = healed_deadlock(Options(profile="linux", path=f"/mnt/fuse/{NAME}"))
    return "\n".join(textwrap.fill(f"  {remark.text}", 80, subsequent_indent="    ") for remark in recording.remarks)


def embedded_deadlock(options: Options) -> Recording:
    """Stage it in this process."""
    director = Director("simple-deadlock", options.mountpoint)
    try:
        into_deadlock(director, options)
        director.say("An abort frees both: echo 1 > /sys/fs/fuse/connections/N/abort")
        director.abort()
        director.go_on()
        director.end()
    finally:
        director.close()
    director.recording.columns.pop(ADMINISTRATOR)  # of whom nothing is drawn
    return director.recording
