"""From what Linux says to the words of kernel.txt: facts in, moments out.

Each fact shows that a thread has come to a certain step (told.py). What follows is which.

Requests that a scene is not about, such as a LOOKUP on the way to an UNLINK, are told in one step by whoever
serves them: [request served normally]. So is what the Kamikaze filesystem does before it touches the page.

An INTERRUPT and a FORGET pass no tracepoint, and are equally long. An INTERRUPT goes first, and there is one
where somebody was interrupted in a request that the daemon had read.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from fusewire.diagrams.recording import Recording
from fusewire.errors import errno_name
from fusewire.events import Step
from fusewire.explain.real.facts import Fact
from fusewire.explain.real.told import Request, Told
from fusewire.explain.real.ways import DIED, PAGE, PAGE_WAIT, SEMAPHORE, SEMAPHORE_WAIT
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

__all__ = ["CALLS", "Teller"]

CALLS: Final = {
    "unlink": "sys_unlink",
    "unlinkat": "sys_unlink",
    "read": "sys_read",
    "readv": "sys_read",
    "write": "sys_write",
    "writev": "sys_write",
}
INTERRUPT_SIZE: Final = 48  # bytes
DEADLY: Final = (signal.SIGKILL, signal.SIGBUS)


class Teller:
    """Turns facts into moments of a recording."""

    def __init__(self, recording: Recording, tasks: Mapping[int, str], devices: Collection[int], path: str) -> None:
        """Begin; `devices` are the descriptors of /dev/fuse of those who serve."""
        self.recording = recording
        self.tasks = {tid: Told(name, recording) for tid, name in tasks.items()}
        self.devices = devices
        self.path = path
        self.requests: dict[int, Request] = {}  # that are not over
        self.interrupts: list[Request] = []  # whose INTERRUPT nobody has read
        self.signal = 0  # that is being sent

    def add(self, tid: int, name: str) -> None:
        """Have another thread among those that are told of."""
        self.tasks.setdefault(tid, Told(name, self.recording))

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
            case ContentionBegin() if task.is_in("sys_unlink") and fact.passes(*SEMAPHORE_WAIT):
                task.reach(fact, Step.ACQUIRE, SEMAPHORE)
            case ContentionEnd(result=0) if task.is_in("sys_unlink") and fact.passes(*SEMAPHORE_WAIT):
                task.reach(fact, Step.ACQUIRED)
                task.holds = True
            case PageFault():
                task.begin("do_page_fault")
                task.reach(fact, Step.CALL, "do_page_fault")
            case FilemapFault():
                if not task.way:
                    task.begin("do_page_fault")
                task.reach(fact, Step.FIND_PAGE)
            case PageAdded() if task.way:
                task.reach(fact, Step.LOCK_PAGE)
            case SignalDelivered(number) if number in DEADLY:
                task.leave(fact, "")
                task.take_down(fact, DIED, detail=signal.Signals(number).name)

    # --- calls

    def _enter(self, fact: Fact, task: Told, call: str, arguments: tuple[int, ...]) -> None:
        name = CALLS.get(call, "")
        if call == "mmap" and task.opened >= 0 and arguments[4] == task.opened:
            task.take_down(fact, Step.MMAP, "addr")
        if not name or (name in ("sys_read", "sys_write") and arguments[0] not in self.devices):
            return
        if task.is_in(name) or (name == "sys_write" and task.serves is not None and not task.serves.is_told):
            return  # of a request that is not told: as if it were still in the read before
        if name == "sys_write" and task.serves is not None and task.serves.operation == "READ":
            task.take_down(fact._replace(certain=False), Step.MAKE_HEADER, "addr")
        task.begin(name)
        task.reach(fact, Step.CALL, name, detail=f'"{self.path}"' if name == "sys_unlink" else "")

    def _exit(self, fact: Fact, task: Told, call: str, result: int) -> None:
        name = CALLS.get(call, "")
        if call == "openat" and task.sent is not None and task.sent.operation == "OPEN":
            task.opened = result
        if name == "sys_read" and task.is_in(name) and result > 0:
            if not self._read(fact, task, result):
                return
        elif name == "sys_write" and task.serves is not None and not task.serves.is_told:
            task.serves = None
            return
        if name and task.is_in(name):
            task.leave(fact, returned(result))
            task.serves = None if name == "sys_write" else task.serves

    def _read(self, fact: Fact, task: Told, length: int) -> bool:
        """Tell what was read; return whether it is told at all."""
        inferred = fact._replace(certain=False)
        if self.interrupts and length == INTERRUPT_SIZE:
            request = self.interrupts.pop(0)
            task.reach(inferred, Step.TAKE_INTERRUPT, detail=f"INTERRUPT {request.unique}")
            return True
        found = next((one for one in self.requests.values() if not one.taken and one.length == length), None)
        if found is None:
            return False  # a FORGET
        found.taken, task.serves = True, found
        if found.is_told:
            task.reach(inferred, Step.READ, detail=str(found))
        return found.is_told

    # --- requests

    def _request_send(self, fact: Fact, task: Told, event: RequestSend) -> None:
        operation = OPERATIONS[event.opcode].name if event.opcode in OPERATIONS else f"opcode {event.opcode}"
        request = Request(event.unique, operation, event.length)
        self.requests[event.unique] = task.sent = request
        if request.is_told:
            task.holds = task.holds or task.is_in("sys_unlink")
            task.reach(fact, Step.QUEUE, detail=str(request))
        elif operation == "OPEN":
            task.take_down(fact, Step.OPEN, f'"{self.path}"')
        elif operation == "FLUSH":
            task.take_down(fact, Step.CLOSE)

    def _request_end(self, fact: Fact, task: Told | None, unique: int, error: int) -> None:
        request = self.requests.pop(unique, None)
        if request is None or task is None:
            return
        if request in self.interrupts:
            self.interrupts.remove(request)
        if request.is_told and "do_page_fault" not in task.open:  # else the copy has failed in it
            said = f"{request}: {returned(error)}" if error else str(request)
            task.reach(fact._replace(certain=False), Step.COPY_IN, detail=said)
        elif not request.is_told:
            step = Step.TRIGGER if request.operation == "FLUSH" else Step.SERVE
            certain = fact.certain and step == Step.SERVE  # that the flag is up, only the daemon knows
            task.take_down(fact._replace(certain=certain), step, detail=str(request))

    # --- sleeping and waking

    def _sleep(self, fact: Fact, task: Told) -> None:
        if fact.passes("request_wait_answer"):
            if task.sent is None or task.sent.is_told:
                task.reach(fact, Step.SLEEP, "req->waitq")
        elif fact.passes("fuse_dev_do_read") and task.serves is None and not task.asleep:
            task.reach(fact, Step.SLEEP, "fc->waitq")
        elif fact.passes(*PAGE_WAIT):
            task.reach(fact, Step.SLEEP, PAGE)
        elif task.is_in("sys_unlink") and fact.passes(*SEMAPHORE_WAIT):
            task.reach(fact, Step.SLEEP, SEMAPHORE)

    def _waking(self, fact: Fact, waker: Told | None, task: Told) -> None:
        if fact.passes("__send_signal_locked", "complete_signal", "signal_wake_up_state"):
            self._interrupted(fact, task)
        elif waker is None:
            if task.way and (task.sent is None or task.sent.is_told):
                task.take_down(fact, Step.WOKEN)
        elif fact.passes("up_write", "rwsem_wake"):
            self._release(fact, waker, task)
        elif fact.passes("folio_wake_bit", "folio_unlock", "wake_page_function"):
            waker.reach(fact, Step.WAKE, PAGE, woken=task)
        elif fact.passes("fuse_request_end"):
            if task.sent is None or task.sent.is_told:
                waker.reach(fact, Step.WAKE, "req->waitq", woken=task)
        elif fact.passes("fuse_dev_queue_interrupt"):
            waker.take_down(fact, Step.QUEUE_INTERRUPT, detail=f"INTERRUPT {waker.sent.unique if waker.sent else 0}")
            waker.take_down(fact, Step.WAKE, "fc->waitq", woken=task)
        elif fact.passes("fuse_dev_queue_req") and (waker.sent is None or waker.sent.is_told):
            waker.reach(fact, Step.WAKE, "fc->waitq", woken=task)

    def _interrupted(self, fact: Fact, task: Told) -> None:
        if not task.way or (task.sent is not None and not task.sent.is_told):
            return
        task.take_down(fact, Step.INTERRUPT, detail=signal.Signals(self.signal or signal.SIGKILL).name)
        if task.sent is not None and task.sent.taken and not task.sent.interrupted:
            task.sent.interrupted = True
            self.interrupts.append(task.sent)

    def _release(self, fact: Fact, task: Told, woken: Told) -> None:
        """A semaphore is released, and that wakes whoever waits for it."""
        if task.is_in("sys_unlink") and woken.open:
            task.close(fact, 1)
            task.take_down(fact, Step.RELEASE, woken=woken)
            task.holds = False


def returned(result: int) -> str:
    """Return what a call returned, an errno by its name."""
    return f"-{errno_name(-result)}" if result < 0 else str(result)
