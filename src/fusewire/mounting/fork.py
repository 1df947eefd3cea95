"""No forked child keeps a mount alive.

A connection lives until the last descriptor of its device is closed. A child that was forked
while a mount is served has copies of them all, and reads none: when the daemon dies, callers
would wait for the child, for ever. So the descriptors that belong to a mount are listed here,
and closed in the child before it runs its first line. Programs started by `subprocess` never
see them, for all are close-on-exec.

It follows that who wants to serve from a child forks first and mounts then.

Not covered: a fork by C code that tells Python nothing of it.
"""

from __future__ import annotations

import contextlib
import os
import threading

__all__ = ["close_in_children", "no_fork"]

no_fork = threading.RLock()  # held from a descriptor's birth until it is listed
_listed: set[int] = set()


def close_in_children(fd: int, wanted: bool = True) -> None:
    """Have `fd` closed in every child that this process forks from now on; no longer, if not `wanted`.

    Take a descriptor off the list before you close it: its number may be somebody else's next.
    """
    if wanted:
        _listed.add(fd)
    else:
        _listed.discard(fd)


def _in_child() -> None:
    for fd in _listed:
        with contextlib.suppress(OSError):
            os.close(fd)
    _listed.clear()
    no_fork.release()


os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=_in_child)
