"""The stages of a request, as data: what may become of it, and by whom.

    unused -> (background ->) pending -> faulting out <-> copying out -> processing -> copying in <-> faulting in
                                                                             |               |
                                                     resend: back to pending <               > finished

A request is copied to and from memory that its sender owns, so nothing may end it in the middle of
a copy: it is then `locked`. A copy goes page by page, and each page of the daemon's buffer is
faulted in while the request is *not* locked, for a fault may sleep for as long as it likes, and may
need this very request to be ended first. Hence two stages on either way, and the last paragraph of
kernel.txt is two columns of the table:

    copying     locked: an abort only marks it ABORTED, and its copier, who looks when the page is done, ends it
    faulting    not locked: it is ended at once, and its copier, when the fault is over, finds it FINISHED

Linux lets nobody go whose request the daemon has read: it asks the daemon to hurry. In 2005 a
killed sender went, and the request stayed until its reply was thrown away: the rows of GIVING_UP.

What is absent from the table is illegal.

Source: fs/fuse/dev.c; kernel.txt.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

__all__ = [
    "COPYING_IN",
    "COPYING_OUT",
    "FAULTING",
    "FINISHED",
    "GIVEN_UP",
    "GIVING_UP",
    "LOCKED",
    "TRANSITIONS",
    "UNUSED",
    "Stage",
    "Transitions",
]


class Stage(enum.Enum):
    UNUSED = "unused"  # in the connection's pool, or being filled in by its sender
    BACKGROUND = "background"  # waits until fewer of its kind are under way
    PENDING = "pending"  # queued; the daemon has not read it
    FAULTING_OUT = "faulting out"  # on a device's `io`: a reader's buffer is faulted in
    COPYING_OUT = "copying out"  # on `io`, locked: a page of it goes to the reader
    PROCESSING = "processing"  # read; the reader owes a reply
    COPYING_IN = "copying in"  # on `io` again, locked: a page of the reply comes in
    FAULTING_IN = "faulting in"  # on `io`: the writer's buffer is faulted in
    ABORTED = "aborted"  # on `io`, locked: its copier will end it
    GIVEN_UP = "given up"  # processing still, but its sender has gone
    LEFT = "left"  # on `io`, being faulted, but its sender has gone: its copier will end it
    FINISHED = "finished"  # answered, aborted or withdrawn; the sender may return

    __hash__ = object.__hash__  # by identity: Enum's own is written in Python, and the table is looked up all the time


Transitions = Mapping[tuple[Stage, str], Stage]


TRANSITIONS: Final[Transitions] = {
    (Stage.UNUSED, "send"): Stage.PENDING,
    (Stage.UNUSED, "send in background"): Stage.BACKGROUND,
    (Stage.UNUSED, "refuse"): Stage.FINISHED,  # the connection is gone
    (Stage.BACKGROUND, "send"): Stage.PENDING,
    (Stage.BACKGROUND, "abort"): Stage.FINISHED,
    (Stage.PENDING, "read"): Stage.FAULTING_OUT,
    (Stage.PENDING, "too long"): Stage.FINISHED,  # for its reader's buffer
    (Stage.PENDING, "kill"): Stage.FINISHED,  # the daemon never sees it
    (Stage.PENDING, "abort"): Stage.FINISHED,
    (Stage.FAULTING_OUT, "lock"): Stage.COPYING_OUT,
    (Stage.FAULTING_OUT, "fault"): Stage.FINISHED,  # there is no such memory
    (Stage.FAULTING_OUT, "abort"): Stage.FINISHED,
    (Stage.COPYING_OUT, "unlock"): Stage.FAULTING_OUT,
    (Stage.COPYING_OUT, "copied"): Stage.PROCESSING,
    (Stage.COPYING_OUT, "told"): Stage.FINISHED,  # it wants no reply
    (Stage.COPYING_OUT, "abort"): Stage.ABORTED,
    (Stage.PROCESSING, "write"): Stage.COPYING_IN,
    (Stage.PROCESSING, "abort"): Stage.FINISHED,
    (Stage.PROCESSING, "resend"): Stage.PENDING,
    (Stage.COPYING_IN, "unlock"): Stage.FAULTING_IN,
    (Stage.COPYING_IN, "copied"): Stage.FINISHED,
    (Stage.COPYING_IN, "abort"): Stage.ABORTED,
    (Stage.FAULTING_IN, "lock"): Stage.COPYING_IN,
    (Stage.FAULTING_IN, "fault"): Stage.FINISHED,
    (Stage.FAULTING_IN, "abort"): Stage.FINISHED,
    (Stage.ABORTED, "copied"): Stage.FINISHED,
}


GIVING_UP: Final[Transitions] = {
    (Stage.PROCESSING, "kill"): Stage.GIVEN_UP,
    (Stage.GIVEN_UP, "write"): Stage.FINISHED,  # nobody is left who would want the reply
    (Stage.GIVEN_UP, "abort"): Stage.FINISHED,
    (Stage.FAULTING_OUT, "kill"): Stage.LEFT,
    (Stage.FAULTING_IN, "kill"): Stage.LEFT,
    (Stage.LEFT, "left"): Stage.FINISHED,  # said by its copier, like the next four
    (Stage.COPYING_OUT, "left"): Stage.FINISHED,  # its sender waits for the end of this page in order to go
    (Stage.COPYING_IN, "left"): Stage.FINISHED,
    (Stage.FAULTING_OUT, "left"): Stage.FINISHED,  # its sender may go, and has not come to it yet
    (Stage.FAULTING_IN, "left"): Stage.FINISHED,
    (Stage.LEFT, "abort"): Stage.FINISHED,
}

# Stages that are asked for with every request: `Stage.FINISHED` costs 0.12 us in Python 3.11, a global name 0.01.
UNUSED: Final = Stage.UNUSED
COPYING_OUT: Final = Stage.COPYING_OUT
COPYING_IN: Final = Stage.COPYING_IN
GIVEN_UP: Final = Stage.GIVEN_UP
FINISHED: Final = Stage.FINISHED

LOCKED: Final = frozenset({Stage.COPYING_OUT, Stage.COPYING_IN, Stage.ABORTED})
FAULTING: Final = frozenset({Stage.FAULTING_OUT, Stage.FAULTING_IN})
