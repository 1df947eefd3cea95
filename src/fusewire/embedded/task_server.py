"""The daemon's end in fixed order: tasks that read the device, under the kernel's own runner.

Each task reads a message, runs its method and writes the reply, like a thread of `ThreadServer`
(daemon/serve.py). A `def` runs to its end there and then, and nothing else does meanwhile. An
`async def` that suspends is left to itself: a task of its own waits for it and answers, so that
the reader is free for others, for an INTERRUPT above all, which cancels it. Every such task names
what its method waits for, as far as that is a system call: so a deadlock can be told.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import CoroutineType
from typing import Any

from fusewire import events
from fusewire.daemon.device import UNANSWERABLE
from fusewire.daemon.server import GRACE, HASTE, Failed
from fusewire.daemon.session import Buffers, Call, Session
from fusewire.embedded.daemon_device import Stall
from fusewire.embedded.task_daemon import GONE
from fusewire.errors import ProtocolError
from fusewire.events import Step, note
from fusewire.kernel.device import Device
from fusewire.kernel.runners import Method, method_here
from fusewire.kernel.runners.fixed_order import FixedOrder
from fusewire.kernel.tasks import Task, current
from fusewire.kernel.waitq import Sleep, WaitQueue
from fusewire.wire import OutHeader, encode_error

__all__ = ["TaskServer"]

logger = logging.getLogger("fusewire")


class TaskServer:
    """Serves in tasks, until the connection is gone.

    `failed` is called with each exception of a method that was no OSError.
    """

    def __init__(
        self, session: Session, device: Device, count: int, stall: Stall, runner: FixedOrder, failed: Failed
    ) -> None:
        self.session = session
        self.device = device
        self.size = session.limits.buffer_size
        self.stall = stall
        self.runner = runner
        self.failed = failed
        self.ending = False  # the device has said that the connection is gone
        self.hurried = False  # whoever ends us is, by Ctrl-C
        self.readers = [Task(self._name(number), self._serve()) for number in range(count)]

    def _name(self, number: int) -> str:
        return f"daemon {number + 1}" if number else "daemon"

    def start(self) -> None:
        """Begin to serve.

        Raises:
            Exception: the filesystem could not begin, and raised this.
        """
        for task in self.readers:
            self.runner.start(task)
        self.runner.run()
        for task in self.readers:
            if isinstance(task.result, BaseException):
                raise task.result

    async def _serve(self) -> None:
        try:
            while True:
                message = await self.device.read(self.size)
                if self.stall.hangs:
                    await self.stall.hold_up(self.device)
                reply = self._answer_to(message)
                if reply is not None:
                    await self._write(reply)
        except GeneratorExit:
            raise  # dropped, with the whole kernel: nobody is left to be told
        except BaseException as error:
            self._end()
            if not isinstance(error, OSError) or error.errno not in GONE:
                raise

    def _answer_to(self, message: bytes) -> Buffers | None:
        """Do what a message asks; return the reply, or None if there is none, or none yet."""
        try:
            outcome = self.session.receive(message)
        except ProtocolError as error:
            logger.error("a message that cannot be read is passed over: %s", error)
            return None
        return self._carry_out(outcome) if isinstance(outcome, Call) else outcome

    async def _write(self, reply: Buffers) -> None:
        try:
            await self.device.write(reply[0] if len(reply) == 1 else b"".join(reply))
        except OSError as error:
            if error.errno in UNANSWERABLE:
                return
            logger.error("the kernel refused a reply, and its caller gets EIO: %s", error)
            with suppress(OSError):  # it may have ended the request then
                await self.device.write(encode_error(OutHeader.unpack_from(reply[0]).unique, errno.EIO))

    def _carry_out(self, call: Call) -> Buffers | None:
        """Run a method; return its reply, or None if there is none, or none yet."""
        if events.hook is not None:
            note(Step.PERFORM, call.request.name.lower())
        try:
            result = call.run()
        except KeyboardInterrupt:  # the caller's as well
            raise
        except BaseException as error:
            return self._fail(call, error)
        if isinstance(result, CoroutineType):
            return self._begin(call, result)
        return self._reply(call, result)

    def _begin(self, call: Call, coroutine: Coroutine[Any, Any, Any]) -> Buffers | None:
        method = Method(f"{current().name} ({call.request.name})")
        carried_out = self.runner.begin(_as_method(method, call, coroutine))
        if carried_out.done():
            return self._outcome(call, carried_out)
        call.request.on_interrupt(carried_out.cancel)
        finished = WaitQueue("what it awaits", holders=lambda: method.begun)
        carried_out.add_done_callback(lambda _: finished.wake())
        self._owes(call, Task(method.name, self._answer(call, carried_out, finished)))
        return None

    def _owes(self, call: Call, task: Task) -> None:
        """Have `task` owe the reply to `call` from now on."""
        request = self.device.processing.get(call.request.unique)
        if request is not None:
            request.reader = task
        self.runner.start(task)

    async def _answer(self, call: Call, carried_out: asyncio.Task[Any], finished: WaitQueue) -> None:
        await finished.sleep(until=carried_out.done, depth=Sleep.UNINTERRUPTIBLE)
        reply = self._outcome(call, carried_out)
        if reply is not None:
            await self._write(reply)

    def _outcome(self, call: Call, carried_out: asyncio.Task[Any]) -> Buffers | None:
        try:
            result = carried_out.result()
        except BaseException as error:
            return self._fail(call, error)
        return self._fail(call, result.error) if isinstance(result, Left) else self._reply(call, result)

    def _reply(self, call: Call, result: Any) -> Buffers | None:
        reply = self.session.reply(call, result)
        if self.session.failure is not None:
            self._tell_of_failure(self.session.failure)
        return reply

    def _fail(self, call: Call, error: BaseException) -> Buffers | None:
        reply = self.session.fail(call, error)
        if self.session.failure is not None:
            self._tell_of_failure(self.session.failure)
        return reply

    def _tell_of_failure(self, failure: BaseException) -> None:
        self.session.failure = None
        self.failed(failure)

    def _end(self) -> None:
        """The connection is gone: take the device along, and interrupt what still runs."""
        self.ending = True
        self.device.close()
        self.session.abandon()

    def tidy_up(self) -> None:
        """Let the methods end that still run, name those that do not, and let the filesystem go."""
        self.runner.finish(HASTE if self.hurried else GRACE)
        for call in list(self.session.calls.values()):
            logger.warning("%s is still running after its mount is gone, and is left to itself", call.request)
        try:
            self.session.destroy()
        except BaseException:  # whoever waits for the end must learn of it
            logger.exception("destroy failed")


@dataclass(frozen=True, slots=True)
class Left:
    """A method called sys.exit: asyncio would let the exception out of its loop, to whoever runs that."""

    error: SystemExit


async def _as_method(method: Method, call: Call, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Carry out `call`, as the `method` of which its system calls will be."""
    method_here.set(method)
    try:
        return await call.finish(coroutine)
    except SystemExit as error:
        return Left(error)
