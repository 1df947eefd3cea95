"""Kernels that nobody has closed: when Python exits, and in a child that was forked.

Both find a kernel in the middle of something. At exit it is let go without a word to its
filesystem, which could not be served any more; unasked, Python would complain of each coroutine
that has not ended. A forked child has a copy of all that a kernel has but its threads, so one that
needs them is of no use there, and whoever calls it is told, instead of waiting for ever.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Final, Protocol

__all__ = ["LeftOpen", "remember"]


class LeftOpen(Protocol):
    """What may be left open."""

    closed: bool

    def abandon(self) -> None:
        """Let go of everything, and say nothing."""

    def left_behind(self) -> None:
        """This is a forked child now."""


_remembered: Final[weakref.WeakSet[LeftOpen]] = weakref.WeakSet()  # some may have been closed


def remember(what: LeftOpen) -> None:
    """Have `what` told, if it is still open then."""
    _remembered.add(what)


@atexit.register
def _at_exit() -> None:
    for each in [each for each in _remembered if not each.closed]:
        each.abandon()


def _in_child() -> None:
    for each in [each for each in _remembered if not each.closed]:
        each.left_behind()


os.register_at_fork(after_in_child=_in_child)
