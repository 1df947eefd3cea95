"""Bytes: what is written is read, whatever the sizes, offsets and ways.

The patterns are deterministic, so a failure shows at once which bytes are whose.
"""

from __future__ import annotations

import os
from errno import EBADF

from torture.conformance.tester import Tester, case


def pattern(size: int, seed: int = 0) -> bytes:
    """`size` bytes in which no two pages are alike."""
    return b"".join((number + seed).to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


LENGTHS = (0, 1, 511, 512, 4095, 4096, 4097, 65535, 65536, 131072, 131073, 1 << 20, (1 << 20) + 1, 3 << 20)


@case("data")
def written_at_once(t: Tester) -> None:
    for length in LENGTHS:
        name, content = f"file-{length}", pattern(length)
        fd = t.root.open(name, os.O_RDWR | os.O_CREAT)
        t.equal(f"{length}: how much was written", t.root.write(fd, content) if length else 0, length)
        t.equal(f"{length}: size", t.root.fstat(fd).st_size, length)
        t.true(f"{length}: the same bytes", t.root.pread(fd, length + 10, 0) == content)
        t.true(f"{length}: the same bytes for another reader", t.root.read_file(name) == content)


@case("data")
def written_in_pieces(t: Tester) -> None:
    content = pattern(200_000)
    for piece in (1000, 4096, 5000, 65536):
        fd = t.root.open(f"file-{piece}", os.O_RDWR | os.O_CREAT)
        for start in range(0, len(content), piece):
            t.root.pwrite(fd, content[start : start + piece], start)
        t.true(f"pieces of {piece}", t.root.read_file(f"file-{piece}") == content)
    fd = t.root.open("backwards", os.O_RDWR | os.O_CREAT)
    for start in range(len(content) - 1000, -1, -1000):
        t.root.pwrite(fd, content[start : start + 1000], start)
    t.true("backwards", t.root.read_file("backwards") == content)


@case("data")
def overwritten(t: Tester) -> None:
    model = bytearray(pattern(50_000))
    t.put("file", "file", content=bytes(model))
    fd = t.root.open("file", os.O_RDWR)
    for number, (offset, length) in enumerate(
        ((0, 1), (4095, 2), (8192, 4096), (100, 20_000), (49_990, 100), (60_000, 5))
    ):
        patch = pattern(length, 1000 * (number + 1))
        t.works(t.root.pwrite, fd, patch, offset)
        model.extend(bytes(max(0, offset + length - len(model))))
        model[offset : offset + length] = patch
        t.true(f"after write {number}", t.root.pread(fd, 100_000, 0) == model)


@case("data")
def reads_at_the_end(t: Tester) -> None:
    t.put("file", "file", content=b"0123456789")
    fd = t.root.open("file", os.O_RDONLY)
    for offset, size, wanted in ((0, 100, b"0123456789"), (5, 3, b"567"), (8, 5, b"89"), (10, 5, b""), (99, 1, b"")):
        t.equal(f"{size} bytes at {offset}", t.root.pread(fd, size, offset), wanted)
    t.equal("no bytes", t.root.pread(fd, 0, 0), b"")


@case("data")
def synchronised(t: Tester) -> None:
    t.put("file", "file")
    for flags in (os.O_SYNC, os.O_DSYNC):
        fd = t.works(t.root.open, "file", os.O_RDWR | flags)
        t.works(t.root.pwrite, fd, b"synchronised", 0)
    t.works(t.root.fsync, fd)
    t.works(t.root.fdatasync, fd)
    t.works(t.root.fsync, t.root.open(".", os.O_RDONLY))
    t.content("file", b"synchronised")


@case("data")
def copied_by_the_kernel(t: Tester) -> None:
    content = pattern(300_000)
    t.put("file", "source", content=content)
    source = t.root.open("source", os.O_RDONLY)
    for name, call, extra in (("copied", "copy_file_range", ()), ("sent", "sendfile", ())):
        target = t.root.open(name, os.O_RDWR | os.O_CREAT)
        done = 0
        while done < len(content):
            if call == "sendfile":
                count = t.root.sendfile(target, source, done, len(content) - done)
            else:
                count = t.root.copy_file_range(source, target, len(content) - done, done, done)
            if not count:
                break
            done += count
        t.equal(f"{call}: how much", done, len(content))
        t.true(f"{call}: the same bytes", t.root.read_file(name) == content, extra)
    target = t.root.open("copied", os.O_RDWR)
    t.equal("from beyond the end", t.works(t.root.copy_file_range, source, target, 10, 400_000, 0), 0)
    t.fails(EBADF, t.root.copy_file_range, target, source, 10, 0, 0)
    t.equal("within one file", t.works(t.root.copy_file_range, target, target, 1000, 0, 200_000), 1000)
    t.true("its bytes", t.root.pread(target, 1000, 200_000) == content[:1000])


@case("data")
def blocks_are_counted(t: Tester) -> None:
    t.put("file", "file", content=pattern(1 << 20))
    fd = t.root.open("file", os.O_RDWR)
    t.root.fsync(fd)
    blocks = t.root.fstat(fd).st_blocks
    t.true("1 MiB takes about 2048 blocks of 512 bytes", 2048 <= blocks <= 2200, blocks)
    t.root.ftruncate(fd, 0)
    t.root.fsync(fd)
    t.true("and gives them back", t.root.fstat(fd).st_blocks <= 16, t.root.fstat(fd).st_blocks)


@case("data")
def mapped(t: Tester) -> None:
    content = pattern(20_000)
    t.put("file", "file", content=content)
    fd = t.root.open("file", os.O_RDWR)
    t.equal("read through a mapping", t.works(t.root.mapped_read, fd, 20_000, 5000, 100), content[5000:5100])
    t.works(t.root.mapped_write, fd, 20_000, 4090, b"across pages")
    t.equal("what a read sees", t.root.pread(fd, 12, 4090), b"across pages")
    t.works(t.root.pwrite, fd, b"by write", 100)
    t.equal("what a mapping sees", t.root.mapped_read(fd, 20_000, 100, 8), b"by write")
    t.works(t.root.mapped_write, fd, 20_000, 0, b"private", True)
    t.equal("a private mapping changes nothing", t.root.pread(fd, 7, 0), content[:7])
    t.equal("size", t.root.fstat(fd).st_size, 20_000)
    t.equal("the last page ends in zeros", t.root.mapped_read(fd, 20_000, 19_999, 1), content[19_999:])
    t.works(t.root.ftruncate, fd, 30_000)
    t.equal("grown", t.root.mapped_read(fd, 30_000, 25_000, 10), bytes(10))


@case("data", needs="users")
def seen_by_others_at_once(t: Tester) -> None:
    fd = t.alice.open("file", os.O_RDWR | os.O_CREAT, 0o666)
    theirs = t.bob.open("file", os.O_RDWR)
    for number in range(10):
        writer, its_fd, reader, other = (t.alice, fd, t.bob, theirs) if number % 2 else (t.bob, theirs, t.alice, fd)
        text = b"turn %d" % number
        writer.pwrite(its_fd, text, number * 10)
        t.equal("what the other reads", reader.pread(other, 100, number * 10), text)
        t.equal("the size that the other sees", reader.fstat(other).st_size, number * 10 + len(text))
