"""`fusewire trace`: the requests of live mounts as they pass, whoever serves them."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusewire.cli.narrow import HelpFormatter
from fusewire.cli.report import USAGE, CommandError

if TYPE_CHECKING:
    from fusewire.cli.trace_text import Lines
    from fusewire.watch.latencies import Statistics
    from fusewire.watch.requests import Request
    from fusewire.watch.trace import Trace
    from fusewire.watch.trace_export import Perfetto
    from fusewire.watch.trace_steps import Steps

__all__ = ["parser", "run"]

DESCRIPTION: Final = """\
Show the requests of a FUSE mount as they pass, whichever daemon serves it: who
asks, for what, how long the request waited until the daemon had read it
(pending), how long the daemon had it (process), and how that ended. Without a
target it shows those of all mounts. Needs root, for it reads Linux's tracing;
touches no mount.

Ctrl-C ends it; then it says what the requests come to."""

EPILOG: Final = """\
examples:
  fusewire trace /mnt/x                          a line for each request
  fusewire trace /mnt/x --slow 100ms             only what takes so long
  fusewire trace /mnt/x --summary --for 10       percentiles of ten seconds
  fusewire trace /mnt/x --diagram --op UNLINK    how one of them travels
  fusewire trace --perfetto out.json -n 1000     a file for ui.perfetto.dev

times are in us, ms, s; < means at most, where the read was not seen; bytes are
those of request and reply. FORGET and INTERRUPT pass no trace point."""

DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(us|ms|s|m)")
SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
MOST_WAITING: Final = 10  # unanswered requests that are listed in the end


def parser() -> argparse.ArgumentParser:
    """The arguments of `fusewire trace`."""
    parser = argparse.ArgumentParser(
        prog="fusewire trace", description=DESCRIPTION, epilog=EPILOG, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", help="a mountpoint, the number of a connection, or the pid of a daemon"
    )
    which = parser.add_argument_group("which requests")
    which.add_argument("--op", metavar="NAME", action="append", type=operations, help="only these: LOOKUP,GETATTR")
    which.add_argument("--pid", metavar="PID", action="append", type=int, help="only those of this process")
    which.add_argument("--slow", metavar="TIME", type=seconds, help="only those that take so long, such as 100ms")
    until = parser.add_argument_group("until when")
    until.add_argument("-n", "--count", metavar="N", type=positive, help="end after so many")
    until.add_argument("--for", metavar="SECONDS", dest="seconds", type=seconds_or_number, help="end after so long")
    shown = parser.add_argument_group("how it is shown")
    how = shown.add_mutually_exclusive_group()
    how.add_argument("--summary", action="store_true", help="only what they come to: histograms, errors, callers")
    how.add_argument("--diagram", action="store_true", help="each as a diagram: both ends, step by step")
    shown.add_argument("--json", action="store_true", help="a line of JSON for each; with --summary one for all")
    shown.add_argument("--perfetto", metavar="FILE", type=Path, help="write a file for ui.perfetto.dev as well")
    parser.add_argument("-v", "--verbose", action="store_true", help="on an error show the traceback too")
    return parser


# --- what arguments mean


def operations(text: str) -> set[str]:
    """Return the operations that are named."""
    from fusewire.wire import OPERATIONS

    known = {row.name for row in OPERATIONS.values()}
    names = {name.strip().upper().removeprefix("FUSE_") for name in text.split(",")}
    for name in names - known:
        near = difflib.get_close_matches(name, known, n=1)
        raise argparse.ArgumentTypeError(f"there is no operation '{name}'" + (f"; {near[0]}?" if near else ""))
    return names


def seconds(text: str) -> float:
    """Return the seconds that a time with its unit means."""
    found = DURATION.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no time with its unit, such as 100ms, 250us or 2s")
    return float(found[1]) * SECONDS[found[2]]


def seconds_or_number(text: str) -> float:
    """Return the seconds that a time, or a bare number, means."""
    bare = re.fullmatch(r"\d+(?:\.\d*)?|\.\d+", text.strip())
    return float(text) if bare else seconds(text)


def positive(text: str) -> int:
    """Return a number of requests."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of requests")
    return int(text)


def targets(text: str | None) -> list[int]:
    """Return the connections that a target means; none for all.

    Raises:
        CommandError: it means none.
    """
    from fusewire.cli.doctor import connection_of
    from fusewire.watch.trace import connections_of, look_at_connections

    if text is None:
        return []
    if not text.isdecimal():
        return [connection_of(text)]
    number, connections = int(text), look_at_connections()
    served = connections_of(number, connections)
    if number in connections and served not in ([], [number]):
        raise CommandError(f"{number} is a connection, and the pid of a daemon too: name the mountpoint", code=USAGE)
    if number in connections:
        return [number]
    if not served:
        raise CommandError(f"{number} is neither a FUSE connection nor a process that serves one", code=USAGE)
    return served


