"""truncate, ftruncate, and offsets at the edges.

Source: truncate(2), pwrite(2), lseek(2); fs/read_write.c, rw_verify_area.
"""

from __future__ import annotations

import os
from errno import EACCES, EFBIG, EINVAL, EISDIR, EOVERFLOW

from torture.conformance.calls import FALLOC_KEEP_SIZE
from torture.conformance.tester import ALICE, Tester, case

LONGEST = 2**63 - 1
BASE = bytes(range(256)) * 40  # 10240 bytes, none of whose blocks are alike by accident

SIZES = (10240, 10239, 8193, 8192, 8191, 4097, 4096, 4095, 513, 512, 511, 1, 0)


def after(size: int) -> bytes:
    """What BASE is once its length has been set."""
    return BASE[:size].ljust(size, b"\0")


@case("truncate")
def shrinking(t: Tester) -> None:
    for size in SIZES:
        for way in ("truncate", "ftruncate"):
            name = f"{way}-{size}"
            t.put("file", name, content=BASE)
            target = name if way == "truncate" else t.root.open(name, os.O_WRONLY)
            t.works(getattr(t.root, way), target, size)
            t.equal(f"size of {name}", t.root.lstat(name).st_size, size)
            t.content(name, after(size))
            t.works(getattr(t.root, way), target, 12000)
            t.equal(
                f"{name}: what it shows when it has grown again",
                t.root.read_file(name),
                after(size).ljust(12000, b"\0"),
            )


@case("truncate")
def growing(t: Tester) -> None:
    for size in (1, 4096, 10241, 1 << 20, (1 << 32) + 1, 1 << 40):
        name = f"to-{size}"
        t.put("file", name, content=b"x")
        t.works(t.root.truncate, name, size)
        t.equal(f"size of {name}", t.root.lstat(name).st_size, size)
        fd = t.root.open(name, os.O_RDWR)
        t.equal("the last byte", t.root.pread(fd, 10, size - 1), b"x" if size == 1 else b"\0")
        t.equal("beyond it", t.root.pread(fd, 10, size), b"")
        t.true("it takes no room", t.root.fstat(fd).st_blocks <= 64, t.root.fstat(fd).st_blocks)


@case("truncate", needs="root")
def refusals(t: Tester) -> None:
    t.put("file", "file", content=b"abc")
    for kind in ("dir", "fifo"):
        t.put(kind, kind)
    t.fails(EINVAL, t.root.truncate, "file", -1)
    t.fails(EISDIR, t.root.truncate, "dir", 0)
    t.fails(EINVAL, t.root.truncate, "fifo", 0)
    t.fails(EINVAL, t.root.ftruncate, t.root.open("file", os.O_RDONLY), 0)
    t.fails(EINVAL, t.root.ftruncate, t.root.open("file", os.O_WRONLY), -1)
    t.fails(EINVAL, t.root.ftruncate, t.root.open("dir", os.O_RDONLY), 0)
    t.content("file", b"abc")


@case("truncate")
def absurd_sizes(t: Tester) -> None:
    """Either a sparse file or EFBIG; never anything else, and never a lost file."""
    t.put("file", "file", content=b"abc")
    for size in (10**15, 2**62, LONGEST):
        try:
            t.root.truncate("file", size)
        except OSError as error:
            t.equal(f"errno for {size}", error.errno, EFBIG)
            t.equal("size", t.root.lstat("file").st_size, 3)
        else:
            t.true(f"errno for {size} is {EFBIG}, or none", True)
            t.equal("size", t.root.lstat("file").st_size, size)
            t.root.truncate("file", 3)
    t.content("file", b"abc")


@case("truncate", needs="users")
def by_mode(t: Tester) -> None:
    t.put("file", "file", 0o644, who=ALICE, content=b"abc")
    t.fails(EACCES, t.bob.truncate, "file", 0)
    t.works(t.alice.truncate, "file", 2)
    t.root.chmod("file", 0o444)
    t.fails(EACCES, t.alice.truncate, "file", 0)
    t.content("file", b"ab")


