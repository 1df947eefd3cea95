#!/usr/bin/env python3
"""Random operations on one file, checked against a model in memory: fsx.py FILE [--seed N]

The model is a bytearray. Each operation (reads and writes of every sort, truncation, mappings,
holes, copies within the file, direct I/O, closing and opening again) is made on both; what is
read must be equal to the model, and so must the size after every operation. The sequence
depends on the seed alone: the same seed gives the same operations again.

At a mismatch the seed, the place and the last operations are printed; the exit code is 1.
The idea is that of the fsx of Apple and Linux's test suites; the code is our own.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import mmap
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable

PAGE = 4096
LONGEST = 256 * 1024
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV)

libc = ctypes.CDLL(None, use_errno=True)


class Mismatch(Exception):
    """The file is not what the model says; the text tells where."""


class Checker:
    """A file, its model, and what may be done to both."""

    def __init__(self, path: str, seed: int) -> None:
        self.path = path
        self.random = random.Random(seed)
        self.model = bytearray()
        self.log: deque[str] = deque(maxlen=30)
        self.unsupported: set[str] = set()
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self.direct = self.open_direct()
        self.buffer = mmap.mmap(-1, LONGEST)  # aligned, as direct I/O wants it
        self.count = 0

    def open_direct(self) -> int | None:
        """A second descriptor that goes past the page cache, where the filesystem has that."""
        try:
            return os.open(self.path, os.O_RDWR | os.O_DIRECT)
        except OSError:
            self.unsupported.add("direct I/O")
            return None

    # What is random.

    def place(self, beyond: bool = False) -> tuple[int, int]:
        """An offset and a length: within the file, or anywhere. Often at the edges of pages."""
        limit = LONGEST if beyond else len(self.model)
        offset = self.random.randrange(limit + 1)
        if self.random.random() < 0.4:
            offset = min(limit, max(0, offset // PAGE * PAGE + self.random.choice((-1, 0, 1))))
        longest = self.random.choice((10, 600, PAGE, 20_000, 100_000))
        return offset, self.random.randrange(min(longest, limit - offset) + 1)

    def some_bytes(self, length: int) -> bytes:
        """Bytes that tell which operation wrote them."""
        unit = b"%08d" % self.count
        return (unit * (length // len(unit) + 1))[:length]

    # The operations. Each changes file and model alike, or compares.

    def read(self) -> str:
        offset, length = self.place()
        self.compare(os.pread(self.fd, length, offset), offset, length)
        return f"read {length} at {offset}"

    def write(self) -> str:
        offset, length = self.place(beyond=True)
        data = self.some_bytes(length)
        self.all_written(os.pwrite(self.fd, data, offset), length)
        self.change(offset, data)
        return f"write {length} at {offset}"

    def append(self) -> str:
        length = min(self.random.randrange(5000), LONGEST - len(self.model))
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        data = self.some_bytes(length)
        self.all_written(os.write(fd, data), length)
        os.close(fd)
        self.change(len(self.model), data)
        return f"append {length}"

    def truncate(self) -> str:
        size, _ = self.place(beyond=True)
        if self.random.random() < 0.5:
            os.ftruncate(self.fd, size)
        else:
            os.truncate(self.path, size)
        self.resize(size)
        return f"truncate to {size}"

    def read_mapped(self) -> str:
        offset, length = self.place()
        if self.model:
            with mmap.mmap(self.fd, len(self.model), mmap.MAP_SHARED, mmap.PROT_READ) as memory:
                self.compare(memory[offset : offset + length], offset, length)
        return f"read {length} at {offset} through a mapping"

    def write_mapped(self) -> str:
        offset, length = self.place()
        data = self.some_bytes(length)
        flushed = self.random.random() < 0.5
        if self.model:
            with mmap.mmap(self.fd, len(self.model), mmap.MAP_SHARED) as memory:
                memory[offset : offset + length] = data
                if flushed:
                    memory.flush()
            self.change(offset, data)
        return f"write {length} at {offset} through a mapping{', flushed' if flushed else ''}"

    def read_direct(self) -> str:
        offset, length = (value // PAGE * PAGE for value in self.place())
        if self.direct is None or not length:
            return "nothing"
        count = os.preadv(self.direct, [memoryview(self.buffer)[:length]], offset)
        self.compare(self.buffer[:count], offset, length)
        return f"read {length} at {offset}, direct"

    def write_direct(self) -> str:
        offset, length = (value // PAGE * PAGE for value in self.place(beyond=True))
        if self.direct is None or not length:
            return "nothing"
        data = self.some_bytes(length)
        self.buffer[:length] = data
        self.all_written(os.pwritev(self.direct, [memoryview(self.buffer)[:length]], offset), length)
        self.change(offset, data)
        return f"write {length} at {offset}, direct"

    def allocate(self) -> str:
        offset, length = self.place(beyond=True)
        keep = self.random.random() < 0.5
        if length and self.fallocate("fallocate", KEEP_SIZE if keep else 0, offset, length) and not keep:
            self.resize(max(len(self.model), offset + length))
        return f"fallocate {length} at {offset}{', size kept' if keep else ''}"

    def punch(self) -> str:
        offset, length = self.place()
        if length and self.fallocate("punch hole", PUNCH_HOLE | KEEP_SIZE, offset, length):
            self.change(offset, bytes(length))
        return f"punch a hole of {length} at {offset}"

    def zero(self) -> str:
        offset, length = self.place(beyond=True)
        if length and self.fallocate("zero range", ZERO_RANGE, offset, length):
            self.change(offset, bytes(length))
        return f"zero {length} at {offset}"

    def copy(self) -> str:
        source, length = self.place()
        target = self.random.randrange(LONGEST - length + 1)
        if not length or (source < target + length and target < source + length):  # overlapping: EINVAL
            return "nothing"
        done = 0
        while done < length:
            try:
                count = os.copy_file_range(self.fd, self.fd, length - done, source + done, target + done)
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                self.unsupported.add("copy_file_range")
                return "nothing"
            if count == 0:
                raise Mismatch(f"copy_file_range stopped after {done} of {length} bytes")
            self.change(target + done, bytes(self.model[source + done : source + done + count]))
            done += count
        return f"copy {length} from {source} to {target}"

    def seek_data(self) -> str:
        """Between data and holes: what a hole is said to be must be zeros."""
        offset, _ = self.place()
        if offset == len(self.model):
            return "nothing"
        try:
            data = os.lseek(self.fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = len(self.model)
        if any(self.model[offset:data]):
            raise Mismatch(f"SEEK_DATA from {offset} gives {data}, but there is data before it")
        hole = os.lseek(self.fd, offset, os.SEEK_HOLE)
        if not offset <= hole <= len(self.model):
            raise Mismatch(f"SEEK_HOLE from {offset} gives {hole}")
        return f"seek from {offset}: data at {data}, hole at {hole}"

    def synchronise(self) -> str:
        os.fsync(self.fd)
        return "fsync"

    def reopen(self) -> str:
        os.close(self.fd)
        self.fd = os.open(self.path, os.O_RDWR)
        return "close and open"

    def look_at_all(self) -> str:
        with open(self.path, "rb") as file:
            self.compare(file.read(), 0, len(self.model))
        return "read all by another descriptor"

    OPERATIONS: tuple[tuple[Callable[[Checker], str], int], ...] = (
        (read, 10), (write, 14), (append, 3), (truncate, 6), (read_mapped, 6), (write_mapped, 6), (read_direct, 4),
        (write_direct, 4), (allocate, 3), (punch, 4), (zero, 2), (copy, 4), (seek_data, 4), (synchronise, 1),
        (reopen, 3), (look_at_all, 3),
    )  # fmt: skip

    # Common parts.

    def fallocate(self, what: str, mode: int, offset: int, length: int) -> bool:
        """Whether it was done; not, where the filesystem has no such thing."""
        if libc.fallocate(self.fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) == 0:
            return True
        number = ctypes.get_errno()
        if number not in UNSUPPORTED:
            raise OSError(number, os.strerror(number))
        self.unsupported.add(what)
        return False

    def change(self, offset: int, data: bytes) -> None:
        """Put bytes into the model. Writing nothing does not make it longer."""
        if data:
            self.resize(max(len(self.model), offset + len(data)))
            self.model[offset : offset + len(data)] = data

    def resize(self, size: int) -> None:
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))

    def all_written(self, count: int, length: int) -> None:
        if count != length:
            raise Mismatch(f"only {count} of {length} bytes were written")

    def compare(self, found: bytes, offset: int, length: int) -> None:
        """Check bytes that were read at `offset` against the model."""
        wanted = bytes(self.model[offset : offset + length])
        if found == wanted:
            return
        if len(found) != len(wanted):
            raise Mismatch(f"{len(found)} bytes at {offset} instead of {len(wanted)}")
        first = next(place for place in range(len(wanted)) if found[place] != wanted[place])
        near = slice(first, first + 16)
        raise Mismatch(f"at {offset + first}: {found[near]!r} instead of {wanted[near]!r}")

    def step(self) -> None:
        """Make one random operation, and check the size."""
        self.count += 1
        functions, weights = zip(*self.OPERATIONS, strict=True)
        operation = self.random.choices(functions, weights)[0]
        self.log.append(f"{self.count}: {operation.__name__}, begun")
        self.log[-1] = f"{self.count}: {operation(self)}"
        size = os.fstat(self.fd).st_size
        if size != len(self.model):
            raise Mismatch(f"the size is {size} instead of {len(self.model)}")

    def close(self) -> None:
        os.close(self.fd)
        if self.direct is not None:
            os.close(self.direct)


def check(path: str, seed: int, operations: int, seconds: float) -> str:
    """Run a sequence; nothing if all was well, else the report."""
    checker = Checker(path, seed)
    deadline = time.monotonic() + seconds
    try:
        while checker.count < operations and time.monotonic() < deadline:
            checker.step()
        checker.look_at_all()
    except (Mismatch, OSError) as error:
        history = "\n".join(f"  {line}" for line in checker.log)
        return f"seed {seed}, operation {checker.count}: {error}\nthe last operations:\n{history}"
    checker.close()
    os.unlink(path)
    missing = f"; not supported: {', '.join(sorted(checker.unsupported))}" if checker.unsupported else ""
    print(f"seed {seed}: {checker.count} operations{missing}")
    return ""


def main() -> int:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Random operations on one file, checked against a model in memory.")
    parser.add_argument("file", metavar="FILE", help="is made, and removed if all was well")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--operations", type=int, default=5000, metavar="N")
    parser.add_argument("--seconds", type=float, default=600.0, metavar="N", help="stop then, though it is not the end")
    asked = parser.parse_args()
    trouble = check(asked.file, asked.seed, asked.operations, asked.seconds)
    print(trouble, end="\n" if trouble else "")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main())
