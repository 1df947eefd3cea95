#!/usr/bin/env python3
"""What the embedded kernel costs: python benchmarks/kernel_end.py

    a getattr     from the system call to the filesystem and back, in fixed order, beside the same
                  filesystem behind Linux's own kernel end, with a daemon that sleeps between requests
    a step        what `await step()` costs of it while nobody watches: the same, steps compiled out
    an inode      bytes of the kernel's end for each file held open, its dentry and open file included

Attributes are valid for 0 seconds, so that each stat of the root is one GETATTR and nothing else.
Rounds alternate; a number is the median over the rounds of each round's mean.

The real mount needs root and /dev/fuse; without them its row is left out, which is said.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also when run as a file

from torture.mounts import enter_private_namespace

import fusewire
from fusewire.kernel import tasks

NEVER_CACHED: Final = {"entry_timeout": 0.0, "attr_timeout": 0.0}


class Root(fusewire.Filesystem):
    """A root directory, and as many files in it as are asked for: what a file is follows from its number."""

    def getattr(self, request: fusewire.Request, nodeid: int, fh: int | None) -> fusewire.Attributes:
        return fusewire.Attributes(mode=0o040755 if nodeid == 1 else 0o100644, ino=nodeid, nlink=1)

    def lookup(self, request: fusewire.Request, parent: int, name: str) -> fusewire.Entry:
        nodeid = int(name) + 2
        return fusewire.Entry(nodeid, fusewire.Attributes(mode=0o100644, ino=nodeid, nlink=1))


@contextlib.contextmanager
def embedded() -> Iterator[Callable[[], Any]]:
    with fusewire.Kernel(Root(), requests=0, **NEVER_CACHED) as kernel:
        process = kernel.process()
        yield lambda: process.stat("/")


@contextlib.contextmanager
def mounted() -> Iterator[Callable[[], Any]]:
    """The same on a real mount, whose daemon is another process, as it is in life."""
    mountpoint = tempfile.mkdtemp(prefix="fusewire-bench-")
    ready, told = os.pipe()
    daemon = os.fork()
    if not daemon:
        with fusewire.mount(Root(), mountpoint, **NEVER_CACHED) as mount:
            os.write(told, b"x")
            mount.wait()
        os._exit(0)
    try:
        os.read(ready, 1)
        yield lambda: os.stat(mountpoint)
    finally:
        fusewire_unmount(mountpoint)
        os.waitpid(daemon, 0)
        os.rmdir(mountpoint)


def fusewire_unmount(mountpoint: str) -> None:
    from fusewire.mounting import unmount

    unmount(mountpoint)


@contextlib.contextmanager
def without_steps() -> Iterator[None]:
    """Have `step` do nothing at all, not even look whether anybody watches."""
    code = tasks.step.__code__

    async def nothing(text: str, name: str = "") -> None:
        pass

    tasks.step.__code__ = nothing.__code__
    try:
        yield
    finally:
        tasks.step.__code__ = code


def microseconds(call: Callable[[], Any], seconds: float) -> float:
    count, end, begin = 0, time.perf_counter() + seconds, time.perf_counter()
    while time.perf_counter() < end:
        for _ in range(50):
            call()
        count += 50
    return (time.perf_counter() - begin) / count * 1e6


def measure_getattr(rounds: int, seconds: float, real: bool) -> dict[str, float]:
    samples: dict[str, list[float]] = {}
    with embedded() as ours, mounted() if real else contextlib.nullcontext(None) as linux:
        for _ in range(rounds):
            samples.setdefault("embedded", []).append(microseconds(ours, seconds))
            with without_steps():
                samples.setdefault("embedded, steps taken out", []).append(microseconds(ours, seconds))
            if linux is not None:
                samples.setdefault("Linux, a sleeping daemon", []).append(microseconds(linux, seconds))
    return {name: statistics.median(values) for name, values in samples.items()}


def bytes_of_an_inode(count: int) -> float:
    """Bytes of the kernel's end for each of `count` open files; the daemon keeps nothing of a file here."""
    with fusewire.Kernel(Root(), entry_timeout=1e9, attr_timeout=1e9, requests=0) as kernel:
        process = kernel.process()
        process.awaitable.open_max = count + 10
        process.open("/0", os.O_RDONLY)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1, count + 1):
            process.open(f"/{number}", os.O_RDONLY)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return (after - before) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement, in each round")
    parser.add_argument("--inodes", type=int, default=100_000)
    options = parser.parse_args()
    real = os.geteuid() == 0 and os.path.exists("/dev/fuse")
    if real:
        enter_private_namespace()
    else:
        print("No real mount to compare with: that needs root and /dev/fuse.")
    figures = measure_getattr(options.rounds, options.seconds, real)
    for name, value in figures.items():
        print(f"getattr, {name:26} {value:8.1f} us")
    ours = figures["embedded"]
    print(f"{'a step costs of it':35} {(ours / figures['embedded, steps taken out'] - 1) * 100:8.1f} %")
    if real:
        print(f"{'embedded / Linux':35} {ours / figures['Linux, a sleeping daemon']:8.2f}")
    print(f"{'an open inode':35} {bytes_of_an_inode(options.inodes):8.0f} bytes ({options.inodes} of them)")


if __name__ == "__main__":
    main()
