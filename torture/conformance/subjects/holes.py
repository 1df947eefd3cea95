"""Sparse files: SEEK_HOLE, SEEK_DATA, fallocate.

Data and holes are a megabyte long here, so that no filesystem's block size matters.

Source: lseek(2), fallocate(2).
"""

from __future__ import annotations

import os
from errno import EBADF, EINVAL, ENXIO, EOPNOTSUPP, ESPIPE

from torture.conformance.calls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE
from torture.conformance.tester import Tester, case

M = 1 << 20
DATA = b"d" * M


def sparse(t: Tester) -> int:
    """hole, data, hole, data, hole; a megabyte each. The descriptor."""
    fd: int = t.root.open("sparse", os.O_RDWR | os.O_CREAT)
    t.root.pwrite(fd, DATA, M)
    t.root.pwrite(fd, DATA, 3 * M)
    t.root.ftruncate(fd, 5 * M)
    return fd


SEEKS = (
    # whence, from, to
    ("SEEK_DATA", 0, M),
    ("SEEK_HOLE", 0, 0),
    ("SEEK_DATA", M, M),
    ("SEEK_HOLE", M, 2 * M),
    ("SEEK_DATA", M + 5, M + 5),
    ("SEEK_HOLE", M + 5, 2 * M),
    ("SEEK_DATA", 2 * M, 3 * M),
    ("SEEK_HOLE", 2 * M, 2 * M),
    ("SEEK_HOLE", 2 * M + 5, 2 * M + 5),
    ("SEEK_DATA", 3 * M - 1, 3 * M),
    ("SEEK_HOLE", 3 * M, 4 * M),
    ("SEEK_HOLE", 4 * M, 4 * M),
    ("SEEK_HOLE", 5 * M - 1, 5 * M - 1),
)


@case("holes")
def seeking(t: Tester) -> None:
    fd = sparse(t)
    for whence, start, found in SEEKS:
        t.equal(f"{whence} from {start}", t.root.lseek(fd, start, getattr(os, whence)), found)
    t.fails(ENXIO, t.root.lseek, fd, 4 * M, os.SEEK_DATA)
    for start in (5 * M, 6 * M, -1):
        t.fails(ENXIO, t.root.lseek, fd, start, os.SEEK_DATA)
        t.fails(ENXIO, t.root.lseek, fd, start, os.SEEK_HOLE)


@case("holes")
def a_file_without_holes(t: Tester) -> None:
    fd = t.root.open("file", os.O_RDWR | os.O_CREAT)
    t.fails(ENXIO, t.root.lseek, fd, 0, os.SEEK_DATA)
    t.fails(ENXIO, t.root.lseek, fd, 0, os.SEEK_HOLE)
    t.root.pwrite(fd, DATA, 0)
    t.equal("data from 0", t.root.lseek(fd, 0, os.SEEK_DATA), 0)
    t.equal("data from 100", t.root.lseek(fd, 100, os.SEEK_DATA), 100)
    t.equal("hole from 0", t.root.lseek(fd, 0, os.SEEK_HOLE), M)
    t.equal("hole from the last byte", t.root.lseek(fd, M - 1, os.SEEK_HOLE), M)


@case("holes")
def holes_are_zeros_and_take_no_room(t: Tester) -> None:
    fd = sparse(t)
    t.true("the bytes", t.root.read_file("sparse") == bytes(M) + DATA + bytes(M) + DATA + bytes(M))
    t.root.fsync(fd)
    blocks = t.root.fstat(fd).st_blocks
    t.true("room for two of five megabytes", 4096 <= blocks < 5000, blocks)


@case("holes")
def a_file_of_five_gigabytes(t: Tester) -> None:
    fd = t.root.open("large", os.O_RDWR | os.O_CREAT)
    for offset in (0, 2**31 - 3, 2**32 - 3, 5 * 2**30):
        t.works(t.root.pwrite, fd, b"marker", offset)
    for offset in (0, 2**31 - 3, 2**32 - 3, 5 * 2**30):
        t.equal(f"at {offset}", t.root.pread(fd, 6, offset), b"marker")
    t.equal("in between", t.root.pread(fd, 6, 2**31 + 2**20), bytes(6))
    t.equal("size", t.root.fstat(fd).st_size, 5 * 2**30 + 6)
    t.works(t.root.ftruncate, fd, 2**32 - 1)
    t.equal("size, cut", t.root.fstat(fd).st_size, 2**32 - 1)
    t.equal("what is left", t.root.pread(fd, 6, 2**32 - 3), b"ma")
    t.true("it takes little room", t.root.fstat(fd).st_blocks < 4096, t.root.fstat(fd).st_blocks)


