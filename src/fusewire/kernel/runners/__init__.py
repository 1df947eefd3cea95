"""Who resumes a task that has been woken: three runners, one code.

    fixed order   one thread, no clock, always the same: tests, the explorer, the default
    threads       a blocked system call blocks its thread
    asyncio       a system call is awaited
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from fusewire.kernel.syscalls.base import Caller
    from fusewire.kernel.tasks import Task

__all__ = ["Runner"]

T = TypeVar("T")


class Runner(Protocol):
    """What drives tasks."""

    def call(self, coroutine: Coroutine[Any, Any, T], process: Caller | None = None) -> T:
        """Run `coroutine` as a task to its end and return what it returns, or raise what it raises."""

    async def perform(self, coroutine: Coroutine[Any, Any, T], process: Caller | None = None) -> T:
        """The same, awaited from asyncio."""

    def start(self, task: Task) -> None:
        """Have `task` run beside all others, from now on."""
