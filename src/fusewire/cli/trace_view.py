"""One run of `fusewire trace`: which requests it shows, how, and until when."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from fusewire.cli.trace_text import Lines, duration, histograms, most_frequent, table
from fusewire.diagrams import text
from fusewire.watch.latencies import Statistics
from fusewire.watch.requests import Request
from fusewire.watch.trace import Trace
from fusewire.watch.trace_export import Perfetto, as_data
from fusewire.watch.trace_steps import WORDS, Steps

__all__ = ["Viewer"]

MOST_WAITING: Final = 10  # unanswered requests that are listed in the end


@dataclass
class Viewer:
    """One run of the command."""

    arguments: argparse.Namespace
    trace: Trace
    stack: contextlib.ExitStack  # in which files are closed
    shown: int = 0  # requests
    held: list[Request] = field(default_factory=list)  # that are over, but maybe not all their steps
    told: set[tuple[int, int]] = field(default_factory=set)  # by connection and unique: those said to be waiting

    def __post_init__(self) -> None:
        self.began, self.epoch = time.monotonic(), time.time() - time.monotonic()
        self.statistics: Statistics = Statistics()
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        width = shutil.get_terminal_size((80, 24)).columns
        self.lines: Lines = Lines(self.began, width, colour=colour, several=len(self.trace.numbers) != 1)
        self.wanted = set[str]().union(*(self.arguments.op or []))
        self.perfetto: Perfetto | None = self._perfetto()
        self.steps: Steps | None = self._steps()

    def _perfetto(self) -> Perfetto | None:
        if self.arguments.perfetto is None:
            return None
        perfetto = Perfetto(self.stack.enter_context(self.arguments.perfetto.open("w", encoding="utf-8")))
        self.stack.callback(perfetto.close)
        return perfetto

    def _steps(self) -> Steps | None:
        return Steps() if self.arguments.diagram else None

    # --- while it lasts

    def begin(self) -> None:
        """Say what is traced, and what there is to know beforehand."""
        for sentence in self._beforehand():
            self._say(sentence)
        if not (self.arguments.summary or self.arguments.json or self.arguments.diagram):
            print(self.lines.head(), flush=True)

    def _beforehand(self) -> Iterator[str]:
        numbers, connections = self.trace.numbers, self.trace.connections
        if not numbers and not connections:
            yield "There is no FUSE mount yet: what will be mounted is traced."
        for number in numbers or sorted(connections):
            connection = connections.get(number)
            if connection is None:
                continue
            if connection.waiting:
                waiting = f"{connection.waiting} request{'s' * (connection.waiting > 1)}"
                yield f"{waiting} on connection {number} waited before; 'fusewire doctor {number}' may know why."
            if connection.rings:
                yield f"The daemon of connection {number} uses io_uring: when it has read a request is not seen."

    def watch(self) -> None:
        """Show requests until it is to end."""
        while self.trace.goes_on() and not self._enough() and not self._late():
            self._show(self.trace.requests())
            if self.arguments.slow is not None:
                self._tell_who_waits(time.monotonic())
            sys.stdout.flush()

    def _show(self, requests: list[Request]) -> None:
        if self.steps is not None:
            self.steps.feed(self.trace.latest)
            requests, self.held = self.held, requests  # a request ends before its caller is woken
        for request in filter(self._is_wanted, requests):
            if self._enough():
                break
            self._take(request)

    def _enough(self) -> bool:
        return self.arguments.count is not None and self.shown >= self.arguments.count

    def _late(self) -> bool:
        return self.arguments.seconds is not None and time.monotonic() - self.began >= self.arguments.seconds

    def _is_wanted(self, request: Request) -> bool:
        slow, pids = self.arguments.slow, self.arguments.pid
        caller = request.caller.pid or request.caller.tid
        if pids is None and caller == os.getpid():
            return False  # what we print may go to the mount that we trace
        return (
            (not self.wanted or request.operation in self.wanted)
            and (pids is None or caller in pids)
            and (slow is None or request.total is None or request.total >= slow)
        )

    def _take(self, request: Request) -> None:
        self.shown += 1
        self.statistics.add(request)
        if self.perfetto is not None:
            self.perfetto.add(request)
        if self.arguments.summary:
            return
        if self.arguments.json:
            self._print_json(request)
        elif self.steps is not None:
            self._draw(request)
        else:
            print(self.lines.line(request))

    def _print_json(self, request: Request) -> None:
        print(json.dumps(as_data(request, self.epoch)))

    def _draw(self, request: Request) -> None:
        assert self.steps is not None
        recording = self.steps.recording(request)
        print(self.lines.title(request))
        print(text.render(recording, WORDS, times=True, colour=self.lines.colour), end="\n\n")

    def _tell_who_waits(self, now: float) -> None:
        """With --slow: say of each request once that it has been waiting for so long."""
        for request in self._unanswered():
            key = request.connection, request.unique
            if key not in self.told and request.age(now) >= self.arguments.slow:
                self.told.add(key)
                if not (self.arguments.summary or self.arguments.diagram):
                    self._print_json(request) if self.arguments.json else print(self.lines.waits(request, now))

    def _unanswered(self) -> Iterable[Request]:
        return filter(self._is_wanted, self.trace.unanswered())

    # --- in the end

    def end(self) -> None:
        """Show what has happened by now, and say what the requests come to."""
        now = time.monotonic()
        if not self._enough():
            for requests in self.trace.rest():
                self._show(requests)
        waiting = list(self._unanswered())
        if self.arguments.json and self.arguments.summary:
            print(json.dumps(self._as_data(now, waiting), indent=2))
        elif not self.arguments.json:
            self._print_end(now, waiting)
        for sentence in self._afterwards(now):
            self._say(sentence)

    def _print_end(self, now: float, waiting: list[Request]) -> None:
        if self.statistics.count and not self.arguments.diagram:
            lines = list(table(self.statistics))
            if self.arguments.summary:
                lines += [*most_frequent(self.statistics), *histograms(self.statistics)]
            print("\n".join([*([] if self.arguments.summary else [""]), *lines]))
        if waiting:
            print(f"\n{len(waiting)} without an answer:")
            for request in waiting[:MOST_WAITING]:
                self._draw(request) if self.steps is not None else print(self.lines.waits(request, now))

    def _as_data(self, now: float, waiting: list[Request]) -> dict[str, object]:
        return {
            "seconds": round(now - self.began, 3),
            "connections": self.trace.numbers or sorted(self.trace.connections),
            "lost_events": self.trace.lost,
            **self.statistics.as_data(),
            "unanswered": [as_data(request, self.epoch) for request in waiting],
        }

    def _afterwards(self, now: float) -> Iterator[str]:
        if not self.arguments.summary or not self.arguments.json:
            count, errors = self.statistics.count, self.statistics.error_count
            spent = duration(now - self.began)
            yield f"\n{count} request{'s' * (count != 1)} in {spent}, {errors} of them failed."
        if self.trace.lost:
            yield f"{self.trace.lost} events were lost, since there were too many: times and counts may be wrong."
        if not self.trace.goes_on():
            yield "The mount is gone."

    def _say(self, sentence: str) -> None:
        """Print a sentence where it harms no program that reads our output."""
        print(sentence, file=sys.stderr if self.arguments.json else sys.stdout, flush=True)
