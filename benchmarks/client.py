"""The client of the benchmark: makes one kind of system call on a mount, over and over.

    client.py create DIR FILES         make what the steps need; timed for each file
    client.py STEP DIR SECONDS         run one step; print {"us": ..., "rate": ...} as JSON
    client.py STEP DIR xCOUNT          repeat it exactly COUNT times (for counting requests)

Every contestant gets exactly these calls. A step runs for about SECONDS; each repetition is
timed by itself with perf_counter_ns. `us` is the median in microseconds, `rate` the number of
repetitions per second over the whole run, the loop's own work included. Reads and writes use
O_DIRECT, with buffers aligned to a page (anonymous memory from mmap).
"""

from __future__ import annotations

import json
import mmap
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

FILE_SIZE = 4 << 20
PAGE, LARGE = 4096, 1 << 20
LISTED = "listed"  # the directory whose files are listed

Repeat = Callable[[], object]


def pattern(size: int) -> bytes:
    """Bytes in which no two pages are alike."""
    return b"".join(number.to_bytes(8, "little") for number in range(size // 8))


def aligned(content: bytes) -> mmap.mmap:
    """Memory at the start of a page, as O_DIRECT wants it."""
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    return memory


def create(directory: Path, files: int) -> dict[str, float]:
    """Make the files that the steps use."""
    (directory / "file").touch()
    fd = os.open(directory / "data", os.O_RDWR | os.O_CREAT)
    content = pattern(FILE_SIZE)
    for offset in range(0, FILE_SIZE, LARGE):
        os.pwrite(fd, content[offset : offset + LARGE], offset)
    os.close(fd)
    (directory / LISTED).mkdir()
    begun = time.perf_counter()
    for number in range(files):
        os.close(os.open(directory / LISTED / f"file-{number:06}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    elapsed = time.perf_counter() - begun
    return {"us": elapsed * 1e6 / files, "rate": files / elapsed}


# The steps: each prepares, and yields what is to be repeated.


@contextmanager
def stat(directory: Path) -> Iterator[Repeat]:
    path = os.fspath(directory / "file")
    yield lambda: os.stat(path)


@contextmanager
def missing(directory: Path) -> Iterator[Repeat]:
    path = os.fspath(directory / "no-such-name")

    def look() -> None:
        try:
            os.stat(path)
        except FileNotFoundError:
            return
        raise AssertionError("it exists")

    yield look


@contextmanager
def open_close(directory: Path) -> Iterator[Repeat]:
    path = os.fspath(directory / "file")
    yield lambda: os.close(os.open(path, os.O_RDONLY))


@contextmanager
def create_unlink(directory: Path) -> Iterator[Repeat]:
    path = os.fspath(directory / "new")

    def make_and_remove() -> None:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.unlink(path)

    yield make_and_remove


@contextmanager
def reading(directory: Path, size: int) -> Iterator[Repeat]:
    fd = os.open(directory / "data", os.O_RDONLY | os.O_DIRECT)
    buffers = [aligned(bytes(size))]
    offsets = spread(size)

    def read() -> None:
        if os.preadv(fd, buffers, next(offsets)) != size:
            raise AssertionError("a short read")

    yield read
    offset = next(offsets)
    os.preadv(fd, buffers, offset)
    if buffers[0][:] != pattern(FILE_SIZE)[offset : offset + size]:
        raise AssertionError(f"wrong bytes at {offset}")
    os.close(fd)


@contextmanager
def writing(directory: Path, size: int) -> Iterator[Repeat]:
    fd = os.open(directory / "data", os.O_RDWR | os.O_DIRECT)
    content = pattern(FILE_SIZE)
    buffers = {offset: [aligned(content[offset : offset + size])] for offset in places(size)}
    offsets = spread(size)

    def write() -> None:
        offset = next(offsets)
        if os.pwritev(fd, buffers[offset], offset) != size:
            raise AssertionError("a short write")

    yield write
    os.close(fd)
    if (directory / "data").read_bytes() != content:
        raise AssertionError("wrong bytes")


def places(size: int) -> list[int]:
    """Offsets of blocks of `size`, at most 64 of them, all over the file."""
    step = max(size, FILE_SIZE // 64)
    return list(range(0, FILE_SIZE - size + 1, step))


def spread(size: int) -> Iterator[int]:
    """The offsets in an order without neighbours, for ever."""
    offsets = places(size)
    place = 0
    while True:
        place = (place + max(1, len(offsets) * 5 // 8 | 1)) % len(offsets)
        yield offsets[place]


@contextmanager
def listing(directory: Path, with_stat: bool) -> Iterator[Repeat]:
    path = os.fspath(directory / LISTED)
    count = len(os.listdir(path))

    def walk() -> None:
        with os.scandir(path) as entries:
            found = sum(1 for entry in entries if not with_stat or entry.stat(follow_symlinks=False))
        if found != count:
            raise AssertionError(f"{found} names of {count}")

    yield walk


STEPS: dict[str, Callable[[Path], AbstractContextManager[Repeat]]] = {
    "stat": stat,
    "missing name": missing,
    "open+close": open_close,
    "create+unlink": create_unlink,
    "read 4 KiB": lambda directory: reading(directory, PAGE),
    "read 1 MiB": lambda directory: reading(directory, LARGE),
    "write 4 KiB": lambda directory: writing(directory, PAGE),
    "write 1 MiB": lambda directory: writing(directory, LARGE),
    "list": lambda directory: listing(directory, with_stat=False),
    "list and stat": lambda directory: listing(directory, with_stat=True),
}


def measure(repeat: Repeat, seconds: float) -> dict[str, float]:
    """Repeat for about `seconds`, once at least; the first time is not counted unless it is the only one."""
    first = timed(repeat)
    deadline = time.perf_counter() + seconds - first / 1e9
    samples: list[int] = []
    begun = time.perf_counter()
    while time.perf_counter() < deadline:
        samples.append(timed(repeat))
    elapsed = time.perf_counter() - begun
    if not samples:
        return {"us": first / 1e3, "rate": 1e9 / first}
    return {"us": statistics.median(samples) / 1e3, "rate": len(samples) / elapsed}


def measure_count(repeat: Repeat, count: int) -> dict[str, float]:
    """Repeat exactly `count` times."""
    samples = [timed(repeat) for _ in range(count)]
    return {"us": statistics.median(samples) / 1e3, "rate": count * 1e9 / sum(samples)}


def timed(repeat: Repeat) -> int:
    """Nanoseconds that one repetition takes."""
    begun = time.perf_counter_ns()
    repeat()
    return time.perf_counter_ns() - begun


def main() -> None:
    step, directory, amount = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if step == "create":
        result = create(directory, int(amount))
    else:
        with STEPS[step](directory) as repeat:
            result = measure_count(repeat, int(amount[1:])) if amount[0] == "x" else measure(repeat, float(amount))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
