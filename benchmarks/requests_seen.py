"""How many requests a step costs, as the kernel counts them.

A benchmark of round trips compares like with like only if each contestant gets the same
round trips. The tracepoint fuse_request_send tells of every request (but FORGET and
INTERRUPT). What preparing a step costs is taken away by counting two runs of different
length.

Source: include/trace/events/fuse.h; Documentation/trace/events.rst.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
SENT = re.compile(r"fuse_request_send:.*\(FUSE_(\w+)\)")


def available() -> bool:
    """The kernel has the tracepoint, and we may use it. Mounts tracefs in our namespace if need be."""
    if TRACEFS.is_dir() and not (TRACEFS / "instances").is_dir():
        subprocess.run(["mount", "-t", "tracefs", "none", TRACEFS], check=False, stderr=subprocess.DEVNULL)
    return (TRACEFS / "events" / "fuse").is_dir()


@contextmanager
def recording(connection: int) -> Iterator[Path]:
    """A trace instance of our own that records the requests of one connection."""
    instance = TRACEFS / "instances" / f"fusewire-benchmark-{os.getpid()}"
    instance.mkdir()
    try:
        (instance / "buffer_size_kb").write_text("16384")
        (instance / "events/fuse/filter").write_text(f"connection == {connection}")
        (instance / "events/fuse/fuse_request_send/enable").write_text("1")
        yield instance
    finally:
        (instance / "events/fuse/fuse_request_send/enable").write_text("0")
        instance.rmdir()


def counted(instance: Path, run: Callable[[], object]) -> Counter[str]:
    """The requests by name that `run` causes."""
    (instance / "trace").write_text("")
    run()
    return Counter(SENT.findall((instance / "trace").read_text()))


def per_repetition(connection: int, run: Callable[[int], object], fewer: int, more: int) -> dict[str, float]:
    """Requests by name for one repetition; `run` is given how many to make."""
    with recording(connection) as instance:
        counted(instance, lambda: run(fewer))  # what is sent once for the whole mount
        less, many = (counted(instance, lambda count=count: run(count)) for count in (fewer, more))  # type: ignore[misc]
    return {name: round((many[name] - less[name]) / (more - fewer), 2) for name in many if many[name] != less[name]}
