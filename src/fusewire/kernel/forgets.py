"""References given back: FORGET and BATCH_FORGET.

A forget can neither fail nor wait, for it is said when memory is being freed. So it is no request:
a pair of numbers on a list of its own, made into a message when a reader takes it. Many may come at
once, when a cache is dropped, so readers get requests and forgets in turns: after eight of the one
sixteen of the other, while both are there. Whoever has room for them is given many in one message.

In 2005 a FORGET was a request like any other, but one that is not answered.

Source: fs/fuse/dev.c, fuse_queue_forget, fuse_read_forget and fuse_dev_do_read.
"""

from __future__ import annotations

import struct
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Final

from fusewire import events
from fusewire.events import Step, note
from fusewire.wire import BatchForgetIn, ForgetIn, ForgetOne, InHeader, encode_request

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection

__all__ = ["Forgets", "forget"]

REQUESTS: Final = 8  # are read before forgets have their turn
FORGETS: Final = 16  # messages of them are read then
FIRST_BATCH_MINOR: Final = 16


class Forgets:
    """What is to be forgotten: (nodeid, nlookup), in the order in which it was said."""

    __slots__ = ("batch", "queue")

    def __init__(self) -> None:
        self.queue: deque[tuple[int, int]] = deque()
        self.batch = 0  # messages of forgets that may still be read before requests; below 0, requests read since

    def __len__(self) -> int:
        return len(self.queue)

    def have_their_turn(self, others: bool) -> bool:
        """Whether the next read takes forgets, `others` being there as well or not; it counts as that read."""
        if not self.queue:
            return False
        if not others:
            return True
        self.batch -= 1
        if self.batch >= 0:
            return True
        if self.batch <= -REQUESTS:
            self.batch = FORGETS
        return False

    def take(self, unique: int, size: int, minor: int) -> bytes:
        """Return the next message of forgets, of at most `size` bytes; a batch if there are several."""
        if minor < FIRST_BATCH_MINOR or len(self.queue) == 1:
            nodeid, nlookup = self.queue.popleft()
            return encode_request("FORGET", unique=unique, nodeid=nodeid, body=ForgetIn(nlookup))
        room = (size - InHeader.SIZE - BatchForgetIn.SIZE) // ForgetOne.SIZE
        count = min(len(self.queue), room)
        pairs = [self.queue.popleft() for _ in range(count)]
        data = struct.pack(f"={2 * count}Q", *chain.from_iterable(pairs))
        return encode_request("BATCH_FORGET", unique=unique, body=BatchForgetIn(count), data=data)


def forget(connection: Connection, nodeid: int, nlookup: int) -> None:
    """Give `nlookup` references to `nodeid` back to the daemon, sooner or later. Lost after an abort.

    A method of `Connection`.
    """
    if not connection.connected:
        return
    if connection.profile.forgets_are_requests:
        connection.ask_background("FORGET", nodeid, ForgetIn(nlookup), nocreds=True)
        return
    connection.forgets.queue.append((nodeid, nlookup))
    if events.hook is not None and events.hook is not events.unheard:
        note(Step.QUEUE_FORGET, about=f"nodeid {nodeid}, nlookup {nlookup}")
    connection.waitq.wake()
