"""NOTIFY_RESEND: what a daemon has read it reads once more.

A daemon that took the device over from one that died knows nothing of the requests which that one
had read. It asks for them: they go back to the head of `pending`, under a number that says that
they were sent before, since the dead one may have carried them out already. Only the new number is
answered. What is being copied stays where it is.

Linux keeps what it has sent in 256 buckets by a hash of the number, and takes them in that order;
so do we, since a daemon can see it.

Source: fs/fuse/dev.c, fuse_resend; include/linux/hash.h, hash_64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusewire.events import Step, note
from fusewire.wire import FUSE_INT_REQ_BIT, FUSE_UNIQUE_RESEND

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.device import Device
    from fusewire.kernel.request import Request

__all__ = ["bucket", "resend"]

GOLDEN_RATIO: Final = 0x61C8864680B583EB
BUCKETS_BITS: Final = 8


def bucket(unique: int) -> int:
    """Return in which of the 256 buckets a device keeps a request of this number."""
    return ((unique & ~FUSE_INT_REQ_BIT) * GOLDEN_RATIO & (1 << 64) - 1) >> (64 - BUCKETS_BITS)


def resend(connection: Connection) -> None:
    """Queue all that is owed a reply once more, before whatever is pending."""
    if not connection.connected:
        return
    requests = [request for device in connection.devices for request in _take(device)]
    for request in requests:
        request.move("resend")
        request.renumber(request.unique | FUSE_UNIQUE_RESEND)
        request.reader = None
        if request in connection.interrupts:
            connection.interrupts.remove(request)
    connection.pending.extendleft(reversed(requests))
    note(Step.RESEND)
    connection.waitq.wake()


def _take(device: Device) -> list[Request]:
    requests = sorted(device.processing.values(), key=lambda request: bucket(request.unique))
    device.processing.clear()
    return requests
