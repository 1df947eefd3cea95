"""What Linux's tracepoints say, read from the text of trace_pipe.

              rm-4711    [000] d..2.  812.004711: fuse_request_send: connection 46 req 4 opcode 10 (FUSE_UNLINK) len 45
    <name>-<thread>  [processor] flags  seconds: tracepoint: what it says

After it, where it was asked for, stands the stack of whoever ran: a line that says so, and one for each
function, the innermost first.

Who *ran* when a tracepoint was passed is not always who it is about: a request is sent by its caller and
ended by its server, but a queue of the background is flushed by whoever comes along; a task is woken by
another; of a switch both tell.

`PARSERS` is a table: one row a tracepoint that we understand, and any other becomes `Other`. A name that
somebody gave his thread to look like a line of the trace is a line of the trace: who reads it must not trust it.

Source: Documentation/trace/ftrace.rst; /sys/kernel/tracing/events/*/*/format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = [
    "ContentionBegin",
    "ContentionEnd",
    "FilemapFault",
    "Lost",
    "Other",
    "PageAdded",
    "PageFault",
    "Parser",
    "RequestEnd",
    "RequestSend",
    "SignalDelivered",
    "SignalSent",
    "Stack",
    "Switch",
    "SyscallEnter",
    "SyscallExit",
    "TaskExit",
    "TraceEvent",
    "Traced",
    "Waking",
]


class RequestSend(NamedTuple):
    """A request is on fc->pending. FORGET, INTERRUPT and notifications pass no tracepoint."""

    connection: int
    unique: int
    opcode: int
    length: int  # bytes of the whole message


class RequestEnd(NamedTuple):
    """A request is over: answered, or aborted."""

    connection: int
    unique: int
    length: int  # bytes of the reply
    error: int  # a negative errno, or 0


class SyscallEnter(NamedTuple):
    number: int
    arguments: tuple[int, ...]  # six, as they stood in the registers


class SyscallExit(NamedTuple):
    number: int
    result: int  # a negative errno where it failed


class Switch(NamedTuple):
    """One processor leaves one task and takes up another."""

    previous: int
    state: str  # of the task left: 'R' could go on, 'S' and 'D' sleep, 'D' deaf to signals
    next: int


class Waking(NamedTuple):
    """Whoever runs makes another task ready to run."""

    tid: int


class SignalSent(NamedTuple):
    number: int
    tid: int
    group: bool  # for the process, not the thread


class SignalDelivered(NamedTuple):
    number: int


class ContentionBegin(NamedTuple):
    """Whoever runs begins to wait for a lock of the kernel."""

    lock: int
    flags: str  # SPIN, MUTEX, READ, WRITE...


class ContentionEnd(NamedTuple):
    """He has it, if `result` is 0."""

    lock: int
    result: int


class PageFault(NamedTuple):
    """A processor met an address that has no page."""

    address: int


class FilemapFault(NamedTuple):
    """A page of a file is looked for, for a mapping of it: also where the kernel itself comes to the address."""

    minor: int  # of the filesystem's device: a FUSE mount's connection
    ino: int
    offset: int  # bytes


class PageAdded(NamedTuple):
    """A page, locked and not yet read, is in the page cache."""

    minor: int
    ino: int
    offset: int  # bytes


class TaskExit(NamedTuple):
    tid: int


class Stack(NamedTuple):
    """Where in the kernel whoever ran stood at the event before, of the same thread."""

    functions: tuple[str, ...]  # the innermost first


class Lost(NamedTuple):
    """The buffer was full: so many events are missing; 0 if Linux does not know how many."""

    number: int


class Other(NamedTuple):
    name: str
    text: str


TraceEvent: TypeAlias = (
    RequestSend
    | RequestEnd
    | SyscallEnter
    | SyscallExit
    | Switch
    | Waking
    | SignalSent
    | SignalDelivered
    | ContentionBegin
    | ContentionEnd
    | PageFault
    | FilemapFault
    | PageAdded
    | TaskExit
    | Stack
    | Lost
    | Other
)


class Traced(NamedTuple):
    """One line of the trace."""

    time: float  # seconds, of the clock that the instance was given
    cpu: int
    comm: str  # of whoever ran; "<...>" if Linux has forgotten
    tid: int
    event: TraceEvent
    pid: int = 0  # the process of the thread, with the option record-tgid; 0 if Linux does not know


def integers(kind: Callable[..., TraceEvent], pattern: str) -> tuple[re.Pattern[str], Callable[..., TraceEvent]]:
    """A row whose fields are all numbers; one whose group is called `hex` is hexadecimal."""
    compiled = re.compile(pattern)
    bases = [16 if index in compiled.groupindex.values() else 10 for index in range(1, compiled.groups + 1)]

    def build(*texts: str) -> TraceEvent:
        return kind(*(int(text, base) for text, base in zip(texts, bases, strict=True)))

    return compiled, build


def syscall_enter(number: str, arguments: str) -> SyscallEnter:
    return SyscallEnter(int(number), tuple(int(text, 16) for text in arguments.split(", ")))


def switch(previous: str, state: str, following: str) -> Switch:
    return Switch(int(previous), state[0], int(following))


def signal_sent(number: str, tid: str, group: str) -> SignalSent:
    return SignalSent(int(number), int(tid), group == "1")


PARSERS: Final[dict[str, tuple[re.Pattern[str], Callable[..., Any]]]] = {
    "fuse_request_send": integers(RequestSend, r"connection (\d+) req (\d+) opcode (\d+) \(.*\) len (\d+)"),
    "fuse_request_end": integers(RequestEnd, r"connection (\d+) req (\d+) len (\d+) error (-?\d+)"),
    "sys_enter": (re.compile(r"NR (-?\d+) \(([0-9a-f, ]+)\)"), syscall_enter),
    "sys_exit": integers(SyscallExit, r"NR (-?\d+) = (-?\d+)"),
    "sched_switch": (re.compile(r"prev_comm=.* prev_pid=(\d+) .*prev_state=(\S+) ==> .* next_pid=(\d+) "), switch),
    "sched_waking": integers(Waking, r"comm=.* pid=(\d+) prio="),
    "sched_process_exit": integers(TaskExit, r"comm=.* pid=(\d+) prio="),
    "signal_generate": (re.compile(r"sig=(\d+) .* pid=(\d+) grp=(\d)"), signal_sent),
    "signal_deliver": integers(SignalDelivered, r"sig=(\d+) "),
    "contention_begin": (
        re.compile(r"([0-9a-f]+) \(flags=(.*)\)"),
        lambda lock, flags: ContentionBegin(int(lock, 16), flags),
    ),
    "contention_end": integers(ContentionEnd, r"(?P<hex>[0-9a-f]+) \(ret=(-?\d+)\)"),
    "page_fault_user": integers(PageFault, r"address=(?P<hex>0x[0-9a-f]+) "),
    "page_fault_kernel": integers(PageFault, r"address=(?P<hex>0x[0-9a-f]+) "),
    "mm_filemap_fault": integers(FilemapFault, r"dev=\d+:(\d+) ino=(?P<hex>[0-9a-f]+) ofs=(\d+)"),
    "mm_filemap_add_to_page_cache": integers(PageAdded, r"dev \d+:(\d+) ino (?P<hex>[0-9a-f]+) pfn=\S+ ofs=(\d+)"),
}

NAME: Final = 16  # characters that a thread's name is padded to: it cannot be mistaken for what follows it
LINE: Final = re.compile(
    rf"(.{{{NAME}}})-(\d+) +(?:\( *([\d-]+)\) )?\[(\d+)\] +(?:\S+ +)?([\d.]+): (<stack trace>|\w+):? ?(.*)$"
)
LOST: Final = re.compile(r"CPU:(\d+) \[LOST (?:(\d+) )?EVENTS\]")
STACK: Final = "<stack trace>"
NOT_THEIRS: Final = re.compile(  # functions of a stack that tell nothing: the tracer's own, and the way into the kernel
    r"(trace_event_raw_event_|__?_?trace|do_syscall_64$|x64_sys_call$|entry_SYSCALL|asm_|el0|invoke_syscall)"
)


class Parser:
    """Text in, as it comes, whole lines or not; events out, in order."""

    def __init__(self) -> None:
        self._rest = ""  # of a line whose end has not come
        self._head: Traced | None = None  # of a stack whose functions are coming
        self._functions: list[str] = []

    def feed(self, text: str) -> Iterator[Traced]:
        """Yield what is complete by now. A stack is complete when another line follows, or by `flush`."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            yield from self._line(line)

    def flush(self) -> Iterator[Traced]:
        """Yield the stack that is waiting for more functions: nothing more is to be read now."""
        head, self._head = self._head, None
        if head is not None:
            yield head._replace(event=Stack(tuple(self._functions)))

    def _line(self, line: str) -> Iterator[Traced]:
        if line.startswith(" => "):
            if not NOT_THEIRS.match(line, 4):
                self._functions.append(line[4:])
            return
        yield from self.flush()
        traced = parse_line(line)
        if traced is None:
            return
        if traced.event == Other(STACK, ""):
            self._head, self._functions = traced, []
        else:
            yield traced


def parse_line(line: str) -> Traced | None:
    """Read one line; None if it is none that tells of an event."""
    lost = LOST.match(line)
    if lost:
        return Traced(0.0, int(lost[1]), "", 0, Lost(int(lost[2] or 0)))
    found = LINE.match(line)
    if found is None:
        return None
    comm, tid, pid, cpu, time, name, text = found.groups()
    process = int(pid) if pid and pid.isdigit() else 0
    return Traced(float(time), int(cpu), comm.lstrip(), int(tid), parse_event(name, text), process)


def parse_event(name: str, text: str) -> TraceEvent:
    """Read what one tracepoint says."""
    pattern, build = PARSERS.get(name, (None, None))
    found = pattern.match(text) if pattern else None
    if found is None or build is None:
        return Other(name, text)
    event: TraceEvent = build(*found.groups())
    return event
