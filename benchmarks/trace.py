#!/usr/bin/env python3
"""What `fusewire trace` costs those whom it watches: sudo python benchmarks/trace.py

    off        nobody traces
    other      another mount is traced: Linux looks at each event, and rejects it
    kernel     the mount is traced, and nobody reads: what the trace points and their buffer cost
    command    `fusewire trace --summary` runs beside it, and reads all of it

Each is the time of one GETATTR, a stat of the mount's root, from the system call to its return; a number is the median
over all rounds of each round's mean. Rounds alternate. Client and daemon stay on one CPU, so that waking another
does not hide the cost; the command, on the other, is given the rest of the machine. The kernel's buffer takes what
the command cannot keep up with, and what is lost is said.

Needs root, /dev/fuse and tracefs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also when run as a file

from torture.mounts import enter_private_namespace

from benchmarks.kernel_end import microseconds, mounted
from fusewire.mounting.table import read_table
from fusewire.watch.trace import Trace
from fusewire.watch.trace_instances import find_tracefs

CPU: Final = 0
OTHER: Final = 1 << 20  # no connection has this number


@contextlib.contextmanager
def nobody(connection: int) -> Iterator[None]:
    yield


@contextlib.contextmanager
def unread(connection: int) -> Iterator[None]:
    with Trace([connection]) as trace:
        if connection == OTHER:  # whose daemon reads what it reads
            trace.servers = frozenset([1])
            trace._trace_servers()
        yield


@contextlib.contextmanager
def another(connection: int) -> Iterator[None]:
    with unread(OTHER):
        yield


@contextlib.contextmanager
def command(connection: int) -> Iterator[None]:
    arguments = [sys.executable, "-m", "fusewire", "trace", str(connection), "--summary", "--json"]
    everywhere = os.sched_getaffinity(1)
    process = subprocess.Popen(arguments, stdout=-1, stderr=-1, text=True, preexec_fn=lambda: place(everywhere))
    try:
        wait_until_it_traces(process)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        summary = json.loads(process.communicate()[0])
    LOST.append(summary["lost_events"])
    SEEN.append(summary["count"])


LOST: Final[list[int]] = []
SEEN: Final[list[int]] = []
WAYS: Final[dict[str, Callable[[int], AbstractContextManager[None]]]] = {
    "off": nobody,
    "other": another,
    "kernel": unread,
    "command": command,
}


def place(processors: set[int]) -> None:
    os.sched_setaffinity(0, processors)


def wait_until_it_traces(process: subprocess.Popen[str]) -> None:
    """Wait until the last tracepoint that it enables is on."""
    instances, root = find_tracefs()
    try:
        while not any(is_on(place) for place in Path(instances).glob(f"instances/fusewire-{process.pid}-*")):
            with contextlib.suppress(subprocess.TimeoutExpired):
                sys.exit(f"The command ended with {process.wait(0.02)}.")
    finally:
        if root >= 0:
            os.close(root)


def is_on(instance: Path) -> bool:
    try:
        return (instance / "events/fuse/fuse_request_send/enable").read_text() == "1\n"
    except OSError:
        return False


def connection_of(call: Callable[[], object]) -> int:
    """The FUSE mount that was made last."""
    call()
    return [mount.connection for mount in read_table() if mount.is_fuse][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each measurement, in each round")
    options = parser.parse_args()
    if os.geteuid() or not os.path.exists("/dev/fuse"):
        sys.exit("This needs root and /dev/fuse.")
    enter_private_namespace()
    place({CPU})
    samples: dict[str, list[float]] = {name: [] for name in WAYS}
    with mounted() as call:
        number = connection_of(call)
        for _ in range(options.rounds):
            for name, way in WAYS.items():
                with way(number):
                    samples[name].append(microseconds(call, options.seconds))
    report(samples)


def report(samples: dict[str, list[float]]) -> None:
    off = statistics.median(samples["off"])
    for name, values in samples.items():
        middle = statistics.median(values)
        print(f"{name:<10} {middle:7.2f} us a request, {middle - off:+6.2f}   least {min(values):7.2f}")
    print(f"The command saw {sum(SEEN)} requests and lost {sum(LOST)} events.")


if __name__ == "__main__":
    main()
