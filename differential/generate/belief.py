"""What is believed of a program so far: which names there are, of what kind, and which slots are filled."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Final, TypeAlias

from differential.program import ROLES, Argument

__all__ = ["MAPS", "NAMES", "OFFSETS", "SIZES", "SLOTS", "Arguments", "Generator", "Maker", "NothingThere"]

NAMES: Final = ("a", "b", "c", "d", "e", "f")
SLOTS: Final = 5
MAPS: Final = 2
DEEPEST: Final = 3
MODES: Final = (
    0o777,
    0o777,
    0o666,
    0o666,
    0o755,
    0o644,
    0o644,
    0o600,
    0o666,
    0o755,
    0o700,
    0o777,
    0o444,
    0o000,
    0o4755,
    0o2755,
    0o1777,
    0o2644,
    0o640,
)
SIZES: Final = (0, 1, 5, 100, 4095, 4096, 4097, 8192, 10000, 20000, 70000)
OFFSETS: Final = (0, 0, 0, 1, 10, 4095, 4096, 5000, 8192, 12288, 65536, 100000)

Arguments: TypeAlias = tuple[Argument, ...]
Maker: TypeAlias = Callable[["Generator"], Arguments]


class NothingThere(Exception):
    """A call makes no sense now."""


class Generator:
    """What is believed of the program so far."""

    def __init__(self, random: Random, special: bool, waiting: float) -> None:
        self.random = random
        self.special = special
        self.role = 0
        self.names = NAMES[: random.choice((2, 3, len(NAMES)))]
        self.directories: dict[str, None] = {"": None}  # paths from the root, without a slash before or behind
        self.files: dict[str, None] = {}
        self.links: dict[str, None] = {}
        self.fifos: dict[str, None] = {}
        self.roles: tuple[int, ...] = self.random.choices(((0,), (0, 1), (0, 1, 2), (1, 2)), (5, 3, 2, 1))[0]
        self.waiting = self.chance(waiting)  # processes may wait for each other
        if self.waiting and len(self.roles) == 1:
            self.roles = (0, 1)
        self.cwd = dict.fromkeys(range(len(ROLES)), "")
        self.open: dict[int, set[int]] = {role: set() for role in range(len(ROLES))}
        self.open_directories: dict[int, set[int]] = {role: set() for role in range(len(ROLES))}
        self.paths: dict[tuple[int, int], str] = {}  # of open files, from the root, by role and slot
        self.full: dict[int, set[int]] = {role: set() for role in range(len(ROLES))}  # slots of files with content
        self.marked: list[tuple[str, str]] = []  # paths with an xattr, and its name
        self.mapped: dict[int, set[int]] = {role: set() for role in range(len(ROLES))}

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # --- paths

    def spelled(self, path: str) -> str:
        """Write a path from the root as the process at work may write it."""
        cwd = self.cwd[self.role]
        if self.chance(0.6 if cwd else 0.25):  # for it may not be there
            text = "/" + path
        elif cwd and path.startswith(cwd + "/"):
            text = path[len(cwd) + 1 :]
        elif cwd:
            text = "../" * (cwd.count("/") + 1) + path
        else:
            text = path or "."
        if self.chance(0.03):
            text = text.replace("/", "//") if "/" in text else f"./{text}"
        return text + "/" if self.chance(0.03) else text

    def old(self, *kinds: dict[str, None]) -> str:
        """Return the path of something that is there, of one of these kinds."""
        paths = [path for kind in kinds for path in kind]
        if not paths or self.chance(0.04):
            return self.odd() if self.chance(0.25) else self.spelled(self.new_path())
        return self.spelled(self.random.choice(paths))

    def odd(self) -> str:
        return self.random.choice(
            ("", ".", "..", "/", "n" * 256, "n" * 255, "none/at/all", "a/../b", "a/./b", "p" * 4096)
        )

    def new_path(self) -> str:
        """Return a path from the root, of which at least the last name may be new."""
        shallow = [path for path in self.directories if path.count("/") < DEEPEST - 1]
        for _ in range(1 if self.chance(0.15) else 5):
            parent = self.random.choice(shallow)
            name = self.random.choice(self.names)
            path = f"{parent}/{name}" if parent else name
            if not self.knows(path):
                break
        return path

    def anything(self) -> str:
        return self.old(self.files, self.files, self.directories, self.links, self.fifos)

    def new(self, kind: dict[str, None]) -> str:
        path = self.new_path()
        if not self.knows(path):  # else it is refused
            kind[path] = None
        return self.spelled(path)

    def knows(self, path: str) -> bool:
        return any(path in kind for kind in (self.directories, self.files, self.links))

    def kinds(self) -> tuple[dict[str, None], ...]:
        return self.directories, self.files, self.links, self.fifos

    def below_root(self) -> dict[str, None]:
        return {path: None for path in self.directories if path}

    def forget(self, path: str) -> None:
        for kind in self.kinds():
            for known in [one for one in kind if one == path or one.startswith(f"{path}/")]:
                if known:
                    del kind[known]

    def plain(self, text: str) -> str:
        """Undo `spelled`."""
        cwd = self.cwd[self.role]
        joined = text if text.startswith("/") else f"/{cwd}/{text}"
        return os.path.normpath(joined).strip("/").lstrip(".")

    # --- slots

    def file(self) -> int:
        return self.slot(self.open[self.role])

    def filled_file(self) -> int:
        """Return the slot of a file that should have content; at times of any."""
        full = self.full[self.role] & self.open[self.role]
        return self.slot(full) if full and self.chance(0.8) else self.file()

    def file_to_fill(self) -> int:
        slot = self.file()
        self.full[self.role].add(slot)
        return slot

    def slot(self, filled: set[int]) -> int:
        """Return a slot that should be filled.

        Raises:
            NothingThere: there is none; but now and then an empty one is tried.
        """
        if self.chance(0.02):
            return self.random.randrange(SLOTS)
        if not filled:
            raise NothingThere
        return self.random.choice(sorted(filled))

    def mapping(self) -> int:
        if not self.mapped[self.role]:
            raise NothingThere
        return self.random.choice(sorted(self.mapped[self.role]))

    def size(self) -> int:
        return self.random.choice(SIZES)

    def offset(self) -> int:
        return self.random.choice(OFFSETS)

    def data(self, largest: int = 70000) -> bytes:
        size = min(self.size(), largest)
        return bytes([self.random.randrange(97, 123)]) * size

    def mode(self) -> int:
        return self.random.choice(MODES)

    def owner(self) -> int:
        return self.random.choice((-1, 0, 1000, 1001, 2000))
