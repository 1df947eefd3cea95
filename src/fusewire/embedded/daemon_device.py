"""The device as the daemon of an embedded kernel has it open: it may hang, be tapped, and be recorded.

A daemon that hangs is one that does not go on after a read. What it has read is not answered, and
what comes later is not read, until it is resumed, or all is over. So a shell, when it has read
something, has itself held up.

Who taps a device gets what passes it, byte for byte and in the device's own order, whichever threads
the daemon has. A write stands before all that it brings about. That order is to be had only while a
write from plain bytes is one step: where steps are watched, or the bytes lie in a process's memory, the
transcript ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from fusewire import events
from fusewire.kernel.checks.conversation import Exchange
from fusewire.kernel.device import Device
from fusewire.kernel.user_memory import UserBuffer
from fusewire.kernel.waitq import Sleep

if TYPE_CHECKING:
    from fusewire.embedded.recording import Record

__all__ = ["RecordedDevice", "Stall", "Tap", "TappedDevice", "TappedRecordedDevice"]


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
        Device.__init__(self)
        self.record = record

    async def read(self, room: int | UserBuffer) -> bytes:
        message = await super().read(room)
        assert self.connection is not None
        self.record.read(message, self.connection.common_minor)
        return message


@dataclass(slots=True)
class Tap:
    """What has passed the devices of one connection, for as long as it can be told in order."""

    everywhere: ClassVar[bool] = False  # every kernel that is made from now on is tapped; set by tests

    whole: bool = True  # nothing is missing
    exchanges: list[Exchange] = field(default_factory=list)


class TappedDevice(Device):
    """Lets what passes be heard."""

    def __init__(self, tap: Tap | None = None) -> None:
        super().__init__()
        self.tap = tap or Tap()

    async def read(self, room: int | UserBuffer) -> bytes:
        message = await super().read(room)
        self.tap.exchanges.append(Exchange(True, message))
        return message

    async def write(self, message: bytes | bytearray | memoryview | UserBuffer) -> int:
        tap = self.tap
        if events.hook is not None or not isinstance(message, bytes | bytearray | memoryview):
            tap.whole = False
            return await super().write(message)
        at = len(tap.exchanges)
        tap.exchanges.append(Exchange(False, bytes(message)))
        try:
            return await super().write(message)
        except OSError as error:
            tap.exchanges[at] = Exchange(False, bytes(message), error.errno or -1)
            raise


class TappedRecordedDevice(TappedDevice, RecordedDevice):
    """Does both."""

    def __init__(self, record: Record, tap: Tap) -> None:
        RecordedDevice.__init__(self, record)
        self.tap = tap
