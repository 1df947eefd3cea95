"""The device as the daemon of an embedded kernel has it open: it may hang, and is recorded.

A daemon that hangs is one that does not go on after a read. What it has read is not answered, and
what comes later is not read, until it is resumed, or all is over.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusewire.errors import os_error
from fusewire.kernel.device import Device
from fusewire.kernel.user_memory import UserBuffer
from fusewire.kernel.waitq import Sleep

if TYPE_CHECKING:
    from fusewire.embedded.recording import Record

__all__ = ["DaemonDevice", "DaemonState"]


@dataclass(slots=True)
class DaemonState:
    """What all descriptors of one daemon share."""

    record: Record | None = None
    hangs: bool = False


class DaemonDevice(Device):
    """One descriptor of it."""

    def __init__(self, state: DaemonState) -> None:
        super().__init__()
        self.state = state

    def another(self) -> DaemonDevice:
        """Open another device of the same connection."""
        other = DaemonDevice(self.state)
        other.clone(self)
        return other

    @property
    def readable(self) -> bool:
        """A read would not sleep."""
        assert self.connection is not None
        return not self.connected or (self.connection.readable and not self.state.hangs)

    async def read(self, room: int | UserBuffer) -> bytes:
        state = self.state
        if state.hangs and self.nonblocking and self.connected:
            raise os_error(errno.EAGAIN)
        message = await super().read(room)
        assert self.connection is not None
        if state.record is not None:
            state.record.read(message, self.connection.common_minor)
        if state.hangs:
            await self.connection.waitq.sleep(
                until=lambda: not state.hangs or not self.connected, depth=Sleep.INTERRUPTIBLE
            )
        return message
