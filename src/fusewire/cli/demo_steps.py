"""What `fusewire demo` does, step by step, and how it knows that the bytes are right.

A step is a function of the place to work in (demo_places.py). It checks everything it is given
and returns its result in a few words; `Wrong` says what was different. Each is what a person would
do with a filesystem, through the same system calls.

The process that runs the steps also serves a mount, from other threads. So two things are
forbidden here (docs/writing-a-filesystem.md, "Known deadlocks"): a child with its working
directory inside the mount (`git -C` instead), and mmap of a file of it.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fusewire import Directory, File
from fusewire.cli.demo_places import Place

__all__ = ["EXAMPLE_STEPS", "MEMORY_STEPS", "Skipped", "Step", "Wrong", "example"]

MANY: Final = 1000  # files in the directory that is listed
COMMITTED: Final = 25  # files in the repository that is cloned
MEBIBYTE: Final = 1 << 20


class Wrong(Exception):
    """A step got something other than what it should have."""


class Skipped(Exception):
    """A step cannot be done here, and why."""


@dataclass(frozen=True)
class Step:
    """`title` is what a person reads; `work` does it and returns the result in a few words."""

    title: str
    work: Callable[[Place], str]


def expect(what: str, got: object, wanted: object) -> None:
    """Raise `Wrong` unless `got` is what was wanted."""
    if got != wanted:
        raise Wrong(f"{what}: {str(got)[:20]!r}, not {str(wanted)[:20]!r}")


# --- the example filesystem: a dict, a file, and files that are made up as they are looked for


class Square(File):
    """A number's square, computed when it is read."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def read(self, offset: int, size: int) -> bytes:
        return f"{self.number**2}\n".encode()[offset : offset + size]


class Squares(Directory):
    """Any number's square, and a listing of the first ten."""

    def list(self) -> Iterable[tuple[str, Square]]:
        return ((str(number), Square(number)) for number in range(10))

    def lookup(self, name: str) -> Square | None:
        return Square(int(name)) if name.isdecimal() else None


HELLO: Final = b"Hello from Python.\n"


def example() -> dict[str, object]:
    """The tree that the demo mounts first."""
    return {"hello.txt": HELLO, "squares": Squares()}


def list_tree(place: Place) -> str:
    names = sorted(place.listdir("/"))
    expect("the root", names, ["hello.txt", "squares"])
    expect("squares/", sorted(place.listdir("/squares")), sorted(map(str, range(10))))
    return " ".join(names)


def read_computed(place: Place) -> str:
    expect("hello.txt", place.read_bytes("/hello.txt"), HELLO)
    for number in (7, 12, 123456789):
        expect(f"squares/{number}", place.read_bytes(f"/squares/{number}"), f"{number**2}\n".encode())
    expect("squares/x", place.exists("/squares/x"), False)
    return "squares/12 holds 144"


# --- the memory filesystem


def pattern(length: int) -> bytes:
    """The same bytes each time, of which no two pages are alike: one in the wrong place is noticed."""
    return random.Random(length).randbytes(length)


def write_and_read(place: Place) -> str:
    """Write 8 MiB, throw the kernel's copy away, read it back."""
    data = pattern(8 * MEBIBYTE)
    place.write_bytes("/data", data)
    place.drop("/data")
    expect("size", place.stat("/data").st_size, len(data))
    expect("data", hashlib.sha256(place.read_bytes("/data")).hexdigest(), hashlib.sha256(data).hexdigest())
    return "the same sha256"


def change_in_place(place: Place) -> str:
    """Overwrite the middle, append, cut: what comes back is what Python's own bytes give."""
    path, wanted = "/edited", bytearray(pattern(65536))
    place.write_bytes(path, bytes(wanted))
    with place.open(path, "r+b") as file:
        file.seek(30000)
        file.write(b"middle")
    with place.open(path, "ab") as file:
        file.write(b"the end")
    wanted[30000:30006] = b"middle"
    expect("edited", place.read_bytes(path), bytes(wanted) + b"the end")
    place.truncate(path, 40000)
    expect("cut", place.read_bytes(path), bytes(wanted[:40000]))
    return "every byte in its place"


def rename_and_link(place: Place) -> str:
    """Rename over another file, give it a second name, point at it, and read it unlinked."""
    place.write_bytes("/old", b"kept")
    place.write_bytes("/new", b"replaced")
    place.rename("/old", "/new")
    place.hardlink_to("/other", "/new")
    place.symlink_to("/pointer", "other")
    expect("old", place.exists("/old"), False)
    new, other = place.stat("/new"), place.stat("/other")
    expect("names", (other.st_ino, other.st_nlink), (new.st_ino, 2))
    with place.open("/new", "rb") as file:
        for path in ("/new", "/other"):
            place.unlink(path)
        expect("unlinked", file.read(), b"kept")
    expect("pointer", (place.readlink("/pointer"), place.exists("/pointer")), ("other", False))
    return "still read, nameless"


def git_clone(place: Place) -> str:
    """Make a repository, clone it, and compare what git checked out with what was committed."""
    root = place.directory
    if root is None:
        raise Skipped("git needs a real mount")
    if shutil.which("git") is None:
        raise Skipped("there is no git here")
    origin, clone = root / "origin", root / "clone"
    for number in range(COMMITTED):
        path = origin / f"directory{number % 5}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pattern(1024 * (number + 1)))
    git(origin, "init", "--quiet")
    git(origin, "add", ".")
    git(origin, "commit", "--quiet", "--message", "All of it")
    git(root, "clone", "--quiet", str(origin), str(clone))
    git(clone, "fsck", "--strict", "--no-progress")
    expect("clone", contents(clone), contents(origin))
    return f"{COMMITTED} files same, fsck clean"


def git(directory: Path, *arguments: str) -> None:
    """Run git there, untouched by anybody's settings."""
    mine = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    names = {f"GIT_{who}_{what}": "demo" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "-C", str(directory), "-c", "safe.directory=*", "-c", "gc.auto=0", *arguments]
    done = subprocess.run(command, env=inherited | mine | names, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise Wrong(f"git {arguments[0]}: {last}")


def contents(root: Path) -> dict[str, bytes]:
    """Every file below `root` but git's own, by its path."""
    paths = (path for path in root.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def many_files(place: Place) -> str:
    """Make a thousand files and list them with their sizes."""
    place.mkdir("/many")
    for number in range(MANY):
        place.write_bytes(f"/many/{number:04}", b"x" * number)
    sizes = {name: place.stat(f"/many/{name}").st_size for name in place.listdir("/many")}
    expect("listing", sizes, {f"{number:04}": number for number in range(MANY)})
    return f"{MANY} names and sizes"


def delete_all(place: Place) -> str:
    """Remove every file and directory."""
    place.clear()
    expect("what is left", place.listdir("/"), [])
    free = place.statvfs()
    expect("inodes in use", free.f_files - free.f_ffree, 1)
    return "1 inode left: the root"


EXAMPLE_STEPS: Final = (
    Step("list it", list_tree),
    Step("read files that it computes", read_computed),
)
MEMORY_STEPS: Final = (
    Step("write 8 MiB and read it back", write_and_read),
    Step("overwrite, append, truncate", change_in_place),
    Step("rename, link, unlink while open", rename_and_link),
    Step("git init, commit, clone", git_clone),
    Step(f"make and list {MANY} files", many_files),
    Step("delete everything", delete_all),
)
