"""From what Linux says to the words of kernel.txt: facts in, moments out.

A fact shows that its thread has come to a certain step of a way (ways.py). The steps before it must have been taken,
so they are told too: as inferred, unless the stack shows that their function was being run. What is optional is told
only where something shows it. When a call returns, what it was in is left, from within.

Requests that a scene is not about, such as a LOOKUP on the way to an UNLINK, are told in one step by whoever
serves them: [request served normally]. So is what the Kamikaze filesystem does before it touches the page.

An INTERRUPT and a FORGET pass no tracepoint, and are equally long. An INTERRUPT goes first, and there is one
where somebody was interrupted in a request that the daemon had read.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fusewire.diagrams.recording import Moment, Recording
from fusewire.events import Event, Step
from fusewire.explain.real.facts import Fact
from fusewire.explain.real.ways import DIED, PAGE, PAGE_WAIT, SEMAPHORE, SEMAPHORE_WAIT, WAYS, Spot
from fusewire.watch.syscalls import name_of
from fusewire.watch.trace_events import (
    ContentionBegin,
    ContentionEnd,
    FilemapFault,
    PageAdded,
    PageFault,
    RequestEnd,
    RequestSend,
    SignalDelivered,
    SignalSent,
    Switch,
    SyscallEnter,
    SyscallExit,
    Waking,
)
from fusewire.wire import OPERATIONS

__all__ = ["Teller", "Told"]

CALLS: Final = {
    "unlink": "sys_unlink",
    "unlinkat": "sys_unlink",
    "read": "sys_read",
    "readv": "sys_read",
    "write": "sys_write",
    "writev": "sys_write",
}
TOLD: Final = ("UNLINK", "READ")  # the requests that scenes are about
INTERRUPT_SIZE: Final = 48  # bytes
DEADLY: Final = (signal.SIGKILL, signal.SIGBUS)


@dataclass
class Request:
    """A request as the trace shows it."""

    unique: int
    operation: str
    length: int
    sender: int  # a thread
    taken: bool = False  # read by the daemon
    interrupted: bool = False

    def __str__(self) -> str:
        return f"{self.operation} {self.unique}"


@dataclass
class Told:
    """One thread, and how far it has been told."""

    name: str
    tid: int
    way: Sequence[Spot] = ()
    position: int = 0  # of the next step on its way
    open: list[str] = field(default_factory=list)  # the functions that it is in, the outermost first
    holds: bool = False  # the semaphore
    sent: Request | None = None  # that it waits for
    serves: Request | None = None  # that it has read
    opened: int = -1  # its descriptor of the file that it maps
    asleep: bool = False  # as far as it has been told


class Teller:
    """Turns facts into moments of a recording."""

    def __init__(self, recording: Recording, tasks: Mapping[int, str], devices: Collection[int], path: str) -> None:
        """Begin; `devices` are the descriptors of /dev/fuse of those who serve."""
        self.recording = recording
        self.tasks = {tid: Told(name, tid) for tid, name in tasks.items()}
        self.devices = devices
        self.path = path
        self.requests: dict[int, Request] = {}  # that are not over
        self.interrupts: list[Request] = []  # whose INTERRUPT nobody has read
        self.signal = 0  # that is being sent

    def add(self, tid: int, name: str) -> None:
        """Have another thread among those that are told of."""
        self.tasks.setdefault(tid, Told(name, tid))

    def tell(self, facts: Iterable[Fact]) -> None:
        """Take down what these facts show."""
        known = list(facts)
        sent = [fact.event.number if isinstance(fact.event, SignalSent) else 0 for fact in known]
        for at, fact in enumerate(known):  # Linux wakes whom a signal is for, and tells of the signal then
            self.signal = next(filter(None, sent[at:]), 0)
            self._tell(fact)

    def _tell(self, fact: Fact) -> None:
        task = self.tasks.get(fact.tid)
        match fact.event:
            case Waking(tid) if tid in self.tasks:
                self._waking(fact, task, self.tasks[tid])
            case RequestEnd(unique=unique):
                self._request_end(fact, task, unique, fact.event.error)
            case _ if task is None:
                return
            case SyscallEnter(number, arguments):
                self._enter(fact, task, name_of(number), arguments)
            case SyscallExit(number, result):
                self._exit(fact, task, name_of(number), result)
            case RequestSend() as event:
                self._request_send(fact, task, event)
            case Switch(state="S" | "D"):
                self._sleep(fact, task)
            case ContentionBegin() if self._is_in(task, "sys_unlink") and fact.passes(*SEMAPHORE_WAIT):
                self._reach(fact, task, Step.ACQUIRE, SEMAPHORE)
            case ContentionEnd(result=0) if self._is_in(task, "sys_unlink") and fact.passes(*SEMAPHORE_WAIT):
                self._reach(fact, task, Step.ACQUIRED)
                task.holds = True
            case PageFault():
                self._begin(task, "do_page_fault")
                self._reach(fact, task, Step.CALL, "do_page_fault")
            case FilemapFault():
                if not task.way:
                    self._begin(task, "do_page_fault")
                self._reach(fact, task, Step.FIND_PAGE)
            case PageAdded() if task.way:
                self._reach(fact, task, Step.LOCK_PAGE)
            case SignalDelivered(number) if number in DEADLY:
                self._leave(fact, task, "")
                self._take_down(fact, task, DIED, detail=signal.Signals(number).name)

    # --- calls

    def _enter(self, fact: Fact, task: Told, call: str, arguments: tuple[int, ...]) -> None:
        name = CALLS.get(call, "")
        if call == "mmap" and task.opened >= 0 and arguments[4] == task.opened:
            self._take_down(fact, task, Step.MMAP, "addr")
        if not name or (name in ("sys_read", "sys_write") and arguments[0] not in self.devices):
            return
        if self._is_in(task, name) or (name == "sys_write" and task.serves is not None and not is_told(task.serves)):
            return  # of a request that is not told: as if it were still in the read before
        if name == "sys_write" and task.serves is not None and task.serves.operation == "READ":
            self._take_down(fact._replace(certain=False), task, Step.MAKE_HEADER, "addr")
        self._begin(task, name)
        self._reach(fact, task, Step.CALL, name, detail=f'"{self.path}"' if name == "sys_unlink" else "")

    def _exit(self, fact: Fact, task: Told, call: str, result: int) -> None:
        name = CALLS.get(call, "")
        if call == "openat" and task.sent is not None and task.sent.operation == "OPEN":
            task.opened = result
        if name == "sys_read" and self._is_in(task, name) and result > 0:
            if not self._read(fact, task, result):
                return
        elif name == "sys_write" and task.serves is not None and not is_told(task.serves):
            task.serves = None
            return
        if name and self._is_in(task, name):
            self._leave(fact, task, returned(result))
            task.serves = None if name == "sys_write" else task.serves

    def _read(self, fact: Fact, task: Told, length: int) -> bool:
        """Tell what was read; return whether it is told at all."""
        inferred = fact._replace(certain=False)
        if self.interrupts and length == INTERRUPT_SIZE:
            request = self.interrupts.pop(0)
            self._reach(inferred, task, Step.TAKE_INTERRUPT, detail=f"INTERRUPT {request.unique}")
            return True
        found = next((one for one in self.requests.values() if not one.taken and one.length == length), None)
        if found is None:
            return False  # a FORGET
        found.taken, task.serves = True, found
        if is_told(found):
            self._reach(inferred, task, Step.READ, detail=str(found))
        return is_told(found)

    # --- requests

    def _request_send(self, fact: Fact, task: Told, event: RequestSend) -> None:
        operation = OPERATIONS[event.opcode].name if event.opcode in OPERATIONS else f"opcode {event.opcode}"
        request = Request(event.unique, operation, event.length, fact.tid)
        self.requests[event.unique] = task.sent = request
        if is_told(request):
            task.holds = task.holds or self._is_in(task, "sys_unlink")
            self._reach(fact, task, Step.QUEUE, detail=str(request))
        elif operation == "OPEN":
            self._take_down(fact, task, Step.OPEN, f'"{self.path}"')
        elif operation == "FLUSH":
            self._take_down(fact, task, Step.CLOSE)

    def _request_end(self, fact: Fact, task: Told | None, unique: int, error: int) -> None:
        request = self.requests.pop(unique, None)
        if request is None or task is None:
            return
        if request in self.interrupts:
            self.interrupts.remove(request)
        if is_told(request) and "do_page_fault" not in task.open:  # else the copy has failed in it
            said = f"{request}: {returned(error)}" if error else str(request)
            self._reach(fact._replace(certain=False), task, Step.COPY_IN, detail=said)
        elif not is_told(request):
            step = Step.TRIGGER if request.operation == "FLUSH" else Step.SERVE
            certain = fact.certain and step == Step.SERVE  # that the flag is up, only the daemon knows
            self._take_down(fact._replace(certain=certain), task, step, detail=str(request))

    # --- sleeping and waking

    def _sleep(self, fact: Fact, task: Told) -> None:
        if fact.passes("request_wait_answer"):
            if task.sent is None or is_told(task.sent):
                self._reach(fact, task, Step.SLEEP, "req->waitq")
        elif fact.passes("fuse_dev_do_read") and task.serves is None and not task.asleep:
            self._reach(fact, task, Step.SLEEP, "fc->waitq")
        elif fact.passes(*PAGE_WAIT):
            self._reach(fact, task, Step.SLEEP, PAGE)
        elif self._is_in(task, "sys_unlink") and fact.passes(*SEMAPHORE_WAIT):
            self._reach(fact, task, Step.SLEEP, SEMAPHORE)

    def _waking(self, fact: Fact, waker: Told | None, task: Told) -> None:
        if fact.passes("__send_signal_locked", "complete_signal", "signal_wake_up_state"):
            self._interrupted(fact, task)
        elif waker is None:
            if task.way and (task.sent is None or is_told(task.sent)):
                self._take_down(fact._replace(tid=task.tid), task, Step.WOKEN)
        elif fact.passes("up_write", "rwsem_wake"):
            self._release(fact, waker, task)
        elif fact.passes("folio_wake_bit", "folio_unlock", "wake_page_function"):
            self._reach(fact, waker, Step.WAKE, PAGE, woken=task.name)
        elif fact.passes("fuse_request_end"):
            if task.sent is None or is_told(task.sent):
                self._reach(fact, waker, Step.WAKE, "req->waitq", woken=task.name)
        elif fact.passes("fuse_dev_queue_interrupt"):
            self._take_down(
                fact, waker, Step.QUEUE_INTERRUPT, detail=f"INTERRUPT {waker.sent.unique if waker.sent else 0}"
            )
            self._take_down(fact, waker, Step.WAKE, "fc->waitq", woken=task.name)
        elif fact.passes("fuse_dev_queue_req") and (waker.sent is None or is_told(waker.sent)):
            self._reach(fact, waker, Step.WAKE, "fc->waitq", woken=task.name)

    def _interrupted(self, fact: Fact, task: Told) -> None:
        if not task.way or (task.sent is not None and not is_told(task.sent)):
            return
        self._take_down(fact, task, Step.INTERRUPT, detail=signal.Signals(self.signal or signal.SIGKILL).name)
        if task.sent is not None and task.sent.taken and not task.sent.interrupted:
            task.sent.interrupted = True
            self.interrupts.append(task.sent)

    def _release(self, fact: Fact, task: Told, woken: Told) -> None:
        """A semaphore is released, and that wakes whoever waits for it."""
        if self._is_in(task, "sys_unlink") and woken.open:
            self._close(fact, task, 1)
            self._take_down(fact, task, Step.RELEASE, woken=woken.name)
            task.holds = False

    # --- taking down

    def _is_in(self, task: Told, call: str) -> bool:
        return bool(task.open) and task.open[0] == call

    def _begin(self, task: Told, call: str) -> None:
        task.way, task.position, task.open, task.holds = WAYS[call], 0, [], False

    def _reach(self, fact: Fact, task: Told, step: str, name: str = "", detail: str = "", woken: str = "") -> None:
        """Tell that `task` has come to a step of its way, and what must have been before it."""
        places = [at for at, spot in enumerate(task.way) if spot[:2] == (step, name)]
        ahead = [at for at in places if at >= task.position]
        if ahead:
            self._pass(fact, task, task.way[task.position : ahead[0]])
            task.position = ahead[0] + 1
        elif places:
            self._again(fact, task, task.way[: places[0]])
        self._take_down(fact, task, step, name, detail, woken)

    def _again(self, fact: Fact, task: Told, way: Sequence[Spot]) -> None:
        """A step is taken a second time: tell of the functions that were entered anew for it, as the stack shows."""
        for spot in way:
            if spot.step == Step.CALL and spot.name not in task.open and fact.passes(*spot.functions):
                self._take_down(fact, task, spot.step, spot.name)

    def _pass(self, fact: Fact, task: Told, spots: Iterable[Spot]) -> None:
        for spot in spots:
            seen = bool(spot.functions) and fact.passes(*spot.functions)
            if seen or not spot.optional:
                self._take_down(fact._replace(certain=fact.certain and seen), task, spot.step, spot.name)

    def _leave(self, fact: Fact, task: Told, detail: str) -> None:
        """Tell that a call returns: what it is in is left, from within; and it is over."""
        self._close(fact, task, 1)
        if task.holds and task.open:
            self._take_down(fact._replace(certain=False), task, Step.RELEASE)
        if task.open:
            self._take_down(fact, task, Step.RETURN, task.open[0], detail)
        task.way, task.open, task.holds, task.sent = (), [], False, None

    def _close(self, fact: Fact, task: Told, depth: int) -> None:
        while len(task.open) > depth:
            self._take_down(fact._replace(certain=False), task, Step.RETURN, task.open[-1])

    def _take_down(self, fact: Fact, task: Told, step: str, name: str = "", detail: str = "", woken: str = "") -> None:
        if step == Step.CALL:
            task.open.append(name)
        elif step == Step.RETURN and name in task.open:
            task.open.remove(name)
        began = self.recording.began
        if began is None:
            began = self.recording.began = fact.time
        task.asleep = step == Step.SLEEP or (task.asleep and step == Step.SERVE)
        if woken:
            next(one for one in self.tasks.values() if one.name == woken).asleep = False
        event = Event(step, name, (woken,) if woken else (), Step.WOKEN, detail)
        self.recording.entries.append(Moment(task.name, event, max(0.0, fact.time - began), None, fact.certain))


def is_told(request: Request) -> bool:
    return request.operation in TOLD


def returned(result: int) -> str:
    """Return what a call returned, an errno by its name."""
    return f"-{errno.errorcode.get(-result, -result)}" if result < 0 else str(result)
