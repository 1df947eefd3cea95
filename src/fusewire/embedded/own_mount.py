"""Methods of a filesystem that use the kernel which they serve, where it has threads.

Such a method waits for others of its kind. When as many do so as may run at once, nobody is left to
serve them, and on Linux they would wait for ever. What they wait for may come from elsewhere after
all: a name that is known, an `async def`, somebody who lets go of a lock. So whoever waits as the
last gets some time, and then `Deadlock`; by which his own method ends, and others can be served.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from fusewire.daemon.request import Request
from fusewire.daemon.request import current as serving
from fusewire.kernel.runners import Deadlock
from fusewire.kernel.runners.locked import Locked

if TYPE_CHECKING:
    import fusewire.kernel as kernel_end

__all__ = ["OwnMount"]

T = TypeVar("T")


class OwnMount:
    """The calls of one kernel, by methods of its filesystem."""

    def __init__(self, runner: Locked, requests: Callable[..., Request], threads: int) -> None:
        """`requests` is the class that this kernel's have alone; of `def` methods `threads` may run at once."""
        self.runner = runner
        self.requests = requests
        self.threads = threads
        self.waiting = set[int]()  # threads, by their ids

    @property
    def is_calling(self) -> bool:
        """Whether it is a method that runs here."""
        return type(serving.get(None)) is self.requests

    def call(self, coroutine: Coroutine[Any, Any, T], process: kernel_end.Process | None, patience: float) -> T:
        """Run a call of a method to its end.

        Raises:
            Deadlock: nobody is left to serve it, and it has not ended after `patience` seconds.
        """
        thread = threading.get_ident()
        self.waiting.add(thread)
        loop = asyncio._get_running_loop()
        is_last = len(self.waiting) >= self.threads or loop is not None
        try:
            return self.runner.call(coroutine, process, patience if is_last else None)
        except Deadlock as error:
            if loop is not None and loop is self.runner.home:
                raise
            raise Deadlock(
                f"{error}, called by a method of the filesystem, and none is left to serve it: with "
                f"threads={self.threads} no more `def` than that run at once. Give more threads, or make it "
                "`async def` and await the call of `kernel.awaitable`"
            ) from None
        finally:
            self.waiting.discard(thread)
