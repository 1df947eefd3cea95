"""Linux as it is, and as kernel.txt has it: all that differs, in one table.

`linux` is today's, and what a filesystem meets. `seed2005` is how requests travelled when
kernel.txt was written. Several of its sentences are no longer true: requests came from a pool, a
killed process left its request behind, and killing was the cure for a deadlock.

Both speak today's ABI: the profile is about the queues, not about the messages. But 2005 had no
INTERRUPT to send, no BATCH_FORGET, and nothing to send again.

`seed2005` is as simplified as kernel.txt in one point: unlink holds the file's semaphore, and the
directory's is passed over (`parent_semaphore`), though Linux took both then as now.

Source: fs/fuse/dev.c, of March 2005 and of Linux 6.18.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

from fusewire.kernel.stages import GIVING_UP, TRANSITIONS, Transitions
from fusewire.kernel.waitq import Sleep
from fusewire.wire import FUSE_MAX_ERRNO

__all__ = ["LINUX", "PROFILES", "SEED2005", "Profile"]


@dataclass(frozen=True, slots=True, repr=False)
class Profile:
    name: str
    unused: int | None  # requests made beforehand; None if each is made when it is wanted
    gate: str  # the wait queue of those who may not have a request yet
    gate_depth: Sleep
    forces: bool  # FLUSH and the like pass the gate, and no signal ends them
    unique_step: int  # 2 leaves the odd ones to INTERRUPT
    parent_semaphore: bool  # unlink holds the directory's too
    interrupts: bool  # a signal becomes an INTERRUPT; otherwise it ends the wait
    only_killable: frozenset[str]  # operations of which only a fatal signal ends the wait, even before the read
    transitions: Transitions
    limits_background: bool  # some of what nobody waits for is held back
    forgets_are_requests: bool  # on `pending`, like any other
    least_read: bool  # a read with less room than the longest WRITE needs is refused
    short_read: int  # errno of a read that finds a longer request than its buffer; 0 if it goes on to the next
    unknown_unique: int  # errno of a reply that nobody waits for
    largest_error: int  # the greatest errno that a daemon may answer with

    def __repr__(self) -> str:
        return f"<Profile {self.name}>"


LINUX: Final = Profile(
    name="linux",
    unused=None,
    gate="fc->blocked_waitq",
    gate_depth=Sleep.KILLABLE,
    forces=True,
    unique_step=2,
    parent_semaphore=True,
    interrupts=True,
    only_killable=frozenset(),
    transitions=TRANSITIONS,
    limits_background=True,
    forgets_are_requests=False,
    least_read=True,
    short_read=0,
    unknown_unique=errno.ENOENT,
    largest_error=FUSE_MAX_ERRNO,
)
SEED2005: Final = Profile(
    name="seed2005",
    unused=10,
    gate="fc->outstanding_sem",
    gate_depth=Sleep.INTERRUPTIBLE,
    forces=False,
    unique_step=1,
    parent_semaphore=False,
    interrupts=False,
    only_killable=frozenset({"READ", "READDIR", "READDIRPLUS", "WRITE", "FLUSH"}),
    transitions={**TRANSITIONS, **GIVING_UP},
    limits_background=False,
    forgets_are_requests=True,
    least_read=False,
    short_read=errno.EINVAL,
    unknown_unique=errno.EINVAL,
    largest_error=999,
)
PROFILES: Final = {profile.name: profile for profile in (LINUX, SEED2005)}
