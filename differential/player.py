"""Playing a program: who is in a system call, who is not, and what came of each step.

A step runs until all is quiet: everybody's call has ended, or sleeps, and the filesystem has nothing
left to read. A call that sleeps ends in a later step, when a request is let go, a lock is given up, or
a signal comes; its result stands with the step that began it, and `ends` says where it ended.

What is the same on both kernels stands here; how to make a system call, and how to know that all is
quiet, each of them knows for itself (real.py, embedded.py).
"""

from __future__ import annotations

import abc
import errno
from typing import Final

from differential.calls import Result
from differential.program import CONTROL, Argument, Program, Step
from differential.recorder import RecordedSession
from differential.subjects import SUBJECTS, begin
from differential.transcript import Transcript, transcribe
from fusewire.daemon.session import Buffers
from fusewire.wire import NotifyPollWakeupOut, NotifyRetrieveOut, WireStruct, encode_notification

__all__ = ["DONE", "KILLED", "Hung", "Player"]

DONE: Final[Result] = ("ok", None)
ASLEEP: Final[Result] = ("asleep", None)
BUSY: Final[Result] = ("busy", None)  # the process sleeps in an earlier step
DEAD: Final[Result] = ("dead", None)
IDLE: Final[Result] = ("idle", None)  # there was nobody to interrupt, nothing to let go
KILLED: Final[Result] = ("killed", None)
HUNG: Final[Result] = ("hung", None)


class Hung(Exception):
    """Somebody neither ends nor sleeps; the connection has been aborted."""


class Player(abc.ABC):
    """Plays one program, once."""

    def __init__(self, program: Program, session: RecordedSession) -> None:
        self.program = program
        self.session = session
        self.subject = SUBJECTS[program.subject]
        self.at = 0  # the step that is played
        self.over = False  # the last step has been: what comes now is no result of any
        self.results: list[Result] = [ASLEEP] * len(program.steps)
        self.ends = list(range(len(program.steps)))
        self.under_way: dict[int, int] = {}  # who is in a system call: the step that began it, by role
        self.dead: set[int] = set()  # roles
        self.dying: set[int] = set()  # roles: they were killed, or exit

    # --- what a kernel is asked to do

    @abc.abstractmethod
    def start(self, role: int, number: int) -> None:
        """Have a process begin a step."""

    @abc.abstractmethod
    def interrupt(self, role: int) -> None:
        """Send a process a signal that has a handler."""

    @abc.abstractmethod
    def kill(self, role: int) -> None:
        """Send a process SIGKILL."""

    @abc.abstractmethod
    def exit(self, role: int) -> None:
        """Have a process exit that is in no system call."""

    @abc.abstractmethod
    def write(self, message: Buffers) -> None:
        """Write to the device. A reply to a request of which nobody knows any more is passed over."""

    @abc.abstractmethod
    def unmount(self) -> Result:
        """Unmount, when all processes are gone; answer what comes of it."""

    @abc.abstractmethod
    def until_quiet(self) -> None:
        """Let everything go on until nothing can; tell of those who have come to an end."""

    @abc.abstractmethod
    def pids(self) -> dict[int, int]:
        """Return the role of each pid, of those that have ended, too."""

    @abc.abstractmethod
    def tick(self) -> None:
        """Let the clock go on, before a step on a filesystem for which the kernel keeps times."""

    # --- playing

    def play(self) -> Transcript:
        """Play all steps, and end all processes."""
        session = self.session
        del session.messages[1:]  # INIT remains, as if the first step had it sent
        begin(session.filesystem)
        try:
            for number, step in enumerate(self.program.steps):
                self.at = number
                if self.subject.ticks:
                    self.tick()
                self.step(step)
                session.marks.append(len(session.messages))
            self.over = True
            self.leave()
        except Hung:
            self.give_up()
        roles = {pid: f"p{role}" for pid, role in self.pids().items()}
        return transcribe(session, self.results, self.ends, roles)

    def step(self, step: Step) -> None:
        if step.call in CONTROL:
            self.results[self.at] = self.control(step)
        elif (refused := self.refused(step.role)) is not None:
            self.results[self.at] = refused
        else:
            self.under_way[step.role] = self.at
            self.start(step.role, self.at)
        self.settle()

    def refused(self, role: int) -> Result | None:
        if role in self.dead:
            return DEAD
        return BUSY if role in self.under_way else None

    def control(self, step: Step) -> Result:
        match step.call:
            case "hold":
                name, obedient = step.arguments
                self.session.wanted[str(name)] = bool(obedient)
                return DONE
            case "let_go":
                return self.let_go()
            case "notify":
                for kh in self.session.polled():
                    self.told("POLL", NotifyPollWakeupOut(kh))
                return DONE
            case "retrieve":
                return self.told("RETRIEVE", NotifyRetrieveOut(0, *map(whole, step.arguments)))
            case "unmount":
                self.leave()
                return self.unmount()
            case "interrupt":
                if step.role not in self.under_way or step.role in self.dying:
                    return IDLE
                self.interrupt(step.role)
                return DONE
            case "kill":
                return self.put_an_end_to(step.role)
        if (refused := self.refused(step.role)) is not None:
            return refused
        self.under_way[step.role] = self.at
        self.dying.add(step.role)
        self.exit(step.role)
        return ASLEEP

    def told(self, name: str, body: WireStruct) -> Result:
        """Notify the kernel; return what it says to that."""
        try:
            self.write((encode_notification(name, body),))
        except OSError as error:
            return "error", errno.errorcode.get(error.errno or 0, str(error.errno))
        return DONE

    def let_go(self) -> Result:
        replies = list(self.session.let_go())
        for reply in replies:
            self.write(reply)
        return DONE if replies else IDLE

    def put_an_end_to(self, role: int) -> Result:
        if role in self.dead:
            return DEAD
        self.under_way.setdefault(role, self.at)
        self.dying.add(role)
        self.kill(role)
        return ASLEEP if self.under_way[role] == self.at else DONE

    def settle(self) -> None:
        """Let everything go on until nothing can, those included whom the filesystem had waiting."""
        while True:
            self.until_quiet()
            replies = list(self.session.due())
            if not replies:
                return
            for reply in replies:
                self.write(reply)

    def ended(self, role: int, result: Result) -> None:
        """Note that a process has come to the end of its call."""
        number = self.under_way.pop(role)
        if not self.over:
            self.results[number], self.ends[number] = result, self.at

    def died(self, role: int) -> None:
        """Note that a process has come to its own end: in a call, or in the step that wanted it."""
        self.dead.add(role)
        number = self.under_way.setdefault(role, self.at)
        ended_by_itself = self.program.steps[number].call in CONTROL
        self.ended(role, DONE if ended_by_itself else KILLED)

    def leave(self) -> None:
        """Let everything go, kill who sleeps even so, and have the others exit."""
        self.session.wanted.clear()
        while self.session.held and self.let_go() == DONE:
            self.settle()
        for role in list(self.under_way):
            self.put_an_end_to(role)
        self.settle()
        for role in self.program.roles:
            if self.refused(role) is None:
                self.under_way[role] = self.at
                self.dying.add(role)
                self.exit(role)
                self.settle()

    def give_up(self) -> None:
        """Call what has not ended hung, and what was not begun."""
        if self.over:
            return
        rest = range(self.at, len(self.results))
        self.results[self.at :] = [HUNG for _ in rest]
        self.session.marks += [len(self.session.messages)] * len(rest)


def whole(argument: Argument) -> int:
    assert isinstance(argument, int)
    return argument
