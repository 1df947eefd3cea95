"""How many requests stand on each queue of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection

__all__ = ["Statistics", "statistics"]


class Statistics(NamedTuple):
    """How many requests are where, and how many somebody waits for or will be told of (`waiting`)."""

    unused: int
    background: int
    pending: int
    io: int
    processing: int
    interrupts: int
    forgets: int
    waiting: int


def statistics(connection: Connection) -> Statistics:
    """Count the requests on each queue."""
    return Statistics(
        len(connection.unused),
        len(connection.background.queue),
        len(connection.pending),
        sum(len(device.io) for device in connection.devices),
        sum(len(device.processing) for device in connection.devices),
        len(connection.interrupts),
        len(connection.forgets),
        connection.num_waiting,
    )