def need(t: Tester, mode: int) -> int:
    """A file of three megabytes, or a skip where this mode of fallocate is not there."""
    fd: int = t.root.open("file", os.O_RDWR | os.O_CREAT)
    t.root.pwrite(fd, DATA * 3, 0)
    try:
        t.root.fallocate(fd, mode, 0, 4096)
    except OSError as error:
        if error.errno == EOPNOTSUPP:
            t.skip(f"no fallocate with mode {mode} here")
        raise
    t.root.pwrite(fd, DATA, 0)
    return fd


@case("fallocate")
def growing(t: Tester) -> None:
    fd = need(t, 0)
    t.works(t.root.fallocate, fd, 0, 0, 2 * M)
    t.equal("size, not shrunk", t.root.fstat(fd).st_size, 3 * M)
    t.works(t.root.fallocate, fd, 0, 3 * M, M)
    t.equal("size, grown", t.root.fstat(fd).st_size, 4 * M)
    t.true("the bytes", t.root.read_file("file") == DATA * 3 + bytes(M))
    t.works(t.root.fallocate, fd, FALLOC_KEEP_SIZE, 4 * M, M)
    t.equal("size, kept", t.root.fstat(fd).st_size, 4 * M)
    t.works(t.root.posix_fallocate, fd, 5 * M, 100)
    t.equal("size, by posix_fallocate", t.root.fstat(fd).st_size, 5 * M + 100)


@case("fallocate")
def punching(t: Tester) -> None:
    fd = need(t, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE)
    t.works(t.root.fallocate, fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, M, M)
    t.true("the bytes", t.root.read_file("file") == DATA + bytes(M) + DATA)
    t.equal("size", t.root.fstat(fd).st_size, 3 * M)
    t.equal("hole", t.root.lseek(fd, 0, os.SEEK_HOLE), M)
    t.equal("data", t.root.lseek(fd, M, os.SEEK_DATA), 2 * M)
    t.works(t.root.fallocate, fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 100, 1000)
    t.true("a hole within a block", t.root.pread(fd, 2000, 0) == b"d" * 100 + bytes(1000) + b"d" * 900)
    t.works(t.root.fallocate, fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 2 * M, 9 * M)
    t.equal("size, when beyond the end", t.root.fstat(fd).st_size, 3 * M)
    t.true("all beyond is zero", t.root.pread(fd, M, 2 * M) == bytes(M))
    t.root.fsync(fd)
    t.true("room is given back", t.root.fstat(fd).st_blocks < 2500, t.root.fstat(fd).st_blocks)
    t.fails(EOPNOTSUPP, t.root.fallocate, fd, FALLOC_PUNCH_HOLE, 0, M)


@case("fallocate")
def zeroing(t: Tester) -> None:
    fd = need(t, FALLOC_ZERO_RANGE)
    t.works(t.root.fallocate, fd, FALLOC_ZERO_RANGE, M, M)
    t.true("the bytes", t.root.read_file("file") == DATA + bytes(M) + DATA)
    t.works(t.root.fallocate, fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, 2 * M, 5 * M)
    t.equal("size, kept", t.root.fstat(fd).st_size, 3 * M)
    t.works(t.root.fallocate, fd, FALLOC_ZERO_RANGE, 2 * M, 2 * M)
    t.equal("size, grown", t.root.fstat(fd).st_size, 4 * M)
    t.true("the bytes then", t.root.read_file("file") == DATA + bytes(3 * M))


@case("fallocate")
def refusals(t: Tester) -> None:
    fd = need(t, 0)
    t.fails(EINVAL, t.root.fallocate, fd, 0, 0, 0)
    t.fails(EINVAL, t.root.fallocate, fd, 0, -1, 1)
    t.fails(EINVAL, t.root.fallocate, fd, 0, 0, -1)
    t.fails(EOPNOTSUPP, t.root.fallocate, fd, 1 << 30, 0, 1)
    t.fails(EBADF, t.root.fallocate, t.root.open("file", os.O_RDONLY), 0, 0, 1)
    t.root.mkfifo("fifo", 0o600)
    pipe = t.root.open("fifo", os.O_RDWR)
    t.fails(ESPIPE, t.root.fallocate, pipe, 0, 0, 1)
    t.fails(ESPIPE, t.root.lseek, pipe, 0, os.SEEK_SET)