# --- the command


def run(arguments: argparse.Namespace) -> int:
    """Trace until it is to end; return the exit code."""
    from fusewire.watch.trace import Trace

    trace = Trace(targets(arguments.target), drawn=arguments.diagram)
    with contextlib.ExitStack() as stack:
        stack.enter_context(trace)
        viewer = Viewer(arguments, trace, stack)
        viewer.begin()
        with contextlib.suppress(KeyboardInterrupt):  # which is how it is ended
            viewer.watch()
        viewer.end()
    return 0


@dataclass
class Viewer:
    """One run of the command."""

    arguments: argparse.Namespace
    trace: Trace
    stack: contextlib.ExitStack  # in which files are closed
    shown: int = 0  # requests
    told: set[int] = field(default_factory=set)  # requests, by their unique, of which it was said that they wait

    def __post_init__(self) -> None:
        from fusewire.cli.trace_text import Lines
        from fusewire.watch.latencies import Statistics

        self.began, self.epoch = time.monotonic(), time.time() - time.monotonic()
        self.statistics: Statistics = Statistics()
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        width = shutil.get_terminal_size((80, 24)).columns
        self.lines: Lines = Lines(self.began, width, colour=colour, several=len(self.trace.numbers) != 1)
        self.wanted = set[str]().union(*(self.arguments.op or []))
        self.perfetto: Perfetto | None = self._perfetto()
        self.steps: Steps | None = self._steps()

    def _perfetto(self) -> Perfetto | None:
        from fusewire.watch.trace_export import Perfetto

        if self.arguments.perfetto is None:
            return None
        perfetto = Perfetto(self.stack.enter_context(open(self.arguments.perfetto, "w", encoding="utf-8")))
        self.stack.callback(perfetto.close)
        return perfetto

    def _steps(self) -> Steps | None:
        from fusewire.watch.trace_steps import Steps

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
                yield f"{waiting} on connection {number} waited before the trace began."
            if connection.rings:
                yield f"The daemon of connection {number} uses io_uring: when it has read a request is not seen."

    def watch(self) -> None:
        """Show requests until it is to end."""
        while self.trace.goes_on() and not self._enough():
            requests = self.trace.requests()
            if self.steps is not None:
                self.steps.feed(self.trace.latest)
            for request in filter(self._is_wanted, requests):
                if self._enough():
                    break
                self._take(request)
            if self.arguments.slow is not None:
                self._tell_who_waits(time.monotonic())
            sys.stdout.flush()

    def _enough(self) -> bool:
        limit, time_limit = self.arguments.count, self.arguments.seconds
        return (limit is not None and self.shown >= limit) or (
            time_limit is not None and time.monotonic() - self.began >= time_limit
        )

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
        from fusewire.watch.trace_export import as_data

        print(json.dumps(as_data(request, self.epoch)))

    def _draw(self, request: Request) -> None:
        from fusewire.diagrams import text

        assert self.steps is not None
        print(text.render(self.steps.recording(request), colour=self.lines.colour), end="\n\n")

    def _tell_who_waits(self, now: float) -> None:
        """With --slow: say of each request once that it has been waiting for so long."""
        for request in self._unanswered():
            if request.unique not in self.told and request.age(now) >= self.arguments.slow:
                self.told.add(request.unique)
                if not (self.arguments.summary or self.arguments.diagram):
                    self._print_json(request) if self.arguments.json else print(self.lines.waits(request, now))

    def _unanswered(self) -> Iterable[Request]:
        return filter(self._is_wanted, self.trace.unanswered())

    # --- in the end

    def end(self) -> None:
        """Say what the requests come to."""
        now = time.monotonic()
        waiting = list(self._unanswered())
        if self.arguments.json and self.arguments.summary:
            print(json.dumps(self._as_data(now, waiting), indent=2))
        elif not self.arguments.json:
            self._print_end(now, waiting)
        for sentence in self._afterwards(now):
            self._say(sentence)

    def _print_end(self, now: float, waiting: list[Request]) -> None:
        from fusewire.cli.trace_text import histograms, most_frequent, table

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
        from fusewire.watch.trace_export import as_data

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
            spent = f"in {now - self.began:.1f} s"
            yield f"\n{count} request{'s' * (count != 1)} {spent}, {errors} of them failed."
        if self.trace.lost:
            yield f"{self.trace.lost} events were lost, since there were too many: times and counts may be wrong."
        if not self.trace.goes_on():
            yield "It was unmounted."

    def _say(self, sentence: str) -> None:
        """Print a sentence where it harms no program that reads our output."""
        print(sentence, file=sys.stderr if self.arguments.json else sys.stdout, flush=True)
