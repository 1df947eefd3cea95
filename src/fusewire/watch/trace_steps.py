"""One live request in the columns of kernel.txt: what was seen of it, and what must have come in between.

With stacks, Linux's tracepoints show these steps of a request's way:

    fuse_request_send  and its stack   the system call, FUSE's function, the queue
    sched_waking       and its stack   who wakes whom, and whether in sending or in answering
    sys_enter, sys_exit                when the daemon begins to read and to write, and what comes of it
    fuse_request_end   and its stack   that it is over, and whether by a reply or by an abort

Whoever is woken by the answer has slept on req->waitq. All other steps lie between two that were seen, as Linux does
nothing else there: they are drawn as inferred. The words are those of kernel.txt; the functions have the names that
they have today, but for `request_send`, which is __fuse_simple_request now, and `request_wait`, which is no function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from fusewire.diagrams.columns import Detail
from fusewire.diagrams.recording import Moment, Recording
from fusewire.events import Event, Step
from fusewire.watch.requests import Request, Who
from fusewire.watch.syscalls import name_of
from fusewire.watch.trace_events import RequestEnd, RequestSend, Stack, SyscallEnter, SyscallExit, Traced, Waking

__all__ = ["WORDS", "Steps"]

CALLER, DAEMON = "caller", "daemon"
WORDS: Final = Detail(words={Step.RETURN: "<{name}(){detail}"})

SYSTEM_CALL: Final = re.compile(r"(?:__(?:x64|ia32|arm64|riscv|se|do)_|k)sys_(\w+)")
FAULTS: Final = ("exc_page_fault", "do_page_fault", "handle_mm_fault")
SENDS: Final = re.compile(r"(__)?fuse_simple_(request|background)$")
MACHINERY: Final = re.compile(r"fuse_(dev_|simple_|send_one|request_|get_req|flush_bg|uring_)")
READS: Final = ("sys_read", "sys_readv", "sys_splice")
KEPT: Final = 1000  # requests and reads that nobody has drawn


@dataclass
class Way:
    """What was seen of one request, but for what `Request` has."""

    sender: int = 0
    calls: tuple[str, ...] = ()  # functions that its caller was in as it was sent, the innermost first
    woken: int = 0  # who was woken to read it
    woken_at: float = 0.0
    write: tuple[float, str] | None = None  # when the answer began to be written, and by which call
    ending: tuple[str, ...] = ()  # functions in which it ended
    answered: float | None = None  # when its caller was woken
    written: tuple[float, int] | None = None  # when the write returned, and what
    waiting: tuple[float, str] | None = None  # since when whoever was woken has slept, and in which call


@dataclass
class Steps:
    """Events with their stacks go in; recordings of single requests come out."""

    ways: dict[tuple[int, int], Way] = field(default_factory=dict)  # by connection and unique
    entered: dict[int, tuple[float, str]] = field(default_factory=dict)  # by thread: the call that it is in
    sent: dict[int, Way] = field(default_factory=dict)  # by thread: what it sent last
    ended: dict[int, Way] = field(default_factory=dict)  # by thread: what it answered last, until its write is over
    reads: dict[tuple[int, float], tuple[float, str]] = field(default_factory=dict)  # by thread and end: the beginning
    _last: dict[int, Traced] = field(default_factory=dict)  # by thread: the event whose stack is to come

    def feed(self, traced: Iterable[Traced]) -> None:
        """Take note of some events, each of which may be followed by its stack."""
        for one in traced:
            if isinstance(one.event, Stack):
                before = self._last.pop(one.tid, None)
                if before is not None:
                    self._with_stack(before, one.event.functions)
                continue
            self._last[one.tid] = one
            self._alone(one)

    def _alone(self, one: Traced) -> None:
        match one.event:
            case SyscallEnter(number):
                self.entered[one.tid] = one.time, f"sys_{name_of(number)}"
            case SyscallExit(result=result):
                self._leave(one, result)
            case RequestSend(connection=connection, unique=unique):
                self.sent[one.tid] = self.ways[connection, unique] = Way(one.tid)
                shorten(self.ways)
            case RequestEnd(connection=connection, unique=unique) if (connection, unique) in self.ways:
                way = self.ended[one.tid] = self.ways[connection, unique]
                way.write = self.entered.get(one.tid)

    def _leave(self, one: Traced, result: int) -> None:
        over = self.ended.pop(one.tid, None)
        if over is not None:
            over.written = one.time, result
        entered = self.entered.pop(one.tid, None)
        if entered is not None and entered[1] in READS:
            self.reads[one.tid, one.time] = entered
            shorten(self.reads)

    def _with_stack(self, one: Traced, functions: tuple[str, ...]) -> None:
        match one.event:
            case RequestSend() if one.tid in self.sent:
                self.sent[one.tid].calls = functions
            case RequestEnd() if one.tid in self.ended:
                self.ended[one.tid].ending = functions
            case Waking(tid) if "fuse_request_end" in functions and one.tid in self.ended:
                way = self.ended[one.tid]
                way.answered = one.time if tid == way.sender else way.answered
            case Waking(tid) if "fuse_dev_queue_req" in functions and one.tid in self.sent:
                way = self.sent[one.tid]
                way.woken, way.woken_at, way.waiting = tid, one.time, self.entered.get(tid)

    def recording(self, request: Request) -> Recording:
        """Return the way of one request; it is forgotten."""
        way = self.ways.pop((request.connection, request.unique), Way(request.caller.tid))
        server = request.server or request.reader
        daemon = f"FUSE filesystem daemon, {named(server)}" if server else "FUSE filesystem daemon"
        titles = {CALLER: named(request.caller), DAEMON: daemon}
        recording = Recording(f"{request.operation} {request.unique}", titles, observed=True, began=request.sent)
        if request.reader is not None and request.read is not None:
            way.waiting = self.reads.get((request.reader.tid, request.read))
        Drawing(request, way, recording).draw()
        recording.entries.sort(key=lambda entry: entry.time if isinstance(entry, Moment) else 0.0)
        return recording


def shorten(known: dict[Any, Any]) -> None:
    """Forget the oldest where there are too many."""
    if len(known) > KEPT:
        del known[next(iter(known))]


def named(who: Who) -> str:
    comm = "".join(character if character.isprintable() else "?" for character in who.comm)
    return f'"{comm}" {who.tid}'


@dataclass
class Drawing:
    """The steps of one request, put into a recording."""

    request: Request
    way: Way
    recording: Recording

    def draw(self) -> None:
        """Put in all, each with its time; those of one time in their order."""
        self._reader_waits()
        self._sending()
        self._reading()
        if self.request.ended is not None:
            self._answering(self.request.ended)
            self._returning(self.request.ended)

    def _put(
        self, time: float, task: str, step: str, name: str = "", *, seen: bool, detail: str = "", wakes: str = ""
    ) -> None:
        event = Event(step, name, (wakes,) if wakes else (), detail=detail)
        self.recording.entries.append(Moment(task, event, time - self.request.sent, certain=seen))

    @property
    def waited(self) -> bool:
        """Whether a reader slept until this request came."""
        reader = self.request.reader
        return bool(self.way.woken) and (reader is None or reader.tid == self.way.woken)

    @property
    def functions(self) -> list[tuple[str, bool]]:
        """The functions that the caller entered on the way to sending it, the outermost first; and whether seen."""
        calls = self.way.calls
        system_calls = [found[1] for found in map(SYSTEM_CALL.match, calls) if found]
        outermost = [f"sys_{call}" for call in system_calls[-1:]]
        if not outermost and any(call in FAULTS for call in calls):
            outermost = ["do_page_fault"]
        ours = [call for call in calls if call.startswith("fuse_") and not MACHINERY.match(call)]
        return [*((call, True) for call in [*outermost, *ours[-1:]]), ("request_send", any(map(SENDS.match, calls)))]

    @property
    def waits(self) -> bool:
        """Whether the caller waits for the answer itself: nobody does for what is sent in the background."""
        return self.way.answered is not None or any(call.endswith("fuse_simple_request") for call in self.way.calls)

    def _reader_waits(self) -> None:
        if self.way.waiting is None:
            return
        entered, call = self.way.waiting
        self._put(entered, DAEMON, Step.CALL, call, seen=True)
        self._put(entered, DAEMON, Step.CALL, "fuse_dev_read", seen=False)
        if self.waited:
            self._put(entered, DAEMON, Step.CALL, "request_wait", seen=False)
            self._put(entered, DAEMON, Step.SLEEP, "fc->waitq", seen=True)  # since it was woken from it

    def _sending(self) -> None:
        sent, way = self.request.sent, self.way
        for name, seen in self.functions:
            self._put(sent, CALLER, Step.CALL, name, seen=seen)
        self._put(sent, CALLER, Step.QUEUE, seen=True)
        if way.woken:
            wakes = DAEMON if self.waited else ""
            self._put(way.woken_at, CALLER, Step.WAKE, "fc->waitq", seen=True, wakes=wakes)
        if self.waits:
            after = max(sent, way.woken_at)
            self._put(after, CALLER, Step.CALL, "request_wait_answer", seen=False)
            self._put(after, CALLER, Step.SLEEP, "req->waitq", seen=way.answered is not None)

    def _reading(self) -> None:
        request = self.request
        if request.read is None:
            return
        if self.waited:
            self._put(request.read, DAEMON, Step.RETURN, "request_wait", seen=False)
        for step in Step.TAKE, Step.COPY_OUT, Step.READ:
            self._put(request.read, DAEMON, step, seen=False)
        self._put(request.read, DAEMON, Step.RETURN, "fuse_dev_read", seen=False)
        call = self.way.waiting[1] if self.way.waiting else "sys_read"
        self._put(request.read, DAEMON, Step.RETURN, call, seen=True, detail=f" = {request.length}")

    def _answering(self, ended: float) -> None:
        way = self.way
        if way.ending and not any(call.startswith(("fuse_dev_do_write", "fuse_uring")) for call in way.ending):
            self._put(ended, DAEMON, Step.ABORT, seen=True)
            return
        began, call = way.write or (ended, "sys_write")
        self._put(began, DAEMON, Step.PERFORM, self.request.operation.lower(), seen=False)
        self._put(began, DAEMON, Step.CALL, call, seen=way.write is not None)
        self._put(began, DAEMON, Step.CALL, "fuse_dev_write", seen=bool(way.ending))
        for step in Step.LOOK_UP, Step.MATCH, Step.COPY_IN:
            self._put(ended, DAEMON, step, seen=False)
        if self.waits:
            woken_at, seen = way.answered or ended, way.answered is not None
            self._put(woken_at, DAEMON, Step.WAKE, "req->waitq", seen=seen, wakes=CALLER)
        written, result = way.written or (ended, None)
        self._put(written, DAEMON, Step.RETURN, "fuse_dev_write", seen=False)
        said = "" if result is None else f" = {result}"
        self._put(written, DAEMON, Step.RETURN, call, seen=result is not None, detail=said)

    def _returning(self, ended: float) -> None:
        written = self.way.written[0] if self.way.written else 0.0
        last = max(ended, written) if self.waits else max(self.request.sent, self.way.woken_at)
        for name in self._to_leave():
            error = f" = -{self.request.error_name}" if self.request.error and name.startswith("fuse_") else ""
            self._put(last, CALLER, Step.RETURN, name, seen=False, detail=error)

    def _to_leave(self) -> Iterator[str]:
        if self.waits:
            yield "request_wait_answer"
        for name, _ in reversed(self.functions):
            yield name