@case("truncate")
def what_open_descriptors_see(t: Tester) -> None:
    t.put("file", "file", content=b"0123456789")
    fd = t.root.open("file", os.O_RDWR)
    t.root.lseek(fd, 8, os.SEEK_SET)
    t.root.truncate("file", 4)
    t.equal("read beyond the end", t.root.read(fd, 10), b"")
    t.works(t.root.write, fd, b"X")
    t.content("file", b"0123\0\0\0\0X")


@case("offsets")
def negative_ones(t: Tester) -> None:
    t.put("file", "file", content=b"abc")
    fd = t.root.open("file", os.O_RDWR)
    t.fails(EINVAL, t.root.pread, fd, 1, -1)
    t.fails(EINVAL, t.root.pwrite, fd, b"x", -1)
    t.fails(EINVAL, t.root.lseek, fd, -1, os.SEEK_SET)
    t.fails(EINVAL, t.root.lseek, fd, -4, os.SEEK_END)
    t.fails(EINVAL, t.root.lseek, fd, 0, 99)
    t.fails(EINVAL, t.root.fallocate, fd, 0, -1, 10)
    t.fails(EINVAL, t.root.fallocate, fd, FALLOC_KEEP_SIZE, 0, -1)
    t.content("file", b"abc")


@case("offsets")
def huge_ones(t: Tester) -> None:
    t.put("file", "file", content=b"abc")
    fd = t.root.open("file", os.O_RDWR)
    t.fails((EFBIG, EINVAL), t.root.pwrite, fd, b"xx", LONGEST)
    t.fails((EFBIG, EINVAL, EOVERFLOW), t.root.pread, fd, 10, LONGEST)
    t.equal("far beyond the end", t.works(t.root.pread, fd, 10, 2**42), b"")
    t.fails(EFBIG, t.root.fallocate, fd, 0, LONGEST - 10, 100)
    t.fails((EINVAL, EOVERFLOW), t.root.lseek, fd, LONGEST, os.SEEK_END)
    t.content("file", b"abc")


@case("offsets")
def seeking(t: Tester) -> None:
    t.put("file", "file", content=b"0123456789")
    fd = t.root.open("file", os.O_RDWR)
    t.equal("from the start", t.root.lseek(fd, 4, os.SEEK_SET), 4)
    t.equal("from here", t.root.lseek(fd, 2, os.SEEK_CUR), 6)
    t.equal("from the end", t.root.lseek(fd, -3, os.SEEK_END), 7)
    t.equal("what is read", t.root.read(fd, 10), b"789")
    t.equal("beyond the end", t.root.lseek(fd, 100, os.SEEK_SET), 100)
    t.equal("size", t.root.fstat(fd).st_size, 10)
    t.equal("what is read there", t.root.read(fd, 10), b"")
    t.works(t.root.write, fd, b"!")
    t.equal("size then", t.root.fstat(fd).st_size, 101)
    t.equal("the gap", t.root.pread(fd, 90, 10), bytes(90))


@case("offsets")
def the_limit_of_a_process(t: Tester) -> None:
    t.put("file", "file", content=b"abc")
    fd = t.root.open("file", os.O_RDWR)
    t.root.limit_file_size(8192)
    try:
        t.works(t.root.pwrite, fd, b"x" * 8192, 0)
        t.fails(EFBIG, t.root.pwrite, fd, b"x", 8192)
        t.equal("a write across the limit", t.works(t.root.pwrite, fd, b"x" * 100, 8142), 50)
        t.fails(EFBIG, t.root.ftruncate, fd, 8193)
        t.works(t.root.ftruncate, fd, 8192)
    finally:
        t.root.limit_file_size(-1)
    t.equal("size", t.root.lstat("file").st_size, 8192)
