"""What calls that wait return, once they do: seen from outside, by Linux's tracing.

    with Outcomes(edges) as outcomes:
        ...                       somebody is freed
    outcomes.of(edge)             'unlinkat fails with EDEADLK'

The tracepoint raw_syscalls/sys_exit tells it also of a call that had begun before anybody looked. Without tracing,
which is for root alone, nothing is known, and that is no error. Nor is it known of a page fault, which is no call.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable
from typing import Final, Self

from fusewire.watch.diagnosis import Edge
from fusewire.watch.syscalls import name_of
from fusewire.watch.trace_events import SyscallExit
from fusewire.watch.tracefs import NoTracing, Tracing

__all__ = ["Outcomes"]

RETURNS: Final = "raw_syscalls/sys_exit"
MOST: Final = 50  # threads that are watched: Linux reads no filter that is longer than a page


class Outcomes:
    """Watches threads, from entering the `with` until it is left; what they returned is kept."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self.calls = {edge.tid: edge.call for edge in edges if not edge.serves and edge.call}
        self.results: dict[int, int] = {}  # by thread
        self.tracing: Tracing | None = None
        self.why_blind = ""  # a sentence, if there is no tracing
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if self.calls:
            try:
                self.tracing = self._stack.enter_context(Tracing())
                watched = list(self.calls)[:MOST]
                self.tracing.enable(RETURNS, " || ".join(f"common_pid == {tid}" for tid in watched))
            except NoTracing as error:
                self.tracing, self.why_blind = None, str(error)
        return self

    def __exit__(self, *_: object) -> None:
        self.tracing = None
        self._stack.close()

    def look(self) -> None:
        """Take note of what has returned so far. What a thread does after that is its own affair."""
        for traced in self.tracing.read() if self.tracing else []:
            event, tid = traced.event, traced.tid
            if isinstance(event, SyscallExit) and name_of(event.number) == self.calls.get(tid):
                self.results.setdefault(tid, event.result)

    def of(self, edge: Edge) -> str:
        """Return what came of a call, in words; "" if that is not known."""
        result = self.results.get(edge.tid)
        if result is None:
            return ""
        return f"{edge.call} fails with {name(-result)}" if result < 0 else f"{edge.call} succeeds"


def name(code: int) -> str:
    """Return the name of an error; of two, the usual one."""
    return "EDEADLK" if code == errno.EDEADLK else errno.errorcode.get(code, str(code))
