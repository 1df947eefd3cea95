"""The flusher: what has been dirty for half a minute is written, though nobody asks for it.

It comes with the first file that gets dirty, looks every five seconds, and goes when nothing is
dirty any more. Nobody waits for it: in fixed order it works only while time is told to pass.

Source: fs/fs-writeback.c, wb_workfn, wb_check_old_data_flush; Documentation/admin-guide/sysctl/vm.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusewire.kernel.operations.writeback import write_back
from fusewire.kernel.tasks import Task
from fusewire.kernel.waitq import Sleep, WaitQueue

if TYPE_CHECKING:
    from fusewire.kernel.vfs.superblock import Superblock

__all__ = ["PERIOD", "begin_flusher"]

PERIOD: Final = 5.0  # seconds from look to look (vm.dirty_writeback_centisecs)


def begin_flusher(superblock: Superblock) -> None:
    """Have the flusher of `superblock`, of which something is dirty, at work. Idempotent."""
    if superblock.flusher is None:
        superblock.flusher = Task(f"flusher {superblock.dev}", _flush_what_is_old(superblock))
        superblock.system.runner.start(superblock.flusher)


async def _flush_what_is_old(superblock: Superblock) -> None:
    try:
        while superblock.dirty_inodes and superblock.connection.connected:
            await _sleep(superblock, PERIOD)
            await write_back(superblock)
    finally:
        superblock.flusher = None


async def _sleep(superblock: Superblock, seconds: float) -> None:
    clock, queue = superblock.system.clock, WaitQueue("the flusher's clock")
    end = clock.now() + seconds
    alarm = clock.call_at(end, queue.wake_all, waited_for=lambda: False)
    try:
        await queue.sleep(lambda: clock.now() >= end, Sleep.UNINTERRUPTIBLE)
    finally:
        alarm.cancel()
