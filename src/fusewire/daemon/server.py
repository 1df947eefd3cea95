"""What both shells do alike: run a call, write its reply, tell of a failure, and tidy up at the end."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, Final

from fusewire import events
from fusewire.daemon.device import DeviceFile
from fusewire.daemon.session import Buffers, Call, Session
from fusewire.errors import ProtocolError, os_error
from fusewire.events import Step, note
from fusewire.wire import InHeader, encode_error

__all__ = ["GRACE", "HASTE", "Failed", "Server", "Told", "answer_init"]

logger = logging.getLogger("fusewire")

GRACE: Final = 5.0  # seconds that methods get to return, once the mount is gone
HASTE: Final = 0.5  # the same, if whoever ends us is in a hurry
Failed = Callable[[BaseException], None]
Told = Callable[[], object]


class Server:
    """What both shells do: run a call, write its reply, and notice the end.

    `failed` is called with an exception that was no OSError, once: `strict` mounts end on it.
    `gone` is called when all is over and every descriptor closed. `abort` is to end the
    connection: a bug of ours has cost a message, whose sender would wait for ever.
    """

    def __init__(self, session: Session, device: DeviceFile, failed: Failed | None, gone: Told, abort: Told) -> None:
        self.session = session
        self.device = device
        self.failed = failed
        self.gone = gone
        self.abort = abort
        self.ending = False  # the device has said that the connection is gone
        self.hurried = False  # by Ctrl-C, or by a cancellation

    @property
    def grace(self) -> float:
        """Seconds that methods get to return, once the mount is gone."""
        return HASTE if self.hurried else GRACE

    def take_in(self, message: memoryview) -> Buffers | Call | None:
        """Give the session a message. One that has no number to be answered by is logged, and nothing else."""
        try:
            return self.session.receive(message)
        except ProtocolError as error:
            logger.error("a message that cannot be read is passed over: %s", error)
            return None
        except MemoryError:
            return (encode_error(InHeader.unpack_from(message).unique, errno.ENOMEM),)

    def run(self, call: Call, device: DeviceFile) -> Coroutine[Any, Any, Any] | None:
        """Run a method and answer; return the coroutine that it returned, if that is still to be awaited."""
        if events.hook is not None:
            note(Step.PERFORM, call.request.name.lower())
        try:
            result = call.run()
        except BaseException as error:
            self.fail(call, device, error)
            return None
        if isinstance(result, CoroutineType):
            return result
        self.reply(call, device, result)
        return None

    async def finish(self, call: Call, device: DeviceFile, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Await what a method returned, and answer. An interrupt cancels this task."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        call.request.on_interrupt(lambda: loop.call_soon_threadsafe(task.cancel))
        try:
            result = await call.finish(coroutine)
        except BaseException as error:
            self.fail(call, device, error)
        else:
            self.reply(call, device, result)

    def reply(self, call: Call, device: DeviceFile, result: Any) -> None:
        self._write(device, self.session.reply(call, result))

    def fail(self, call: Call, device: DeviceFile, error: BaseException) -> None:
        self._write(device, self.session.fail(call, error))

    def _write(self, device: DeviceFile, buffers: Buffers | None) -> None:
        if buffers is not None:
            device.write(buffers)
        if self.session.failure is not None:
            failed, self.failed = self.failed, None
            if failed is not None:
                failed(self.session.failure)

    def tidy_up(self) -> None:
        """Name the methods that would not end, and let the filesystem go."""
        for call in list(self.session.calls.values()):
            logger.warning("%s is still running after its mount is gone, and is left to itself", call.request)
        try:
            self.session.destroy()
        except BaseException:  # whoever waits for the end must learn of it
            logger.exception("destroy failed")


def answer_init(session: Session, device: DeviceFile) -> None:
    """Read and answer until both ends have agreed.

    Raises:
        OSError: EPROTO if the kernel speaks no version that we do; ENOTCONN if it goes away meanwhile.
    """
    while session.agreement is None:
        message = device.read()
        if message is None:
            raise os_error(errno.ENOTCONN)
        outcome = session.receive(message)
        if isinstance(outcome, tuple):
            device.write(outcome)
