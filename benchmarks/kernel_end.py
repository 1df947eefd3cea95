#!/usr/bin/env python3
"""What the embedded kernel costs: python benchmarks/kernel_end.py

    a getattr     from the system call to the filesystem and back, in fixed order, beside the same
                  filesystem behind Linux's own kernel end, with a daemon that sleeps between requests
    a step        what steps and notes cost of it while nobody watches: the same, with every question
                  whether somebody does taken out of the source
    an inode      bytes of the kernel's end for each file held open, its dentry and open file included

Attributes are valid for 0 seconds, so that each stat of the root is one GETATTR and nothing else. No
record of requests is kept (`requests=0`): it would be a quarter more. Rounds alternate; a number is the
median over the rounds of each round's mean, and `least` the least of those, which says what the code
costs where others disturb the machine. Both embedded rows are processes of their own.

The real mount needs root and /dev/fuse; without them its row is left out, which is said.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also when run as a file


class WithoutSteps(SourceFileLoader):
    """Loads a module as if nobody could ever watch: `events.hook is None` is True in it."""

    def path_stats(self, path: Any) -> Any:
        raise OSError("what is compiled otherwise is not kept, nor taken from what was kept")

    def source_to_code(self, data: Any, path: Any, **options: Any) -> Any:  # type: ignore[override]
        return compile(Unwatched().visit(ast.parse(data)), path, "exec", dont_inherit=True)

    @classmethod
    def finder(cls, folder: str) -> FileFinder:
        if "fusewire" not in Path(folder).parts:
            raise ImportError("others are loaded as ever")
        return FileFinder(folder, (cls, [".py"]))


class Unwatched(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if ast.unparse(node.left) in ("events.hook", "hook"):
            return ast.copy_location(ast.Constant(isinstance(node.ops[0], ast.Is)), node)
        return node


if "--without-steps" in sys.argv:
    sys.path_hooks.insert(0, WithoutSteps.finder)

from torture.mounts import enter_private_namespace  # noqa: E402

import fusewire  # noqa: E402

NEVER_CACHED: Final[dict[str, Any]] = {"entry_timeout": 0.0, "attr_timeout": 0.0}
OURS: Final = "embedded"
STEPLESS: Final = "embedded, steps taken out"
LINUX: Final = "Linux, a sleeping daemon"


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


def microseconds(call: Callable[[], Any], seconds: float) -> float:
    count, end, begin = 0, time.perf_counter() + seconds, time.perf_counter()
    while time.perf_counter() < end:
        for _ in range(50):
            call()
        count += 50
    return (time.perf_counter() - begin) / count * 1e6


def embedded_here(seconds: float) -> float:
    with embedded() as ours:
        microseconds(ours, seconds / 5)  # the first calls are slower
        return microseconds(ours, seconds)


def embedded_elsewhere(seconds: float, *options: str) -> float:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--once", "--seconds", str(seconds), *options]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_getattr(rounds: int, seconds: float, real: bool) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {OURS: [], STEPLESS: []}
    with mounted() if real else contextlib.nullcontext(None) as linux:
        for _ in range(rounds):
            samples[OURS].append(embedded_elsewhere(seconds))
            samples[STEPLESS].append(embedded_elsewhere(seconds, "--without-steps"))
            if linux is not None:
                samples.setdefault(LINUX, []).append(microseconds(linux, seconds))
    return samples


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
    parser.add_argument("--once", action="store_true", help="one embedded getattr, in microseconds, and nothing else")
    parser.add_argument("--without-steps", action="store_true", help="with --once: as if nobody could watch")
    options = parser.parse_args()
    if options.once:
        print(embedded_here(options.seconds))
        return
    real = os.geteuid() == 0 and os.path.exists("/dev/fuse")
    if real:
        enter_private_namespace()
    else:
        print("No real mount to compare with: that needs root and /dev/fuse.")
    samples = measure_getattr(options.rounds, options.seconds, real)
    for name, values in samples.items():
        print(f"getattr, {name:26} {statistics.median(values):8.1f} us   least {min(values):6.1f} us")
    print(f"{'a step costs of it':35} {(min(samples[OURS]) / min(samples[STEPLESS]) - 1) * 100:8.1f} %")
    if real:
        ratio = statistics.median(samples[OURS]) / statistics.median(samples[LINUX])
        print(f"{'embedded / Linux':35} {ratio:8.2f}")
    print(f"{'an open inode':35} {bytes_of_an_inode(options.inodes):8.0f} bytes ({options.inodes} of them)")


if __name__ == "__main__":
    main()
