"""Pairs of sockets that no forked child keeps open: the end of one is how the other side learns that we are gone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TypeAlias

from fusewire.mounting.fork import close_in_children, no_fork

__all__ = ["close_listed", "listed_pair"]

Pair: TypeAlias = tuple[socket.socket, socket.socket]


def listed_pair(make: Callable[[], Pair]) -> Pair:
    """Return a pair that is closed in forked children; to be closed by `close_listed`."""
    with no_fork:
        pair = make()
        for end in pair:
            close_in_children(end.fileno())
    return pair


def close_listed(sock: socket.socket) -> None:
    """Close a socket of such a pair. Idempotent."""
    if sock.fileno() >= 0:
        close_in_children(sock.fileno(), False)
        sock.close()
