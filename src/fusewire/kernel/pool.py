"""The requests of 2005: ten, made beforehand, and a semaphore that counts how many may be taken.

Whoever wants to send something takes one, and sleeps while there is none. FORGET and RELEASE cannot
sleep, so they are made when they are wanted; but each takes a place from the semaphore if it can, and
is a *debt* if it cannot, which the next request that is given back pays. So nobody can open and close
files for ever while the daemon does nothing.

The semaphore starts at 0, for nobody may send anything before INIT, which takes its request without
asking. Its answer frees nine places, and INIT itself the tenth.

Linux has no pool today: a request is made when it is wanted, and `unused` is always empty.

Source: fs/fuse/dev.c of 2005, fuse_get_request, queue_request and fuse_putback_request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusewire.kernel.request import Request

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection

__all__ = ["Pool"]


class Pool:
    """`size` requests, or as many as are wanted if that is None."""

    __slots__ = ("connection", "debt", "places", "size", "unused")

    def __init__(self, connection: Connection, size: int | None) -> None:
        self.connection = connection
        self.size = size
        self.unused = [Request(connection) for _ in range(size or 0)]
        self.places = 0  # the semaphore (outstanding_sem)
        self.debt = 0  # places that were taken without there being one (outstanding_debt)

    @property
    def has_place(self) -> bool:
        return self.size is None or self.places > 0

    def open(self) -> None:
        """Free all places but that of INIT, which has been answered."""
        if self.size is not None:
            self.places += self.size - 1

    def take(self) -> Request:
        """Take a request, and its place."""
        if self.size is None:
            return Request(self.connection)
        self.places -= 1
        return self.take_unasked()

    def take_unasked(self) -> Request:
        """Take a request but no place: INIT's, which comes before there are any."""
        if self.size is None:
            return Request(self.connection)
        request = self.unused.pop()
        request.pooled = True
        return request

    def make(self) -> Request:
        """Make a request beside the pool; in debt, if no place is free."""
        if self.places > 0:
            self.places -= 1
        else:
            self.debt += self.size is not None
        return Request(self.connection)

    def give_back(self, request: Request) -> bool:
        """Take `request` back; return whether somebody may have its place now."""
        if self.size is None:
            return False
        if request.pooled:
            self.unused.append(Request(self.connection))  # a fresh one: nothing old reaches the next sender
        if self.debt:
            self.debt -= 1
            return False
        self.places += 1
        return True
