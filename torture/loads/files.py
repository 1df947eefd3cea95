"""Files as such: huge, oddly named, and very many."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from torture.loads.place import Failed, Place, expect, run
from torture.mounts import Mount

GIB = 1 << 30


def fsx(place: Place) -> str:
    """Random operations against a model: several files, each with its own seed."""
    checker = Path(__file__).resolve().parent.parent / "fsx.py"
    operations, seeds = place.amount(800, 6000), place.amount(3, 8)
    for seed in range(1, seeds + 1):
        run(
            sys.executable,
            checker,
            place.directory / f"fsx-{seed}",
            "--seed",
            str(seed),
            "--operations",
            str(operations),
        )
    return f"{seeds} seeds, {operations} operations each"


def sparse(place: Place) -> str:
    """Files of more than 4 GiB with a few bytes in them, and a copy by cp."""
    path, copy = place.directory / "large", place.directory / "copy"
    markers = {0: b"first", 2**31 - 2: b"across 2 GiB", 2**32 - 2: b"across 4 GiB", 6 * GIB: b"last"}
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    for offset, marker in markers.items():
        expect("written", os.pwrite(fd, marker, offset), len(marker))
    os.fsync(fd)
    expect("size", os.fstat(fd).st_size, 6 * GIB + 4)
    expect("room taken, in MiB", os.fstat(fd).st_blocks * 512 >> 20, 0)
    check_markers(fd, markers)
    run("cp", "--sparse=always", path, copy)
    with copy.open("rb") as file:
        check_markers(file.fileno(), markers)
        expect("room that the copy takes, in MiB", os.fstat(file.fileno()).st_blocks * 512 >> 20, 0)
    os.ftruncate(fd, 2**32 + 3)
    expect("what is left at 4 GiB", os.pread(fd, 100, 2**32 - 2), markers[2**32 - 2][:5])
    os.close(fd)
    return "6 GiB"


def check_markers(fd: int, markers: dict[int, bytes]) -> None:
    """The markers are there, zeros before and after them, and data is found by seeking."""
    for offset, marker in markers.items():
        expect(f"bytes at {offset}", os.pread(fd, len(marker), offset), marker)
        if offset:
            expect(f"bytes before {offset}", os.pread(fd, 1000, offset - 1000), bytes(1000))
        expect(f"data before {offset}", os.lseek(fd, max(0, offset - 10**6), os.SEEK_DATA) <= offset, True)


def names(place: Place) -> str:
    """Every byte that a name can have, through system calls and through the usual programs."""
    here = os.fsencode(place.directory)
    wanted = {bytes([byte]) + b"-name" for byte in range(1, 256) if byte != ord("/")}
    wanted |= {b"\xff" * 255, "é".encode() * 127, b"\xed\xa0\x80 half a pair", b" ", b"\n", b"\xc3"}
    for name in wanted:
        with open(here + b"/" + name, "wb") as file:
            file.write(name)
    expect("names", set(os.listdir(here)) == wanted, True)
    run("cp", "-a", place.directory, place.native / "copy")
    run("cp", "-a", place.native / "copy", place.directory / "again")
    copied = here + b"/again"
    expect("names of the copy", set(os.listdir(copied)) == wanted, True)
    for name in wanted:
        with open(copied + b"/" + name, "rb") as file:
            expect(f"content of {name!r}", file.read(), name)
        os.rename(copied + b"/" + name, copied + b"/moved")
        os.rename(copied + b"/moved", copied + b"/" + name)
    listed = run("find", place.directory / "again", "-type", "f", "-printf", "x")
    expect("what find finds", len(listed), len(wanted))
    run("rm", "-r", place.directory / "again")
    return f"{len(wanted)} names"


def many(place: Place) -> str:
    """A walk over 200,000 files through a daemon that may open 1,024."""
    source, mountpoint = place.native / "source", place.native / "mountpoint"
    directories, each = place.amount(20, 200), 1000
    for number in range(directories):
        directory = source / f"d{number}"
        directory.mkdir(parents=True)
        for file in range(each):
            os.close(os.open(directory / f"file-{file}", os.O_WRONLY | os.O_CREAT, 0o644))
    words = {"SOURCE": str(source), "MOUNTPOINT": str(mountpoint)}
    command = ["prlimit", "--nofile=1024:1024", *(words.get(word, word) for word in place.mount_command)]
    mount = Mount(command, str(mountpoint), place.native / "many.log")
    mount.start()
    try:
        found = walk(mountpoint)
        held = len(os.listdir(f"/proc/{mount.pid}/fd"))
    except OSError as error:
        state = "alive" if mount.alive() else "dead"
        raise Failed(f"{error}; the daemon is {state}, its last words: {mount.last_words()}") from error
    finally:
        mount.stop()
    expect("files found", found, directories * each)
    if held > 1024:
        raise Failed(f"the daemon holds {held} descriptors")
    return f"{found} files, {held} descriptors"


def walk(root: Path) -> int:
    """Stat every file below a directory, and open some; how many files there are."""
    found = 0
    for where, _, files in os.walk(root):
        for name in files:
            path = os.path.join(where, name)
            os.stat(path)
            if found % 97 == 0:
                with open(path, "rb") as file:
                    expect("content", file.read(), b"")
            found += 1
    return found
