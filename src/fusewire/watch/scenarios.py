"""The ways in which a mount comes to hang: what they are called, how they come about, what ends them for good."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

__all__ = ["ADVICE", "OPERABLE", "Advice", "Scenario"]


class Scenario(enum.Enum):
    """What happened. The value is its name for people."""

    SELF_ACCESS = "the daemon uses its own mount"
    ALL_REENTERED = "all threads of the daemon use its own mount"
    CROSS_MOUNT = "daemons use each other's mounts"
    PAGE_FAULT = "the daemon answers out of a page of its own mount"
    INVALIDATION = "the daemon invalidates what a caller holds"
    WRITEBACK = "the daemon waits for its own writeback"
    EXIT_FLUSH = "the daemon dies with files of its own mount open"
    KILLED = "the daemon was killed, and cannot die"
    FORKED_CHILD = "a process that does not serve holds the device"
    STOPPED = "the daemon is stopped"
    DEAD = "the daemon is gone"
    DETACHED = "unmounted, but still in use"


# The circle runs through a request that can be taken from the daemon and answered by somebody else.
OPERABLE: Final = (
    Scenario.SELF_ACCESS,
    Scenario.ALL_REENTERED,
    Scenario.CROSS_MOUNT,
    Scenario.INVALIDATION,
)


class Advice(NamedTuple):
    """What is said of a scenario."""

    happened: str  # how it came about
    change: str  # in the daemon, or in how it is run
    explanation: str = ""  # `fusewire explain NAME` draws it


ADVICE: Final = {
    Scenario.SELF_ACCESS: Advice(
        "To answer a request the daemon uses a file of its own mount, and waits for itself: for an answer, or "
        "for a lock which the caller holds until it is answered.",
        "no handler may touch its own mount. What lies below it is reached through a descriptor that was opened "
        "before the mount was made.",
        "simple-deadlock",
    ),
    Scenario.ALL_REENTERED: Advice(
        "Every thread of the daemon is in a handler that uses the daemon's own mount: none is left to answer.",
        "no handler may touch its own mount. More threads only make it rarer.",
        "simple-deadlock",
    ),
    Scenario.CROSS_MOUNT: Advice(
        "A daemon waits for an answer from another, which waits, in the end, for an answer from the first.",
        "no daemon may keep its data, cache or log on a mount that stands on its own.",
        "simple-deadlock",
    ),
    Scenario.PAGE_FAULT: Advice(
        "The reply lies in a mapped file of the mount. To copy it the kernel needs a page that this reply, or one "
        "behind it, is to bring.",
        "answer out of memory of your own, never out of a file that is mapped from your own mount.",
        "tricky-deadlock",
    ),
    Scenario.INVALIDATION: Advice(
        "The daemon tells the kernel to forget something that is locked by a caller whom it has not answered yet.",
        "send invalidations from a thread that answers no requests, or after the answer.",
    ),
    Scenario.WRITEBACK: Advice(
        "The daemon changed files of its own mount, and waits until that is written: by WRITE requests, which it "
        "would have to answer.",
        "no handler may write to its own mount, or fsync there; or do without the writeback cache.",
    ),
    Scenario.EXIT_FLUSH: Advice(
        "The daemon was killed with files of its own mount open. The kernel closes them with FLUSH, and waits for "
        "the answer of the daemon that it is about to bury.",
        "a daemon may not keep files of its own mount open.",
    ),
    Scenario.KILLED: Advice(
        "The daemon was killed while a thread of it waits, deaf to signals, for the mount that nobody but itself would "
        "serve. It ends as soon as the connection does; a further SIGKILL changes nothing.",
        "no handler may touch its own mount. What lies below it is reached through a descriptor that was opened "
        "before the mount was made.",
    ),
    Scenario.FORKED_CHILD: Advice(
        "The daemon is gone, but a child of its has inherited the device, and never reads it: requests wait for ever.",
        "open the device with O_CLOEXEC, and close it in children that are forked without exec.",
    ),
    Scenario.STOPPED: Advice("No thread of the daemon may run: a signal, a debugger or a freezer holds it.", ""),
    Scenario.DEAD: Advice(
        "No process holds the device any more: every call on the mount fails with ENOTCONN.",
        "",
    ),
    Scenario.DETACHED: Advice("It is mounted nowhere any more, and ends with the last who has its files open.", ""),
}
