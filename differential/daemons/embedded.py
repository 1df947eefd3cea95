"""The scripted daemon on our own kernel end, in this process, in fixed order."""

from __future__ import annotations

import errno
from collections.abc import Coroutine
from typing import Any, Final

from differential.calls import Actor, Result
from differential.daemons.calls import perform
from differential.daemons.scenarios import Scenario, Step, Tell
from differential.daemons.scripted import Action, Outcome, Plan, ScriptedDaemon
from differential.daemons.world import World
from differential.embedded import Foreign
from fusewire.kernel import Credentials, Device, Options, Process, System, Task, mount
from fusewire.kernel.clock import StandingClock
from fusewire.kernel.runners.fixed_order import Deadlock, FixedOrder
from fusewire.kernel.violations import Violation

__all__ = ["Embedded", "run"]

BUFFER: Final = 1 << 21


class Embedded:
    """One mount, one caller, one daemon."""

    def __init__(self, scenario: Scenario, daemon: ScriptedDaemon) -> None:
        self.daemon = daemon
        self.system = System(StandingClock())
        self.runner = FixedOrder()
        self.system.runner = self.runner
        self.device, self.clone = Device(), Device()
        options = Options(allow_other=True, default_permissions=scenario.default_permissions, nosuid=True, nodev=True)
        self.superblock = mount(self.system, self.device, options)
        self.clone.clone(self.device)
        self.process = Process.new(self.system, Credentials.of(0, 0), self.superblock.root)
        self.process.umask_ = 0o022
        self.calling: Task | None = None
        self.serving = Task("daemon", self.serve())
        self.runner.start(self.serving)
        self.runner.run()  # INIT

    async def serve(self) -> None:
        while True:
            try:
                message = await self.device.read(BUFFER)
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.ECONNABORTED):
                    return
                raise
            await self.drive(message)

    async def drive(self, message: bytes) -> None:
        handling = self.daemon.handle(message)
        outcome: Outcome | None = None
        try:
            while True:
                action = handling.send(outcome)  # type: ignore[arg-type]
                outcome = await self.act(action)
        except StopIteration:
            return

    async def act(self, action: Action) -> Outcome:
        try:
            if self.device.closed:
                return "ENOENT"  # it has none to write to
            match action.kind:
                case "write":
                    return await self.device.write(action.data)
                case "write to the clone":
                    return await self.clone.write(action.data)
                case "read":
                    return await self.device.read(BUFFER)
                case "signal":
                    assert self.calling is not None
                    self.calling.interrupt()
                case "abort":
                    self.superblock.connection.abort()
                case "close":
                    self.clone.close()
                    self.device.close()
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return 0

    def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run something as a task, to its end; Deadlock if it has none."""
        task = self.calling = Task("caller", coroutine, self.process)
        self.runner.start(task)
        self.runner.wait(task)
        if isinstance(task.result, BaseException):
            raise task.result
        return task.result

    def tell(self, message: bytes) -> Outcome:
        async def write() -> Outcome:
            return await self.act(Action("write", message))

        told: Outcome = self.call(write())
        return told

    def end(self) -> None:
        self.device.close()
        self.clone.close()
        self.runner.run()
        self.runner.close()
        if isinstance(self.serving.result, Exception):
            raise self.serving.result  # the daemon, or a write of it, went wrong in another way than it may


class Ours(Foreign):
    """The system calls of the caller, in the shape in which `calls` asks for them."""

    async def getxattr_into(self, path: str, name: str, size: int) -> bytes | int:
        if not size:
            return await self.process.get_xattr_length(path, name)
        return await self.process.getxattr(path, name, size=size)

    async def listxattr_into(self, path: str, size: int) -> list[str] | int:
        if not size:
            return await self.process.list_xattr_length(path)
        return await self.process.listxattr(path, size=size)

    async def statx_all(self, path: str) -> tuple[int, ...]:
        found = await self.process.statx(path)
        it, born = found.attributes, (found.btime_ns or 0) // 10**9
        numbers = it.st_nlink, it.st_uid, it.st_gid, it.st_mode, it.st_ino, it.st_size, it.st_blocks
        return (found.mask & 0xFFF, it.st_blksize, *numbers, born, it.st_mtime_ns // 10**9)


def run(
    scenario: Scenario, valid: int, plan: Plan | None, violations: list[Violation] | None = None
) -> list[list[str]]:
    """Run a scenario; return what was seen and done, step by step; before the first step, INIT.

    The daemon's violations are added to `violations`; Linux keeps no such list.
    """
    world = World(valid, scenario.flags, scenario.open_flags)
    daemon = ScriptedDaemon(world, plan, armed=scenario.from_start)
    embedded = Embedded(scenario, daemon)
    actor = Actor(Ours(embedded.process))
    seen = [daemon.take_log()]
    try:
        for step in scenario.steps:
            daemon.armed |= step is scenario.main
            perform_step(embedded, actor, daemon, step)
            if step is scenario.main:
                daemon.armed = False
            seen.append(daemon.take_log())
    finally:
        embedded.end()
    if violations is not None:
        violations += embedded.superblock.connection.violations
    return seen


def perform_step(embedded: Embedded, actor: Actor, daemon: ScriptedDaemon, step: Step | Tell) -> None:
    if isinstance(step, Tell):
        daemon.log.insert(0, f"told {step.name}: {embedded.tell(step.message)!r}")
        return
    result: Result
    try:
        result = embedded.call(perform(actor, step.call, step.arguments))
    except Deadlock:
        result = ("hung", None)
    daemon.log.insert(0, f"{step.call}{step.arguments} -> {result!r}")
