"""Linux's own tracing, for one program and for as long as it looks.

    with Tracing() as tracing:
        tracing.enable("fuse/fuse_request_send", f"connection == {number}")
        for traced in tracing.read(timeout=1.0): ...

Everything takes place in an *instance*: a buffer and settings of its own, a directory in tracefs, beside which
others may trace what they like. It is made on entering and removed on leaving, also by an exception, by Ctrl-C, and by
SIGTERM or SIGHUP, which are exceptions meanwhile. Whoever is killed leaves it behind, and it goes on taking time and
memory; so the next removes it (trace_instances.py).

What the buffer could not hold is counted in `lost`: with `Tracing` reading now and then, none are. A tracepoint that
is on costs about half a microsecond; one that its filter rejects half of that.

Source: Documentation/trace/ftrace.rst, events.rst.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final, NoReturn, Self

from fusewire.watch.trace_events import Lost, Parser, Traced
from fusewire.watch.trace_instances import NoTracing, explained, find_tracefs, instance_name, remove, remove_leftovers

__all__ = ["NoTracing", "Tracing", "remove_leftovers"]

ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
BUFFER_KB: Final = 1024  # for each processor
AT_ONCE: Final = 256  # reads of trace_pipe, a page each, before `read` returns though there is more


class Tracing:
    """An instance of tracefs, from entering the `with` until it is left."""

    def __init__(self, clock: str = "mono", buffer_kb: int = BUFFER_KB) -> None:
        """Nothing is done yet.

        Args:
            clock: what `Traced.time` counts; 'mono' is time.monotonic().
            buffer_kb: KiB of the buffer of each processor.
        """
        self.clock = clock
        self.buffer_kb = buffer_kb
        self.lost = 0  # events so far that found the buffer full
        self.path = ""  # of the instance
        self._root = -1  # of a tracefs that is mounted nowhere
        self._pipe = -1
        self._parser = Parser()
        self._handlers: dict[signal.Signals, object] = {}

    # --- beginning and end

    def __enter__(self) -> Self:
        """Make the instance, and remove those of the dead.

        Raises:
            NoTracing: EACCES, EPERM if that is not ours to do; ENODEV, ENOENT if the kernel has no tracing.
        """
        try:
            tracefs, self._root = find_tracefs()
            remove_leftovers(tracefs)
            self.path = f"{tracefs}/instances/{instance_name()}"
            self._heed_signals()
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def _make(self) -> None:
        with explained():
            os.mkdir(self.path)
            self.write("trace_clock", self.clock)
            self.write("buffer_size_kb", str(self.buffer_kb))
            self._write_if_there("buffer_percent", "0")  # else a reader is woken when the buffer is half full
            self._pipe = os.open(f"{self.path}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the instance. Idempotent."""
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            os.close(pipe)
        path, self.path = self.path, ""
        if path:
            remove(path)
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)
        self._give_back_signals()

    # --- signals that end a program without a word

    def _heed_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in ENDING:
            if signal.getsignal(number) == signal.SIG_DFL:
                self._handlers[number] = signal.signal(number, leave)

    def _give_back_signals(self) -> None:
        handlers, self._handlers = self._handlers, {}
        for number in handlers:
            if signal.getsignal(number) is leave:
                signal.signal(number, signal.SIG_DFL)

    # --- what to trace

    def enable(self, tracepoint: str, condition: str = "") -> None:
        """Trace a tracepoint, such as 'sched/sched_switch', where its fields meet a condition.

        Raises:
            NoTracing: ENOENT if this kernel has no such tracepoint; EINVAL if the condition cannot be read.
        """
        with explained(tracepoint, condition):
            self.write(f"events/{tracepoint}/filter", condition or "0")
            self.write(f"events/{tracepoint}/enable", "1")

    def disable(self, tracepoint: str) -> None:
        """Trace it no more."""
        with explained(tracepoint):
            self.write(f"events/{tracepoint}/enable", "0")

    def has(self, tracepoint: str) -> bool:
        """Tell whether this kernel has a tracepoint."""
        return os.path.exists(f"{self.path}/events/{tracepoint}/enable")

    def with_stacks(self, wanted: bool = True) -> None:
        """Have every event followed by a `Stack`. That makes each cost several microseconds."""
        self.write("options/stacktrace", "1" if wanted else "0")

    def write(self, name: str, text: str) -> None:
        """Write a file of the instance.

        Raises:
            OSError: what Linux says.
        """
        fd = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def _write_if_there(self, name: str, text: str) -> None:
        with contextlib.suppress(OSError):
            self.write(name, text)

    # --- reading

    def fileno(self) -> int:
        """The descriptor that is readable when there are events: for select."""
        return self._pipe

    def read(self, timeout: float | None = 0.0) -> list[Traced]:
        """Return what has happened, in order; wait `timeout` seconds for the first event, None for ever.

        Events of the last microseconds may still be missing. Those that were lost are counted, and not returned.
        """
        waiting = None if timeout is None else max(0, round(timeout * 1000))
        poller = select.poll()
        poller.register(self._pipe, select.POLLIN)
        if not poller.poll(waiting):
            return []
        return list(self._count_lost(self._read_all()))

    def _read_all(self) -> Iterator[Traced]:
        for _ in range(AT_ONCE):
            try:
                text = os.read(self._pipe, 1 << 16)
            except BlockingIOError:
                break
            if not text:
                break
            yield from self._parser.feed(text.decode(errors="backslashreplace"))
        yield from self._parser.flush()

    def _count_lost(self, traced: Iterator[Traced]) -> Iterator[Traced]:
        for one in traced:
            if isinstance(one.event, Lost):
                self.lost += max(1, one.event.number)  # where Linux does not know how many, there was one at least
            else:
                yield one


def leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End the program as the signal would, but by way of every `finally`."""
    raise SystemExit(128 + number)
