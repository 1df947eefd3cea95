"""The device as the daemon of an embedded kernel has it open: it may hang, and is recorded.

A daemon that hangs is one that does not go on after a read. What it has read is not answered, and
what comes later is not read, until it is resumed, or all is over. So a shell, when it has read
something, has itself held up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusewire.kernel.device import Device
from fusewire.kernel.user_memory import UserBuffer
from fusewire.kernel.waitq import Sleep

if TYPE_CHECKING:
    from fusewire.embedded.recording import Record

__all__ = ["RecordedDevice", "Stall"]


class Stall:
    """Whether the daemon hangs."""

    def __init__(self) -> None:
        self.hangs = False

    async def hold_up(self, device: Device) -> None:
        """Sleep while the daemon hangs; whoever resumes it wakes the readers."""
        assert device.connection is not None
        await device.connection.waitq.sleep(
            until=lambda: not self.hangs or not device.connected, depth=Sleep.INTERRUPTIBLE
        )


class RecordedDevice(Device):
    """Notes what is read."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record

    async def read(self, room: int | UserBuffer) -> bytes:
        message = await super().read(room)
        assert self.connection is not None
        self.record.read(message, self.connection.common_minor)
        return message
