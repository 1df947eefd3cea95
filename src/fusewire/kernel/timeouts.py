"""Requests that last too long: the whole connection is aborted.

The daemon may ask for a limit at INIT; the system has a default and a maximum of its own. Whatever
comes of it is at least 15 seconds, since one looks every 15 seconds only, so that a request which
hangs is noticed up to 15 seconds late. One looks at the head of each queue: who stands there has
waited longest. Whoever waits at a gate has no request yet, and may wait for ever.

Nobody sleeps here: looking is an alarm of the clock. In fixed order nobody waits for it while no
request is to be seen, so that what can never go on is told as a deadlock.

Source: fs/fuse/dev.c, fuse_check_timeout; fs/fuse/inode.c, init_server_timeout.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fusewire.kernel.connection import Connection
    from fusewire.kernel.init import Sysctls
    from fusewire.kernel.request import Request

__all__ = ["PERIOD", "Timer", "effective_timeout"]

PERIOD: Final = 15  # seconds


def effective_timeout(asked: int, sysctls: Sysctls) -> int:
    """Return how many seconds a request may last, if the daemon `asked` for so many; 0 if for ever."""
    timeout = asked or sysctls.default_request_timeout
    if sysctls.max_request_timeout:
        timeout = min(timeout or sysctls.max_request_timeout, sysctls.max_request_timeout)
    return max(timeout, PERIOD) if timeout else 0


class Timer:
    """Looks after the requests of one connection, each of which may last `timeout` seconds."""

    __slots__ = ("alarm", "connection", "timeout")

    def __init__(self, connection: Connection, timeout: int) -> None:
        self.connection = connection
        self.timeout = timeout
        self._set()

    @classmethod
    def of(cls, connection: Connection) -> Timer | None:
        """Return the timer that `connection` has by its settings, None if it has none."""
        timeout = effective_timeout(connection.settings.request_timeout, connection.sysctls)
        return cls(connection, timeout) if timeout else None

    def _set(self) -> None:
        clock = self.connection.clock
        self.alarm = clock.call_at(clock.now() + PERIOD, self.look, waited_for=lambda: any(self._oldest()))

    def look(self) -> None:
        """Abort the connection if some request has lasted too long; else look again in `PERIOD` seconds."""
        now = self.connection.clock.now()
        if any(now > request.created + self.timeout for request in self._oldest()):
            self.connection.abort()
        else:
            self._set()

    def stop(self) -> None:
        """Look no more."""
        self.alarm.cancel()

    def _oldest(self) -> Iterator[Request]:
        """The head of each queue: nothing behind it is older."""
        connection = self.connection
        queues = chain(
            (connection.pending, connection.background.queue),
            *((device.io, device.processing.values()) for device in connection.devices),
        )
        return (next(iter(queue)) for queue in queues if queue)
